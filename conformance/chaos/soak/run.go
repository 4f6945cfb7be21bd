//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gorunner/gorunner/conformance/chaos"
	"github.com/gorunner/gorunner/conformance/chaos/jobproxy"
	"github.com/gorunner/gorunner/internal/subprocess"
)

// pollInterval is how often progress is asked for.
const pollInterval = 5 * time.Millisecond

// mark is the variable that all processes of a run have in their environment.
const mark = "GORUNNER_CHAOS"

// outcome is what a run has led to.
type outcome struct {
	// lines are what it has written, sorted; progress is what it took.
	lines    []string
	progress int64
}

// report is what is told of a run.
type report struct {
	workload string
	seed     uint64
	kills    []chaos.Kill
	took     time.Duration
	err      error
}

// reference is the run without kills.
func (t *tools) reference(ctx context.Context, s *settings, w *workload) (*outcome, error) {
	r := &run{tools: t, workload: w, timeout: s.timeout, dir: filepath.Join(t.out, "reference-"+w.name)}
	out, err := r.run(ctx)
	if err == nil && len(out.lines) < 2 {
		err = fmt.Errorf("it has written nothing: see %s", r.dir)
	}
	if err != nil {
		return nil, err
	}
	return out, os.RemoveAll(r.dir)
}

// kill runs a workload with kills.
func (t *tools) kill(ctx context.Context, s *settings, w *workload, seed uint64, want *outcome) *report {
	dice := rand.New(rand.NewPCG(seed, 17))
	r := &run{tools: t, workload: w, timeout: s.timeout, dir: filepath.Join(t.out, fmt.Sprint("seed-", seed))}
	r.plan = chaos.Draw(dice, w.victims(s.victims), 1+dice.IntN(s.kills), want.progress)
	begin := time.Now()
	got, err := r.run(ctx)
	rep := &report{workload: w.name, seed: seed, kills: r.done, took: time.Since(begin)}
	if err == nil {
		err = compare(want.lines, got.lines)
	}
	switch {
	case err != nil:
		rep.err = fmt.Errorf("%w\nsee %s; again with -seed=%d -runs=1 and the same -filter, -kills and -victims", err, r.dir, seed)
	case !s.keep:
		rep.err = os.RemoveAll(r.dir)
	}
	return rep
}

// run is a run: a runner, a proxy, a client, and perhaps a pool of workers.
type run struct {
	*tools
	*workload
	dir     string
	timeout time.Duration
	// plan are the kills to come, done those that have happened.
	plan, done []chaos.Kill

	runner *chaos.Runner
	proxy  *jobproxy.Proxy
	client *exec.Cmd
	// pool is nil unless workers are in one; poolAt is its address.
	pool   *subprocess.Process
	poolAt string
	// seen is the progress that was seen last, moved what was seen in all lives.
	seen, moved int64
}

func (r *run) run(ctx context.Context) (out *outcome, err error) {
	results := filepath.Join(r.dir, "results")
	if err := errors.Join(os.RemoveAll(r.dir), os.MkdirAll(results, 0o755)); err != nil {
		return nil, err
	}
	r.runner, err = chaos.Start(ctx, chaos.Spec{
		Binary: r.gorunner, Dir: r.dir, Env: []string{mark + "=" + r.dir}, Args: []string{"--worker-timeout=2m"},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.runner.Stop(), r.orphans(ctx)) }()
	if r.workers == inPool {
		if err := r.startPool(ctx); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, r.pool.Stop()) }()
	}
	address, err := r.startProxy()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.proxy.Stop()) }()
	printed, err := r.work(ctx, r.command(r.tools, address, results, r.poolAt))
	if err != nil {
		return nil, err
	}
	lines, err := outputOf(results)
	lines = append(lines, printed...)
	slices.Sort(lines)
	return &outcome{lines: lines, progress: r.moved}, err
}

func (r *run) startProxy() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	address := l.Addr().String()
	if r.proxy, err = jobproxy.New(jobproxy.Options{Runner: r.runner.Address, Address: address}); err != nil {
		return "", errors.Join(err, l.Close())
	}
	go func() { _ = r.proxy.Serve(l) }() // it ends with Stop
	return address, nil
}

func (r *run) startPool(ctx context.Context) error {
	address, err := subprocess.FreeAddr()
	if err != nil {
		return err
	}
	port, err := subprocess.Port(address)
	if err != nil {
		return err
	}
	r.pool, err = subprocess.Start(ctx, subprocess.Spec{
		Path: r.python, Args: []string{"-m", "apache_beam.runners.worker.worker_pool_main", fmt.Sprint("--service_port=", port)},
		Addr: address, Log: filepath.Join(r.dir, "pool.log"), Env: r.environment(), ReadyTimeout: 2 * time.Minute,
	})
	if err == nil {
		r.poolAt = address
	}
	return err
}

// environment is added to that of clients and pools.
func (r *run) environment() []string {
	return []string{
		mark + "=" + r.dir, "PYTHONDONTWRITEBYTECODE=1", "PYTHONFAULTHANDLER=1",
		// Beam's SDK starts workers with whatever is called python.
		"PATH=" + filepath.Dir(r.python) + string(os.PathListSeparator) + os.Getenv("PATH"),
	}
}

// work runs the client, and kills, until the client ends. It returns what the
// client has printed.
func (r *run) work(ctx context.Context, command []string) ([]string, error) {
	log, err := os.Create(filepath.Join(r.dir, "client.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // what is missing is only for readers
	var printed bytes.Buffer
	r.client = exec.CommandContext(ctx, command[0], command[1:]...)
	r.client.Dir, r.client.Stdout, r.client.Stderr = r.dir, io.MultiWriter(&printed, log), log
	r.client.Env = append(os.Environ(), r.environment()...)
	r.client.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.client.Cancel = func() error { return syscall.Kill(-r.client.Process.Pid, syscall.SIGKILL) }
	r.client.WaitDelay = 10 * time.Second
	if err := r.client.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- r.client.Wait() }()
	tick, late := time.NewTicker(pollInterval), time.NewTimer(r.timeout)
	defer tick.Stop()
	defer late.Stop()
	for {
		select {
		case <-late.C:
			// That says what the client is doing, too.
			err := errors.Join(r.runner.Dump(ctx), syscall.Kill(r.client.Process.Pid, syscall.SIGABRT))
			return nil, errors.Join(fmt.Errorf("it has not ended in time: see %s", r.dir), err, <-ended)
		case err := <-ended:
			if err != nil {
				return nil, errors.Join(fmt.Errorf("client: %w: see %s", err, log.Name()), r.runner.Alive())
			}
			r.look(ctx)
			return strings.Split(strings.TrimSpace(printed.String()), "\n"), nil
		case <-tick.C:
			if err := r.progress(ctx); err != nil {
				return nil, errors.Join(err, r.client.Cancel(), <-ended)
			}
		}
	}
}

// look notes how far the jobs are.
func (r *run) look(ctx context.Context) {
	at, err := r.runner.Progress(ctx)
	if err != nil {
		return // it has just come up
	}
	// A runner that has come back begins where its commits have ended.
	r.moved += max(0, at-r.seen)
	r.seen = at
}

// progress does the kills whose time has come.
func (r *run) progress(ctx context.Context) error {
	if err := r.runner.Alive(); err != nil {
		return err
	}
	r.look(ctx)
	for len(r.plan) > 0 && r.plan[0].At <= r.moved && r.moved > 0 {
		k := r.plan[0]
		r.plan = r.plan[1:]
		if err := r.do(ctx, k); err != nil {
			return fmt.Errorf("kill %v: %w", k, err)
		}
	}
	return nil
}

// do kills.
func (r *run) do(ctx context.Context, k chaos.Kill) error {
	switch k.Victim {
	case chaos.AWorker:
		workers := r.workerProcesses()
		if len(workers) == 0 {
			return nil // they are just coming up
		}
		r.done = append(r.done, k)
		return chaos.KillProcess(workers[k.Die%uint64(len(workers))])
	case chaos.TheRunner:
		return r.killRunner(ctx, k, nil)
	case chaos.Everybody:
		return r.killRunner(ctx, k, r.workerProcesses())
	case chaos.Relapse:
		if err := r.killRunner(ctx, k, nil); err != nil {
			return err
		}
		pause := time.NewTimer(k.Pause())
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		return r.killRunner(ctx, k, nil)
	}
	return fmt.Errorf("victim %v", k.Victim)
}

// killRunner kills the runner, and processes with it, and starts it again.
func (r *run) killRunner(ctx context.Context, k chaos.Kill, others []int) error {
	holding, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	defer r.proxy.Hold(holding)()
	r.done = append(r.done, k)
	var wg sync.WaitGroup
	errs := make([]error, len(others)+1)
	wg.Go(func() { errs[len(others)] = r.runner.Kill() })
	for i, pid := range others {
		wg.Go(func() { errs[i] = chaos.KillProcess(pid) })
	}
	wg.Wait()
	return errors.Join(errors.Join(errs...), r.runner.Restart(ctx))
}

// workerProcesses are the processes in which workers are.
func (r *run) workerProcesses() []int {
	switch r.workers {
	case inClient:
	case byRunner:
		return chaos.Descendants(r.runner.PID())
	case byClient:
		return chaos.Descendants(r.client.Process.Pid)
	case inPool:
		return chaos.Descendants(r.pool.PID())
	}
	return nil
}

// orphans ends the processes that are left when all that could have use for them
// have ended, and says which they are.
func (r *run) orphans(ctx context.Context) error {
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		left := chaos.Marked(mark, r.dir)
		if len(left) == 0 {
			return nil
		}
		select {
		case <-tick.C:
			continue
		case <-deadline.C:
		case <-ctx.Done():
		}
		errs := []error{fmt.Errorf("processes %v are left", left)}
		for _, pid := range left {
			errs = append(errs, chaos.KillProcess(pid))
		}
		return errors.Join(errs...)
	}
}
