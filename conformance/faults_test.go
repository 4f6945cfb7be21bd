package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorunner/gorunner/internal/subprocess"
)

// TestWorkersThatFail checks what a user is told of workers that never come up,
// and that they leave nothing behind.
func TestWorkersThatFail(t *testing.T) {
	need(t, smoke, goSDK)
	s := startServer(t, "--worker-timeout=2s")
	if s.process == nil {
		t.Skip("the server is not ours")
	}
	before := s.settled(t, footprint{})
	tests := []struct {
		name, script string
		want         []string
	}{
		{"exits at start", "echo the licence has expired >&2\nexit 7", []string{"the licence has expired", "exit status 7"}},
		{"never connects", "echo thinking\nexec sleep 1000", []string{"thinking", "2s"}},
		{"cannot be started", "", []string{"no-such-command"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			command := "/no-such-command"
			if test.script != "" {
				command = filepath.Join(t.TempDir(), "boot")
				if err := os.WriteFile(command, []byte("#!/bin/sh\n"+test.script+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			config, err := json.Marshal(map[string]string{"command": command})
			if err != nil {
				t.Fatal(err)
			}
			bin := must(t, programs)
			reports := runProgram(t, bin, "--pipeline=tiny", "--endpoint="+s.endpoint,
				"--environment_type=PROCESS", "--environment_config="+string(config), "--worker_binary="+bin)
			wantError(t, reports, test.want)
			if left := processesWith(t, command); len(left) > 0 {
				t.Errorf("processes are left: %q", left)
			}
		})
	}
	if after := s.settled(t, before); !after.within(before) {
		t.Errorf("the server grew: before %+v, after %+v", before, after)
	}
}

// processesWith returns the command lines of processes that mention text.
func processesWith(t *testing.T, text string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil || file == "/proc/self/cmdline" {
			continue // it has ended meanwhile
		}
		// The server's and the client's own command lines quote it in JSON.
		if args := strings.Split(string(line), "\x00"); len(args) > 1 && (args[0] == text || args[1] == text) {
			found = append(found, strings.Join(args, " "))
		}
	}
	return found
}

// awaitFile returns when the file is there.
func awaitFile(t *testing.T, file string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(file); err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatal("the bundle did not begin")
		case <-tick.C:
		}
	}
}

// TestClientThatDies kills a client, and with it the worker, in the middle of a
// bundle that would never end: its job must not stay.
func TestClientThatDies(t *testing.T) {
	need(t, smoke, goSDK)
	s := startServer(t, "--worker-timeout=2s")
	if s.process == nil {
		t.Skip("the server is not ours")
	}
	before := s.settled(t, footprint{})
	marker := filepath.Join(t.TempDir(), "marker")
	client := exec.Command(must(t, programs), "--pipeline=stall", "--marker="+marker, "--endpoint="+s.endpoint, "--environment_type=LOOPBACK")
	client.Dir = t.TempDir()
	client.Stdout, client.Stderr = createLog(t, "client.out"), createLog(t, "client.log")
	client.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	awaitFile(t, marker)
	if err := client.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := client.Wait(); err == nil {
		t.Error("the client ended well")
	}
	if after := s.settled(t, before); !after.within(before) {
		t.Errorf("the job of the dead client is still there: before %+v, after %+v", before, after)
	}
	wantAll(t, 1, runGo(t, s, Loopback, "tiny"))
}

// TestServerThatIsStopped checks that a server that is told to end takes its
// workers along, at once, however long their bundles last.
func TestServerThatIsStopped(t *testing.T) {
	need(t, smoke, goSDK)
	s := startServer(t)
	if s.process == nil {
		t.Skip("the server is not ours")
	}
	bin := must(t, programs)
	marker := filepath.Join(t.TempDir(), "marker")
	client := exec.Command(bin, append(goFlags(t, Process, bin), "--pipeline=stall", "--marker="+marker, "--endpoint="+s.endpoint)...)
	client.Dir = t.TempDir()
	client.Stdout, client.Stderr = createLog(t, "client.out"), createLog(t, "client.log")
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := client.Process.Kill(); err == nil {
			_ = client.Wait()
		}
	}()
	awaitFile(t, marker)
	workers := descendants(t, s.process.PID())
	if len(workers) == 0 {
		t.Error("the server has no worker processes")
	}
	s.stopped = true
	start := time.Now()
	if err := syscall.Kill(s.process.PID(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.process.Done():
		t.Logf("it took %v", time.Since(start))
	case <-time.After(2 * time.Second):
		t.Error("still there two seconds after SIGTERM")
	}
	for _, pid := range workers {
		if _, alive := parent(pid); alive {
			t.Errorf("process %d of the worker is left", pid)
		}
	}
}

// descendants returns the processes that a process has started, and those that
// they have started.
func descendants(t *testing.T, pid int) []int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	children := map[int][]int{}
	for _, dir := range dirs {
		child, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			t.Fatal(err)
		}
		if ppid, alive := parent(child); alive {
			children[ppid] = append(children[ppid], child)
		}
	}
	found := children[pid]
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found
}

// parent returns the parent of a process and whether it is alive: a zombie is not.
func parent(pid int) (ppid int, alive bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	var state string
	if _, err := fmt.Sscan(rest, &state, &ppid); err != nil {
		return 0, false
	}
	return ppid, state != "Z"
}

// TestIdle checks that a server without a job uses no CPU time: that it does
// not poll.
func TestIdle(t *testing.T) {
	need(t, smoke, goSDK)
	s := startServer(t)
	if s.process == nil {
		t.Skip("the server is not ours")
	}
	wantAll(t, 1, runGo(t, s, Loopback, "tiny"))
	s.settled(t, footprint{})
	const watched, margin = 3 * time.Second, 30 * time.Millisecond
	before, err := subprocess.UsageOf(s.process.PID())
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(watched)
	after, err := subprocess.UsageOf(s.process.PID())
	if err != nil {
		t.Fatal(err)
	}
	if used := after.CPU - before.CPU; used > margin {
		t.Errorf("an idle server used %v of CPU time in %v, want at most %v", used, watched, margin)
	}
}
