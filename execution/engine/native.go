package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/group"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

// nativeID names the worker of a job that executes the runner's own stages.
const nativeID harness.WorkerID = "native"

// nativeWorker executes Impulse and GroupByKey within the process. It is a
// worker like any other: its bundles are leased, committed and retried by the
// same rules.
type nativeWorker struct {
	groupers map[plan.StageID]*group.Grouper
	done     chan struct{}
}

func newNativeWorker(p *plan.Plan, o Options) (*nativeWorker, error) {
	w := &nativeWorker{groupers: make(map[plan.StageID]*group.Grouper), done: make(chan struct{})}
	var tokens atomic.Int64
	params := group.Params{
		PagedBytes: o.PagedBytes,
		Token:      func() string { return strconv.FormatInt(tokens.Add(1), 36) },
	}
	for _, s := range p.Stages {
		if kind, ok := s.Kind.(*plan.GroupByKey); ok {
			g, err := group.New(kind, params)
			if err != nil {
				return nil, fmt.Errorf("stage %s: %w", s.Name, err)
			}
			w.groupers[s.ID] = g
		}
	}
	return w, nil
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

// errNativeStage reports a plan that sends user code to the native worker.
var errNativeStage = errors.New("not executed by the runner itself")

func (x *nativeExecution) Wait() (harness.Result, error) {
	b := x.bundle
	out, ok := b.Output.(*collector)
	if !ok {
		return harness.Result{}, fmt.Errorf("stage %s: output is %T", b.Stage.Name, b.Output)
	}
	var err error
	switch b.Stage.Kind.(type) {
	case *plan.Impulse:
		err = emitToAll(out, impulse())
	case *plan.TestSource:
		for i := 0; i < len(b.Input) && err == nil; i++ {
			err = emitToAll(out, b.Input[i])
		}
	case *plan.GroupByKey:
		err = x.worker.groupers[b.Stage.ID].Run(x.ctx, b.Input, func(block element.Block) error {
			return emitToAll(out, block)
		})
	case *plan.Executable:
		err = errNativeStage
	}
	if err != nil {
		err = fmt.Errorf("stage %s: %w", b.Stage.Name, err)
	}
	return harness.Result{}, err
}

// emitToAll writes the block to every output: outputs of a native stage are
// the same PCollection on several edges.
func emitToAll(out *collector, b element.Block) error {
	for i := range out.writers {
		if err := out.writeBlock(i, b); err != nil {
			return err
		}
	}
	return nil
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
