package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// fakeHost starts workers that execute the ops of a simPlan in goroutines.
type fakeHost struct {
	plan *simPlan
	// before is called with each bundle before its first element; an error
	// fails the bundle, but errHandled says that all of it is done.
	before func(w *fakeWorker, b *harness.Bundle) error
	// after makes the result of a bundle whose elements are executed.
	after func(b *harness.Bundle) (harness.Result, error)
	// result is made of what a bundle has executed, where after is nil.
	result func(b *harness.Bundle, values []string) harness.Result
	// asked is told of each request to split.
	asked func(b *harness.Bundle, fraction float64)
	// progress tells the metrics of a running bundle.
	progress func(ctx context.Context, b *harness.Bundle) ([]metrics.Info, error)
	// split answers in the place of the execution.
	split func(b *harness.Bundle) (harness.Split, bool, error)
	// refuse makes every start of a worker fail.
	refuse error
	// slots is the number of bundles a worker takes; 0 stands for 2.
	slots int

	mu      sync.Mutex
	workers []*fakeWorker
}

func (h *fakeHost) StartWorker(_ context.Context, env plan.EnvironmentID) (harness.Worker, error) {
	if h.refuse != nil {
		return nil, h.refuse
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	w := &fakeWorker{
		host: h, id: harness.WorkerID(fmt.Sprintf("%s-%d", env, len(h.workers))), done: make(chan struct{}),
	}
	h.workers = append(h.workers, w)
	return w, nil
}

type fakeWorker struct {
	host    *fakeHost
	id      harness.WorkerID
	done    chan struct{}
	once    sync.Once
	stopped atomic.Bool
	bundles atomic.Int64
}

func (w *fakeWorker) ID() harness.WorkerID  { return w.id }
func (w *fakeWorker) Slots() int            { return cmp.Or(w.host.slots, 2) }
func (w *fakeWorker) Done() <-chan struct{} { return w.done }
func (w *fakeWorker) Err() error            { return harness.ErrWorkerLost }
func (w *fakeWorker) die()                  { w.once.Do(func() { close(w.done) }) }

func (w *fakeWorker) Stop(context.Context) error {
	w.stopped.Store(true)
	w.die()
	return nil
}

func (w *fakeWorker) Start(ctx context.Context, b *harness.Bundle) (harness.Execution, error) {
	w.bundles.Add(1)
	x := &fakeExecution{ctx: ctx, worker: w, bundle: b, layout: w.layout(b.Stage)}
	for i := range b.Input {
		x.end += int64(b.Input[i].Count)
	}
	return x, nil
}

func (w *fakeWorker) layout(s *plan.Stage) *shuffle.Layout {
	e := w.host.plan.plan.Edges[s.Input.Edge]
	return &shuffle.Layout{Value: e.Value, Window: e.Windowing.Window}
}

// fakeExecution executes element by element and can be split at any.
type fakeExecution struct {
	ctx    context.Context //nolint:containedctx // as long as the execution
	worker *fakeWorker
	bundle *harness.Bundle
	layout *shuffle.Layout

	mu     sync.Mutex
	at     int64
	end    int64
	values []string // what was executed, if anybody wants to know
}

var (
	errAbandoned = errors.New("abandoned")
	errHandled   = errors.New("handled")
)

func (x *fakeExecution) Wait() (harness.Result, error) {
	if f := x.worker.host.before; f != nil {
		if err := f(x.worker, x.bundle); errors.Is(err, errHandled) {
			return harness.Result{}, nil
		} else if err != nil {
			return harness.Result{}, err
		}
	}
	for {
		select {
		case <-x.ctx.Done():
			return harness.Result{}, errAbandoned
		case <-x.worker.done:
			return harness.Result{}, harness.ErrWorkerLost
		default:
		}
		more, err := x.next()
		if err != nil {
			return harness.Result{}, err
		}
		if more {
			continue
		}
		if f := x.worker.host.after; f != nil {
			return f(x.bundle)
		}
		if f := x.worker.host.result; f != nil {
			return f(x.bundle, x.values), nil
		}
		return harness.Result{}, nil
	}
}

func (x *fakeExecution) next() (more bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.at >= x.end {
		return false, x.fire()
	}
	_, rest, err := x.layout.SplitAt(x.bundle.Input, x.at, x.at)
	if err != nil {
		return false, err
	}
	e, err := x.layout.Cut(rest[0].Data)
	if err != nil {
		return false, err
	}
	if x.worker.host.result != nil {
		x.values = append(x.values, string(e.Value))
	}
	if keepsTimers(x.bundle.Stage) {
		x.at++
		r := rand.New(rand.NewPCG(uint64(x.bundle.ID), uint64(x.at)))
		return true, x.worker.host.plan.setTimer(x.bundle.Stage, x.bundle.Output, e, r)
	}
	head := rest[0].Data[:e.Size-len(e.Value)]
	for _, v := range x.worker.host.plan.ops[x.bundle.Stage.ID](e.Value) {
		for out := range x.bundle.Stage.Outputs {
			if err := x.bundle.Output.Write(out, slices.Concat(head, v)); err != nil {
				return false, err
			}
		}
	}
	x.at++
	return true, nil
}

// fire emits what the timers of the bundle stand for.
func (x *fakeExecution) fire() error {
	for _, timers := range x.bundle.Timers {
		for data := timers.Data; len(data) > 0; {
			t, err := coder.CutTimer(data, coder.Must(coder.Bytes), x.layout.Window)
			if err != nil {
				return err
			}
			if err := x.worker.host.plan.fired(x.bundle.Stage, x.bundle.Output, t); err != nil {
				return err
			}
			data = data[t.Size:]
		}
	}
	return nil
}

func (x *fakeExecution) Progress(ctx context.Context) (harness.Progress, error) {
	if f := x.worker.host.progress; f != nil {
		infos, err := f(ctx, x.bundle)
		return harness.Progress{Metrics: infos}, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return harness.Progress{ElementsRead: x.at}, nil
}

func (x *fakeExecution) Split(_ context.Context, fraction float64) (harness.Split, bool, error) {
	if f := x.worker.host.asked; f != nil {
		f(x.bundle, fraction)
	}
	if f := x.worker.host.split; f != nil {
		return f(x.bundle)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	left := x.end - x.at
	if left <= 1 {
		return harness.Split{}, false, nil
	}
	x.end = x.at + int64(float64(left)*fraction)
	return harness.Split{LastPrimary: x.end - 1, FirstResidual: x.end}, true, nil
}
