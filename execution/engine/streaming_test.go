package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/execution/windowing"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// TestStreaming runs whole jobs with the scripts of testdata/streaming:
//
//	run KIND [fixed=MS] [sessions=MS] [custom=MS] [lateness=MS]
//	KEY@TIME ...
//	watermark TIME
//	processing MS
//
// A test stream plays the lines: elements of keys of one letter, whose values
// count up from a, and movements of its clocks. What reads them is of the kind
// group, batch, sort, state or timers: a GroupByKey, one that waits for all
// input, a TimeSort, or a stage that counts
// the elements of each key and window in its state, and may have a timer set by
// each 20 ms after it, in both domains, besides that for the window's
// expiration. The test prints what the last stage gets, with the time of each
// element and the end of its window, and the elements that were dropped.
func TestStreaming(t *testing.T) {
	datadriven.Walk(t, "testdata/streaming", func(t *testing.T, path string) {
		t.Helper()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			s := newStream(t, d)
			job := New(s.plan, Options{Host: &fakeHost{plan: &s.simPlan, before: s.before}})
			store := &watchedStore{Store: job.impl.store}
			job.impl.store = store
			if err := job.Run(t.Context()); err != nil {
				return err.Error() + "\n"
			}
			_, committed := job.Metrics()
			return strings.Join(s.out, "") + dropped(committed) + store.left()
		})
	})
}

// stream is a job of TestStreaming.
type stream struct {
	simPlan
	mu  sync.Mutex
	out []string // guarded by mu
}

func newStream(t *testing.T, d *datadriven.TestData) *stream {
	t.Helper()
	bytes := coder.Must(coder.Bytes)
	kv := coder.Must(coder.KV, bytes, bytes)
	w := windowingOf(t, d)
	edge := func(id plan.EdgeID, name string, value *coder.Coder) *plan.Edge {
		return &plan.Edge{ID: id, Name: name, Value: value, Windowing: w, Bounded: d.CmdArgs[0].Key == "batch"}
	}
	p := &plan.Plan{
		KeyGroups: 1, Environments: []plan.EnvironmentID{"a"},
		Edges: []*plan.Edge{edge(0, "source", kv), edge(1, "sink", kv)},
		Stages: []*plan.Stage{
			{ID: 0, Name: "source", Kind: &plan.TestSource{}, Outputs: []plan.Output{{Edge: 0}}},
			{ID: 1, Name: "middle", Input: &plan.Input{Edge: 0, Keyed: true}, Outputs: []plan.Output{{Edge: 1}}},
			{
				ID: 2, Name: "sink", Kind: &plan.Executable{Environment: "a", Transforms: []plan.Transform{{ID: "sink"}}},
				Input: &plan.Input{Edge: 1, Keyed: true, Port: "in"},
			},
		},
		Tests: []plan.Test{{Sources: []plan.StageID{0}, Events: events(t, d, w)}},
	}
	s := &stream{simPlan: simPlan{plan: p, ops: make([]simOp, 4)}}
	nothing := func([]byte) [][]byte { return nil }
	s.ops[1], s.ops[2] = nothing, nothing
	switch d.CmdArgs[0].Key {
	case "group", "batch":
		g := &plan.GroupByKey{Windowing: w, Streaming: d.CmdArgs[0].Key == "group", Key: bytes, Value: bytes}
		p.Edges[1].Value = coder.Must(coder.KV, bytes, coder.Must(coder.Iterable, bytes))
		if fn, ok := w.Fn.(plan.CustomWindows); ok && fn.Merging {
			g.Merge = s.addMerging()
		}
		p.Stages[1].Kind = g
	case "sort":
		p.Stages[1].Kind = &plan.TimeSort{Windowing: w}
	case "state", "timers":
		p.Stages[1].Input.Port, p.Stages[1].Outputs[0].Port = "in", "out"
		k := &plan.Executable{
			Environment: "a", Transforms: []plan.Transform{{ID: "t"}},
			States: []plan.StateSpec{{Transform: "t", ID: "seen"}},
		}
		if d.CmdArgs[0].Key == "timers" {
			k.Timers = kind(statefulPlan(0)).Timers
		}
		p.Stages[1].Kind = k
	}
	return s
}

// windowingOf reads the windows of a script.
func windowingOf(t *testing.T, d *datadriven.TestData) *plan.Windowing {
	t.Helper()
	var fixed, sessions, custom, lateness int
	d.MaybeScanArgs(t, "fixed", &fixed)
	d.MaybeScanArgs(t, "sessions", &sessions)
	d.MaybeScanArgs(t, "custom", &custom)
	d.MaybeScanArgs(t, "lateness", &lateness)
	w := &plan.Windowing{Window: coder.Must(coder.IntervalWindow), AllowedLateness: ms(lateness)}
	switch {
	case fixed > 0:
		w.Fn = plan.FixedWindows{Size: ms(fixed)}
	case sessions > 0:
		w.Fn = plan.Sessions{Gap: ms(sessions)}
	case custom > 0:
		w.Fn = plan.CustomWindows{URN: fmt.Sprint(custom), Merging: true}
	default:
		w.Fn, w.Window = plan.GlobalWindows{}, coder.Must(coder.GlobalWindow)
	}
	return w
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// events reads the lines of a script.
func events(t *testing.T, d *datadriven.TestData, w *plan.Windowing) (events []plan.TestEvent) {
	t.Helper()
	next := byte('a')
	for line := range strings.Lines(d.Input) {
		var n int
		switch {
		case scan(line, "watermark %d", &n):
			events = append(events, plan.TestWatermark{To: element.EventTime(n)})
		case scan(line, "processing %d", &n):
			events = append(events, plan.TestProcessingTime{By: ms(n)})
		default:
			b := element.Block{MinTime: element.MaxTime}
			for word := range strings.FieldsSeq(line) {
				var key string
				if !scan(strings.Replace(word, "@", " ", 1), "%s %d", &key, &n) {
					d.Fatalf(t, "element %q", word)
				}
				at := element.EventTime(n)
				b.Data = append(b.Data, windowed(at, windowsOf(w, at), pair(key, string(next)))...)
				b.Count++
				b.MinTime = min(b.MinTime, at)
				next++
			}
			events = append(events, plan.TestElements{Block: b})
		}
	}
	return events
}

func scan(text, format string, into ...any) bool {
	n, err := fmt.Sscanf(text, format, into...)
	return n == len(into) && err == nil
}

// windowsOf assigns windows to a time.
func windowsOf(w *plan.Windowing, at element.EventTime) [][]byte {
	var start, size element.EventTime
	switch fn := w.Fn.(type) {
	case plan.FixedWindows:
		size = element.EventTime(fn.Size / time.Millisecond)
		start = at - at%size
	case plan.Sessions:
		start, size = at, element.EventTime(fn.Gap/time.Millisecond)
	case plan.CustomWindows:
		var gap int
		if !scan(fn.URN, "%d", &gap) {
			return nil
		}
		start, size = at, element.EventTime(gap)
	case plan.GlobalWindows, plan.SlidingWindows:
		return nil
	}
	return [][]byte{windowing.Interval{Start: start, End: start + size}.Append(nil)}
}

// addMerging adds a function that merges windows that intersect.
func (s *stream) addMerging() plan.StageID {
	merging := mergePlan()
	fn := merging.Functions[0]
	fn.ID, fn.Input.Edge, fn.Outputs[0].Edge = 3, 2, 3
	for i, e := range merging.Edges[:2] {
		e.ID = plan.EdgeID(2 + i)
		s.plan.Edges = append(s.plan.Edges, e)
	}
	s.plan.Functions = []*plan.Stage{fn}
	windows := coder.Must(coder.Iterable, coder.Must(coder.IntervalWindow))
	s.ops[3] = func(question []byte) [][]byte {
		nonce := question[:1+question[0]]
		var set [][]byte
		if _, err := windows.Elements(question[len(nonce):], func(w []byte) error { set = append(set, w); return nil }); err != nil {
			return nil
		}
		merged, err := windowing.MergeIntervals(set)
		if err != nil {
			return nil
		}
		var alone, together []string
		for _, m := range merged {
			if len(m.From) == 1 {
				alone = append(alone, string(m.Window))
				continue
			}
			var from []string
			for _, w := range m.From {
				from = append(from, string(w))
			}
			together = append(together, string(m.Window)+iterable(from...))
		}
		return [][]byte{slices.Concat(nonce, []byte(iterable(alone...)), []byte(iterable(together...)))}
	}
	return fn.ID
}

// before does what the stages of the SDK do.
func (s *stream) before(_ *fakeWorker, b *harness.Bundle) error {
	var err error
	switch b.Stage.ID {
	case 1:
		err = errors.Join(s.count(b), s.fire(b))
	case 2:
		err = s.sink(b)
	default:
		return nil
	}
	if err == nil {
		err = errHandled
	}
	return err
}

// fire emits the timers of the bundle, with the number of elements seen.
func (s *stream) fire(b *harness.Bundle) error {
	for _, timers := range b.Timers {
		family := kind(statefulPlan(0)).Timers[timers.Family]
		for data := timers.Data; len(data) > 0; {
			t, err := coder.CutTimer(data, family.Key, s.plan.Edges[0].Windowing.Window)
			if err != nil {
				return err
			}
			seen, err := s.seen(b, t.Key, t.Windows)
			if err != nil {
				return err
			}
			value := fmt.Sprint(family.Family, " timer after ", seen, " elements,")
			if err := b.Output.Write(0, windowed(t.Hold, [][]byte{t.Windows}, pair(string(t.Key[1:]), value))); err != nil {
				return err
			}
			data = data[t.Size:]
		}
	}
	return nil
}

// seen reads how many elements a key has had in a window.
func (s *stream) seen(b *harness.Bundle, key, window []byte) (int, error) {
	seen, _, err := b.State.Get(context.Background(), seenKey(key, window), nil)
	return len(seen), err
}

func seenKey(key, window []byte) harness.UserStateKey {
	return harness.UserStateKey{Transform: "t", State: "seen", Key: key, Window: window}
}

// setTimers sets a timer in both domains.
func (s *stream) setTimers(b *harness.Bundle, key, window []byte, at element.EventTime) error {
	if len(timerFamilies(s.plan, s.plan.Stages[1])) <= 1 {
		return nil
	}
	t := coder.Timer{Key: key, Windows: window, NumWindows: 1, Fire: at + 20, Hold: at, Pane: []byte{coder.PaneOnlyFiring}}
	if err := b.Output.WriteTimers(eventFamily, coder.PutTimer(nil, t)); err != nil {
		return err
	}
	t.Fire = b.Time.Processing + 20
	return b.Output.WriteTimers(processingFamily, coder.PutTimer(nil, t))
}

// count emits each element with the number of those that its key has had in its
// window.
func (s *stream) count(b *harness.Bundle) error {
	layout := shuffle.EdgeLayout(s.plan.Edges[0])
	for i := range b.Input {
		err := layout.Each(&b.Input[i], func(e *shuffle.Element, window []byte) error {
			if err := b.State.Append(context.Background(), seenKey(e.Key(), window), []byte{1}); err != nil {
				return err
			}
			seen, err := s.seen(b, e.Key(), window)
			if err != nil {
				return err
			}
			_, value := unpair(e.Value)
			at := e.Header.Timestamp
			data := windowed(at, [][]byte{window}, pair(string(e.Key()[1:]), fmt.Sprint(value, seen)))
			return errors.Join(b.Output.Write(0, data), s.setTimers(b, e.Key(), window, at))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sink prints its input.
func (s *stream) sink(b *harness.Bundle) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	layout := shuffle.EdgeLayout(s.plan.Edges[1])
	for i := range b.Input {
		err := layout.Each(&b.Input[i], func(e *shuffle.Element, window []byte) error {
			end, err := layout.Window.WindowEnd(window)
			if err != nil {
				return err
			}
			key, value := unpair(e.Value)
			if values := layout.Value.Component(1); values.Kind() == coder.Iterable {
				value = ""
				if _, err := values.Elements(e.Value[e.KeySize:], func(v []byte) error {
					value += string(v[1:])
					return nil
				}); err != nil {
					return err
				}
			}
			s.out = append(s.out, fmt.Sprintf("%s: %s at %v in the window to %v\n", key, value, e.Header.Timestamp, end))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dropped prints the counters of what came too late.
func dropped(infos []metrics.Info) (out string) {
	for _, in := range infos {
		if in.Labels["NAME"] == "droppedDueToLateness" {
			n, _ := binary.Uvarint(in.Payload)
			out += fmt.Sprintf("%s has dropped %d\n", in.Labels["PTRANSFORM"], n)
		}
	}
	return out
}

// watchedStore counts the cells with anything in them when it is closed.
type watchedStore struct {
	state.Store
	mu    sync.Mutex
	cells map[state.Cell]bool // ever written to; guarded by mu
	kept  int
}

func (s *watchedStore) Begin() state.Txn { return &watchedTxn{s.Store.Begin(), s} }

type watchedTxn struct {
	state.Txn
	store *watchedStore
}

func (t *watchedTxn) Append(cell state.Cell, entry string, data []byte) error {
	t.store.watch(cell)
	return t.Txn.Append(cell, entry, data)
}

func (t *watchedTxn) Replace(cell state.Cell, entry string, data []byte) error {
	t.store.watch(cell)
	return t.Txn.Replace(cell, entry, data)
}

func (s *watchedStore) watch(cell state.Cell) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cells == nil {
		s.cells = make(map[state.Cell]bool)
	}
	s.cells[cell] = true
}

func (s *watchedStore) Close() error {
	for cell := range s.cells {
		names, err := state.Entries(s.Begin(), cell)
		if err != nil {
			return err
		}
		if len(names) > 0 {
			s.kept++
		}
	}
	return s.Store.Close()
}

func (s *watchedStore) left() string {
	if s.kept == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d cells are not forgotten\n", s.kept, len(s.cells))
}
