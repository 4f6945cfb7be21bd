package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gorunner/gorunner/internal/subprocess"
)

// contender is a runner in one of its settings.
type contender struct {
	name string
	bin  string
	args func(addr string) ([]string, error)
	env  []string
}

// ours is the name of the contender that the others are compared with.
const ours = "gorunner"

func (m *match) contenders() []contender {
	us := contender{name: ours, bin: m.build.gorunner, args: func(addr string) ([]string, error) {
		return []string{"serve", "--listen=" + addr, "--http=off", "--log-level=warn"}, nil
	}}
	prism := func(name string, env ...string) contender {
		return contender{name: name, bin: m.build.prism, env: env, args: func(addr string) ([]string, error) {
			port, err := subprocess.Port(addr)
			return []string{fmt.Sprintf("--job_port=%d", port), "--serve_http=false", "--log_level=error"}, err
		}}
	}
	if m.workload.alone || !m.settings.peers {
		return []contender{us}
	}
	// Its default, and the setting in which it is at its best.
	return []contender{prism("Prism"), prism("Prism, GOMAXPROCS=8", "GOMAXPROCS=8"), us}
}

// run is one measurement.
type run struct {
	seconds        float64
	runner, worker time.Duration // CPU time
	runnerPeak     int64         // bytes
	err            error
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
	client, err := m.client()
	if err != nil {
		return err
	}
	for round := range m.settings.pairs {
		for _, c := range m.contenders() {
			r := m.once(ctx, c, client)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			fmt.Fprintf(os.Stderr, "%s, round %d, %s: %.2f s %v\n", m.workload.name, round+1, c.name, r.seconds, orNothing(r.err))
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

// client returns the command line of the client; the endpoint is yet missing.
func (m *match) client() ([]string, error) {
	w := m.workload
	var text []string
	if w.textBytes > 0 {
		file, words, err := writeText(m.build.cache, w.textBytes)
		if err != nil {
			return nil, err
		}
		text = []string{"--input=" + file, fmt.Sprintf("--words=%d", words)}
	}
	if w.args != nil {
		client := append([]string{m.build.pipelines, "--environment_type=LOOPBACK"}, w.args...)
		return append(append(client, text...), "--endpoint="), nil
	}
	python := m.settings.python
	if !filepath.IsAbs(python) {
		python = filepath.Join(m.settings.root, python)
	}
	return []string{
		python, filepath.Join(m.settings.root, "bench", "pipelines", "wordcount.py"),
		"--runner=PrismRunner", text[0], "--output=" + filepath.Join(m.build.cache, "python-out"), "--job_endpoint=",
	}, nil
}

// once runs the workload on a fresh server of the contender.
func (m *match) once(ctx context.Context, c contender, client []string) (r run) {
	ctx, cancel := context.WithTimeout(ctx, m.settings.timeout)
	defer cancel()
	addr, err := subprocess.FreeAddr()
	if err != nil {
		return run{err: err}
	}
	args, err := c.args(addr)
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
	client = append([]string(nil), client...)
	client[len(client)-1] += addr
	r = m.measure(ctx, client)
	usage, err := server.Usage()
	r.runner, r.runnerPeak = usage.CPU, usage.PeakRSS
	r.err = errors.Join(r.err, err)
	return r
}

// measure runs the client. How long the job took is what the client says: its
// own start-up is not the runner's.
func (m *match) measure(ctx context.Context, client []string) run {
	cmd := exec.CommandContext(ctx, client[0], client[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if err != nil {
		return run{err: fmt.Errorf("client: %w: %s", errors.Join(err, ctx.Err()), tail(stderr.Bytes()))}
	}
	r := run{worker: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	var report struct {
		Seconds float64
		Error   string
	}
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		r.err = fmt.Errorf("report of client %q: %w", tail(stdout.Bytes()), err)
	} else if report.Error != "" {
		r.err = fmt.Errorf("job: %s", tail([]byte(report.Error)))
	}
	r.seconds = report.Seconds
	return r
}

// tail returns the end of a text, which says most about a failure.
func tail(text []byte) []byte {
	const limit = 500
	text = bytes.TrimSpace(text)
	return text[max(0, len(text)-limit):]
}
