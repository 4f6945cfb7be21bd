package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDocument(t *testing.T) {
	suites := []Suite{
		{Name: "go-x", About: "tests of x", Modes: []Mode{{Name: "loopback"}, {Name: "process"}}},
		{Name: "not-run", About: "nobody knows", Modes: []Mode{{Name: "loopback"}}},
	}
	ours := Results{
		"go-x.loopback": {{Name: "A"}, {Name: "B", Verdict: NotApplicable, Reason: "no moon"}},
		"go-x.process":  {{Name: "A", Verdict: Fail, Reason: "broken"}, {Name: "B", Verdict: NotApplicable, Reason: "no moon"}},
	}
	peers := []Peer{{Name: "prism", Results: Results{"go-x.loopback": {{Name: "A"}, {Name: "C"}}}}}
	got := strings.TrimPrefix(Document(suites, ours, peers), documentHead)
	want := `
## Overview

| suite | mode | tests | gorunner | Prism |
|---|---|--:|--:|--:|
| go-x | loopback | 2 | 1 of 1 | 2 of 2 |
| go-x | process | 2 | 0 of 1 |  |

A score is the number of tests that pass, of those that apply. What does not apply is said below, with the reason.

## go-x

Tests of x.

| test | loopback | process | Prism loopback |
|---|:-:|:-:|:-:|
| A | pass | **fail** | pass |
| B | n/a | n/a |  |
| C |  |  | pass |

What does not pass, or does not apply:

- A: broken (process)
- B: no moon
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestDocumentIsCurrent compares the page with the expected lists.
func TestDocumentIsCurrent(t *testing.T) {
	p := mustPaths(t)
	lists, _ := p.lists("")
	ours, err := ReadLists(lists)
	if err != nil {
		t.Fatal(err)
	}
	peers, err := p.ReadPeers()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(p.document())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Document(AllSuites(), ours, peers), string(got)); diff != "" {
		t.Errorf("docs/conformance.md is not what the lists say: run \"make conformance-doc\"\n%s", diff)
	}
	known := map[string]bool{}
	for _, s := range AllSuites() {
		for _, m := range s.Modes {
			known[s.Name+"."+m.Name] = true
		}
	}
	for name := range ours {
		if !known[name] {
			t.Errorf("expected/%s.txt belongs to no suite", name)
		}
	}
}

func TestMergeRuns(t *testing.T) {
	a := Outcome{Name: "A", Took: time.Second}
	bad := Outcome{Name: "A", Verdict: Fail, Reason: "late"}
	moon := Outcome{Name: "B", Verdict: NotApplicable, Reason: "no moon"}
	for _, test := range []struct {
		name string
		runs [][]Outcome
		want []Outcome
	}{
		{"one", [][]Outcome{{bad}}, []Outcome{bad}},
		{"same", [][]Outcome{{a, moon}, {a, moon}}, []Outcome{a, moon}},
		{"flaky", [][]Outcome{{a}, {bad}, {a}}, []Outcome{
			{Name: "A", Verdict: Fail, Took: time.Second, Reason: "flaky: passed 2 of 3 runs, failed 1: late"},
		}},
		{"always fails", [][]Outcome{{bad}, {bad}}, []Outcome{bad}},
		{"missing", [][]Outcome{{a}, {}}, []Outcome{
			{Name: "A", Verdict: Fail, Took: time.Second, Reason: "flaky: passed 1 of 2 runs, failed 0:"},
		}},
	} {
		if diff := cmp.Diff(test.want, MergeRuns(test.runs)); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

func TestTSV(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.tsv")
	want := []Outcome{{Name: "A"}, {Name: "B", Verdict: Fail, Reason: "why not"}}
	if err := WriteTSV(file, "s", "m", want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadTSV(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"x\na\tb\n", "x\ns\tm\tA\tperhaps\t1\t\n"} {
		if err := os.WriteFile(file, []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadTSV(file); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}
