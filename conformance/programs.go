package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Command is a program that runs tests and says how they ended.
type Command struct {
	Path string
	Args []string
	Env  []string
	Dir  string
	// Log takes its output.
	Log io.Writer
}

// run runs the command to its end and returns its exit code and its output.
func (c Command) run(ctx context.Context) (int, []byte, error) {
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(), c.Env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, c.Log), c.Log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if ctx.Err() != nil {
		return 0, nil, fmt.Errorf("run %s: %w", c.Path, ctx.Err())
	}
	if err != nil && !errors.As(err, &exit) {
		return 0, nil, fmt.Errorf("run %s: %w", c.Path, err)
	}
	return cmd.ProcessState.ExitCode(), out.Bytes(), nil
}

// programLine is what our programs in Java and TypeScript print: how it ended,
// the name, seconds, and why it failed.
var programLine = regexp.MustCompile(`(?m)^(ok|fail) +(\S+?)(?: ([\d.]+)s)?(?:: (.*))?$`)

// RunPrograms runs a command that prints a line for each program.
func RunPrograms(ctx context.Context, c Command) ([]Outcome, error) {
	code, out, err := c.run(ctx)
	if err != nil {
		return nil, err
	}
	var outcomes []Outcome
	for _, m := range programLine.FindAllStringSubmatch(string(out), -1) {
		o := Outcome{Name: m[2], Reason: oneLine(m[4]), Took: seconds(m[3])}
		if m[1] == "fail" {
			o.Verdict = Fail
		}
		outcomes = append(outcomes, o)
	}
	if len(outcomes) == 0 {
		return nil, fmt.Errorf("run %s: exit code %d and no program, see its log", c.Path, code)
	}
	sortOutcomes(outcomes)
	return outcomes, nil
}

func seconds(text string) time.Duration {
	s, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return time.Duration(s * float64(time.Second))
}

// RunValidate runs the Java program Validate, which appends to the file, until
// no test is left. Tests whose name begins with one of notApplicable do not
// apply, unless they pass.
func RunValidate(ctx context.Context, c Command, file string, notApplicable map[string]string) ([]Outcome, error) {
	for begun := 0; ; {
		code, _, err := c.run(ctx)
		if err != nil {
			return nil, err
		}
		outcomes, ids, err := readOutcomes(file)
		switch {
		case err != nil:
			return nil, err
		case code == 0:
			return withoutNotApplicable(outcomes, notApplicable), nil
		case len(ids) == begun:
			return nil, fmt.Errorf("run %s: exit code %d before any test, see its log", c.Path, code)
		}
		begun = len(ids)
	}
}

func withoutNotApplicable(outcomes []Outcome, reasons map[string]string) []Outcome {
	for i, o := range outcomes {
		for prefix, reason := range reasons {
			if o.Verdict != Pass && strings.HasPrefix(o.Name, prefix) {
				outcomes[i].Verdict, outcomes[i].Reason = NotApplicable, reason
			}
		}
	}
	return outcomes
}

// mochaReport is the report of the test framework mocha as JSON.
type mochaReport struct {
	Tests []struct {
		FullTitle string  `json:"fullTitle"`
		Duration  float64 `json:"duration"` // milliseconds
		Err       struct {
			Message string `json:"message"`
		} `json:"err"`
	} `json:"tests"`
	Pending []struct {
		FullTitle string `json:"fullTitle"`
	} `json:"pending"`
}

// portableTests begin the names of tests that run pipelines in a job service.
var portableTests = regexp.MustCompile(`^primitives module portable runner |@ulr `)

// RunMocha runs mocha, which writes a report of its tests to the file.
func RunMocha(ctx context.Context, c Command, file string, notApplicable map[string]string) ([]Outcome, error) {
	if _, _, err := c.run(ctx); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the report of mocha, see its log: %w", err)
	}
	var report mochaReport
	if err := json.Unmarshal(text, &report); err != nil {
		return nil, fmt.Errorf("report of mocha: %w", err)
	}
	pending := map[string]bool{}
	for _, p := range report.Pending {
		pending[p.FullTitle] = true
	}
	var outcomes []Outcome
	for _, t := range report.Tests {
		o := Outcome{
			Name:   strings.Join(strings.Fields(portableTests.ReplaceAllString(t.FullTitle, "")), "_"),
			Reason: oneLine(t.Err.Message), Took: time.Duration(t.Duration * float64(time.Millisecond)),
		}
		switch {
		case pending[t.FullTitle]:
			o.Verdict, o.Reason = NotApplicable, "skipped by Beam"
		case t.Err.Message != "":
			o.Verdict = Fail
		}
		outcomes = append(outcomes, o)
	}
	outcomes = withoutNotApplicable(outcomes, notApplicable)
	sortOutcomes(outcomes)
	return outcomes, nil
}
