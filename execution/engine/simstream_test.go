package engine

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// The simulator executes plans with input that comes while they run, too:
// restrictions that are checkpointed, by the scheduler and by themselves, with
// watermarks and delays, of keyed stages and others; test streams; streaming
// groupings, sorts, views and timers, executed by the real operators. A job may
// be drained at any moment. Besides what holds for every simulation, nothing may
// be late, no timer may fire before its time, and nothing may begin before the
// windows that it reads are there.

const streamSeeds = 300

func TestStreamSimulation(t *testing.T) {
	from, step, to := seedsOf(t, streamSeeds)
	for seed := from; seed < to; seed += step {
		if err := simulateStream(seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func FuzzStreamSimulation(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		if err := simulateStream(seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	})
}

// simStream is the part of a simulation that goes on with endless input.
type simStream struct {
	// drainAt is the turn in which the job is drained, if it comes to it.
	drainAt, turns int
	drained        bool
	// shown is what the windows of views have shown last, by stage.
	shown map[plan.StageID]map[string]string
	// forgotten are the windows of views that may hold nothing any more.
	forgotten map[viewWindow]bool
	// sorted is the last time of a key in a window, in the output of a TimeSort.
	sorted map[string]element.EventTime
}

// windowSize is the size of the simulated windows, rangeStep the time between
// two elements of a restriction.
const (
	windowSize = 100
	rangeStep  = 10
)

func timeOf(position int) element.EventTime { return element.EventTime(position % 100 * rangeStep) }

// windowOf is the encoded window of a time.
func windowOf(at element.EventTime) []byte {
	return append(coder.PutTime(nil, at/windowSize*windowSize+windowSize), windowSize)
}

func streamed(at element.EventTime, value []byte) []byte {
	head := coder.PutHeader(nil, element.Header{
		Timestamp: at, Windows: windowOf(at), NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring},
	})
	return append(head, value...)
}

// simRange is a restriction: [start, end), of which at is next while it is
// executed.
type simRange struct {
	head           []byte
	key            string
	start, at, end int
	truncated      bool
}

func (r simRange) put() []byte {
	return pair(r.key, fmt.Sprintf("%d,%d,%t", r.start, r.end, r.truncated))
}

func parseRange(value []byte) (r simRange) {
	var v string
	r.key, v = unpair(value)
	if _, err := fmt.Sscanf(v, "%d,%d,%t", &r.start, &r.end, &r.truncated); err != nil {
		panic(err)
	}
	r.at = r.start
	return r
}

func (r simRange) primary() []byte {
	r.end = r.at
	return slices.Concat(r.head, r.put())
}

func (r simRange) residual(dice *rand.Rand) harness.Residual {
	r.start = r.at
	left := harness.Residual{Element: slices.Concat(r.head, r.put())}
	if dice.IntN(2) == 0 {
		left.Delay = time.Duration(dice.IntN(60)) * time.Millisecond
	}
	if dice.IntN(4) > 0 {
		at := timeOf(r.at)
		left.Watermark = &at
	}
	return left
}

// claim executes the next position of a restriction, or leaves the rest.
func (s *sim) claim(b *simBundle) error {
	if b.current == nil {
		e, head, err := b.next()
		if err != nil {
			return err
		}
		current := parseRange(e.Value)
		current.head = slices.Clone(head)
		b.current = &current
	}
	r := b.current
	if running := s.sched.bundles[b.id]; s.stream.drained && running.stage.truncates() && !r.truncated && running.checkpoint.next == 0 {
		return fmt.Errorf("bundle %d goes on for ever", b.id)
	}
	switch {
	case r.at >= r.end:
	case s.rand.IntN(12) == 0:
		b.left = append(b.left, r.residual(s.rand))
	default:
		for i := range b.stage.Outputs {
			if err := b.out.Write(i, streamed(timeOf(r.at), pair(r.key, strconv.Itoa(r.at)))); err != nil {
				return err
			}
		}
		r.at++
		return nil
	}
	b.current = nil
	b.at++
	return nil
}

// setStreamTimer sets a timer for an element, after it, and before the end of
// its window if it is one of event time.
func (s *sim) setStreamTimer(b *simBundle, e *shuffle.Element) error {
	_, v := unpair(e.Value)
	end, err := b.layout.Window.WindowEnd(e.Header.Windows)
	if err != nil {
		return err
	}
	at := e.Header.Timestamp
	t := coder.Timer{
		Key: e.Key(), Tag: []byte(v), Windows: e.Header.Windows, NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring},
		Fire: at + element.EventTime(s.rand.Int64N(int64(end-at)+1)),
	}
	t.Hold = at + element.EventTime(s.rand.Int64N(int64(t.Fire-at)+1))
	if k, ok := b.stage.Kind.(*plan.Executable); ok && k.Timers[0].Domain == plan.ProcessingTimeDomain {
		t.Fire = b.order.time.Processing + element.EventTime(s.rand.IntN(60))
		t.Hold = at
	}
	return b.out.WriteTimers(0, coder.PutTimer(nil, t))
}

// disturb lets things happen that come from outside.
func (s *sim) disturb() error {
	s.now += time.Duration(s.rand.IntN(3)) * time.Millisecond
	s.stream.turns++
	if s.stream.turns == s.stream.drainAt {
		return s.tell(drainAsked{})
	}
	if s.rand.IntN(30) == 0 && len(s.running) > 0 {
		ids := slices.Sorted(maps.Keys(s.running))
		b := s.running[ids[s.rand.IntN(len(ids))]]
		if k, user := b.stage.Kind.(*plan.Executable); user && k.Splittable {
			return s.tell(bundleFull{b.id})
		}
	}
	return nil
}

// written looks at an element that was committed.
func (s *sim) written(stage *plan.Stage, e *shuffle.Element) error {
	t := s.stream
	if t == nil {
		return nil
	}
	if _, sorts := stage.Kind.(*plan.TimeSort); sorts {
		id := stage.Name + "/" + string(e.Header.Windows) + string(e.Key())
		if at, seen := t.sorted[id]; seen && at > e.Header.Timestamp {
			return fmt.Errorf("stage %s: %v comes after %v", stage.Name, e.Header.Timestamp, at)
		}
		at := e.Header.Timestamp
		t.sorted[id] = at
		s.journal.did(func(w *simWorld) { w.sorted[id] = at })
	}
	return nil
}

// checkStart looks at a bundle that is started.
func (s *sim) checkStart(o *startBundle) error {
	st := s.plan.Stage(o.stage)
	switch {
	case s.stream == nil || st.Input == nil:
		return nil
	case int(o.stage) >= len(s.plan.Stages) || s.ranges[o.stage]:
		return s.checkRanges(o)
	}
	for i := range o.input {
		if at := o.input[i].MinTime; at < o.time.Watermark {
			return fmt.Errorf("an element at %v is late at %v", at, o.time.Watermark)
		}
		if err := s.checkViews(st, o.input[i].Window); err != nil {
			return err
		}
	}
	for _, t := range o.timers {
		switch t.Domain {
		case plan.EventTimeDomain:
			if t.Fire >= o.time.Reached && o.time.Reached < element.MaxTime {
				return fmt.Errorf("an event timer for %v fires at %v, when %v is reached", t.Fire, o.time.Watermark, o.time.Reached)
			}
		case plan.ProcessingTimeDomain:
			if t.Fire > o.time.Processing && !o.early {
				return fmt.Errorf("a timer for %v fires at %v", t.Fire, o.time.Processing)
			}
		case plan.SynchronizedDomain:
			if t.Fire > o.time.Synchronized && !o.early {
				return fmt.Errorf("a timer for %v fires at %v", t.Fire, o.time.Synchronized)
			}
		}
	}
	return nil
}

// checkRanges checks that restrictions are truncated once in a job that is
// drained, before they are executed.
func (s *sim) checkRanges(o *startBundle) error {
	st := s.plan.Stage(o.stage)
	k, _ := st.Kind.(*plan.Executable)
	function := int(o.stage) >= len(s.plan.Stages)
	if !s.stream.drained || o.attempt > 0 || !function && k.Truncate == 0 && !k.Unbounded {
		return nil
	}
	if !function && k.Truncate == 0 {
		return errors.New("what has no end is begun")
	}
	for i := range o.input {
		err := s.pipes[o.stage].input.Each(&o.input[i], func(e *shuffle.Element, _ []byte) error {
			if r := parseRange(e.Value); r.truncated == function {
				return fmt.Errorf("truncated is %t: %q", r.truncated, e.Value)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkViews checks that the windows that a window of the main input reads are
// there, or can be empty.
func (s *sim) checkViews(st *plan.Stage, window []byte) error {
	for _, side := range st.SideInputs {
		end, err := coder.Must(coder.IntervalWindow).WindowEnd(window)
		if err != nil {
			return err
		}
		passed := s.sched.tracker.Output(side.View)
		if _, shown := s.stream.shown[side.View][string(window)]; !shown && end >= passed {
			return fmt.Errorf("window %x is read before it is shown: the view is at %v", window, passed)
		}
		if err := s.checkShown(&side, window); err != nil {
			return err
		}
	}
	return nil
}

// sources returns what the sources have written, which must be what there was,
// unless the job was drained: then it is a part of it.
func (t *simStream) sources(s *sim) (map[plan.EdgeID]map[string]int, error) {
	if t == nil {
		return nil, nil
	}
	given := make(map[plan.EdgeID]map[string]int)
	for edge, want := range s.origin() {
		got := s.committed[edge]
		given[edge] = got
		for v, n := range got {
			if n != want[v] {
				return nil, fmt.Errorf("source edge %d: %d times %q, want %d", edge, n, v, want[v])
			}
		}
		if !t.drained && len(got) != len(want) {
			return nil, fmt.Errorf("source edge %d: %d elements, want %d", edge, len(got), len(want))
		}
	}
	return given, nil
}

// origin is what the sources write if nobody drains the job.
func (s *simPlan) origin() map[plan.EdgeID]map[string]int {
	all := make(map[plan.EdgeID]map[string]int)
	for _, st := range s.plan.Stages {
		written := map[string]int{}
		_, test := st.Kind.(*plan.TestSource)
		switch {
		case test:
			layout := shuffle.EdgeLayout(s.plan.Edges[st.Outputs[0].Edge])
			for _, script := range s.plan.Tests {
				for _, event := range script.Events {
					if e, ok := event.(plan.TestElements); ok && e.Source == st.ID {
						_ = layout.Each(&e.Block, func(e *shuffle.Element, _ []byte) error {
							written[string(e.Value)]++
							return nil
						})
					}
				}
			}
		case s.ranges[st.ID]:
			for _, v := range s.ops[st.ID](nil) {
				r := parseRange(v)
				for i := r.start; i < r.end; i++ {
					written[string(pair(r.key, strconv.Itoa(i)))]++
				}
			}
		default:
			continue
		}
		all[st.Outputs[0].Edge] = written
	}
	return all
}

func simulateStream(seed uint64) error {
	s, err := newStreamSim(seed)
	if err != nil {
		return err
	}
	return s.run()
}

func newStreamSim(seed uint64) (*sim, error) {
	r := rand.New(rand.NewPCG(seed, 4711))
	p := newStreamPlan(r)
	s, err := newSim(r, p, config{
		workers: 1 + r.IntN(3), maxAttempts: 10, maxWorkerRestarts: 100, bundleBytes: int64(1 + r.IntN(1000)),
		splitInterval: 20 * time.Millisecond, checkpointInterval: 10 * time.Millisecond, drain: r.IntN(20) == 0,
		slots: 1 + r.IntN(3), bundleTime: time.Duration(r.IntN(3)*20) * time.Millisecond, idleInterval: 20 * time.Millisecond,
		patience: time.Duration(r.IntN(3)*10) * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	s.stream = &simStream{
		shown: map[plan.StageID]map[string]string{}, forgotten: map[viewWindow]bool{}, sorted: map[string]element.EventTime{}, drained: s.sched.config.drain,
	}
	if r.IntN(3) == 0 {
		s.stream.drainAt = 1 + r.IntN(2000)
	}
	return s, nil
}
