package runner

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gorunner/gorunner/blob/checkpoints"
	"github.com/gorunner/gorunner/execution/checkpoint"
)

// TestParkedElementsAreInCheckpoints: each cut has those that are there by then.
func TestParkedElementsAreInCheckpoints(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dead")
	others := []checkpoints.Other{{Kind: checkpoint.Description, Name: "job"}}
	if got, err := withDead(others, dir); err != nil || len(got) != 1 {
		t.Errorf("before any is parked: %v, %v", got, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"parked-7.jsonl", "failed-1.jsonl", ".new-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := withDead(others, dir)
	want := checkpoints.Other{Kind: checkpoint.DeadLetter, Name: "parked-7.jsonl", Path: filepath.Join(dir, "parked-7.jsonl")}
	if err != nil || len(got) != 2 || got[1] != want {
		t.Errorf("%v, %v; want the last to be %v", got, err, want)
	}
}
