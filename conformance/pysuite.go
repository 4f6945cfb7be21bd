package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// PySuite is a run of pytest over tests of Beam's Python SDK.
type PySuite struct {
	Python string
	// Dir is the folder of the plugin; it is the working directory.
	Dir string
	// Options are pipeline options, without blanks; Tests select the tests.
	Options, Tests []string
	// NotApplicable are tests that are not run, each with its reason.
	NotApplicable map[string]string
	// Timeout limits each test.
	Timeout time.Duration
	// Temp is a folder for files of the run.
	Temp string
	// Log takes the output of pytest.
	Log io.Writer
}

// pyRecord is what the plugin writes for a test.
type pyRecord struct {
	ID      string  `json:"id"`
	Name    string  `json:"name"`
	Outcome string  `json:"outcome"`
	Reason  string  `json:"reason"`
	Seconds float64 `json:"seconds"`
}

// The exit codes of pytest that mean that it ran to its end.
const (
	pytestAllPassed  = 0
	pytestSomeFailed = 1
	pytestNoTests    = 5
)

// Run runs the tests. A test that takes the process down has failed; those
// after it run in a new process.
func (s PySuite) Run(ctx context.Context) ([]Outcome, error) {
	file := filepath.Join(s.Temp, "outcomes.jsonl")
	var done []string // ids of tests that need not run again
	for {
		code, err := s.runSome(ctx, file, done)
		if err != nil {
			return nil, err
		}
		outcomes, ids, err := readOutcomes(file)
		switch {
		case err != nil:
			return nil, err
		case code == pytestAllPassed, code == pytestSomeFailed, code == pytestNoTests && len(ids) > 0:
			return outcomes, nil
		case len(ids) == len(done):
			return nil, fmt.Errorf("run pytest: exit code %d before any test, see its log", code)
		}
		done = ids
	}
}

func (s PySuite) runSome(ctx context.Context, file string, done []string) (int, error) {
	args := []string{
		"-m", "pytest", "-q", "--noconftest", "-p", "beam_pytest_plugin", "-p", "no:cacheprovider",
		"--outcomes=" + file, fmt.Sprintf("--timeout=%d", int(s.Timeout.Seconds())),
		"--test-pipeline-options=" + strings.Join(s.Options, " "),
	}
	for name, reason := range s.NotApplicable {
		args = append(args, "--not-applicable="+name+"="+reason)
	}
	for _, id := range done {
		args = append(args, "--deselect="+id)
	}
	cmd := exec.CommandContext(ctx, s.Python, append(args, s.Tests...)...)
	cmd.Dir = s.Dir
	// The SDK starts further workers with whatever "python" is.
	path := filepath.Dir(s.Python) + string(filepath.ListSeparator) + os.Getenv("PATH")
	cmd.Env = append(os.Environ(), "PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=1", "PATH="+path)
	cmd.Stdout, cmd.Stderr = s.Log, s.Log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// Workers that pytest has started hold its output: they must go too.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, fmt.Errorf("run pytest: %w", ctx.Err())
	case errors.As(err, &exit):
		return exit.ExitCode(), nil
	case err != nil:
		return 0, fmt.Errorf("run pytest: %w", err)
	}
	return 0, nil
}

// readOutcomes reads what the plugin has written: the outcomes, sorted by name,
// and the ids of all tests that were begun.
func readOutcomes(file string) ([]Outcome, []string, error) {
	text, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return nil, nil, fmt.Errorf("read outcomes: %w", err)
	}
	byID := map[string]*Outcome{}
	var ids []string
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var r pyRecord
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, nil, fmt.Errorf("outcomes of pytest, line %d: %w", n, err)
		}
		if byID[r.ID] == nil {
			byID[r.ID] = &Outcome{}
			ids = append(ids, r.ID)
		}
		if *byID[r.ID], err = r.outcome(); err != nil {
			return nil, nil, fmt.Errorf("outcomes of pytest, line %d: %w", n, err)
		}
	}
	var outcomes []Outcome
	for _, id := range ids {
		outcomes = append(outcomes, *byID[id])
	}
	sortOutcomes(outcomes)
	return outcomes, ids, lines.Err()
}

func (r pyRecord) outcome() (Outcome, error) {
	o := Outcome{Name: r.Name, Reason: oneLine(r.Reason), Took: time.Duration(r.Seconds * float64(time.Second))}
	switch r.Outcome {
	case "start": // stands until the test's end is known
		o.Verdict, o.Reason = Fail, "took the process down"
	case "pass":
		o.Verdict = Pass
	case "fail":
		o.Verdict = Fail
	case "skip":
		o.Verdict = NotApplicable
	default:
		return o, fmt.Errorf("%s ended as %q", r.Name, r.Outcome)
	}
	return o, nil
}
