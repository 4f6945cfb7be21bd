package engine

import (
	"context"
	"fmt"
	"runtime"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// nativeID names the worker of a job that executes the runner's own stages.
const nativeID harness.WorkerID = "native"

// nativeWorker executes the runner's own stages within the process. It is a
// worker like any other: its bundles are leased, committed and retried by the
// same rules.
type nativeWorker struct {
	operators map[plan.StageID]operator
	done      chan struct{}
}

func newNativeWorker(p *plan.Plan, o Options, spill *shuffle.Spill, call caller) (*nativeWorker, error) {
	operators, err := newOperators(p, o, spill, call)
	if err != nil {
		return nil, err
	}
	return &nativeWorker{operators: operators, done: make(chan struct{})}, nil
}

func (w *nativeWorker) ID() harness.WorkerID       { return nativeID }
func (w *nativeWorker) Slots() int                 { return runtime.GOMAXPROCS(0) }
func (w *nativeWorker) Done() <-chan struct{}      { return w.done }
func (w *nativeWorker) Err() error                 { return nil }
func (w *nativeWorker) Stop(context.Context) error { return nil }

// Start prepares an execution; Wait does the work, in the goroutine of the
// bundle.
func (w *nativeWorker) Start(ctx context.Context, b *harness.Bundle) (harness.Execution, error) {
	return &nativeExecution{ctx: ctx, worker: w, bundle: b}, nil
}

type nativeExecution struct {
	ctx    context.Context //nolint:containedctx // handed from Start to Wait
	worker *nativeWorker
	bundle *harness.Bundle
}

// Wait executes the bundle. A panic fails it, and is an error that names the
// stage.
func (x *nativeExecution) Wait() (result harness.Result, err error) {
	b := x.bundle
	defer func() {
		if err = contain(recover(), err); err != nil {
			err = fmt.Errorf("stage %s: %w", b.Stage.Name, err)
		}
	}()
	op, err := newOperation(b)
	if err != nil {
		return harness.Result{}, err
	}
	run := x.worker.operators[b.Stage.ID]
	if run == nil {
		return harness.Result{}, errNativeStage
	}
	if err := run(x.ctx, op); err != nil {
		return harness.Result{}, err
	}
	return harness.Result{Metrics: droppedLate(plan.TransformID(b.Stage.Name), op.dropped)}, nil
}

// Progress of a native bundle is not worth asking for.
func (*nativeExecution) Progress(context.Context) (harness.Progress, error) {
	return harness.Progress{}, nil
}

// Split never splits: native bundles are whole key groups.
func (*nativeExecution) Split(context.Context, float64) (harness.Split, bool, error) {
	return harness.Split{}, false, nil
}

// impulse is the block of one empty byte string in the global window.
func impulse() element.Block {
	data := coder.PutHeader(nil, element.Header{
		Timestamp: element.MinTime, NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring},
	})
	return element.Block{Data: append(data, 0), Count: 1, MinTime: element.MinTime}
}
