package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestClaimDataDir holds that a data directory has one server at a time, that a
// server may come back to its own, and that nobody's files are taken for its.
func TestClaimDataDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	first, err := claimDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if f, err := claimDataDir(dir); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("another gorunner, process %d", os.Getpid())) {
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

// TestSweepTemporary: only what was made for the life of a server that has ended
// is removed.
func TestSweepTemporary(t *testing.T) {
	if !locks {
		t.Skip("files cannot be locked here")
	}
	tmp := t.TempDir()
	later := time.Now().Add(2 * staleAge)
	make1 := func() (string, *os.File) {
		t.Helper()
		dir, f, err := makeTemporary(tmp)
		if err != nil {
			t.Fatal(err)
		}
		return dir, f
	}
	stale, killed := make1()
	live, alive := make1()
	defer alive.Close()
	if err := os.MkdirAll(filepath.Join(stale, "jobs", "j"), 0o700); err != nil {
		t.Fatal(err)
	}
	named := filepath.Join(tmp, temporaryName+"data") // the user's own choice of a name
	kept, err := claimDataDir(named)
	if err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(tmp, temporaryName+"notes")
	if err := errors.Join(killed.Close(), kept.Close(), os.Mkdir(foreign, 0o700)); err != nil {
		t.Fatal(err)
	}
	if got := sweepTemporary(tmp, time.Now()); len(got) > 0 {
		t.Errorf("swept %v while it may be starting", got)
	}
	if got := sweepTemporary(tmp, later); len(got) != 1 || got[0] != stale {
		t.Errorf("swept %v, want %s", got, stale)
	}
	for dir, want := range map[string]bool{stale: false, live: true, named: true, foreign: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", dir, err == nil, want)
		}
	}
	if got := sweepTemporary(filepath.Join(tmp, "["), later); got != nil {
		t.Errorf("swept %v", got)
	}
}
