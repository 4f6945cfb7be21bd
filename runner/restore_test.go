package runner

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestRestoreOfWhatIsThere: a job that is there already is passed over, unless it is
// the one that was named.
func TestRestoreOfWhatIsThere(t *testing.T) {
	store, data := t.TempDir(), t.TempDir()
	claim, err := claimDataDir(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := claim.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Join(store, "jobs", "j", "log"), filepath.Join(data, jobsName, "j")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(store, "jobs", "j", "log", "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if ids, err := Restore(t.Context(), RestoreParams{DataDir: data, URI: "file://" + store}); err != nil || len(ids) > 0 {
		t.Errorf("the store: %v, %v", ids, err)
	}
	if ids, err := Restore(t.Context(), RestoreParams{DataDir: data, URI: "file://" + store + "/jobs/j"}); !errors.Is(err, os.ErrExist) || len(ids) > 0 {
		t.Errorf("the job: %v, %v", ids, err)
	}
}
