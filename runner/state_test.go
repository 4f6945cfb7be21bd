package runner

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

func allStates() []State {
	var out []State
	for s := range stateTable {
		out = append(out, State(s))
	}
	return out
}

func parseState(t *testing.T, name string) State {
	t.Helper()
	for _, s := range allStates() {
		if s.String() == name {
			return s
		}
	}
	t.Fatalf("no state %q", name)
	return 0
}

// TestStates runs scripts of job states:
//
//	table        every state and what may follow it
//	walk         a job's life, one state a line, with what its history shows
func TestStates(t *testing.T) {
	datadriven.RunTest(t, "testdata/states", func(t *testing.T, d *datadriven.TestData) string {
		t.Helper()
		var b strings.Builder
		switch d.Cmd {
		case "table":
			for _, s := range allStates() {
				var next []string
				for _, n := range allStates() {
					if _, err := s.to(n); err == nil {
						next = append(next, n.String())
					}
				}
				if s.Terminal() != (len(next) == 0) {
					t.Errorf("%v: terminal and yet %v may follow", s, next)
				}
				fmt.Fprintf(&b, "%v -> %s\n", s, strings.Join(next, " "))
			}
		case "walk":
			h := newHub(wallClock(), Limits{}.withDefaults())
			for line := range strings.Lines(d.Input) {
				name, why, hasWhy := strings.Cut(strings.TrimSpace(line), " ")
				var reasons []string
				if hasWhy {
					reasons = append(reasons, why)
				}
				if name == "say" {
					h.say(Basic, why)
					continue
				}
				if err := h.to(parseState(t, name), reasons...); err != nil {
					fmt.Fprintln(&b, err)
				}
			}
			events, err := h.after(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				if e.state != nil {
					fmt.Fprintln(&b, e.state.GetState())
				} else {
					fmt.Fprintf(&b, "  %v: %s\n", e.message.GetImportance(), e.message.GetMessageText())
				}
			}
		default:
			t.Fatalf("unknown command %s", d.Cmd)
		}
		return b.String()
	})
}
