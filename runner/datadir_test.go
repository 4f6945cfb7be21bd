package runner

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestClaimDataDir holds that a data directory has one server at a time, that a
// server may come back to its own, and that nobody's files are taken for its.
func TestClaimDataDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	first, err := claimDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if f, err := claimDataDir(dir); err == nil || !strings.Contains(err.Error(), "another gorunner") {
		t.Errorf("a second server got %v, %v", f, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := claimDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := claimDataDir(foreign); err == nil || !strings.Contains(err.Error(), "precious") {
		t.Errorf("somebody's files: got %v", err)
	}
	if _, err := claimDataDir(filepath.Join(foreign, "precious")); err == nil {
		t.Error("a file was taken for a directory")
	}
}
