package conformance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestExpectedDiff(t *testing.T) {
	e, err := ParseExpected([]byte("# how it is\n\npass A\nfail B is broken\nna C needs a moon\npass Gone\n"))
	if err != nil {
		t.Fatal(err)
	}
	agree := []Outcome{{Name: "A"}, {Name: "B", Verdict: Fail, Reason: "another text"}, {Name: "C", Verdict: NotApplicable}, {Name: "Gone"}}
	if diff := e.Diff(agree); diff != nil {
		t.Errorf("outcomes as expected differ: %q", diff)
	}
	got := e.Diff([]Outcome{
		{Name: "A", Verdict: Fail, Reason: "no luck"},
		{Name: "B"}, // newly passes
		{Name: "C", Verdict: NotApplicable},
		{Name: "New"},
		{Name: "New"},
	})
	want := []string{
		"A: expected pass , got fail no luck",
		"B: expected fail is broken, got pass ",
		"Gone: did not run, expected pass",
		"New: is not in the list, got pass ",
		"New: ran twice",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestExpectedUpdate(t *testing.T) {
	e, err := ParseExpected([]byte("# head\nfail B by hand\npass A\nfail C old\n"))
	if err != nil {
		t.Fatal(err)
	}
	e.Update([]Outcome{{Name: "C"}, {Name: "B", Verdict: Fail, Reason: "new"}, {Name: "D", Verdict: NotApplicable}})
	want := "# head\nfail B by hand\npass C\nna D no reason given\n"
	if got := string(e.Format()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	again, err := ParseExpected([]byte(want))
	if err != nil || string(again.Format()) != want {
		t.Errorf("formatted list does not parse to itself: %v", err)
	}
}

func TestExpectedRejects(t *testing.T) {
	for _, text := range []string{"maybe A", "pass", "pass A why", "fail A", "pass A\nfail A twice"} {
		if _, err := ParseExpected([]byte(text)); err == nil {
			t.Errorf("no error for %q", text)
		}
	}
}

// TestExpectedLists parses all lists that there are.
func TestExpectedLists(t *testing.T) {
	files, err := filepath.Glob("expected/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no lists: %v", err)
	}
	for _, file := range files {
		if _, err := LoadExpected(file); err != nil {
			t.Error(err)
		}
	}
}

func TestGoTestParser(t *testing.T) {
	output := strings.Join([]string{
		"\x16=== RUN   TestGood",
		"    a_test.go:3: just a note",
		"--- FAIL: TestGood (0.00s)", // printed by the test itself
		"\x16=== RUN   TestGood/sub",
		"    \x16--- PASS: TestGood/sub (0.00s)",
		"\x16--- PASS: TestGood (1.50s)",
		"\x16=== RUN   TestBad",
		"    a_test.go:9: off   by one",
		"    a_test.go:10: and more",
		"\x16--- FAIL: TestBad (0.25s)",
		"some output\x16=== RUN   TestSkip",
		"    a_test.go:12: no moon",
		"\x16--- SKIP: TestSkip (0.00s)",
		"\x16=== RUN   TestRefused",
		"    a_test.go:20: Failed to run",
		"        caused by:",
		"        rpc error: code = X desc = not supported:",
		"          timers",
		"          more timers",
		"\x16--- FAIL: TestRefused (0.00s)",
		"\x16=== RUN   TestDies",
		"panic: out of cheese",
	}, "\n")
	var p goTestParser
	for line := range strings.Lines(output) {
		p.line(line)
	}
	p.finish("the process died")
	want := []Outcome{
		{Name: "TestGood", Took: 1500 * time.Millisecond},
		{Name: "TestBad", Verdict: Fail, Reason: "off by one", Took: 250 * time.Millisecond},
		{Name: "TestSkip", Verdict: NotApplicable, Reason: "no moon"},
		{Name: "TestRefused", Verdict: Fail, Reason: "server: not supported: timers"},
		{Name: "TestDies", Verdict: Fail, Reason: "the process died panic: out of cheese"},
	}
	if diff := cmp.Diff(want, p.outcomes); diff != "" {
		t.Error(diff)
	}
}

func TestReadOutcomes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "outcomes.jsonl")
	lines := `{"id": "x::b", "name": "B", "outcome": "start"}
{"id": "x::b", "name": "B", "outcome": "pass", "reason": "", "seconds": 0.5}
{"id": "x::b", "name": "B", "outcome": "fail", "reason": "tear-down", "seconds": 0.5}
{"id": "x::a", "name": "A", "outcome": "start"}
`
	if err := os.WriteFile(file, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	got, ids, err := readOutcomes(file)
	if err != nil {
		t.Fatal(err)
	}
	want := []Outcome{
		{Name: "A", Verdict: Fail, Reason: "took the process down"},
		{Name: "B", Verdict: Fail, Reason: "tear-down", Took: 500 * time.Millisecond},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !slices.Equal(ids, []string{"x::b", "x::a"}) {
		t.Errorf("ids %q", ids)
	}
	for _, bad := range []string{"{", `{"outcome": "perhaps"}`} {
		if err := os.WriteFile(file, []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := readOutcomes(file); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

// TestGoSuiteSurvivesAHang runs a stand-in for a test binary, in which one test
// hangs and one dies: both have failed, and the others still run.
func TestGoSuiteSurvivesAHang(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "suite")
	script := `#!/bin/bash
case "$1" in
-test.list*) printf 'TestA\nTestDies\nTestHangs\nTestZ\nok\n'; exit;;
esac
for name in TestA TestDies TestHangs TestZ; do
	[[ $name =~ ${2#-test.run=} ]] || continue
	printf '\x16=== RUN   %s\n' $name
	case $name in
	TestDies) echo 'panic: no air'; exit 2;;
	TestHangs) sleep 1000;;
	esac
	printf '\x16--- PASS: %s (0.00s)\n' $name
done
`
	if err := os.WriteFile(binary, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	suite := GoSuite{Binary: binary, Dir: t.TempDir(), Idle: 2 * time.Second, Log: t.Output(), NotApplicable: map[string]string{"TestNever": "no reason"}}
	got, err := suite.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Outcome{
		{Name: "TestA"},
		{Name: "TestDies", Verdict: Fail, Reason: "the process died panic: no air"},
		{Name: "TestHangs", Verdict: Fail, Reason: "did not end within 2s"},
		{Name: "TestNever", Verdict: NotApplicable, Reason: "no reason"},
		{Name: "TestZ"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
