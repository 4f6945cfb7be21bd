package group_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/group"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/trigger/triggertest"
	intervals "github.com/gorunner/gorunner/execution/windowing"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/state"
)

// TestScenarios runs the scripts of testdata/scenarios: what a user sees of a
// grouping in the course of time. Each begins with a windowing strategy, one
// setting a line:
//
//	stream
//	fixed 10ms | sliding 20ms 10ms | sessions 10ms | custom 10ms | global
//	trigger TRIGGER (see triggertest.Parse)
//	accumulating
//	lateness 100ms
//	earliest | latest
//	always on time
//	always last
//
// and goes on with lines of play, each of which is a bundle with all that
// follows from it:
//
//	KEY TIME...            elements; their values are numbered from 1
//	wm|proc|sync TIME      a clock moves; -inf and +inf are its limits
//
// Panes are printed as they come: key, window, values, timestamp, what the pane
// says. "hold" is what the stage holds its output watermark at, "late" that
// a pane is behind it. When the watermark has come to its end nothing may be
// left.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/scenarios", func(t *testing.T, path string) {
		t.Helper()
		var s *stream
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			switch d.Cmd {
			case "stream":
				w, err := parseWindowing(d.Input)
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				s = newStream(t, w)
				return ""
			case "play":
				var b strings.Builder
				for line := range strings.Lines(d.Input) {
					s.step(t, strings.Fields(line))
					fmt.Fprintf(&b, "%s\n%s", strings.TrimSpace(line), s.print())
				}
				return b.String()
			}
			d.Fatalf(t, "unknown command %s", d.Cmd)
			return ""
		})
	})
}

func parseWindowing(s string) (*plan.Windowing, error) {
	w := &plan.Windowing{Window: coder.Must(coder.IntervalWindow)}
	for line := range strings.Lines(s) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		var durations []time.Duration
		for _, word := range strings.Fields(rest) {
			if d, err := time.ParseDuration(word); err == nil {
				durations = append(durations, d)
			}
		}
		switch name {
		case "fixed":
			w.Fn = plan.FixedWindows{Size: durations[0]}
		case "sliding":
			w.Fn = plan.SlidingWindows{Size: durations[0], Period: durations[1]}
		case "sessions":
			w.Fn = plan.Sessions{Gap: durations[0]}
		case "custom":
			w.Fn = plan.CustomWindows{URN: rest, Merging: true}
		case "global":
			w.Fn, w.Window = plan.GlobalWindows{}, coder.Must(coder.GlobalWindow)
		case "trigger":
			var err error
			if w.Trigger, err = triggertest.Parse(rest); err != nil {
				return nil, err
			}
		case "accumulating":
			w.Accumulation = plan.Accumulating
		case "lateness":
			w.AllowedLateness = durations[0]
		case "earliest":
			w.OutputTime = plan.Earliest
		case "latest":
			w.OutputTime = plan.Latest
		case "always":
			if rest == "on time" {
				w.OnTime = plan.FireAlways
			} else {
				w.Closing = plan.EmitAlways
			}
		default:
			return nil, fmt.Errorf("unknown setting %q", line)
		}
	}
	return w, nil
}

// stream is a grouping stage with all that it needs around it.
type stream struct {
	panes     *group.Panes
	windowing *plan.Windowing
	store     *state.Memory
	cells     map[string]entryName
	timers    map[string]group.Timer
	clocks    harness.Time
	// output is the stage's output watermark.
	output element.EventTime
	values int
	// What has happened in a step.
	fired   []firedPane
	dropped int64
	held    element.EventTime
}

// entryName names an entry of a cell that was written.
type entryName struct {
	cell  state.Cell
	entry string
}

// firedPane is a pane as the stage has emitted it.
type firedPane struct {
	key    string
	window []byte
	values []string
	at     element.EventTime
	pane   []byte
	late   bool
}

func newStream(t failer, w *plan.Windowing) *stream {
	t.Helper()
	s := &stream{
		windowing: w,
		store:     state.NewMemory(),
		cells:     make(map[string]entryName),
		timers:    make(map[string]group.Timer),
		clocks:    harness.Time{Watermark: element.MinTime},
		output:    element.MinTime,
		held:      element.MaxTime,
	}
	bytesCoder := coder.Must(coder.Bytes)
	kind := &plan.GroupByKey{Windowing: w, Streaming: true, Key: bytesCoder, Value: bytesCoder}
	var err error
	s.panes, err = group.NewPanes(group.PanesParams{
		Windowing: w,
		Stage:     &plan.Stage{Name: "group", Kind: kind},
		Edge:      &plan.Edge{Value: coder.Must(coder.KV, bytesCoder, bytesCoder), Windowing: w},
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return s
}

// failer is what scripts and random tests have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// step makes what a line says happen, and then whatever is due.
func (s *stream) step(t failer, words []string) {
	t.Helper()
	s.fired, s.dropped = nil, 0
	switch words[0] {
	case "wm":
		s.clocks.Watermark = scenarioTime(t, words[1])
	case "proc":
		s.clocks.Processing = scenarioTime(t, words[1])
	case "sync":
		s.clocks.Synchronized = scenarioTime(t, words[1])
	default:
		var times []element.EventTime
		for _, word := range words[1:] {
			times = append(times, scenarioTime(t, word))
		}
		s.elements(t, words[0], times)
	}
	s.settle(t)
}

// elements puts elements of a key into a bundle.
func (s *stream) elements(t failer, key string, times []element.EventTime) {
	t.Helper()
	block := element.Block{MinTime: element.MaxTime}
	for _, at := range times {
		s.values++
		windows := s.assign(at)
		block.Data = coder.PutHeader(block.Data, element.Header{
			Timestamp: at, Windows: bytes.Join(windows, nil), NumWindows: len(windows), Pane: []byte{coder.PaneOnlyFiring},
		})
		for _, b := range []string{key, strconv.Itoa(s.values)} {
			block.Data = append(append(block.Data, byte(len(b))), b...)
		}
		block.Count++
		block.MinTime = min(block.MinTime, at)
	}
	s.bundle(t, &group.Bundle{Input: []element.Block{block}})
}

// assign returns the windows of an element.
func (s *stream) assign(at element.EventTime) [][]byte {
	window := func(start element.EventTime, size time.Duration) []byte {
		return intervals.Interval{Start: start, End: start + element.EventTime(size.Milliseconds())}.Append(nil)
	}
	switch fn := s.windowing.Fn.(type) {
	case plan.GlobalWindows:
		return [][]byte{nil}
	case plan.FixedWindows:
		return [][]byte{window(floor(at, element.EventTime(fn.Size.Milliseconds())), fn.Size)}
	case plan.SlidingWindows:
		var windows [][]byte
		size, period := element.EventTime(fn.Size.Milliseconds()), element.EventTime(fn.Period.Milliseconds())
		for start := floor(at, period); start > at-size; start -= period {
			windows = append(windows, window(start, fn.Size))
		}
		return windows
	case plan.Sessions:
		return [][]byte{window(at, fn.Gap)}
	case plan.CustomWindows:
		gap, err := time.ParseDuration(fn.URN)
		if err != nil {
			panic(err)
		}
		return [][]byte{window(at, gap)}
	}
	return nil
}

// mergeCustom merges windows as sessions, in the place of an SDK.
func mergeCustom(_ context.Context, sets [][][]byte) ([][]intervals.Merged, error) {
	var out [][]intervals.Merged
	for _, set := range sets {
		merged, err := intervals.MergeIntervals(set)
		if err != nil {
			return nil, err
		}
		out = append(out, merged)
	}
	return out, nil
}

// settle fires timers, those of one time in a bundle, until none is due.
func (s *stream) settle(t failer) {
	t.Helper()
	for range 1000 {
		var due []group.Timer
		for _, timer := range s.timers {
			if !s.due(timer) {
				continue
			}
			if len(due) > 0 && timer.Fire < due[0].Fire {
				due = due[:0]
			}
			if len(due) == 0 || timer.Fire == due[0].Fire {
				due = append(due, timer)
			}
		}
		if len(due) == 0 {
			return
		}
		slices.SortFunc(due, func(a, b group.Timer) int { return strings.Compare(timerName(a), timerName(b)) })
		for _, timer := range due {
			delete(s.timers, timerName(timer))
		}
		s.bundle(t, &group.Bundle{Due: due})
	}
	t.Fatalf("timers without end: %v", s.timers)
}

func (s *stream) due(timer group.Timer) bool {
	switch timer.Domain {
	case plan.EventTimeDomain:
		return s.clocks.Watermark > timer.Fire || s.clocks.Watermark == element.MaxTime
	case plan.ProcessingTimeDomain:
		return s.clocks.Processing >= timer.Fire
	case plan.SynchronizedDomain:
		return s.clocks.Synchronized >= timer.Fire
	}
	return false
}

func timerName(t group.Timer) string {
	return fmt.Sprintf("%v %x %x", t.Domain, t.Key, t.Window)
}

// bundle executes a bundle and commits it.
func (s *stream) bundle(t failer, b *group.Bundle) {
	t.Helper()
	txn := s.store.Begin()
	b.Time, b.State = s.clocks, &noting{txn, s.cells}
	if fn, ok := s.windowing.Fn.(plan.CustomWindows); ok && fn.Merging {
		b.Merge = mergeCustom
	}
	b.Set = func(timer group.Timer) error {
		timer.Key, timer.Window = bytes.Clone(timer.Key), bytes.Clone(timer.Window)
		s.timers[timerName(timer)] = timer
		return nil
	}
	b.Clear = func(timer group.Timer) error {
		delete(s.timers, timerName(timer))
		return nil
	}
	b.Emit = func(block element.Block) error {
		fired, err := s.read(block)
		s.fired = append(s.fired, fired...)
		return err
	}
	if err := s.panes.Run(context.Background(), b); err != nil {
		t.Fatalf("%v", err)
	}
	if err := txn.Apply(); err != nil {
		t.Fatalf("%v", err)
	}
	s.dropped += b.Dropped
	s.held = element.MaxTime
	for _, timer := range s.timers {
		s.held = min(s.held, timer.Hold)
	}
	s.output = max(s.output, min(s.clocks.Watermark, s.held))
}

var errOutput = errors.New("malformed output")

// read takes a block of output apart.
func (s *stream) read(block element.Block) ([]firedPane, error) {
	var fired []firedPane
	for data := block.Data; len(data) > 0; {
		h, n, err := coder.CutHeader(data, s.windowing.Window)
		if err != nil {
			return nil, err
		}
		p := firedPane{window: bytes.Clone(h.Windows), at: h.Timestamp, pane: bytes.Clone(h.Pane), late: h.Timestamp < s.output}
		data = data[n:]
		cut := func() string {
			b := string(data[1 : 1+data[0]])
			data = data[1+data[0]:]
			return b
		}
		p.key = cut()
		count := binary.BigEndian.Uint32(data)
		data = data[4:]
		for range count {
			p.values = append(p.values, cut())
		}
		fired = append(fired, p)
		block.Count--
	}
	if block.Count != 0 {
		return nil, fmt.Errorf("%w: %d elements less than announced", errOutput, block.Count)
	}
	return fired, nil
}

// noting notes what is written.
type noting struct {
	state.Txn
	cells map[string]entryName
}

func (n *noting) Append(cell state.Cell, entry string, data []byte) error {
	n.cells[fmt.Sprintf("%q %q", cell, entry)] = entryName{cell, entry}
	return n.Txn.Append(cell, entry, data)
}

// left says what is left when all should be over.
func (s *stream) left() string {
	var left []string
	for name := range s.timers {
		left = append(left, "timer "+name)
	}
	txn := s.store.Begin()
	for name, c := range s.cells {
		if chunks, err := txn.Get(c.cell, c.entry); err != nil || len(chunks) > 0 {
			left = append(left, "state "+name)
		}
	}
	slices.Sort(left)
	return strings.Join(left, ", ")
}

func (s *stream) print() string {
	var b strings.Builder
	for _, p := range s.fired {
		fmt.Fprintf(&b, "  %s %s: %s at %v, %s", p.key, s.printWindow(p.window), strings.Join(p.values, " "), p.at, printPane(p.pane))
		if p.late {
			b.WriteString(" (late)")
		}
		b.WriteString("\n")
	}
	if s.dropped > 0 {
		fmt.Fprintf(&b, "  dropped %d\n", s.dropped)
	}
	if s.held < element.MaxTime {
		fmt.Fprintf(&b, "  hold %v\n", s.held)
	}
	if left := s.left(); s.clocks.Watermark == element.MaxTime && left != "" {
		fmt.Fprintf(&b, "  left: %s\n", left)
	}
	return b.String()
}

func (s *stream) printWindow(window []byte) string {
	if len(window) == 0 {
		return "global"
	}
	i, err := intervals.ReadInterval(window)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("[%d,%d)", i.Start, i.End)
}

func printPane(b []byte) string {
	p, _, err := coder.CutPane(b)
	if err != nil {
		return err.Error()
	}
	s := fmt.Sprintf("%v %d", p.Timing, p.Index)
	if p.Timing != element.Early {
		s += fmt.Sprintf("/%d", p.NonSpeculative)
	}
	if p.First {
		s += " first"
	}
	if p.Last {
		s += " last"
	}
	return s
}

func scenarioTime(t failer, s string) element.EventTime {
	t.Helper()
	switch s {
	case "-inf":
		return element.MinTime
	case "+inf":
		return element.MaxTime
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return element.EventTime(n)
}

// floor returns the last multiple of period that is not after t.
func floor(t, period element.EventTime) element.EventTime {
	return t - (t%period+period)%period
}
