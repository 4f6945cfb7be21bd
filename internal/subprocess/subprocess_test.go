//go:build linux

package subprocess

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve returns the spec of a shell script and the file its output goes to.
func serve(t *testing.T, script string, addr string) (Spec, string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	return Spec{Path: "/bin/sh", Args: []string{"-c", script}, Addr: addr, Log: log, Grace: time.Second}, log
}

func TestStopTakesTheGroupAlong(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "child")
	spec, _ := serve(t, "sleep 1000 & echo $! > "+pidFile+"; mv "+pidFile+" "+pidFile+".done; trap 'exit 0' TERM; wait", "")
	p, err := Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if text, err = os.ReadFile(pidFile + ".done"); err == nil {
			tick.Stop()
			break
		}
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatalf("second stop: %v", err)
	}
	// Nobody waits for the child: it is gone, or a zombie, when it gets to die.
	deadline := time.After(10 * time.Second)
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		state, err := os.ReadFile("/proc/" + strings.TrimSpace(string(text)) + "/stat")
		if err != nil || strings.Contains(string(state), ") Z ") {
			tick.Stop()
			return
		}
		select {
		case <-deadline:
			t.Fatalf("child still runs: %s", state)
		case <-tick.C:
		}
	}
}

func TestStartReportsAnEarlyExit(t *testing.T) {
	addr, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	spec, log := serve(t, "echo no licence; exit 3", addr)
	_, err = Start(t.Context(), spec)
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), addr) {
		t.Errorf("got %v, want the exit status and the address", err)
	}
	if text, _ := os.ReadFile(log); string(text) != "no licence\n" {
		t.Errorf("log holds %q", text)
	}
}

func TestStartGivesUp(t *testing.T) {
	addr, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	spec, _ := serve(t, "exec sleep 1000", addr)
	spec.ReadyTimeout = 50 * time.Millisecond
	if p, err := Start(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("got %v, %v, want a deadline", p, err)
	}
}

func TestUsage(t *testing.T) {
	u, err := UsageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if u.RSS <= 0 || u.PeakRSS < u.RSS || u.OpenFiles < 3 {
		t.Errorf("got %+v", u)
	}
	if _, err := UsageOf(1 << 30); err == nil {
		t.Error("no error for a process that does not exist")
	}
}

func TestGroupCPU(t *testing.T) {
	group := syscall.Getpgrp()
	before, err := GroupCPU(group)
	if err != nil {
		t.Fatal(err)
	}
	own, err := UsageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	after, err := GroupCPU(group)
	if err != nil || after < own.CPU || after < before {
		t.Errorf("got %v and %v, %v, while the process alone has %v", before, after, err, own.CPU)
	}
	if _, err := GroupCPU(1 << 30); err == nil {
		t.Error("no error for a group that does not exist")
	}
	if inGroup([]byte("7 (a) 1 2 3) S 1 77 7"), 7) || !inGroup([]byte("7 (a) 1 2 3) S 1 77 7"), 77) {
		t.Error("the group is not found behind a name with parentheses")
	}
}

func TestParseStat(t *testing.T) {
	got, err := parseStat([]byte("7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 9 9 20"))
	if err != nil || got != 3*time.Second {
		t.Errorf("got %v, %v, want 3s", got, err)
	}
	for _, text := range []string{"", "7", "7 (a", "7 (a) S", "7 (a) S 1 7 7 0 -1 4194560 100 0 0 0 x 50"} {
		if _, err := parseStat([]byte(text)); err == nil {
			t.Errorf("no error for %q", text)
		}
	}
}
