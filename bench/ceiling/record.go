package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/engine"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// job is an execution that is recorded.
type job struct {
	*engine.Job
	plan *plan.Plan
	// worker is the process id of the workers.
	worker func() int

	answers answers
	// used is what the execution has used, set by Run.
	used usages

	// before is what had been used when the first bundle started; set by once.
	before usages
	once   sync.Once

	mu      sync.Mutex
	slots   int         // guarded by mu; of all workers
	bundles []*recorded // guarded by mu; in the order of their start
}

func newJob(p *plan.Plan, o engine.Options, worker func() int) *job {
	j := &job{plan: p, worker: worker, answers: newAnswers()}
	o.Host = host{o.Host, j}
	j.Job = engine.New(p, o)
	return j
}

// Run executes the job.
func (j *job) Run(ctx context.Context) error {
	if err := j.Job.Run(ctx); err != nil {
		return err
	}
	after, err := usage(j.worker())
	j.used = after.since(j.before)
	return err
}

// host is the job's host, with workers that record.
type host struct {
	engine.Host
	job *job
}

// StartWorker implements engine.Host.
func (h host) StartWorker(ctx context.Context, env plan.EnvironmentID) (harness.Worker, error) {
	w, err := h.Host.StartWorker(ctx, env)
	if err != nil {
		return nil, err
	}
	h.job.mu.Lock()
	h.job.slots += w.Slots()
	h.job.mu.Unlock()
	return &recorder{w, h.job}, nil
}

// recorder is a worker whose bundles are recorded.
type recorder struct {
	harness.Worker
	job *job
}

// recorded is a bundle that was executed.
type recorded struct {
	stage      *plan.Stage
	input      []element.Block
	timers     []harness.Timers
	time       harness.Time
	stateCache []byte
	viewCaches [][]byte
	// requests counts what it asked of state.
	requests atomic.Int64
}

// Start implements harness.Worker.
func (w *recorder) Start(ctx context.Context, b *harness.Bundle) (harness.Execution, error) {
	var err error
	w.job.once.Do(func() { w.job.before, err = usage(w.job.worker()) })
	if err != nil {
		return nil, err
	}
	r := &recorded{
		stage: b.Stage, input: slices.Clone(b.Input), timers: slices.Clone(b.Timers), time: b.Time,
		stateCache: b.StateCache, viewCaches: b.ViewCaches,
	}
	listened := *b
	listened.State = &listener{State: b.State, answers: &w.job.answers, requests: &r.requests}
	x, err := w.Worker.Start(ctx, &listened)
	if err != nil {
		return nil, err
	}
	return &execution{Execution: x, job: w.job, bundle: r, place: w.job.reserve()}, nil
}

// reserve returns the place of a bundle that starts.
func (j *job) reserve() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.bundles = append(j.bundles, nil)
	return len(j.bundles) - 1
}

// execution is a bundle that is being recorded.
type execution struct {
	harness.Execution
	job    *job
	bundle *recorded
	place  int

	mu    sync.Mutex
	split *harness.Split // guarded by mu; the last one
}

// Split implements harness.Execution: what is given back is not the bundle's.
func (x *execution) Split(ctx context.Context, fraction float64) (harness.Split, bool, error) {
	s, ok, err := x.Execution.Split(ctx, fraction)
	if ok && err == nil {
		x.mu.Lock()
		x.split = &s
		x.mu.Unlock()
	}
	return s, ok, err
}

// Wait implements harness.Execution. What has failed is not recorded.
func (x *execution) Wait() (harness.Result, error) {
	result, err := x.Execution.Wait()
	if err != nil {
		return result, err
	}
	x.mu.Lock()
	err = x.bundle.keep(x.job.layout(x.bundle.stage), x.split)
	x.mu.Unlock()
	x.job.mu.Lock()
	x.job.bundles[x.place] = x.bundle
	x.job.mu.Unlock()
	return result, err
}

// keep cuts the input to what a split has left. Every split leaves a part of
// what the one before it had.
func (r *recorded) keep(layout *shuffle.Layout, s *harness.Split) error {
	if s == nil {
		return nil
	}
	kept, _, err := layout.SplitAt(r.input, s.LastPrimary+1, s.LastPrimary+1)
	if err != nil {
		return fmt.Errorf("record what a split has left: %w", err)
	}
	for _, p := range s.Primaries {
		b, err := layout.MakeBlock(p)
		if err != nil {
			return fmt.Errorf("record the primary of a split: %w", err)
		}
		kept = append(kept, b)
	}
	r.input = kept
	return nil
}

// layout is that of the stage's input.
func (j *job) layout(s *plan.Stage) *shuffle.Layout {
	return shuffle.EdgeLayout(j.plan.Edges[s.Input.Edge])
}
