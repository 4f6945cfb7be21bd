package conformance

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// script makes a command of shell text.
func script(t *testing.T, text string) Command {
	t.Helper()
	return Command{Path: "bash", Args: []string{"-c", text}, Dir: t.TempDir(), Log: t.Output()}
}

func TestRunPrograms(t *testing.T) {
	got, err := RunPrograms(t.Context(), script(t, `printf 'noise\nok   tiny 1.5s\nfail bad 0.5s: no: luck\nok   quick\n'; exit 1`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Outcome{
		{Name: "bad", Verdict: Fail, Reason: "no: luck", Took: 500 * time.Millisecond},
		{Name: "quick"},
		{Name: "tiny", Took: 1500 * time.Millisecond},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := RunPrograms(t.Context(), script(t, "echo nothing; exit 3")); err == nil {
		t.Error("no error where no program ran")
	}
}

// TestRunValidate goes on after a test that hangs, until the process says that
// it has come to the end.
func TestRunValidate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "outcomes.jsonl")
	line := func(id, outcome string) string {
		return `echo '{"id": "` + id + `", "name": "` + id + `", "outcome": "` + outcome + `"}' >> ` + file + "\n"
	}
	c := script(t, "if [ -e "+file+" ]; then\n"+line("B$x", "start")+line("B$x", "fail")+line("C.y", "start")+line("C.y", "fail")+"exit 0\nfi\n"+
		line("A", "start")+line("A", "fail")+"exit 3")
	got, err := RunValidate(t.Context(), c, file, map[string]string{"B": "no moon"})
	if err != nil {
		t.Fatal(err)
	}
	want := []Outcome{
		{Name: "A", Verdict: Fail},
		{Name: "B$x", Verdict: NotApplicable, Reason: "no moon"},
		{Name: "C.y", Verdict: Fail},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := RunValidate(t.Context(), script(t, "exit 1"), filepath.Join(t.TempDir(), "none"), nil); err == nil {
		t.Error("no error where no test ran")
	}
}

func TestRunMocha(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	report := `{"tests": [
		{"fullTitle": "primitives module portable runner @ulr runs a map", "duration": 20, "err": {}},
		{"fullTitle": "splits @ulr in two", "err": {"message": "not  here"}},
		{"fullTitle": "bad", "err": {"message": "not  here"}},
		{"fullTitle": "later", "err": {}}],
		"pending": [{"fullTitle": "later"}]}`
	if err := os.WriteFile(file, []byte(report), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := RunMocha(t.Context(), script(t, "exit 2"), file, map[string]string{"splits": "no axe"})
	if err != nil {
		t.Fatal(err)
	}
	want := []Outcome{
		{Name: "bad", Verdict: Fail, Reason: "not here"},
		{Name: "later", Verdict: NotApplicable, Reason: "skipped by Beam"},
		{Name: "runs_a_map", Took: 20 * time.Millisecond},
		{Name: "splits_in_two", Verdict: NotApplicable, Reason: "no axe"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
