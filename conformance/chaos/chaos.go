//go:build linux

// Package chaos runs a gorunner that is killed again and again, and started again,
// on the same directory and the same address.
//
// Its parts are a [Runner] in several lives, ways to find the processes that may be
// killed, and [Kill]s: whom, and when. When is told by the progress of jobs, as far
// as it can be, so that a seed gives about the same run on any machine.
//
// The command in soak runs whole pipelines so, and compares what they write; the
// suites of package conformance run so as well, see its documentation.
package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/gorunner/gorunner/internal/subprocess"
)

// Spec says what a runner is.
type Spec struct {
	Binary string
	// Args are arguments of "serve", beside the directory and the addresses.
	Args []string
	// Dir takes the data directory and the logs.
	Dir string
	// Env is added to the environment of this process.
	Env []string
}

// Runner is a gorunner in several lives. It is safe for concurrent use.
type Runner struct {
	spec Spec
	// Address is that of the Job API, HTTP of the pages.
	Address, HTTP string

	mu sync.Mutex
	// process is that of this life, nil in between; guarded by mu.
	process *subprocess.Process
	lives   int // guarded by mu
}

// Start starts a runner for the first time.
func Start(ctx context.Context, spec Spec) (*Runner, error) {
	r := &Runner{spec: spec}
	var err1, err2 error
	r.Address, err1 = fixedAddr()
	r.HTTP, err2 = fixedAddr()
	if err := errors.Join(err1, err2, os.MkdirAll(spec.Dir, 0o755)); err != nil {
		return nil, err
	}
	return r, r.Restart(ctx)
}

// fixedAddr returns an address that nobody listens on, and that the system gives to
// no connection: it must be free in the next life, too.
func fixedAddr() (string, error) {
	const lowest, highest, tries = 15_000, 30_000, 100
	var err error
	for range tries {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", lowest+rand.IntN(highest-lowest))); err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", fmt.Errorf("look for a free port: %w", err)
}

// Data is the data directory.
func (r *Runner) Data() string { return filepath.Join(r.spec.Dir, "data") }

// Restart starts the next life, and returns when it accepts connections.
func (r *Runner) Restart(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process != nil {
		return errors.New("start the runner: it is alive")
	}
	r.lives++
	var err error
	for range portTries {
		log := filepath.Join(r.spec.Dir, fmt.Sprintf("runner.%d.log", r.lives))
		if r.process, err = r.start(ctx, log); err == nil {
			return nil
		}
		// A child that was being made when its parent was killed has the parent's ports
		// until it becomes another program.
		if text, _ := os.ReadFile(log); !bytes.Contains(text, []byte("address already in use")) {
			break
		}
	}
	return fmt.Errorf("life %d of the runner: %w", r.lives, err)
}

// portTries is how often a runner is started whose ports are not free yet.
const portTries = 20

// start starts the process, and returns when it answers.
func (r *Runner) start(ctx context.Context, log string) (*subprocess.Process, error) {
	args := []string{"serve", "--listen=" + r.Address, "--http=" + r.HTTP, "--data-dir=" + r.Data(), "--log-kind=text"}
	p, err := subprocess.Start(ctx, subprocess.Spec{
		Path: r.spec.Binary, Args: append(args, r.spec.Args...), Env: r.spec.Env, Addr: r.Address, Log: log,
	})
	if err != nil {
		return nil, err
	}
	// That the port can be reached says little: it is opened first of all.
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	for {
		if _, err := r.get(ctx, "/healthz"); err == nil {
			return p, nil
		}
		select {
		case <-p.Done():
			return nil, fmt.Errorf("it has ended at once: see %s", log)
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), p.Stop())
		case <-tick.C:
		}
	}
}

// readyInterval is how often a runner that starts is asked whether it is there.
const readyInterval = 10 * time.Millisecond

// PID is the process of this life; 0 if there is none.
func (r *Runner) PID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return 0
	}
	return r.process.PID()
}

// Kill ends this life: at once, without a word, and only the process itself.
func (r *Runner) Kill() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.dead(); err != nil {
		return err
	}
	if err := syscall.Kill(r.process.PID(), syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill the runner: %w", err)
	}
	<-r.process.Done()
	r.process = nil
	return nil
}

// dead says why the runner is not alive. mu is held.
func (r *Runner) dead() error {
	if r.process == nil {
		return errors.New("the runner is not alive")
	}
	select {
	case <-r.process.Done():
		return fmt.Errorf("the runner has died by itself in its life %d: see the log in %s", r.lives, r.spec.Dir)
	default:
		return nil
	}
}

// Alive fails if the runner has ended by itself.
func (r *Runner) Alive() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dead()
}

// Stop ends the runner for good.
func (r *Runner) Stop() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return nil
	}
	p := r.process
	r.process = nil
	return p.Stop()
}

// Dump writes what the runner, its jobs and its workers are doing to the directory.
func (r *Runner) Dump(ctx context.Context) error {
	var errs []error
	for page, file := range map[string]string{
		"/debug/pprof/goroutine?debug=2": "goroutines.txt", "/debug/workers": "workers.txt", "/api/jobs": "jobs.json",
	} {
		text, err := r.get(ctx, page)
		errs = append(errs, err, os.WriteFile(filepath.Join(r.spec.Dir, file), text, 0o644))
	}
	return errors.Join(errs...)
}

func (r *Runner) get(ctx context.Context, page string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.HTTP+page, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(resp.Body)
	return text, errors.Join(err, resp.Body.Close())
}

// Progress is how many elements and bytes the stages of all jobs have read and
// written, as far as that was committed.
func (r *Runner) Progress(ctx context.Context) (int64, error) {
	text, err := r.get(ctx, "/api/jobs")
	if err != nil {
		return 0, err
	}
	var jobs []struct {
		Stages []struct {
			ElementsIn  int64 `json:"elements_in"`
			ElementsOut int64 `json:"elements_out"`
		} `json:"stages"`
	}
	if err := json.Unmarshal(text, &jobs); err != nil {
		return 0, fmt.Errorf("progress: %w", err)
	}
	sum := int64(0)
	for _, j := range jobs {
		for _, s := range j.Stages {
			sum += s.ElementsIn + s.ElementsOut
		}
	}
	return sum, nil
}
