package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// mergeFunction is the function that merges windows for the stage, 0 if there
// is none.
func mergeFunction(s *plan.Stage) plan.StageID {
	switch k := s.Kind.(type) {
	case *plan.GroupByKey:
		return k.Merge
	case *plan.View:
		return k.Merge
	case *plan.Impulse, *plan.TestSource, *plan.TimeSort, *plan.Executable:
	}
	return 0
}

// caller calls a function of the plan with blocks of its input edge, and
// returns what it wrote to its outputs.
type caller func(ctx context.Context, fn *plan.Stage, input []element.Block) ([]shuffle.Output, error)

// call is the driver's caller: it executes the function as a bundle that the
// scheduler knows nothing of, on a worker of the function's environment. Such
// a bundle is no transaction: a function has no effect but its output. If its
// worker is lost, another one is asked.
func (d *driver) call(ctx context.Context, fn *plan.Stage, input []element.Block) ([]shuffle.Output, error) {
	for attempt := 1; ; attempt++ {
		w, err := d.anyWorker(ctx, environmentOf(fn))
		if err != nil {
			return nil, fmt.Errorf("function %s: %w", fn.Name, err)
		}
		outputs, err := d.callOn(ctx, w, fn, input)
		switch {
		case err == nil:
			return outputs, nil
		case !errors.Is(err, harness.ErrWorkerLost):
			return nil, fmt.Errorf("function %s: %w", fn.Name, err)
		case attempt >= d.opts.MaxAttempts:
			// It is not the worker of the caller that was lost, so the error must
			// not say so to errors.Is.
			return nil, fmt.Errorf("function %s: %d workers were lost with it, the last one: %v", fn.Name, attempt, err) //nolint:errorlint // see above
		}
	}
}

// callOn calls a function on a worker.
func (d *driver) callOn(
	ctx context.Context, w harness.Worker, fn *plan.Stage, input []element.Block,
) ([]shuffle.Output, error) {
	out := newCollector(d.pipes[fn.ID])
	st := &bundleState{sides: d.views.open(fn), txn: d.store.Begin(), stage: fn, input: input}
	defer st.end()
	x, err := w.Start(ctx, &harness.Bundle{
		ID: harness.BundleID(-d.calls.Add(1)), Stage: fn, Input: input, Output: out, State: st,
	})
	if err != nil {
		return nil, err
	}
	if _, err := x.Wait(); err != nil {
		return nil, err
	}
	outputs, _, err := out.close()
	return outputs, err
}

// anyWorker returns a worker of the environment that lives. It takes turns, and
// waits for one if there is none.
func (d *driver) anyWorker(ctx context.Context, env plan.EnvironmentID) (harness.Worker, error) {
	for {
		d.mu.Lock()
		arrival := d.arrival
		alive := d.alive(env)
		d.mu.Unlock()
		if len(alive) > 0 {
			return alive[int(d.calls.Load()%int64(len(alive)))], nil
		}
		select {
		case <-arrival:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// alive lists the workers of an environment that have not gone, in order of
// arrival. The caller holds mu.
func (d *driver) alive(env plan.EnvironmentID) []harness.Worker {
	var alive []harness.Worker
	for _, w := range d.hosted[env] {
		select {
		case <-w.Done():
		default:
			alive = append(alive, w)
		}
	}
	return alive
}

// addWorker makes a worker known to those who wait for one.
func (d *driver) addWorker(env plan.EnvironmentID, w harness.Worker) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.workers[w.ID()] = w
	d.hosted[env] = append(d.alive(env), w)
	close(d.arrival)
	d.arrival = make(chan struct{})
}
