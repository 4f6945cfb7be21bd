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
			{Fn: plan.CustomWindows{URN: "5ms", Merging: true}, Window: interval},
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
	panes   []firedPane
	dropped int64
	// windows counts the windows in which elements came.
	windows int
	// log is all that has happened.
	log string
}

// run plays events, and then the end of time. chunk bounds the elements of a
// bundle.
func (s *stream) run(t *rapid.T, events []event, chunk int) outcome {
	var o outcome
	note := func() {
		o.panes = append(o.panes, s.fired...)
		o.dropped += s.dropped
		o.log += fmt.Sprintf("at %+v\n%s", s.clocks, s.print())
		s.fired, s.dropped = nil, 0
	}
	s.clocks.Watermark = -5
	o.log = fmt.Sprintf("%+v\n", *s.windowing)
	for _, e := range events {
		o.log += fmt.Sprintf("%s %v\n", e.key, e.times)
		switch e.clock {
		case "wm":
			s.clocks.Watermark += e.by
		case "proc":
			s.clocks.Processing += e.by
		case "sync":
			s.clocks.Synchronized = s.clocks.Processing
		}
		for times := range slices.Chunk(e.times, chunk) {
			for _, at := range times {
				o.windows += len(s.assign(at))
			}
			s.elements(t, e.key, times)
		}
		s.settle(t)
		note()
	}
	s.clocks.Watermark = element.MaxTime
	s.settle(t)
	note()
	return o
}

// Whatever the strategy: no value is lost or comes twice, the panes of a window
// count as they should, none that is early or on time is behind the watermark,
// and in the end nothing is left.
func TestScenariosAtRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWindowing(t, rapid.Bool().Draw(t, "merge"))
		s := newStream(t, w)
		o := s.run(t, drawEvents(t), rapid.IntRange(1, 4).Draw(t, "chunk"))
		if left := s.left(); left != "" {
			t.Fatalf("left: %s\n%s", left, o.log)
		}
		values := 0
		seen := make(map[string]bool)
		for _, p := range o.panes {
			for _, v := range p.values {
				window := ""
				if !plan.Merging(w.Fn) { // there a value has one window, which changes
					window = string(p.window)
				}
				switch name := fmt.Sprintf("%x %s", window, v); {
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
		if err := checkPanes(s, o.panes); err != nil {
			t.Fatalf("%v\n%s", err, o.log)
		}
	})
}

// checkPanes checks the panes of each key and window.
func checkPanes(s *stream, panes []firedPane) error {
	of := make(map[string][]firedPane)
	for _, p := range panes {
		name := p.key + " " + s.printWindow(p.window)
		of[name] = append(of[name], p)
	}
	for name, panes := range of {
		nonSpeculative := int64(-1)
		before := element.Early
		i := -1 // within the life of the window
		for n, fired := range panes {
			i++
			p, _, err := coder.CutPane(fired.pane)
			if err != nil {
				return err
			}
			if p.First && plan.Merging(s.windowing.Fn) { // others may merge into what has been closed
				i, nonSpeculative, before = 0, -1, element.Early
			}
			if p.Timing != element.Early {
				nonSpeculative++
			}
			text := fmt.Sprintf("%s: pane %d is %s", name, i, printPane(fired.pane))
			switch {
			case p.First != (i == 0), p.Index != int64(i), p.NonSpeculative != nonSpeculative && p.Timing != element.Early:
				return fmt.Errorf("%w: %s", errOutput, text)
			case p.Last && n < len(panes)-1 && !plan.Merging(s.windowing.Fn):
				return fmt.Errorf("%w: %s, but there are %d", errOutput, text, len(panes))
			case p.Timing < before, p.Timing == element.OnTime && before == element.OnTime:
				return fmt.Errorf("%w: %s after one that was %v", errOutput, text, before)
			case p.Timing != element.Late && fired.late:
				return fmt.Errorf("%w: %s, but at %v it is behind the watermark", errOutput, text, fired.at)
			}
			before = p.Timing
		}
	}
	return nil
}

// Where bundles begin and end makes no difference.
func TestScenariosInAnyBundles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWindowing(t, false)
		events := drawEvents(t)
		one := newStream(t, w).run(t, events, 1)
		many := newStream(t, w).run(t, events, 4)
		if a, b := printSorted(t, w, one), printSorted(t, w, many); a != b {
			t.Fatalf("one by one:\n%s\ntogether:\n%s", a, b)
		}
	})
}

// printSorted prints panes, those of each key and window in order.
func printSorted(t *rapid.T, w *plan.Windowing, o outcome) string {
	s := newStream(t, w)
	lines := make([]string, 0, len(o.panes))
	slices.SortStableFunc(o.panes, func(a, b firedPane) int {
		return strings.Compare(a.key+string(a.window), b.key+string(b.window))
	})
	for _, p := range o.panes {
		p.late = false // which the other bundles in between may make a difference to
		s.fired = []firedPane{p}
		lines = append(lines, s.print())
	}
	return strings.Join(append(lines, fmt.Sprintf("dropped %d", o.dropped)), "")
}
