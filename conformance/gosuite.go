package conformance

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// GoSuite is a test binary of Beam's Go SDK.
type GoSuite struct {
	Binary string
	// Args are the flags that point the tests at an endpoint.
	Args []string
	// Dir is the folder to run in.
	Dir string
	// NotApplicable are tests that are not run, each with its reason.
	NotApplicable map[string]string
	// Beside are functions that run while a test runs; their context ends with
	// the test.
	Beside map[string]func(context.Context)
	// Idle is how long nothing may happen before the running test counts as
	// hanging.
	Idle time.Duration
	// Log takes the output of the tests.
	Log io.Writer
}

// Run runs all top-level tests of the suite. A test that hangs, or that takes
// the process down, has failed; the tests after it run in a new process.
func (s GoSuite) Run(ctx context.Context) ([]Outcome, error) {
	left, err := s.list(ctx)
	if err != nil {
		return nil, err
	}
	var outcomes []Outcome
	for name, reason := range s.NotApplicable {
		outcomes = append(outcomes, Outcome{Name: name, Verdict: NotApplicable, Reason: reason})
	}
	left = slices.DeleteFunc(left, func(name string) bool { return s.NotApplicable[name] != "" })
	for len(left) > 0 {
		done, err := s.runSome(ctx, left)
		if err != nil {
			return nil, err
		}
		outcomes = append(outcomes, done...)
		left = slices.DeleteFunc(left, func(name string) bool {
			return slices.ContainsFunc(done, func(o Outcome) bool { return o.Name == name })
		})
	}
	sortOutcomes(outcomes)
	return outcomes, nil
}

func (s GoSuite) list(ctx context.Context) ([]string, error) {
	cmd := exec.CommandContext(ctx, s.Binary, "-test.list="+goTestName.String())
	cmd.Dir = s.Dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list tests of %s: %w", s.Binary, err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if name := strings.TrimSpace(line); goTestName.MatchString(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

var errNoTest = errors.New("the binary ended without running a test")

// runSome runs the named tests in one process until it ends, by itself or
// because a test hangs. It returns at least one outcome or an error.
func (s GoSuite) runSome(ctx context.Context, names []string) ([]Outcome, error) {
	args := append([]string{"-test.v=test2json", "-test.run=^(" + strings.Join(names, "|") + ")$"}, s.Args...)
	cmd := exec.Command(s.Binary, args...)
	cmd.Dir = s.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer out.Close() //nolint:errcheck // it was only read
	cmd.Stdout, cmd.Stderr = w, w
	if err := errors.Join(cmd.Start(), w.Close()); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Binary, err)
	}
	kill := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	defer kill() // workers may outlive the tests
	stopKill := context.AfterFunc(ctx, kill)
	defer stopKill()
	hung := time.AfterFunc(s.Idle, kill)
	var p goTestParser
	var beside companion
	defer beside.end()
	lines := bufio.NewReader(io.TeeReader(out, unmarked{s.Log}))
	for {
		line, readErr := lines.ReadString('\n')
		if p.line(line) {
			hung.Reset(s.Idle)
			beside.attend(ctx, p.running, s.Beside)
		}
		if readErr != nil {
			break
		}
	}
	end := "the process died"
	if !hung.Stop() {
		end = fmt.Sprintf("did not end within %v", s.Idle)
	}
	exit := cmd.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("run %s: %w", s.Binary, ctx.Err())
	}
	p.finish(end)
	if len(p.outcomes) == 0 {
		return nil, fmt.Errorf("run %s: %w %s", s.Binary, errors.Join(errNoTest, exit), p.reason)
	}
	return p.outcomes, nil
}

// companion runs what goes on beside a test.
type companion struct {
	test string
	stop context.CancelFunc
	gone chan struct{}
}

// attend is told which test runs now; none may.
func (c *companion) attend(ctx context.Context, test string, beside map[string]func(context.Context)) {
	if test == c.test {
		return
	}
	c.end()
	f := beside[test]
	if f == nil {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	gone := make(chan struct{})
	c.test, c.stop, c.gone = test, stop, gone
	go func() {
		defer close(gone)
		f(ctx)
	}()
}

func (c *companion) end() {
	if c.stop != nil {
		c.stop()
		<-c.gone
	}
	*c = companion{}
}

// goTestParser reads the verbose output of a test binary.
type goTestParser struct {
	outcomes []Outcome
	running  string // the top-level test that runs
	reason   string // the first complaint since it began
}

// runLine and endLine match what the testing package prints; with -test.v=test2json
// a control character marks such lines, so that output of tests is not mistaken.
// complaint matches what a test logs, or the first line of a panic.
var (
	goTestName = regexp.MustCompile(`^(Test|Example)`)
	runLine    = regexp.MustCompile(`\x16=== RUN +(\S+)`)
	endLine    = regexp.MustCompile(`\x16\s*--- (PASS|FAIL|SKIP): (\S+) \(([\d.]+)s\)`)
	complaint  = regexp.MustCompile(`^\s+\S+\.go:\d+: (.*)|^(panic: .*|fatal error: .*)`)
)

// line takes the next line of output and reports whether a test began or ended.
func (p *goTestParser) line(line string) bool {
	if m := runLine.FindStringSubmatch(line); m != nil {
		if !strings.Contains(m[1], "/") {
			p.running, p.reason = m[1], ""
		}
		return true
	}
	if m := endLine.FindStringSubmatch(line); m != nil {
		if m[2] == p.running {
			p.end(m[1], m[3])
		}
		return true
	}
	p.addReason(line)
	return false
}

// addReason looks for the words that say most: those of the server behind a
// gRPC error, otherwise the first complaint. One that ends in a colon goes on in
// the next line.
func (p *goTestParser) addReason(line string) {
	if _, desc, ok := strings.Cut(line, "desc = "); ok && !strings.HasPrefix(p.reason, serverSays) {
		p.reason = oneLine(serverSays + desc)
		return
	}
	if strings.HasSuffix(p.reason, ":") {
		p.reason = oneLine(p.reason + " " + line)
		return
	}
	if m := complaint.FindStringSubmatch(line); m != nil && p.reason == "" {
		p.reason = oneLine(m[1] + m[2])
	}
}

// serverSays begins a reason that quotes the server.
const serverSays = "server: "

func (p *goTestParser) end(word, seconds string) {
	o := Outcome{Name: p.running, Reason: p.reason}
	if s, err := strconv.ParseFloat(seconds, 64); err == nil {
		o.Took = time.Duration(s * float64(time.Second))
	}
	switch word {
	case "PASS":
		o.Verdict, o.Reason = Pass, ""
	case "FAIL":
		o.Verdict = Fail
	case "SKIP":
		o.Verdict = NotApplicable
	}
	p.outcomes = append(p.outcomes, o)
	p.running, p.reason = "", ""
}

// finish is told why there is no more output: a test that still runs has failed.
func (p *goTestParser) finish(end string) {
	if p.running != "" {
		p.outcomes = append(p.outcomes, Outcome{Name: p.running, Verdict: Fail, Reason: oneLine(end + " " + p.reason)})
		p.running = ""
	}
}

// unmarked passes the output of tests on without the marks by which Go's tools
// would take them for tests of ours.
type unmarked struct{ w io.Writer }

func (u unmarked) Write(b []byte) (int, error) {
	if _, err := u.w.Write(bytes.ReplaceAll(b, []byte{0x16}, nil)); err != nil {
		return 0, err
	}
	return len(b), nil
}
