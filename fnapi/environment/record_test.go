//go:build linux

package environment

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/gorunner/gorunner/execution/harness"
)

// TestSweepProcess: what another process has started is ended by its record, its
// descendants in other process groups included, and nothing else is.
func TestSweepProcess(t *testing.T) {
	boot := write(t, t.TempDir(), "boot", "#!/bin/sh\nsetsid sleep 1000 &\necho child $!\necho ready\nwait\n")
	dir, other := t.TempDir(), t.TempDir()
	starting := func(id, dir string) (Process, lines) {
		log := newLines()
		p, err := New(Options{}).Start(testContext(t), Launch{
			WorkerID: harness.WorkerID(id), Endpoints: testEndpoints(), Environment: processEnv(t, boot, nil), Dir: dir, Log: slog.New(log),
		})
		if err != nil {
			t.Fatal(err)
		}
		log.await(t, "ready")
		return p, log
	}
	orphan, _ := starting("orphan", dir)
	living, _ := starting("living", other)
	defer stop(t, living)
	// The rest of a record that was being written, and of a worker without one.
	if err := os.WriteFile(filepath.Join(dir, recordPrefix+"half"), []byte(`{"wor`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, workerDirPrefix+"half"), 0o700); err != nil {
		t.Fatal(err)
	}
	swept, err := New(Options{}).Sweep(testContext(t), dir, nil)
	if err != nil || !slices.Equal(swept, []string{"orphan"}) {
		t.Fatalf("swept %v, %v", swept, err)
	}
	awaitDone(t, orphan)
	wantNothingLeft(t, dir)
	if again, err := New(Options{}).Sweep(testContext(t), dir, nil); err != nil || len(again) > 0 {
		t.Errorf("again: %v, %v", again, err)
	}
	select {
	case <-living.Done():
		t.Errorf("the worker of another job was ended: %v", living.Err())
	default:
	}
	if none, err := New(Options{}).Sweep(testContext(t), filepath.Join(dir, "none"), nil); err != nil || len(none) > 0 {
		t.Errorf("without a directory: %v, %v", none, err)
	}
}

// TestSweepUnreadable: a record that cannot be read stays, and is told of; the others
// are swept all the same.
func TestSweepUnreadable(t *testing.T) {
	dir := t.TempDir()
	unreadable, half := filepath.Join(dir, recordPrefix+"a"), filepath.Join(dir, recordPrefix+"b")
	if err := os.Mkdir(unreadable, 0o700); err != nil { // reading it fails, whoever asks
		t.Fatal(err)
	}
	if err := os.WriteFile(half, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	swept, err := New(Options{}).Sweep(testContext(t), dir, nil)
	if !errors.Is(err, syscall.EISDIR) || len(swept) > 0 {
		t.Errorf("swept %v, %v", swept, err)
	}
	if _, err := os.Stat(unreadable); err != nil {
		t.Errorf("the record that cannot be read: %v", err)
	}
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the record that was never written: %v", err)
	}
}

// TestSweepPool: a pool is told which of its workers nobody wants any more; that
// it does not answer is no harm.
func TestSweepPool(t *testing.T) {
	p := &fakePool{}
	address, end := p.serve(t)
	dir := t.TempDir()
	worker, err := New(Options{}).Start(testContext(t), Launch{
		WorkerID: "w1", Endpoints: testEndpoints(), Environment: externalEnv(t, address), Dir: dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	swept, err := New(Options{}).Sweep(testContext(t), dir, nil)
	if err != nil || !slices.Equal(swept, []string{"w1"}) {
		t.Fatalf("swept %v, %v", swept, err)
	}
	p.mu.Lock()
	stopped := len(p.stopped)
	p.mu.Unlock()
	if stopped != 1 {
		t.Errorf("the pool was told %d times", stopped)
	}
	stop(t, worker)
	second, err := New(Options{}).Start(testContext(t), Launch{
		WorkerID: "w2", Endpoints: testEndpoints(), Environment: externalEnv(t, address), Dir: dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, second)
	end()
	if _, err := New(Options{}).Sweep(testContext(t), dir, nil); err != nil {
		t.Error(err)
	}
	wantNothingLeft(t, dir)
}
