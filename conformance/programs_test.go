package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorunner/gorunner/internal/subprocess"
)

// report is what our programs in Go and in Python print of a job.
type report struct {
	Error         string                     `json:"error"`
	State         string                     `json:"state"` // Python only
	Counters      map[string]metric          `json:"counters"`
	Distributions map[string]metric          `json:"distributions"`
	Gauges        map[string]metric          `json:"gauges"`
	Metrics       map[string]json.RawMessage `json:"metrics"` // Python only
}

type metric struct {
	Attempted, Committed any
	Step                 string
}

// programTimeout limits each run of a program.
const programTimeout = 3 * time.Minute

// runProgram runs a program and returns what it printed.
func runProgram(t *testing.T, path string, args ...string) []report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), programTimeout)
	defer cancel()
	log := createLog(t, "client.log")
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v (see %s)\n%s", filepath.Base(path), strings.Join(args, " "), err, log.Name(), out)
	}
	var reports []report
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r report
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%s printed %q: %v", filepath.Base(path), lines.Text(), err)
		}
		reports = append(reports, r)
	}
	return reports
}

// runGo runs jobs of one of our Go pipelines.
func runGo(t *testing.T, s *server, env Environment, pipeline string, args ...string) []report {
	t.Helper()
	bin := must(t, programs)
	args = append(args, goFlags(t, env, bin)...)
	return runProgram(t, bin, append(args, "--pipeline="+pipeline, "--endpoint="+s.endpoint)...)
}

// runPython runs jobs of one of our Python pipelines.
func runPython(t *testing.T, program string, args ...string) []report {
	t.Helper()
	script := filepath.Join(mustPaths(t).Root, "conformance", "python", "programs.py")
	return runProgram(t, mustPython(t), append([]string{script, program}, args...)...)
}

// portable returns the options of a Python client for the server.
func portable(s *server) []string {
	return []string{"--runner=PortableRunner", "--job_endpoint=" + s.endpoint, "--environment_type=LOOPBACK"}
}

// wantAll fails unless n jobs ended without an error.
func wantAll(t *testing.T, n int, reports []report) {
	t.Helper()
	if len(reports) != n {
		t.Errorf("%d jobs reported, want %d", len(reports), n)
	}
	for _, r := range reports {
		if r.Error != "" {
			t.Errorf("job failed: %s", r.Error)
		}
	}
}

// TestGoPrograms runs our Go pipelines, which check their own results.
func TestGoPrograms(t *testing.T) {
	need(t, smoke, goSDK)
	s := startServer(t)
	for _, name := range []string{
		"tiny", "unused", "empty", "diamond", "flatten", "emptykeys", "cogbk", "combine", "mapview",
		"fixed", "sliding", "sessions", "panes", "hotkey", "bigvalues",
		"statefulsdf", "splittimers", "hugekeys",
		"longchain", "sideofside", "teninputs", "oddnames", "manywindows", "largevalue", "structkeys",
		"allstate", "loops", "splits", "fails-teardown",
	} {
		t.Run(name, func(t *testing.T) {
			wantAll(t, 1, runGo(t, s, Loopback, name))
			// In LOOPBACK the client's log is the worker's too: a server that
			// sends the worker's lines to the client gets them back, for ever.
			const limit = 200
			log, err := os.ReadFile(outFile(t, "client.log"))
			if lines := bytes.Count(log, []byte("\n")); err != nil || lines > limit {
				t.Errorf("the client logged %d lines (%v), want at most %d", lines, err, limit)
			}
		})
	}
}

// TestGoLogs runs a pipeline that logs megabytes in a line, and thousands of lines.
func TestGoLogs(t *testing.T) {
	need(t, smoke, goSDK)
	wantAll(t, 1, runGo(t, startServer(t), Loopback, "logs"))
}

// TestGoDrain drains a job that would run for ever: its source has no end, and
// its timers set themselves again.
func TestGoDrain(t *testing.T) {
	need(t, smoke, goSDK)
	s := startServer(t)
	ctx, stop := context.WithCancel(t.Context())
	drained := make(chan error, 1)
	go func() { drained <- DrainJobs(ctx, s.endpoint) }()
	wantAll(t, 1, runGo(t, s, Loopback, "looping"))
	stop()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// TestGoWorkerProcess runs pipelines in workers that the server starts.
func TestGoWorkerProcess(t *testing.T) {
	need(t, smoke, goSDK)
	s := startServer(t)
	t.Run("tiny", func(t *testing.T) { wantAll(t, 1, runGo(t, s, Process, "tiny")) })
	// A bundle whose worker dies, and one that fails once, have had no effect.
	for _, name := range []string{"workerkill", "flaky"} {
		t.Run(name, func(t *testing.T) {
			marker := filepath.Join(t.TempDir(), "marker")
			wantAll(t, 1, runGo(t, s, Process, name, "--marker="+marker))
			if _, err := os.Stat(marker); err != nil {
				t.Errorf("the accident did not happen: %v", err)
			}
		})
	}
}

// TestErrors checks what of a user's error reaches the user.
func TestErrors(t *testing.T) {
	need(t, smoke, goSDK)
	s := startServer(t)
	tests := []struct {
		name string
		want []string
	}{
		{"usererror", []string{"three is not welcome (error 4711)", "Outer/Inner/main.failAtThree"}},
		{"userpanic", []string{"three makes me panic (error 4712)", "Outer/main.panicAtThree"}},
		{"badcoder", []string{"cannot unseal", "error 4713"}},
		{"fails-setup", []string{"it is enough, ü🦆, at setup (error 4715)", "Outer/main.failsAt"}},
		{"fails-start", []string{"it is enough, ü🦆, at start (error 4715)", "Outer/main.failsAt"}},
		{"fails-process", []string{"it is enough, ü🦆, at process (error 4715)", "Outer/main.failsAt"}},
		{"fails-finish", []string{"it is enough, ü🦆, at finish (error 4715)", "Outer/main.failsAt"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { wantError(t, runGo(t, s, Loopback, test.name), test.want) })
	}
	t.Run("the server goes on", func(t *testing.T) { wantAll(t, 1, runGo(t, s, Loopback, "tiny")) })
}

func wantError(t *testing.T, reports []report, want []string) {
	t.Helper()
	if len(reports) != 1 {
		t.Fatalf("%d jobs reported, want 1", len(reports))
	}
	for _, text := range want {
		if !strings.Contains(reports[0].Error, text) {
			t.Errorf("the client's error lacks %q:\n%s", text, reports[0].Error)
		}
	}
}

func TestPythonErrors(t *testing.T) {
	need(t, smoke, python)
	s := startServer(t)
	wantError(t, runPython(t, "usererror", portable(s)...),
		[]string{"Unwelcome: three is not welcome (error 4711)", "programs.py", "fail_at_three", "Outer/Inner"})
}

func TestPythonPrograms(t *testing.T) {
	need(t, smoke, python)
	s := startServer(t)
	for _, name := range []string{"tiny", "empty_keys", "hot_key", "side_inputs", "sessions"} {
		t.Run(name, func(t *testing.T) { wantAll(t, 1, runPython(t, name, portable(s)...)) })
	}
}

// TestManyJobs submits 20 jobs of both SDKs at once.
func TestManyJobs(t *testing.T) {
	need(t, smoke, goSDK, python)
	s := startServer(t)
	t.Run("jobs", func(t *testing.T) {
		t.Run("go", func(t *testing.T) {
			t.Parallel()
			wantAll(t, 14, runGo(t, s, Loopback, "cogbk", "--repeat=14", "--parallel=14"))
		})
		t.Run("python", func(t *testing.T) {
			t.Parallel()
			wantAll(t, 6, runPython(t, "side_inputs", append(portable(s), "--jobs=6")...))
		})
	})
}

// TestGoMetrics checks that metrics of all kinds arrive, attempted and committed.
func TestGoMetrics(t *testing.T) {
	need(t, smoke, goSDK)
	s := startServer(t)
	reports := runGo(t, s, Loopback, "metrics")
	wantAll(t, 1, reports)
	r := reports[0]
	distribution := map[string]any{"Count": 10.0, "Sum": 45.0, "Min": 0.0, "Max": 9.0}
	for name, got := range map[string]struct {
		got  metric
		want any
	}{
		"count": {r.Counters["count"], 10.0},
		"sizes": {r.Distributions["sizes"], distribution},
		"last":  {r.Gauges["last"], 77.0},
	} {
		want := fmt.Sprint(got.want)
		if fmt.Sprint(got.got.Attempted) != want || fmt.Sprint(got.got.Committed) != want {
			t.Errorf("%s: attempted %v, committed %v, want %s", name, got.got.Attempted, got.got.Committed, want)
		}
	}
}

func TestPythonMetrics(t *testing.T) {
	need(t, smoke, python)
	s := startServer(t)
	reports := runPython(t, "metrics", portable(s)...)
	wantAll(t, 1, reports)
	for kind, want := range map[string]string{
		"counters":      `"count": 10`,
		"distributions": `"sizes": [10,45,0,9]`,
		"gauges":        `"last": 77`,
		"string_sets":   `"names": ["even","odd"]`,
		"bounded_tries": `"tries": [["path","even"],["path","odd"]]`,
	} {
		name, value, _ := strings.Cut(want, ": ")
		var metrics map[string]struct {
			Step                 string
			Attempted, Committed json.RawMessage
		}
		if err := json.Unmarshal(reports[0].Metrics[kind], &metrics); err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		m := metrics[strings.Trim(name, `"`)]
		for _, got := range []json.RawMessage{m.Attempted, m.Committed} {
			if text := strings.ReplaceAll(string(got), " ", ""); text != value {
				t.Errorf("%s of step %q is %s, want %s", name, m.Step, text, value)
			}
		}
	}
}

// TestPythonWordCount runs the word count that comes with Beam's Python SDK, on
// both ways that a Python user has.
func TestPythonWordCount(t *testing.T) {
	need(t, smoke, python)
	ways := map[string]func(t *testing.T) []string{
		"portable": func(t *testing.T) []string {
			t.Helper()
			return portable(startServer(t))
		},
		// The client starts the binary itself, in the place of Prism.
		"drop-in": func(t *testing.T) []string {
			t.Helper()
			return []string{"--runner=PrismRunner", "--prism_location=" + must(t, gorunner)}
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			input := filepath.Join(dir, "in.txt")
			if err := os.WriteFile(input, []byte("to be or not to be\nthat is the question\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			args := []string{"-m", "apache_beam.examples.wordcount", "--input=" + input, "--output=" + filepath.Join(dir, "out")}
			runProgram(t, mustPython(t), append(args, way(t)...)...)
			var got []string
			files, _ := filepath.Glob(filepath.Join(dir, "out*"))
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, strings.Split(strings.TrimSpace(string(text)), "\n")...)
			}
			slices.Sort(got)
			want := []string{"be: 2", "is: 1", "not: 1", "or: 1", "question: 1", "that: 1", "the: 1", "to: 2"}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// TestDropInStops checks that a server that was started in the place of Prism
// ends as its clients expect: at once, on an interrupt.
func TestDropInStops(t *testing.T) {
	need(t, smoke, python)
	addr, err := subprocess.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	port, err := subprocess.Port(addr)
	if err != nil {
		t.Fatal(err)
	}
	p, err := subprocess.Start(t.Context(), subprocess.Spec{
		Path: must(t, gorunner), Args: []string{"--job_port", strconv.Itoa(port), "--log_kind", "json", "--serve_http=false"},
		Addr: addr, Log: outFile(t, "server.log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	if err := syscall.Kill(p.PID(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(time.Second):
		t.Error("still there a second after an interrupt")
	}
}
