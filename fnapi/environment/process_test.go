//go:build linux

package environment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/gorunner/gorunner/execution/harness"
)

// start starts a worker whose boot program is a shell script, in a directory
// that must be empty when the worker is gone.
func start(t *testing.T, o Options, script string) (Process, lines) {
	t.Helper()
	boot := write(t, t.TempDir(), "boot", "#!/bin/sh\n"+script)
	dir, log := t.TempDir(), newLines()
	p, err := New(o).Start(testContext(t), Launch{
		WorkerID: "w1", Endpoints: testEndpoints(), Environment: processEnv(t, boot, nil), Dir: dir, Log: slog.New(log),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testLimit) //nolint:usetesting // the test's has ended
		defer cancel()
		if err := p.Stop(ctx); err != nil {
			t.Errorf("Stop: %v", err)
		}
		wantNothingLeft(t, dir)
	})
	return p, log
}

// wantNothingLeft checks that a worker's directory is empty and that no process
// works there.
func wantNothingLeft(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s is left behind", e.Name())
	}
	for pid, p := range processes() {
		cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if !p.ended && (strings.HasPrefix(cwd, dir) || strings.Contains(string(args), dir)) {
			t.Errorf("process %d is left behind: %q", pid, args)
		}
	}
}

func alive(t *testing.T, pid string) bool {
	t.Helper()
	id, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	p, ok := readProc(id)
	return ok && !p.ended
}

func wantEnded(t *testing.T, pid, what string) {
	t.Helper()
	if alive(t, pid) {
		t.Errorf("process %s lives: %s", pid, what)
	}
}

func stop(t *testing.T, p Process) {
	t.Helper()
	if err := p.Stop(testContext(t)); err != nil {
		t.Errorf("Stop: %v", err)
	}
	awaitDone(t, p)
	if err := p.Err(); err != nil {
		t.Errorf("a stopped worker has the error %v", err)
	}
}

func TestProcessStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "with blank"), 0o700); err != nil {
		t.Fatal(err)
	}
	boot := write(t, dir, "with blank/boot", `#!/bin/sh
echo "args: $*"
echo "cwd: $(pwd)"
echo "env: $WORKER_ID|$HARNESS_ID|$MINE|$INHERITED|$RUNNER_CAPABILITIES|$STATUS_ENDPOINT|$WORKER_ID_MINE"
echo "control: $CONTROL_API_SERVICE_DESCRIPTOR"
echo "semi: $SEMI_PERSISTENT_DIRECTORY"
echo "options: $(cat "$PIPELINE_OPTIONS_FILE")" >&2
exec sleep 1000
`)
	t.Setenv("INHERITED", "yes")
	t.Setenv("MINE", "no")
	options, err := structpb.NewStruct(map[string]any{"beam:option:job_name:v1": "job"})
	if err != nil {
		t.Fatal(err)
	}
	jobDir, log := t.TempDir(), newLines()
	launch := Launch{
		WorkerID: "../w 1", Endpoints: testEndpoints(), Environment: processEnv(t, boot, map[string]string{"MINE": "payload"}),
		Options: options, Capabilities: []string{"a", "b"}, Dir: jobDir, Log: slog.New(log),
	}
	l := New(Options{})
	p, err := l.Start(testContext(t), launch)
	if err != nil {
		t.Fatal(err)
	}
	args := log.await(t, "args: ")
	cwd := log.await(t, "cwd: ")
	root := filepath.Dir(cwd)
	if filepath.Dir(root) != jobDir || !strings.HasPrefix(filepath.Base(root), "worker-___w_1-") {
		t.Errorf("the working directory is %s, want it in one of the worker's own in %s", cwd, jobDir)
	}
	if want := "--id=../w 1 --provision_endpoint=h:4 --logging_endpoint=h:2 --artifact_endpoint=h:3 --control_endpoint=h:1" +
		" --semi_persist_dir=" + root + "/semi"; args != want {
		t.Errorf("arguments: %q\nwant %q", args, want)
	}
	if got, want := log.await(t, "env: "), "../w 1|../w 1|payload|yes|a b|h:5|"; got != want {
		t.Errorf("environment: %q, want %q", got, want)
	}
	if got := strings.ReplaceAll(log.await(t, "control: "), " ", ""); got != `url:"h:1"` {
		t.Errorf("control descriptor: %q", got)
	}
	if got := log.await(t, "semi: "); got != root+"/semi" {
		t.Errorf("semi-persistent directory: %q", got)
	}
	if got := strings.ReplaceAll(log.await(t, "options: "), " ", ""); got != `{"beam:option:job_name:v1":"job"}` {
		t.Errorf("options: %s", got)
	}

	// A second worker shares nothing with the first.
	second, err := l.Start(testContext(t), launch)
	if err != nil {
		t.Fatal(err)
	}
	if got := log.await(t, "cwd: "); got == cwd {
		t.Error("two workers have the same directory")
	}
	stop(t, p)
	if _, err := os.Stat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the worker's directory is left: %v", err)
	}
	stop(t, second)
	wantNothingLeft(t, jobDir)
}

func TestProcessExitAtStart(t *testing.T) {
	p, _ := start(t, Options{LogTail: 2}, `echo one; echo two >&2; echo "no such thing" >&2; exit 7`)
	awaitDone(t, p)
	err := p.Err()
	wantError(t, err, "w1", "boot", "exit status 7", "\ttwo\n\tno such thing")
	if strings.Contains(err.Error(), "\tone") {
		t.Errorf("more lines than were asked for: %v", err)
	}
	var exit *ExitError
	if !errors.As(err, &exit) || !errors.Is(err, harness.ErrWorkerLost) {
		t.Errorf("error %v is no lost worker's", err)
	}
	if err := p.Stop(testContext(t)); err != nil {
		t.Errorf("Stop after the end: %v", err)
	}
	if p.Err() == nil {
		t.Error("Stop took the error away")
	}
}

func TestProcessExitsWell(t *testing.T) {
	p, _ := start(t, Options{}, `exit 0`)
	awaitDone(t, p)
	wantError(t, p.Err(), "exit status 0, though nobody stopped it", "printed nothing")
}

func TestProcessKilled(t *testing.T) {
	p, _ := start(t, Options{}, `kill -9 $$`)
	awaitDone(t, p)
	wantError(t, p.Err(), "signal: killed")
}

func TestProcessStopsGently(t *testing.T) {
	p, log := start(t, Options{StopGrace: testLimit}, `trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done`)
	log.await(t, "ready")
	stop(t, p)
	log.await(t, "bye")
}

func TestProcessIgnoresTerm(t *testing.T) {
	p, log := start(t, Options{StopGrace: 50 * time.Millisecond}, `trap '' TERM; echo "pid $$"; while :; do sleep 1000; done`)
	pid := log.await(t, "pid ")
	stop(t, p)
	wantEnded(t, pid, "it ignores SIGTERM")
}

func TestProcessStopContext(t *testing.T) {
	p, log := start(t, Options{StopGrace: time.Hour}, `trap '' TERM; echo ready; while :; do sleep 1000; done`)
	log.await(t, "ready")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Stop(ctx); err != nil {
		t.Errorf("Stop: %v", err)
	}
	awaitDone(t, p)
}

// TestProcessOwnGroup has a boot program that puts its harness into a process
// group of its own, as the one of Beam's Python SDK does.
func TestProcessOwnGroup(t *testing.T) {
	for name, script := range map[string]string{
		"stopped": `setsid sh -c 'trap "" TERM; echo "pid $$"; while :; do sleep 1000; done' & wait`,
		// The descent is lost once the parent has ended.
		"orphaned": `(setsid sh -c 'trap "" TERM; echo "pid $$"; exec sleep 1000' &); exec sleep 1000`,
		// It takes the mark off, and is known as a descendant only.
		"unmarked": `env -u ` + tokenVariable + ` setsid sh -c 'trap "" TERM; echo "pid $$"; while :; do sleep 1000; done' & wait`,
	} {
		t.Run(name, func(t *testing.T) {
			p, log := start(t, Options{StopGrace: 50 * time.Millisecond}, script)
			pid := log.await(t, "pid ")
			stop(t, p)
			wantEnded(t, pid, "it is in a process group of its own")
		})
	}
}

func TestProcessLeavesChildren(t *testing.T) {
	p, log := start(t, Options{StopGrace: time.Hour}, `
sleep 1000 & echo "group $!"
setsid sh -c 'echo "session $$"; exec sleep 1000' &
while ! [ -e go ]; do sleep 0.01; done
echo "last words"; exit 1`)
	group, session := log.await(t, "group "), log.await(t, "session ")
	cwd, err := os.Readlink("/proc/" + group + "/cwd")
	if err != nil {
		t.Fatal(err)
	}
	write(t, cwd, "go", "")
	awaitDone(t, p)
	wantError(t, p.Err(), "exit status 1", "last words")
	wantEnded(t, group, "its boot program ended")
	wantEnded(t, session, "its boot program ended")
}

// TestProcessStragglers has a boot program that ends at once when stopped,
// while its harness needs a moment to end well.
func TestProcessStragglers(t *testing.T) {
	p, log := start(t, Options{StopGrace: testLimit},
		`sh -c 'trap "sleep 0.2; echo finished; exit" TERM; echo ready; while :; do sleep 0.01; done' & wait`)
	log.await(t, "ready")
	stop(t, p)
	log.await(t, "finished")
}

func TestProcessPrintsALot(t *testing.T) {
	const count = 100_000
	boot := write(t, t.TempDir(), "boot", fmt.Sprintf("#!/bin/sh\nseq 1 %d\nexit 1\n", count))
	p, err := New(Options{LogTail: 4}).Start(testContext(t), Launch{
		WorkerID: "w1", Environment: processEnv(t, boot, nil), Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	awaitDone(t, p)
	if got, want := strings.Join(p.Tail(), " "), "99997 99998 99999 100000"; got != want {
		t.Errorf("tail = %q, want %q", got, want)
	}
}

func TestProcessCannotStart(t *testing.T) {
	dir := t.TempDir()
	bad := write(t, t.TempDir(), "bad", "#!/no/such/interpreter\n")
	good := write(t, t.TempDir(), "good", "#!/bin/sh\n")
	for _, test := range []struct {
		name   string
		over   bool
		launch Launch
		want   []string
	}{
		{name: "no program", launch: Launch{WorkerID: "w1", Environment: processEnv(t, "/no/boot", nil), Dir: dir}, want: []string{"w1", "/no/boot", "no such file"}},
		{name: "no interpreter", launch: Launch{WorkerID: "w1", Environment: processEnv(t, bad, nil), Dir: dir}, want: []string{"w1", bad, "no such file"}},
		{name: "no directory", launch: Launch{WorkerID: "w1", Environment: processEnv(t, good, nil), Dir: dir + "/none"}, want: []string{"w1", "none", "no such file"}},
		{name: "directory not given", launch: Launch{WorkerID: "w1", Environment: processEnv(t, good, nil)}, want: []string{"w1", "no directory"}},
		{name: "no id", launch: Launch{Environment: processEnv(t, good, nil), Dir: dir}, want: []string{"no id"}},
		{name: "not resolved", launch: Launch{WorkerID: "w1", Environment: anyOfEnv(t, processEnv(t, good, nil)), Dir: dir}, want: []string{"w1", "not resolved", good}},
		{name: "no environment", launch: Launch{WorkerID: "w1", Dir: dir}, want: []string{"w1", "not supported"}},
		{name: "too late", over: true, launch: Launch{WorkerID: "w1", Environment: processEnv(t, good, nil), Dir: dir}, want: []string{"w1", "canceled"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			if test.over {
				cancel()
			}
			_, err := New(Options{}).Start(ctx, test.launch)
			wantError(t, err, test.want...)
			wantNothingLeft(t, dir)
		})
	}
}

// TestBootCopyRemoved has a boot program that leaves a copy of its worker
// binary behind, as the one of Beam's Go SDK does.
func TestBootCopyRemoved(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("there is no program to copy")
	}
	copies, err := os.MkdirTemp("/tmp", "bin*") //nolint:usetesting // where the boot program has its copies
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(copies) })
	p, log := start(t, Options{StopGrace: testLimit}, `cp `+sleep+` `+copies+`/worker
`+copies+`/worker 1000 &
while ! [ "$(readlink /proc/$!/exe)" = `+copies+`/worker ]; do :; done
echo ready; wait`)
	log.await(t, "ready")
	stop(t, p)
	if _, err := os.Stat(copies); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy of the worker binary is left: %v", err)
	}
}

// TestGuard kills a process that has started a worker. The worker holds the
// test's pipe: that it reads the end shows that all have ended.
func TestGuard(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// In a process group of its own, too, it is found.
	boot := write(t, dir, "boot", `#!/bin/sh
setsid sh -c 'trap "" TERM; echo "ready $$"; while :; do sleep 1000; done' &
wait
`)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleVariable+"="+boot)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 1<<10)
	n, err := out.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(buffer[:n]), "ready ")
	if !ok {
		t.Fatalf("no worker: %s", buffer[:n])
	}
	pid, _, _ := strings.Cut(rest, `"`)
	id, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	worker, ok := readProc(id)
	if !ok {
		t.Fatal("the worker has ended already")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait() // killed
	h := &handle{pid: id, start: worker.start}
	if err := h.await(testContext(t)); err != nil {
		t.Fatalf("the worker lives on: %v", err)
	}
	// The guard's last act is to remove the directory.
	ctx, tick := testContext(t), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for {
		left, err := filepath.Glob(filepath.Join(dir, "worker-*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("left behind: %q", left)
		case <-tick.C:
		}
	}
}

func TestGuardRelease(t *testing.T) {
	dir := t.TempDir()
	for _, told := range []bool{true, false} {
		g, err := guardProcess("no process has it", 0, dir)
		if err != nil {
			t.Fatal(err)
		}
		if told {
			if err := g.watch(1 << 30); err != nil {
				t.Error(err)
			}
		}
		g.release()
		if status := g.cmd.ProcessState; !status.Success() {
			t.Errorf("the guard ended with %v", status)
		}
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("a released guard acted: %v", err)
		}
	}
	(*guard)(nil).release()
}

func TestAwaitWithoutDescriptor(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, ok := readProc(cmd.Process.Pid)
	if !ok {
		t.Fatal("no process")
	}
	h := &handle{pid: p.pid, start: p.start}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.await(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("await of a living process: %v", err)
	}
	if err := (&handle{pid: p.pid, start: p.start + 1}).signal(syscall.SIGKILL); err != nil || !h.alive() {
		t.Errorf("another process of the same id was killed: %v", err)
	}
	if err := h.signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if err := h.await(testContext(t)); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the process was not killed")
	}
}

func TestParseStat(t *testing.T) {
	line := "42 (a) b (c) S 7 8 9 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1000 2 18446744073709551615"
	got, ok := parseStat(42, line)
	if want := (proc{pid: 42, parent: 7, group: 8, start: 12345}); !ok || got != want {
		t.Errorf("parseStat = %+v, %v; want %+v", got, ok, want)
	}
	if got, ok := parseStat(42, strings.Replace(line, " S ", " Z ", 1)); !ok || !got.ended {
		t.Errorf("parseStat of one that ended = %+v, %v", got, ok)
	}
	for _, bad := range []string{"", "42 (a", "42 (a) S 7 8", strings.Replace(line, " 12345 ", " x ", 1)} {
		if got, ok := parseStat(42, bad); ok {
			t.Errorf("parseStat(%q) = %+v", bad, got)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("42 (a) S 7 8 9 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1000")
	f.Fuzz(func(_ *testing.T, line string) { parseStat(1, line) })
}

// TestSignalAfterEnd makes sure that a group's number is not used once it may
// be another's.
func TestSignalAfterEnd(t *testing.T) {
	p, _ := start(t, Options{}, `exit 1`)
	awaitDone(t, p)
	c, ok := p.(*child)
	if !ok {
		t.Fatalf("the worker is a %T", p)
	}
	if !c.reaped {
		t.Error("the worker is not reaped")
	}
	c.signal(syscall.SIGKILL)
}

// TestProcessGoSettings: a worker in Go has the settings, unless its environment
// says otherwise.
func TestProcessGoSettings(t *testing.T) {
	t.Setenv("GOGC", "") // restored after the test
	if err := os.Unsetenv("GOGC"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOMEMLIMIT", "77")
	boot := write(t, t.TempDir(), "boot", "#!/bin/sh\necho \"settings: $GOGC $GOMEMLIMIT\"\nexec sleep 1000\n")
	for _, tt := range []struct {
		env  map[string]string
		want string
	}{
		{nil, "400 77"},
		{map[string]string{"GOGC": "off"}, "off 77"},
	} {
		env := processEnv(t, boot, tt.env)
		env.Capabilities = []string{capabilityGo}
		log := newLines()
		p, err := New(Options{}).Start(testContext(t), Launch{WorkerID: "w1", Environment: env, Dir: t.TempDir(), Log: slog.New(log)})
		if err != nil {
			t.Fatal(err)
		}
		if got := log.await(t, "settings: "); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.env, got, tt.want)
		}
		stop(t, p)
	}
}
