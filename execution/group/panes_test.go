package group_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/group"
	"github.com/gorunner/gorunner/plan"
)

// TestPanes runs the scripts of testdata/panes:
//
//	new [view] [bounded] [paged=N] [refired=N]
//	SETTING...              (see TestScenarios)
//	----
//
//	play
//	in ELEMENT...           a bundle of elements (see job.encodeInput)
//	watermark N [with ELEMENT...]
//	                        lets the timers fire that are due, as the next two;
//	                        the elements are in the same bundle
//	time N
//	synchronized N
//	----
//
// Each step is printed with the panes that are fired, the elements dropped, and
// the timers that are set then; in the end, the cells of state.
func TestPanes(t *testing.T) {
	datadriven.Walk(t, "testdata/panes", func(t *testing.T, path string) {
		t.Helper()
		s := panesScript{t: t}
		datadriven.RunTest(t, path, s.run)
	})
}

type panesScript struct {
	t   *testing.T
	job *job
	// printed are the timers when they were last printed.
	printed string
}

func (s *panesScript) run(_ *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "new":
		params := group.PanesParams{Params: group.Params{Token: tokens(), BlockBytes: 100}}
		d.MaybeScanArgs(s.t, "paged", &params.PagedBytes)
		d.MaybeScanArgs(s.t, "refired", &params.RefiredBytes)
		w, err := parseWindowing(d.Input)
		if err != nil {
			d.Fatalf(s.t, "%v", err)
		}
		params.Edge = &plan.Edge{Bounded: d.HasArg("bounded")}
		if s.job, err = newJob(w, params, d.HasArg("view"), d.HasArg("paged")); err != nil {
			return fmt.Sprintf("error: %v\n", err)
		}
		s.printed = ""
		return ""
	case "play":
		var b strings.Builder
		for line := range strings.Lines(d.Input) {
			fmt.Fprintf(&b, "%s\n", strings.TrimSpace(line))
			if err := s.step(strings.Fields(line)); err != nil {
				fmt.Fprintf(&b, "  error: %v\n", err)
			}
			s.print(&b)
		}
		s.printState(&b)
		return b.String()
	}
	d.Fatalf(s.t, "unknown command %s", d.Cmd)
	return ""
}

func (s *panesScript) step(words []string) error {
	j := s.job
	if words[0] == "in" {
		block, err := j.input(words[1:])
		if err != nil {
			return err
		}
		return j.run(s.t.Context(), []element.Block{block}, nil)
	}
	at, err := parseEventTime(words[1])
	if err != nil {
		return err
	}
	switch words[0] {
	case "watermark":
		j.time.Watermark = at
	case "time":
		j.time.Processing = at
	case "synchronized":
		j.time.Synchronized = at
	default:
		return fmt.Errorf("%w: step %q", errForm, words[0])
	}
	if len(words) > 2 {
		block, err := j.input(words[3:])
		if err != nil {
			return err
		}
		if err := j.run(s.t.Context(), []element.Block{block}, j.takeDue()); err != nil {
			return err
		}
	}
	return j.fire(s.t.Context())
}

func parseEventTime(s string) (element.EventTime, error) {
	if s == "inf" {
		return element.MaxTime, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return element.EventTime(n), err
}

// print prints what has happened since it was last called.
func (s *panesScript) print(b *strings.Builder) {
	j := s.job
	for _, f := range j.out {
		fmt.Fprintf(b, "  %v\n", f)
	}
	for _, f := range j.shown {
		fmt.Fprintf(b, "  %s shows: %s\n", f.window, strings.Join(f.values, " "))
	}
	if j.dropped > 0 {
		fmt.Fprintf(b, "  dropped %d\n", j.dropped)
	}
	if j.pages > 0 {
		fmt.Fprintf(b, "  %d paged\n", j.pages)
	}
	if j.asked > 0 {
		fmt.Fprintf(b, "  asked to merge %d times\n", j.asked)
	}
	j.out, j.shown, j.dropped, j.pages, j.asked = nil, nil, 0, 0, 0
	if timers := s.timers(); timers != s.printed {
		b.WriteString(timers)
		s.printed = timers
	}
}

func (s *panesScript) timers() string {
	var lines []string
	for _, t := range s.job.timers {
		key, _ := cutBytes(string(t.Key))
		domain := [...]string{"event", "processing", "synchronized"}[t.Domain]
		line := fmt.Sprintf("    timer %s %s %s %v", key, printWindow(t.Window, s.job.windowing.Window), domain, t.Fire)
		if t.Hold < element.MaxTime {
			line += fmt.Sprintf(" holds %v", t.Hold)
		}
		lines = append(lines, line+"\n")
	}
	if lines == nil {
		return "    no timers\n"
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func (s *panesScript) printState(b *strings.Builder) {
	cells, err := s.job.live()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range cells {
		key, _ := cutBytes(c.Key)
		window := c.Window
		if c.State == "window" && !plan.Merging(s.job.windowing.Fn) {
			window = printWindow([]byte(window), s.job.windowing.Window)
		}
		fmt.Fprintf(b, "state %s %s %s\n", c.State, key, window)
	}
}
