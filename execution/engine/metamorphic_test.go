package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/execution/trigger/triggertest"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
	"github.com/gorunner/gorunner/state/statetest"
)

// TestMetamorphic runs random jobs once with the default options, and again with
// others: tiny bundles, few or many key groups, workers and slots, checkpoints
// and splits all the time, bundles and workers that fail. The panes must be the
// same, with their numbers, times, windows and values.
//
// The jobs are such that the model leaves no choice. Between two events of a test
// stream all is done; where the order of the elements of one event would matter
// it has but one of each key. What comes after a first grouping has no lateness,
// because how far a watermark leaps behind it is a matter of chance; and only one
// of two groupings in a row goes by processing time (see [drawAgain]).
func TestMetamorphic(t *testing.T) {
	for _, kind := range []metaKind{metaGroup, metaBatch, metaChain, metaSort, metaState, metaView, metaRanges} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			var sum struct {
				accidents
				spilled int
			}
			rapid.Check(t, func(rt *rapid.T) {
				spec := drawMeta(rt, kind)
				want, _, err := spec.run(rt, metaSettings{keyGroups: 16})
				if err != nil {
					rt.Fatal(err)
				}
				settings := drawSettings(rt)
				if settings.odds.end > 0 {
					settings.diskless, settings.odds.disk = false, 0
				}
				got, host, err := spec.run(rt, settings)
				sum.disk += int(host.unreadable.Load())
				sum.spilled += int(host.stored.Load())
				// A process that has ended may have been about to fail; the next one reads again.
				if host.unreadable.Load() > 0 && (err != nil || settings.odds.end == 0) {
					if !errors.Is(err, shuffle.ErrDisk) {
						rt.Fatalf("the disk has failed, and the job ended with %v\nwith %+v", err, settings)
					}
					return
				}
				if err != nil {
					rt.Fatalf("%v\nwith %+v", err, settings)
				}
				if want != got {
					rt.Fatalf("with %+v:\n%s\nby default:\n%s\nof %v", settings, got, want, spec)
				}
				sum.fail += int(host.failed.Load())
				sum.end += int(host.ended.Load())
				sum.die += int(host.died.Load())
				sum.store += int(host.broken.Load())
				sum.checkpoint += int(host.checkpointed.Load() + host.split.Load())
			})
			t.Logf("accidents: %+v", sum)
		})
	}
}

// metaKind is what a job is about.
type metaKind string

const (
	// A GroupByKey that fires panes, one that waits for all input, and two in a
	// row.
	metaGroup metaKind = "group"
	metaBatch metaKind = "batch"
	metaChain metaKind = "chain"
	metaSort  metaKind = "sort"
	// User state, and timers of both domains besides that for expiration.
	metaState metaKind = "state"
	// A main input that reads a triggered side input.
	metaView metaKind = "view"
	// A splittable DoFn with a GroupByKey.
	metaRanges metaKind = "ranges"
)

// metaSpec is a job. What is built of it is new each time.
type metaSpec struct {
	kind      metaKind
	windowing *plan.Windowing
	// again is the windowing of metaChain's second grouping.
	again  *plan.Windowing
	events []metaEvent
	// ranges are the restrictions of metaRanges.
	ranges           [][]byte
	unbounded, keyed bool
}

// metaEvent is an event of a test stream: elements for one of the sources, or a
// movement of its clock, or of processing time if the source is -1.
type metaEvent struct {
	source int
	keys   []string
	times  []element.EventTime
	to     element.EventTime
}

// metaSettings are what must make no difference.
type metaSettings struct {
	keyGroups, slots int
	odds             accidents
	// memory is the budget, 0 for none; diskless jobs have no disk for what is over.
	memory   int64
	diskless bool
	seed     uint64
	opts     Options
}

func (s *metaSpec) String() string {
	return fmt.Sprintf("%s: %+v, again %+v, events %+v, ranges %q, unbounded %t, keyed %t", s.kind, *s.windowing, s.again, s.events, s.ranges, s.unbounded, s.keyed)
}

func drawSettings(t *rapid.T) metaSettings {
	odds := func(name string, of ...int) int { return rapid.SampledFrom(of).Draw(t, name) }
	wait := func(name string) time.Duration {
		return rapid.SampledFrom([]time.Duration{0, time.Microsecond, time.Millisecond}).Draw(t, name)
	}
	return metaSettings{
		keyGroups: rapid.IntRange(1, 20).Draw(t, "key groups"), slots: rapid.IntRange(1, 4).Draw(t, "slots"),
		odds: accidents{
			fail: odds("fail", 0, 5, 20), die: odds("die", 0, 20), store: odds("store", 0, 5, 20),
			checkpoint: odds("checkpoint", 0, 3, 10), refuse: odds("refuse", 0, 2),
			disk: odds("disk", 0, 0, 0, 0, 20), end: odds("end", 0, 0, 2, 10, 30),
		},
		memory:   rapid.SampledFrom([]int64{0, 1, 500, 5_000, 50_000}).Draw(t, "memory"),
		diskless: rapid.IntRange(0, 9).Draw(t, "diskless") == 0,
		seed:     rapid.Uint64().Draw(t, "seed"),
		opts: Options{
			Workers: rapid.IntRange(1, 3).Draw(t, "workers"), MaxAttempts: 1000, MaxWorkerRestarts: 1_000_000, RestartDelay: time.Microsecond, RestartDelayMax: time.Microsecond,
			BundleBytes:   rapid.SampledFrom([]int{0, 1, 20, 100}).Draw(t, "bundle bytes"),
			SplitInterval: wait("split"), CheckpointInterval: wait("checkpoint after"),
			Slots:              rapid.IntRange(1, 4).Draw(t, "width"),
			BundleTime:         wait("bundle time"),
			Patience:           wait("patience"),
			CheckpointElements: rapid.SampledFrom([]int{0, 1, 5}).Draw(t, "checkpoint elements"),
			CheckpointBytes:    rapid.SampledFrom([]int{0, 1, 50}).Draw(t, "checkpoint bytes"),
		},
	}
}

func drawMeta(t *rapid.T, kind metaKind) *metaSpec {
	s := &metaSpec{kind: kind, windowing: drawMetaWindowing(t, kind)}
	if kind == metaRanges {
		s.unbounded, s.keyed = rapid.Bool().Draw(t, "unbounded"), rapid.Bool().Draw(t, "keyed")
		for i := range rapid.IntRange(1, 5).Draw(t, "ranges") {
			r := simRange{key: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"), start: 100 * i}
			r.end = r.start + rapid.IntRange(0, 60).Draw(t, "size")
			s.ranges = append(s.ranges, r.put())
		}
		return s
	}
	if kind == metaChain {
		s.again = drawAgain(t, s.windowing)
	}
	s.events = drawMetaEvents(t, s.single(), kind == metaView)
	return s
}

// single says that the order of a key's elements within an event could matter.
func (s *metaSpec) single() bool {
	switch s.kind {
	case metaChain, metaState, metaView:
		return true
	case metaGroup:
		return plan.Merging(s.windowing.Fn)
	case metaBatch, metaSort, metaRanges:
	}
	return false
}

func drawMetaWindowing(t *rapid.T, kind metaKind) *plan.Windowing {
	interval := coder.Must(coder.IntervalWindow)
	all := []plan.Windowing{
		{Fn: plan.FixedWindows{Size: ms(10)}, Window: interval},
		{Fn: plan.SlidingWindows{Size: ms(20), Period: ms(10)}, Window: interval},
		{Fn: plan.GlobalWindows{}, Window: coder.Must(coder.GlobalWindow)},
		{Fn: plan.Sessions{Gap: ms(5)}, Window: interval},
	}
	switch kind {
	case metaView, metaState, metaSort, metaChain: // sessions of a session's panes merge by chance
		all = all[:3]
	case metaRanges:
		all = []plan.Windowing{{Fn: plan.FixedWindows{Size: ms(windowSize)}, Window: interval}}
	case metaGroup, metaBatch:
	}
	w := rapid.SampledFrom(all).Draw(t, "windowing")
	w.OutputTime = rapid.SampledFrom([]plan.OutputTime{plan.EndOfWindow, plan.Latest, plan.Earliest}).Draw(t, "output time")
	if kind == metaRanges { // whose watermark is not a test stream's
		return &w
	}
	w.Trigger = triggertest.Draw(t, 3)
	w.Accumulation = rapid.SampledFrom([]plan.Accumulation{plan.Discarding, plan.Accumulating}).Draw(t, "accumulation")
	if kind == metaChain || kind == metaView {
		return &w
	}
	w.AllowedLateness = ms(rapid.IntRange(0, 20).Draw(t, "lateness"))
	w.OnTime = rapid.SampledFrom([]plan.OnTime{plan.FireIfNonEmpty, plan.FireAlways}).Draw(t, "on time")
	w.Closing = rapid.SampledFrom([]plan.Closing{plan.EmitIfNonEmpty, plan.EmitAlways}).Draw(t, "closing")
	return &w
}

// drawAgain draws the windowing of a grouping that follows the first. The model
// has no order for the timers of two stages that the clock makes due together:
// whether the second fires before or after it gets what the first fires, or the
// watermark that this lets go on, is a matter of chance. So only one of them has
// such timers. What is due at once has that race with every watermark.
func drawAgain(t *rapid.T, first *plan.Windowing) *plan.Windowing {
	again := *first
	again.Trigger = triggertest.Draw(t, 3)
	const clock = "processing_time" // synchronized or not
	if name := again.Trigger.String(); strings.Contains(name, clock) && strings.Contains(first.Trigger.String(), clock) ||
		strings.Contains(name, "synchronized") || strings.Contains(name, "(0s)") {
		again.Trigger = plan.DefaultTrigger{}
	}
	return &again
}

func drawMetaEvents(t *rapid.T, single, sides bool) []metaEvent {
	events := make([]metaEvent, rapid.IntRange(1, 15).Draw(t, "events"))
	clocks := make([]element.EventTime, 2)
	for i := range events {
		e := &events[i]
		if sides {
			e.source = rapid.IntRange(0, 1).Draw(t, "source")
		}
		switch rapid.IntRange(0, 4).Draw(t, "what") {
		case 0:
			clocks[e.source] += element.EventTime(rapid.IntRange(1, 20).Draw(t, "by"))
			e.to = clocks[e.source]
			continue
		case 1:
			e.source, e.to = -1, element.EventTime(rapid.IntRange(1, 30).Draw(t, "by"))
			continue
		}
		if e.keys = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 6).Draw(t, "keys"); single {
			slices.Sort(e.keys)
			e.keys = slices.Compact(e.keys)
		}
		if e.source == 1 {
			e.keys = e.keys[:1]
		}
		for range e.keys {
			e.times = append(e.times, element.EventTime(rapid.IntRange(0, 60).Draw(t, "time")))
		}
	}
	return events
}

// metaJob is a job that is built.
type metaJob struct {
	plan *plan.Plan
	fns  []metaFn
	mu   sync.Mutex
	// got is what bundles of the sink have got; guarded by mu.
	got map[harness.BundleID][]metrics.Info
}

// told says what a bundle of the sink has got, as metrics: they are committed with
// the bundle.
func (j *metaJob) told(b *harness.Bundle) []metrics.Info {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.got[b.ID]
}

const sinkMetric = "got"

// got is what was committed of the sink.
func got(infos []metrics.Info) (lines []string) {
	for _, in := range infos {
		if in.Labels["NAME"] == sinkMetric {
			n, _ := binary.Uvarint(in.Payload)
			for range n {
				lines = append(lines, in.Labels["LINE"])
			}
		}
	}
	return lines
}

// run runs the job and returns what its sink has got, sorted.
func (s *metaSpec) run(t *rapid.T, set metaSettings) (string, *metaHost, error) {
	j := s.build(set.keyGroups)
	host := &metaHost{plan: j.plan, fns: j.fns, told: j.told, slots: set.slots, odds: set.odds, seed: set.seed}
	opts := set.opts
	opts.Host = host
	disk := fakeDisk{fails: func() bool { return host.strikes(set.odds.disk, &host.unreadable) }}
	if !set.diskless {
		opts.Disk = &disk
		opts.OpenState = func() (state.Table, error) {
			return &statetest.Table{Before: func() error {
				disk.stored.Add(1)
				if disk.fails() {
					return fmt.Errorf("%w: no space left", shuffle.ErrDisk)
				}
				return nil
			}}, nil
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	live := func(opts Options) (*Job, error) {
		opts.Memory = shuffle.NewBudget(nil, set.memory)
		job := New(j.plan, opts)
		job.impl.spill.StoreMin = 1
		job.impl.store = &frailStore{job.impl.store, host}
		err := job.Run(ctx)
		if err == nil {
			err = checkReleased(job)
		}
		return job, err
	}
	var job *Job
	var err error
	if set.odds.end == 0 {
		job, err = live(opts)
		host.stored.Store(disk.stored.Load())
	} else {
		job, err = host.resurrect(opts, disk.fails, live)
	}
	if err != nil {
		return "", host, fmt.Errorf("%w\n%v", err, s)
	}
	_, committed := job.Metrics()
	out := got(committed)
	if s.kind == metaState {
		out = append(out, dropped(committed))
	}
	slices.Sort(out)
	return strings.Join(out, ""), host, nil
}

// resurrect lets a job live until it is done, one process after the other.
func (h *metaHost) resurrect(opts Options, diskFails func() bool, live func(Options) (*Job, error)) (*Job, error) {
	j, rows := newMemJournal(h.seed), &memRows{simRows: simRows{}}
	j.disk.fails = diskFails
	j.ending = func(journal.Seq) bool { return h.strikes(h.odds.end, &h.ended) }
	for {
		opts.Journal = j
		job, err := live(opts)
		j.mu.Lock()
		ended := j.ended
		j.mu.Unlock()
		if !ended || err == nil {
			return job, err
		}
		if j, err = j.next(rows); err != nil {
			return nil, err
		}
	}
}

// counterOf is a metric that counts a line.
func counterOf(name, line string, n int64) metrics.Info {
	return metrics.Info{
		URN: "beam:metric:user:sum_int64:v1", Type: "beam:metrics:sum_int64:v1",
		Labels: map[string]string{"NAME": name, "LINE": line}, Payload: binary.AppendUvarint(nil, uint64(n)),
	}
}

func (j *metaJob) edge(value *coder.Coder, w *plan.Windowing, bounded bool) plan.EdgeID {
	id := plan.EdgeID(len(j.plan.Edges))
	j.plan.Edges = append(j.plan.Edges, &plan.Edge{ID: id, Name: fmt.Sprint("pc", id), Value: value, Windowing: w, Bounded: bounded})
	return id
}

func (j *metaJob) stage(kind plan.Kind, in *plan.Input, fn metaFn, outs ...plan.EdgeID) *plan.Stage {
	id := plan.StageID(len(j.plan.Stages))
	_, user := kind.(*plan.Executable)
	st := &plan.Stage{ID: id, Name: fmt.Sprint("s", id), Kind: kind, Input: in}
	for _, e := range outs {
		out := plan.Output{Edge: e}
		if user {
			out.Port = "out"
		}
		st.Outputs = append(st.Outputs, out)
	}
	if user {
		in.Port = "in"
	}
	j.plan.Stages = append(j.plan.Stages, st)
	j.fns = append(j.fns, fn)
	return st
}

func metaUser() *plan.Executable {
	return &plan.Executable{Environment: "a", Transforms: []plan.Transform{{ID: "t"}}}
}

func (s *metaSpec) build(keyGroups int) *metaJob {
	j := &metaJob{got: make(map[harness.BundleID][]metrics.Info), plan: &plan.Plan{KeyGroups: keyGroups, Environments: []plan.EnvironmentID{"a", sinkEnvironment}}}
	bytes := coder.Must(coder.Bytes)
	pairs, groups := coder.Must(coder.KV, bytes, bytes), coder.Must(coder.KV, bytes, coder.Must(coder.Iterable, bytes))
	bounded := s.kind == metaBatch
	group := func(in plan.EdgeID, w *plan.Windowing) plan.EdgeID {
		out := j.edge(groups, w, bounded)
		k := &plan.GroupByKey{Windowing: w, Streaming: !bounded, Key: bytes, Value: bytes}
		j.stage(k, &plan.Input{Edge: in, Keyed: true}, metaFn{}, out)
		return out
	}
	if s.kind == metaRanges {
		j.sink(group(s.buildRanges(j, pairs), s.windowing))
		return j
	}
	in := s.buildTest(j, pairs, bounded)
	switch s.kind {
	case metaGroup, metaBatch:
		j.sink(group(in, s.windowing))
	case metaChain:
		again := j.edge(pairs, s.again, false)
		first := group(in, s.windowing)
		j.stage(metaUser(), &plan.Input{Edge: first}, metaFn{element: j.flat}, again)
		j.sink(group(again, s.again))
	case metaSort:
		out := j.edge(pairs, s.windowing, false)
		j.stage(&plan.TimeSort{Windowing: s.windowing}, &plan.Input{Edge: in, Keyed: true}, metaFn{}, out)
		j.sink(out)
	case metaState:
		out := j.edge(pairs, s.windowing, false)
		k := metaUser()
		k.States = []plan.StateSpec{{Transform: "t", ID: "seen"}}
		k.Timers = kind(statefulPlan(0)).Timers
		j.stage(k, &plan.Input{Edge: in, Keyed: true}, metaFn{element: metaCount, timer: metaTimer}, out)
		j.sink(out)
	case metaView:
		out := j.edge(pairs, s.windowing, false)
		view := j.stage(&plan.View{Windowing: s.windowing}, &plan.Input{Edge: in + 1}, metaFn{})
		st := j.stage(metaUser(), &plan.Input{Edge: in}, metaFn{element: readSide}, out)
		st.SideInputs = []plan.SideInput{{Edge: in + 1, View: view.ID, Transform: "t", Tag: "s"}}
		j.sink(out)
	case metaRanges:
	}
	return j
}

// buildRanges makes the source of ranges.
func (s *metaSpec) buildRanges(j *metaJob, pairs *coder.Coder) plan.EdgeID {
	impulses, ranges := j.edge(coder.Must(coder.Bytes), global(), true), j.edge(pairs, global(), true)
	out := j.edge(pairs, s.windowing, false)
	j.stage(&plan.Impulse{}, nil, metaFn{}, impulses)
	j.stage(metaUser(), &plan.Input{Edge: impulses}, metaFn{element: func(b *harness.Bundle, _ *shuffle.Element, _ []byte) error {
		for _, r := range s.ranges {
			if err := b.Output.Write(0, windowed(element.MinTime, nil, r)); err != nil {
				return err
			}
		}
		return nil
	}}, ranges)
	k := metaUser()
	k.Splittable, k.Unbounded = true, s.unbounded
	j.stage(k, &plan.Input{Edge: ranges, Keyed: s.keyed}, metaFn{}, out)
	return out
}

// buildTest makes a test stream with a source, or two if there is a side input.
func (s *metaSpec) buildTest(j *metaJob, pairs *coder.Coder, bounded bool) plan.EdgeID {
	n := 1
	if s.kind == metaView {
		n = 2
	}
	test := plan.Test{}
	for range n {
		e := j.edge(pairs, s.windowing, bounded)
		test.Sources = append(test.Sources, j.stage(&plan.TestSource{}, nil, metaFn{}, e).ID)
	}
	value := 0
	for _, e := range s.events {
		switch {
		case e.source < 0:
			by := ms(int(e.to))
			if s.kind == metaState {
				by = time.Duration(e.to) * metaStep
			}
			test.Events = append(test.Events, plan.TestProcessingTime{By: by})
		case len(e.keys) == 0:
			test.Events = append(test.Events, plan.TestWatermark{Source: test.Sources[e.source], To: e.to})
		default:
			b := element.Block{Count: len(e.keys), MinTime: slices.Min(e.times)}
			for i, key := range e.keys {
				b.Data = append(b.Data, windowed(e.times[i], windowsAt(s.windowing, e.times[i]), pair(key, fmt.Sprint("v", value)))...)
				value++
			}
			test.Events = append(test.Events, plan.TestElements{Source: test.Sources[e.source], Block: b})
		}
	}
	j.plan.Tests = []plan.Test{test}
	return 0
}

// sink passes on what comes, by a stage to which accidents may happen, and keeps
// it.
func (j *metaJob) sink(in plan.EdgeID) {
	from := j.plan.Edges[in]
	layout := shuffle.EdgeLayout(from)
	passed := j.edge(from.Value, from.Windowing, from.Bounded)
	j.stage(metaUser(), &plan.Input{Edge: in}, metaFn{element: func(b *harness.Bundle, e *shuffle.Element, window []byte) error {
		h := e.Header
		h.Windows, h.NumWindows = window, 1
		return b.Output.Write(0, append(coder.PutHeader(nil, h), e.Value...))
	}}, passed)
	in = passed
	k := metaUser()
	k.Environment = sinkEnvironment
	j.stage(k, &plan.Input{Edge: in}, metaFn{element: func(b *harness.Bundle, e *shuffle.Element, window []byte) error {
		end, err := layout.Window.WindowEnd(window)
		if err != nil {
			return err
		}
		pane, _, err := coder.CutPane(e.Header.Pane)
		if err != nil {
			return err
		}
		values, err := metaValues(layout, e)
		if err != nil {
			return err
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		line := fmt.Sprintf("%s: %v at %v in %x to %v, pane %+v\n", e.Key()[1:], values, e.Header.Timestamp, window, end, pane)
		j.got[b.ID] = append(j.got[b.ID], counterOf(sinkMetric, line, 1))
		return nil
	}})
}

// metaValues are the values of a pair or of a group, sorted.
func metaValues(layout *shuffle.Layout, e *shuffle.Element) (out []string, err error) {
	values := layout.Value.Component(1)
	if values.Kind() != coder.Iterable {
		_, v := unpair(e.Value)
		return []string{v}, nil
	}
	_, err = values.Elements(e.Value[e.KeySize:], func(v []byte) error {
		out = append(out, string(v[1:]))
		return nil
	})
	slices.Sort(out)
	return out, err
}

// short keeps a value within the length that pair can write.
func short(v string) string {
	if len(v) < 100 {
		return v
	}
	h := fnv.New64a()
	h.Write([]byte(v))
	return fmt.Sprintf("%x", h.Sum(nil))
}

// emit writes a value for the key of an element, with its time and pane.
func emit(b *harness.Bundle, e *shuffle.Element, window []byte, value string) error {
	h := e.Header
	h.Windows, h.NumWindows = window, 1
	return b.Output.Write(0, append(coder.PutHeader(nil, h), pair(string(e.Key()[1:]), short(value))...))
}

// flat makes a value of a group.
func (j *metaJob) flat(b *harness.Bundle, e *shuffle.Element, window []byte) error {
	values, err := metaValues(shuffle.EdgeLayout(j.plan.Edges[b.Stage.Input.Edge]), e)
	if err != nil {
		return err
	}
	return emit(b, e, window, fmt.Sprint(values))
}

// readCell reads a cell to its end.
func readCell(b *harness.Bundle, key harness.StateKey) (all []byte, err error) {
	for token := []byte(nil); ; {
		page, next, err := b.State.Get(context.Background(), key, token)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(next) == 0 {
			return all, nil
		}
		token = next
	}
}

// readSide emits an element with what its side input is.
func readSide(b *harness.Bundle, e *shuffle.Element, window []byte) error {
	data, err := readCell(b, harness.SideInputKey{Transform: "t", Tag: "s", Window: window})
	if err != nil {
		return err
	}
	var seen []string
	for len(data) > 0 {
		k, v := unpair(data)
		// A pair is its two strings and a byte for the length of each.
		n := 2 + len(k) + int(data[1+len(k)])
		seen = append(seen, k+v[:int(data[1+len(k)])])
		data = data[n:]
	}
	slices.Sort(seen)
	_, v := unpair(e.Value)
	return emit(b, e, window, fmt.Sprint(v, " sees ", seen))
}

// metaStep is the unit of processing time of jobs whose users set timers.
const metaStep = time.Minute

// metaCount emits an element with the number of those that its key has had in
// its window, and sets timers.
func metaCount(b *harness.Bundle, e *shuffle.Element, window []byte) error {
	cell := seenKey(e.Key(), window)
	if err := b.State.Append(context.Background(), cell, []byte{1}); err != nil {
		return err
	}
	seen, err := readCell(b, cell)
	if err != nil {
		return err
	}
	at := e.Header.Timestamp
	timer := coder.Timer{Key: e.Key(), Windows: window, NumWindows: 1, Fire: at + 20, Hold: at, Pane: []byte{coder.PaneOnlyFiring}}
	later := timer
	// An SDK knows the clock of the world alone, which the job's is not. That of
	// the job moves in steps beside which what passes here does not count.
	later.Fire = startClock().epoch() + 20*element.EventTime(metaStep/time.Millisecond)
	_, v := unpair(e.Value)
	return errors.Join(
		emit(b, e, window, fmt.Sprint(v, " is number ", len(seen))),
		b.Output.WriteTimers(eventFamily, coder.PutTimer(nil, timer)),
		b.Output.WriteTimers(processingFamily, coder.PutTimer(nil, later)),
	)
}

// metaTimer emits what the state is when a timer fires.
func metaTimer(b *harness.Bundle, family int, t coder.Timer) error {
	seen, err := readCell(b, seenKey(t.Key, t.Windows))
	if err != nil {
		return err
	}
	value := fmt.Sprint("timer ", family, " after ", len(seen))
	return b.Output.Write(0, windowed(t.Hold, [][]byte{t.Windows}, pair(string(t.Key[1:]), value)))
}
