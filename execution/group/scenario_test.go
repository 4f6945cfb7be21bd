package group_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/group"
	"github.com/gorunner/gorunner/execution/trigger/triggertest"
	"github.com/gorunner/gorunner/plan"
)

// TestScenarios runs the scripts of testdata/scenarios: what a user sees of a
// grouping in the course of time. Each begins with a windowing strategy, one
// setting a line:
//
//	stream
//	fixed 10ms | sliding 20ms 10ms | sessions 10ms | custom | global
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
//	wm|proc|sync TIME      a clock moves; inf is its end
//
// Panes are printed as they come. "hold" is what the stage holds its output
// watermark at, "behind" that a pane comes after it. When the watermark has come
// to its end nothing may be left.
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
					s.forget()
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
			w.Fn, w.Window = plan.CustomWindows{Merging: true}, coder.Must(coder.CustomWindow)
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

// stream is a job whose values are numbered, and whose panes are held against
// the watermark.
type stream struct {
	*job
	values int
	// behind says which of the panes were behind the output watermark.
	behind map[int]bool
}

func newStream(t failer, w *plan.Windowing) *stream {
	t.Helper()
	j, err := newJob(w, group.PanesParams{}, false, false)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return &stream{job: j, behind: make(map[int]bool)}
}

// failer is what scripts and random tests have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
	Context() context.Context
}

// step makes what a line says happen, and then whatever is due.
func (s *stream) step(t failer, words []string) {
	t.Helper()
	var times []element.EventTime
	for _, word := range words[1:] {
		at, err := parseEventTime(word)
		if err != nil {
			t.Fatalf("%v", err)
		}
		times = append(times, at)
	}
	switch words[0] {
	case "wm":
		s.time.Watermark = times[0]
	case "proc":
		s.time.Processing = times[0]
	case "sync":
		s.time.Synchronized = times[0]
	default:
		s.elements(t, words[0], times)
	}
	s.settle(t)
}

// elements puts elements of a key into a bundle.
func (s *stream) elements(t failer, key string, times []element.EventTime) {
	t.Helper()
	var input []string
	for _, at := range times {
		s.values++
		input = append(input, fmt.Sprintf("%s:%d@%d", key, s.values, at))
	}
	s.note(t, func() error {
		block, err := s.input(input)
		if err != nil {
			return err
		}
		return s.run(t.Context(), []element.Block{block}, nil)
	})
}

// settle fires timers until none is due.
func (s *stream) settle(t failer) {
	t.Helper()
	s.note(t, func() error { return s.fire(t.Context()) })
}

// note holds the panes that f fires against the watermark as it was before.
func (s *stream) note(t failer, f func() error) {
	t.Helper()
	from := len(s.out)
	if err := f(); err != nil {
		t.Fatalf("%v", err)
	}
	for i := from; i < len(s.out); i++ {
		s.behind[i] = s.out[i].at < s.output
	}
	s.output = max(s.output, s.outputWatermark())
}

// forget forgets what has happened.
func (s *stream) forget() {
	s.out, s.dropped = nil, 0
	clear(s.behind)
}

func (s *stream) print() string {
	var b strings.Builder
	for i, f := range s.out {
		fmt.Fprintf(&b, "  %v", f)
		if s.behind[i] {
			b.WriteString(" (behind)")
		}
		b.WriteString("\n")
	}
	if s.dropped > 0 {
		fmt.Fprintf(&b, "  dropped %d\n", s.dropped)
	}
	hold := element.MaxTime
	for _, timer := range s.timers {
		hold = min(hold, timer.Hold)
	}
	if hold < element.MaxTime {
		fmt.Fprintf(&b, "  hold %v\n", hold)
	}
	if left := s.left(); s.time.Watermark == element.MaxTime && left != "" {
		fmt.Fprintf(&b, "  left: %s\n", left)
	}
	return b.String()
}

// left says what is left when all should be over.
func (s *stream) left() string {
	cells, err := s.live()
	if err == nil && len(cells)+len(s.timers) == 0 {
		return ""
	}
	return fmt.Sprintf("%d timers, state %v, error %v", len(s.timers), cells, err)
}
