package fnapi

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/plan"
)

// execution is a bundle that the worker is executing. It implements
// [harness.Execution].
type execution struct {
	worker     *Worker
	id         string // the instruction
	bundle     *harness.Bundle
	descriptor *descriptor
	source     string // the port of the main input
	families   []plan.TimerSpec
	input      input
	// parent is the context of Start, ctx one below it that ends with the bundle
	// and bounds its state requests.
	parent, ctx context.Context //nolint:containedctx // the bundle is the scope
	cancel      context.CancelFunc
	done        chan struct{}

	mu       sync.Mutex
	ports    map[string]*port // guarded by mu; by sink transform
	open     int              // guarded by mu; ports that are not closed
	response *bundleAnswer    // guarded by mu until done is closed
	ended    bool             // guarded by mu
	err      error            // guarded by mu until done is closed
	unwatch  func() bool      // guarded by mu

	answered bool // guarded by the worker's mu; the harness has

	splitting sync.Mutex // held while the harness is asked to split
	kept      int64      // guarded by splitting; elements that splits have left to it

	once       sync.Once
	result     harness.Result // set by once
	metricsErr error          // set by once
}

var _ harness.Execution = (*execution)(nil)

// port is an output of a bundle.
type port struct {
	index  int
	closed bool
	// families are the indices of the timer families that the transform may
	// still set; port is then not an output.
	families map[string]int
}

// Start implements [harness.Worker].
func (w *Worker) Start(ctx context.Context, b *harness.Bundle) (harness.Execution, error) {
	e, err := w.newExecution(ctx, b)
	if err != nil {
		return nil, fmt.Errorf("worker %s: start bundle %d of stage %s: %w", w.spec.ID, b.ID, b.Stage.Name, err)
	}
	if err := w.admit(e); err != nil {
		e.cancel()
		return nil, err
	}
	request, err := bundleRequest(e.id, e.descriptor.proto.GetId(), w.cacheTokens(b))
	if err != nil {
		e.fail(err)
		return e, nil
	}
	// The queue of bundles has room for two entries of each bundle.
	if !w.control.push(request) || !w.data.push(e) {
		e.finish(fmt.Errorf("worker %s: %d instructions wait to be sent", w.spec.ID, w.opts.MaxInstructions))
	}
	return e, nil
}

func (w *Worker) newExecution(ctx context.Context, b *harness.Bundle) (*execution, error) {
	d, ok := w.stages[b.Stage.ID]
	if !ok || b.Stage.Input == nil {
		return nil, fmt.Errorf("the worker has no descriptor of the stage, or the stage no input")
	}
	for i := range b.Input {
		if n := len(b.Input[i].Data); n > w.opts.MaxMessageBytes-frameOverheadMax {
			return nil, fmt.Errorf("input block %d has %d bytes, which no message takes", i, n)
		}
	}
	timers := 0
	for i := range b.Timers {
		timers += len(b.Timers[i].Data)
	}
	if timers > w.opts.MaxMessageBytes-frameOverheadMax {
		return nil, fmt.Errorf("the timers have %d bytes, which no message takes", timers)
	}
	e := &execution{
		kept:       math.MaxInt64,
		worker:     w,
		id:         w.server.nextInstruction(),
		bundle:     b,
		descriptor: d,
		source:     string(b.Stage.Input.Port),
		parent:     ctx,
		done:       make(chan struct{}),
		ports:      make(map[string]*port, len(b.Stage.Outputs)),
		open:       len(b.Stage.Outputs),
	}
	for i, out := range b.Stage.Outputs {
		e.ports[string(out.Port)] = &port{index: i}
	}
	if x, ok := any(b.Stage.Kind).(*plan.Executable); ok {
		e.families = x.Timers
	}
	for i, t := range e.families {
		p := e.ports[string(t.Transform)]
		if p == nil {
			p = &port{families: make(map[string]int)}
			e.ports[string(t.Transform)] = p
		}
		p.families[t.Family] = i
		e.open++
	}
	e.ctx, e.cancel = context.WithCancel(ctx)
	return e, nil
}

// admit makes the bundle known, so that answers and data find it, and has it
// abandoned when its context ends.
func (w *Worker) admit(e *execution) error {
	w.mu.Lock()
	err := w.err
	if err == nil && len(w.bundles) >= w.opts.MaxBundles {
		err = fmt.Errorf("worker %s: %d bundles are being executed", w.spec.ID, len(w.bundles))
	}
	if err == nil {
		w.bundles[e.id] = e
	}
	w.mu.Unlock()
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.ended {
		e.unwatch = context.AfterFunc(e.parent, func() { e.abandon(context.Cause(e.parent)) })
	}
	return nil
}

func (w *Worker) forget(e *execution) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.bundles, e.id)
	if !e.answered && w.err == nil {
		w.unanswered[e.id] = struct{}{}
	}
}

// lookup finds a running bundle.
func (w *Worker) lookup(instruction []byte) *execution {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bundles[string(instruction)]
}

// respond takes the harness' answer to ProcessBundle.
func (e *execution) respond(a *answer) {
	e.input.stop()
	switch {
	case a.failure != "":
		e.fail(&SDKError{Text: a.failure})
		return
	case a.bundle == nil:
		resp, err := a.whole()
		e.fail(cmp.Or(err, fmt.Errorf("the harness answered with %T", resp.GetResponse())))
		return
	}
	for _, message := range a.bundle.elements {
		if err := parseElements([][]byte{message}, e.takeEntry); err != nil {
			e.fail(err)
			return
		}
	}
	e.mu.Lock()
	e.response = a.bundle
	complete := e.open == 0
	e.mu.Unlock()
	if complete {
		e.finish(nil)
	}
}

// deliver takes an entry of the data stream.
func (e *execution) deliver(en *entry) {
	if err := e.takeEntry(en); err != nil {
		e.fail(err)
		return
	}
	e.mu.Lock()
	complete := e.response != nil && e.open == 0
	e.mu.Unlock()
	if complete {
		e.finish(nil)
	}
}

func (e *execution) takeEntry(en *entry) error {
	if en.timers {
		return e.takeTimers(en.transform, en.family, en.payload, en.last)
	}
	return e.take(en.transform, en.payload, en.last)
}

// take writes data to an output and closes it if the data is the last.
func (e *execution) take(transform []byte, data span, last bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return nil
	}
	p := e.ports[string(transform)]
	if p == nil || p.families != nil {
		return fmt.Errorf("data of transform %q, which is not an output", transform)
	}
	if data.n > 0 {
		if p.closed {
			return fmt.Errorf("data of transform %q after its last", transform)
		}
		if err := data.each(func(b []byte) error { return e.bundle.Output.Write(p.index, b) }); err != nil {
			return fmt.Errorf("write output %s: %w", transform, err)
		}
	}
	if last && !p.closed {
		p.closed = true
		e.open--
	}
	return nil
}

// takeTimers writes timers of a family and closes it if they are the last.
func (e *execution) takeTimers(transform, family []byte, data span, last bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return nil
	}
	p := e.ports[string(transform)]
	if p == nil || p.families == nil {
		return fmt.Errorf("timers of transform %q, which has none", transform)
	}
	index, open := p.families[string(family)]
	if data.n > 0 {
		if !open {
			return fmt.Errorf("timers of family %q of transform %q, which it has not or has closed", family, transform)
		}
		if err := data.each(func(b []byte) error { return e.bundle.Output.WriteTimers(index, b) }); err != nil {
			return fmt.Errorf("transform %s: %w", transform, err)
		}
	}
	if last && open {
		delete(p.families, string(family))
		e.open--
	}
	return nil
}

// fail ends the bundle with an error of its own.
func (e *execution) fail(err error) {
	e.finish(fmt.Errorf("stage %s bundle %d on worker %s: %w", e.bundle.Stage.Name, e.bundle.ID, e.worker.spec.ID, err))
}

// abandon ends the bundle because nobody wants it any more.
func (e *execution) abandon(cause error) { e.fail(fmt.Errorf("abandoned: %w", cause)) }

// finish ends the bundle. Only the first call counts. The harness may still be
// at work on it, and is told that there is no more input.
func (e *execution) finish(err error) {
	e.mu.Lock()
	if e.ended {
		e.mu.Unlock()
		return
	}
	e.ended, e.err = true, err
	unwatch := e.unwatch
	e.mu.Unlock()
	if unwatch != nil {
		unwatch()
	}
	e.worker.forget(e)
	e.cancel()
	if e.input.abandon() {
		e.worker.data.push(e)
	}
	close(e.done)
}

// Wait implements [harness.Execution].
func (e *execution) Wait() (harness.Result, error) {
	<-e.done
	if e.err != nil {
		return harness.Result{}, e.err
	}
	e.once.Do(func() { e.result, e.metricsErr = e.collect() })
	return e.result, e.metricsErr
}

// collect makes the result out of the response.
func (e *execution) collect() (harness.Result, error) {
	var none harness.Result
	infos, err := e.resolve(e.parent, e.response.infos, e.response.short)
	if err != nil {
		return none, err
	}
	residuals, err := e.residuals(e.response.residuals)
	e.splitting.Lock()
	kept := e.kept
	e.splitting.Unlock()
	if read := elementsRead(infos, e.source); err == nil && read > kept {
		err = fmt.Errorf("the harness read %d elements after it had agreed to a split that left it %d", read, kept)
	}
	if err != nil {
		return harness.Result{Metrics: infos}, fmt.Errorf("stage %s bundle %d on worker %s: %w", e.bundle.Stage.Name, e.bundle.ID, e.worker.spec.ID, err)
	}
	result := harness.Result{Residuals: residuals, Metrics: infos}
	if e.response.finalize {
		result.Finalize = e.finalize
	}
	return result, nil
}

// resolve turns the monitoring infos of an answer into full ones. Without the
// infos behind short ids a bundle's counts would be lost, so a worker that dies
// before it has told them has not finished the bundle.
func (e *execution) resolve(ctx context.Context, full []*pipepb.MonitoringInfo, short []shortData) ([]metrics.Info, error) {
	infos, err := e.worker.metrics.infos(ctx, e.worker, full, short)
	if err != nil {
		return nil, fmt.Errorf("stage %s bundle %d: metrics of worker %s: %w", e.bundle.Stage.Name, e.bundle.ID, e.worker.spec.ID, err)
	}
	return slices.DeleteFunc(infos, e.countedElsewhere), nil
}

// The monitoring infos of PCollections.
const (
	urnElementCount = "beam:metric:element_count:v1"
	urnByteSize     = "beam:metric:sampled_byte_size:v1"
	labelCollection = "PCOLLECTION"
)

// countedElsewhere says that the info is about what other stages count too.
func (e *execution) countedElsewhere(info metrics.Info) bool {
	return e.descriptor.elsewhere != "" && (info.URN == urnElementCount || info.URN == urnByteSize) &&
		info.Labels[labelCollection] == e.descriptor.elsewhere
}

// finalize tells the harness that the bundle is durable.
func (e *execution) finalize(ctx context.Context) error {
	_, err := e.worker.call(ctx, &fnpb.InstructionRequest{
		Request: &fnpb.InstructionRequest_FinalizeBundle{FinalizeBundle: &fnpb.FinalizeBundleRequest{InstructionId: e.id}},
	})
	if err != nil {
		return fmt.Errorf("finalize stage %s bundle %d on worker %s: %w", e.bundle.Stage.Name, e.bundle.ID, e.worker.spec.ID, err)
	}
	return nil
}
