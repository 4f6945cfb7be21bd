package group_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/trigger/triggertest"
	"github.com/gorunner/gorunner/plan"
)

func drawWindowing(t *rapid.T, merging bool) *plan.Windowing {
	interval := coder.Must(coder.IntervalWindow)
	w := rapid.SampledFrom([]plan.Windowing{
		{Fn: plan.FixedWindows{Size: 10 * time.Millisecond}, Window: interval},
		{Fn: plan.SlidingWindows{Size: 20 * time.Millisecond, Period: 10 * time.Millisecond}, Window: interval},
		{Fn: plan.GlobalWindows{}, Window: coder.Must(coder.GlobalWindow)},
	}).Draw(t, "windowing")
	if merging {
		w = rapid.SampledFrom([]plan.Windowing{
			{Fn: plan.Sessions{Gap: 5 * time.Millisecond}, Window: interval},
			{Fn: plan.CustomWindows{Merging: true}, Window: coder.Must(coder.CustomWindow)},
		}).Draw(t, "merging windowing")
	}
	w.Trigger = triggertest.Draw(t, 3)
	w.AllowedLateness = time.Duration(rapid.IntRange(0, 20).Draw(t, "lateness")) * time.Millisecond
	w.Accumulation = rapid.SampledFrom([]plan.Accumulation{plan.Discarding, plan.Accumulating}).Draw(t, "accumulation")
	w.OutputTime = rapid.SampledFrom([]plan.OutputTime{plan.EndOfWindow, plan.Latest, plan.Earliest}).Draw(t, "output time")
	w.OnTime = rapid.SampledFrom([]plan.OnTime{plan.FireIfNonEmpty, plan.FireAlways}).Draw(t, "on time")
	w.Closing = rapid.SampledFrom([]plan.Closing{plan.EmitIfNonEmpty, plan.EmitAlways}).Draw(t, "closing")
	return &w
}

// event is something that happens to a stream: elements of a key, or a clock
// that moves on.
type event struct {
	key   string
	times []element.EventTime
	clock string
	by    element.EventTime
}

func drawEvents(t *rapid.T) []event {
	events := make([]event, rapid.IntRange(1, 20).Draw(t, "events"))
	for i := range events {
		if clock := rapid.SampledFrom([]string{"", "", "wm", "proc", "sync"}).Draw(t, "clock"); clock != "" {
			events[i] = event{clock: clock, by: element.EventTime(rapid.IntRange(1, 15).Draw(t, "by"))}
			continue
		}
		e := event{key: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")}
		for range rapid.IntRange(1, 4).Draw(t, "elements") {
			e.times = append(e.times, element.EventTime(rapid.IntRange(-10, 40).Draw(t, "time")))
		}
		events[i] = e
	}
	return events
}

// outcome is what has come of a stream.
type outcome struct {
	panes []fired
	// behind says which of them were behind the watermark.
	behind  []bool
	dropped int64
	// windows counts the windows in which elements came.
	windows int
	// log is all that has happened.
	log string
}

// all plays events, and then the end of time. chunk bounds the elements of a
// bundle.
func (s *stream) all(t *rapid.T, events []event, chunk int) outcome {
	var o outcome
	settle := func() {
		s.settle(t)
		o.panes = append(o.panes, s.out...)
		for i := range s.out {
			o.behind = append(o.behind, s.behind[i])
		}
		o.dropped += s.dropped
		o.log += fmt.Sprintf("at %+v\n%s", s.time, s.print())
		s.forget()
	}
	s.time.Watermark = -5
	o.log = fmt.Sprintf("%+v\n", *s.windowing)
	for _, e := range events {
		o.log += fmt.Sprintf("%s %v\n", e.key, e.times)
		switch e.clock {
		case "wm":
			s.time.Watermark += e.by
		case "proc":
			s.time.Processing += e.by
		case "sync":
			s.time.Synchronized = s.time.Processing
		}
		for times := range slices.Chunk(e.times, chunk) {
			for _, at := range times {
				o.windows += len(assign(s.windowing.Fn, at))
			}
			s.elements(t, e.key, times)
		}
		settle()
	}
	s.time.Watermark = element.MaxTime
	settle()
	return o
}

// Whatever the strategy: no value is lost or comes twice, the panes of a window
// count as they should, none that is early or on time is behind the watermark,
// and in the end nothing is left.
func TestScenariosAtRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWindowing(t, rapid.Bool().Draw(t, "merge"))
		s := newStream(t, w)
		o := s.all(t, drawEvents(t), rapid.IntRange(1, 4).Draw(t, "chunk"))
		if left := s.left(); left != "" {
			t.Fatalf("left: %s\n%s", left, o.log)
		}
		values := 0
		seen := make(map[string]bool)
		for _, p := range o.panes {
			for _, v := range p.values {
				window := ""
				if !plan.Merging(w.Fn) { // there a value has one window, which changes
					window = p.window
				}
				switch name := fmt.Sprintf("%s %s", window, v); {
				case !seen[name]:
					values++
					seen[name] = true
				case w.Accumulation == plan.Discarding:
					t.Fatalf("value %s comes twice\n%s", v, o.log)
				}
			}
		}
		if got := values + int(o.dropped); got != o.windows {
			t.Fatalf("%d values in %d windows: %d emitted, %d dropped\n%s", s.values, o.windows, values, o.dropped, o.log)
		}
		if err := checkPanes(w, o); err != nil {
			t.Fatalf("%v\n%s", err, o.log)
		}
	})
}

// checkPanes checks the panes of each key and window.
func checkPanes(w *plan.Windowing, o outcome) error {
	type life struct {
		panes  int64
		before fired
		// nonSpeculative is the index of the last pane that was not early.
		nonSpeculative int64
	}
	lives := make(map[string]*life)
	for i, f := range o.panes {
		name, p := f.key+f.window, f.pane
		l := lives[name]
		// Others may merge into a window that has been closed.
		if l == nil || p.First && plan.Merging(w.Fn) {
			l = &life{nonSpeculative: -1}
			lives[name] = l
		}
		if p.Timing != element.Early {
			l.nonSpeculative++
		}
		switch before := l.before.pane; {
		case p.First != (l.panes == 0), p.Index != l.panes, p.Timing != element.Early && p.NonSpeculative != l.nonSpeculative:
			return fmt.Errorf("%w: pane %d is %v", errForm, l.panes, f)
		case l.panes > 0 && (before.Last || p.Timing < before.Timing || p.Timing == element.OnTime && before.Timing == element.OnTime):
			return fmt.Errorf("%w: %v after %v", errForm, f, l.before)
		case p.Timing != element.Late && o.behind[i]:
			return fmt.Errorf("%w: %v is behind the watermark", errForm, f)
		}
		l.panes++
		l.before = f
	}
	return nil
}

// Where bundles begin and end makes no difference, but to a delay that ends at
// once: that ends with the bundle.
func TestScenariosInAnyBundles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWindowing(t, false)
		if w.Trigger != nil && strings.Contains(w.Trigger.String(), "processing_time(0s)") {
			t.Skip("a delay of nothing")
		}
		events := drawEvents(t)
		one := newStream(t, w).all(t, events, 1)
		many := newStream(t, w).all(t, events, 4)
		if a, b := printSorted(one), printSorted(many); a != b {
			t.Fatalf("one by one:\n%s\ntogether:\n%s", a, b)
		}
	})
}

// printSorted prints panes, those of each key and window in order.
func printSorted(o outcome) string {
	slices.SortStableFunc(o.panes, func(a, b fired) int { return strings.Compare(a.key+a.window, b.key+b.window) })
	return fmt.Sprintf("%v, dropped %d", o.panes, o.dropped)
}
