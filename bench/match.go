package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gorunner/gorunner/internal/subprocess"
)

// run is one measurement.
type run struct {
	// seconds is what the client saw, executed the part of it in which bundles
	// were executed, 0 if that is not known.
	seconds, executed float64
	runner, worker    time.Duration // CPU time
	runnerPeak        int64         // bytes
	// ceiling is what the ceiling has reported, if it is that.
	ceiling ceilingReport
	err     error
	// skipped says that the contender is too slow to be run again.
	skipped bool
}

// ceilingReport is the report of the command ceiling, as far as it is of use here.
type ceilingReport struct {
	Seconds           float64 `json:"seconds"`
	WorkerCPU         float64 `json:"worker_cpu_seconds"`
	CPU               float64 `json:"cpu_seconds"`
	Recorded          float64 `json:"recorded_seconds"`
	RecordedWorkerCPU float64 `json:"recorded_worker_cpu_seconds"`
	RecordedCPU       float64 `json:"recorded_cpu_seconds"`
	Kind              string  `json:"kind"`
}

// match is the comparison of the contenders on a workload.
type match struct {
	build    binaries
	settings settings
	workload workload
	runs     map[string][]run // by contender, in the order of the rounds
}

func (m *match) run(ctx context.Context) error {
	m.runs = map[string][]run{}
	client, err := m.workload.client(m.build, m.settings)
	if err != nil {
		return err
	}
	for round := range m.settings.pairs {
		for _, c := range m.contenders() {
			r := run{skipped: true}
			if round == 0 || !slices.ContainsFunc(m.runs[c.name], func(r run) bool { return r.skipped || r.err != nil || r.seconds > c.slow }) {
				r = m.once(ctx, c, client)
				fmt.Fprintf(os.Stderr, "%s, round %d, %s: %.2f s %v\n", m.workload.name, round+1, c.name, r.seconds, orNothing(r.err))
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			m.runs[c.name] = append(m.runs[c.name], r)
		}
	}
	return nil
}

func orNothing(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// once runs the workload on a fresh server of the contender.
func (m *match) once(ctx context.Context, c contender, client []string) (r run) {
	limit := m.settings.timeout
	if strings.HasPrefix(c.name, prism) {
		limit = m.settings.peerTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w %v", errTooLong, limit))
	defer cancel()
	if c.name == ceiling {
		return m.ceiling(ctx, c, client)
	}
	if c.bin == "" {
		return m.measure(ctx, c, client, "")
	}
	addr, err1 := subprocess.FreeAddr()
	web, err2 := subprocess.FreeAddr()
	if err := errors.Join(err1, err2); err != nil {
		return run{err: err}
	}
	args, err := c.args(addr, web)
	if err != nil {
		return run{err: err}
	}
	server, err := subprocess.Start(ctx, subprocess.Spec{
		Path: c.bin, Args: args, Env: c.env, Addr: addr, Dir: m.build.cache, Log: filepath.Join(m.build.cache, "server.log"),
	})
	if err != nil {
		return run{err: err}
	}
	defer func() { r.err = errors.Join(r.err, server.Stop()) }()
	r = m.measure(ctx, c, client, addr)
	usage, err := server.Usage()
	r.runner, r.runnerPeak = usage.CPU, usage.PeakRSS
	if c.executes && r.err == nil && err == nil {
		r.executed, err = executed(ctx, web)
	}
	r.err = errors.Join(r.err, err)
	return r
}

var errTooLong = errors.New("took longer than")

// executed asks our server how long its jobs have executed bundles, the longest
// of them.
func executed(ctx context.Context, web string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+web+"/api/jobs", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var jobs []struct {
		Executed float64 `json:"executed_seconds"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&jobs); err != nil {
		return 0, fmt.Errorf("list of jobs: %w", err)
	}
	most := 0.0
	for _, j := range jobs {
		most = max(most, j.Executed)
	}
	return most, nil
}

// ceiling runs the workload on the command ceiling, which starts the client.
func (m *match) ceiling(ctx context.Context, c contender, client []string) run {
	args, err := c.args("", "")
	if err != nil {
		return run{err: err}
	}
	stdout, cpu, err := m.output(ctx, slices.Concat([]string{c.bin}, args, client, []string{"--endpoint="}))
	r := run{worker: cpu, err: err}
	if err == nil {
		err = json.Unmarshal(stdout, &r.ceiling)
	}
	r.err, r.seconds = err, r.ceiling.Seconds
	return r
}

// measure runs the clients of a contender, and tells of the slowest.
func (m *match) measure(ctx context.Context, c contender, client []string, addr string) run {
	client = slices.Clone(client)
	for _, arg := range c.client {
		client = append(client, strings.ReplaceAll(arg, "%s", addr))
	}
	runs := make([]run, c.jobs)
	var wg sync.WaitGroup
	for i := range runs {
		wg.Go(func() { runs[i] = m.measureOne(ctx, client) })
	}
	wg.Wait()
	slowest := slices.MaxFunc(runs, bySeconds)
	slowest.worker = 0
	for _, r := range runs {
		slowest.worker += r.worker
		slowest.err = errors.Join(slowest.err, r.err)
	}
	return slowest
}

// measureOne runs a client. How long the job took is what the client says,
// because its own start-up is not the runner's, unless it starts the runner.
func (m *match) measureOne(ctx context.Context, client []string) run {
	begin := time.Now()
	stdout, cpu, err := m.output(ctx, client)
	r := run{worker: cpu, err: err}
	if err != nil {
		return r
	}
	var report struct{ Seconds float64 }
	if err := json.Unmarshal(stdout, &report); err != nil {
		r.err = fmt.Errorf("report of client %q: %w", tail(stdout), err)
	}
	r.seconds = report.Seconds
	if m.workload.dropIn {
		r.seconds = time.Since(begin).Seconds()
	}
	return r
}

// output runs a command line and returns the last line of its output, and the
// CPU time that it and its children took.
func (m *match) output(ctx context.Context, args []string) ([]byte, time.Duration, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	// Beam's Python starts processes of workers as "python".
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(args[0])+string(os.PathListSeparator)+os.Getenv("PATH"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, 0, context.Cause(ctx)
	case err != nil:
		return nil, 0, fmt.Errorf("%s: %w: %s", filepath.Base(args[0]), err, tail(stderr.Bytes()))
	}
	line := bytes.TrimSpace(stdout.Bytes())
	return line[bytes.LastIndexByte(line, '\n')+1:], cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// tail returns the end of a text, which says most about a failure.
func tail(text []byte) []byte {
	const limit = 500
	text = bytes.TrimSpace(text)
	return text[max(0, len(text)-limit):]
}
