package trigger_test

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/trigger"
	"github.com/gorunner/gorunner/execution/trigger/triggertest"
)

// TestTrigger runs the scripts of testdata. Each test begins with
//
//	trigger
//	TRIGGER (see triggertest.Parse)
//
// and goes on with lines of play:
//
//	WINDOW ends TIME           a new window
//	WINDOW + N                 so many elements come at once
//	wm|proc|sync TIME          a clock moves; -inf and +inf are its limits
//	merge WINDOW... = WINDOW ends TIME
//
// After each of them every window is fired as often as it is ready; what has
// changed is printed: the panes fired, the encoded state, when to wake.
// States go through their encoding between any two lines.
func TestTrigger(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		t.Helper()
		s := &script{}
		datadriven.RunTest(t, path, s.run)
	})
}

type script struct {
	machine *trigger.Machine
	clocks  trigger.Context
	windows []*window
}

type window struct {
	name    string
	end     element.EventTime
	state   []byte
	printed string
	// begun says that something has come, before which nobody asks.
	begun bool
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	switch d.Cmd {
	case "trigger":
		tr, err := triggertest.Parse(d.Input)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		m, err := trigger.Compile(tr)
		if err != nil {
			return fmt.Sprintf("error: %v\n", err)
		}
		*s = script{machine: m, clocks: trigger.Context{Watermark: element.MinTime}}
		return ""
	case "play":
		var b strings.Builder
		for line := range strings.Lines(d.Input) {
			line = strings.TrimSpace(line)
			fmt.Fprintf(&b, "%s\n", line)
			s.step(t, strings.Fields(line))
			s.ask(t, &b)
		}
		return b.String()
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return ""
}

func (s *script) step(t *testing.T, words []string) {
	t.Helper()
	switch {
	case words[0] == "wm":
		s.clocks.Watermark = parseTime(t, words[1])
	case words[0] == "proc":
		s.clocks.Processing = parseTime(t, words[1])
	case words[0] == "sync":
		s.clocks.Synchronized = parseTime(t, words[1])
	case words[0] == "merge":
		s.merge(t, words[1:])
	case words[1] == "ends":
		state := s.machine.New()
		s.windows = append(s.windows, &window{name: words[0], end: parseTime(t, words[2]), state: state.Append(nil)})
	case words[1] == "+":
		w := s.window(t, words[0])
		state := s.decode(t, w)
		n, err := strconv.Atoi(words[2])
		if err != nil {
			t.Fatal(err)
		}
		s.machine.Elements(&state, n, s.context(w))
		w.state, w.begun = state.Append(nil), true
	default:
		t.Fatalf("unknown step %q", words)
	}
}

func (s *script) merge(t *testing.T, words []string) {
	t.Helper()
	eq := slices.Index(words, "=")
	if eq < 0 || len(words) < eq+4 {
		t.Fatalf("merge %q", words)
	}
	var states []trigger.State
	for _, name := range words[:eq] {
		w := s.window(t, name)
		states = append(states, s.decode(t, w))
		s.windows = slices.DeleteFunc(s.windows, func(v *window) bool { return v == w })
	}
	w := &window{name: words[eq+1], end: parseTime(t, words[eq+3])}
	state := s.machine.Merge(states, s.context(w))
	w.state, w.begun = state.Append(nil), eq > 0
	s.windows = append(s.windows, w)
}

func (s *script) ask(t *testing.T, b *strings.Builder) {
	t.Helper()
	for _, w := range s.windows {
		if !w.begun {
			continue
		}
		state := s.decode(t, w)
		panes := 0
		for s.machine.Ready(&state, s.context(w)) {
			s.machine.Fire(&state, s.context(w))
			if panes++; panes > 10 {
				t.Fatalf("window %s fires without end", w.name)
			}
		}
		w.state = state.Append(nil)
		printed := fmt.Sprintf("state %x%s", w.state, printWake(s.machine.Wake(&state, s.context(w))))
		if s.machine.Finished(&state) {
			printed = "finished"
		}
		if panes > 0 {
			fmt.Fprintf(b, "  %s: FIRES%s, %s\n", w.name, strings.Repeat(" and FIRES", panes-1), printed)
		} else if printed != w.printed {
			fmt.Fprintf(b, "  %s: %s\n", w.name, printed)
		}
		w.printed = printed
	}
}

func (s *script) window(t *testing.T, name string) *window {
	t.Helper()
	for _, w := range s.windows {
		if w.name == name {
			return w
		}
	}
	t.Fatalf("no window %s", name)
	return nil
}

func (s *script) context(w *window) trigger.Context {
	c := s.clocks
	c.End = w.end
	return c
}

func (s *script) decode(t *testing.T, w *window) trigger.State {
	t.Helper()
	state, err := s.machine.Decode(w.state)
	if err != nil {
		t.Fatalf("window %s: %v", w.name, err)
	}
	if again := state.Append(nil); !bytes.Equal(again, w.state) {
		t.Fatalf("window %s: state %x becomes %x", w.name, w.state, again)
	}
	return state
}

func printWake(w trigger.Wake) string {
	s := ""
	if w.Event < element.MaxTime {
		s += fmt.Sprintf(", wake after wm %d", w.Event)
	}
	if w.Processing < element.MaxTime {
		s += fmt.Sprintf(", wake at proc %d", w.Processing)
	}
	if w.Synchronized < element.MaxTime {
		s += fmt.Sprintf(", wake at sync %d", w.Synchronized)
	}
	return s
}

func parseTime(t *testing.T, s string) element.EventTime {
	t.Helper()
	switch s {
	case "-inf":
		return element.MinTime
	case "+inf":
		return element.MaxTime
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return element.EventTime(n)
}
