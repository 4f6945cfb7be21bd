package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// execution is one attempt to execute a bundle, from the order to the commit.
type execution struct {
	id     harness.BundleID
	stage  *plan.Stage
	worker harness.Worker
	layout *shuffle.Layout
	groups int  // of keys
	early  bool // see startBundle
	// stable says that the bundle begins when all commits up to after are durable.
	stable bool
	after  journal.Seq
	out    *collector
	txn    state.Txn // nil if the stage keeps no state
	state  *bundleState
	store  state.Store

	// mu is held while a split is under way, so that its fact always comes
	// before that of the bundle's end.
	mu     sync.Mutex
	handle harness.Execution // nil before the start and after the end
	share  share
	// kept is what the last split has left of the input, if split says that there
	// was one.
	kept  []element.Block
	split bool

	// parking says what becomes of timers, parks changes those that are parked;
	// loaded are those of them that fire. They and what follows belong to the
	// bundle's goroutine.
	parking parking
	parks   *parker
	loaded  []*timer.Timer

	forget  []scope // whose state is forgotten
	dropped int64   // elements that came too late

	// started is the handle for those who only want to know how far it is.
	started atomic.Pointer[harness.Execution]
	told    []metrics.Info // by it, while it runs; guarded by the driver's mu

	result harness.Result // set before the fact that ends the bundle
}

// startBundle begins to execute a bundle.
func (d *driver) startBundle(ctx context.Context, o startBundle) {
	stage := d.plan.Stage(o.stage)
	x := &execution{
		id: o.id, stage: stage,
		out:    newCollector(d.pipes[o.stage]),
		layout: d.pipes[o.stage].input, groups: d.plan.KeyGroups, early: o.early,
		store: d.store, parking: o.parking,
	}
	if k, ok := stage.Kind.(*plan.Executable); ok && k.Splittable {
		x.out.limit = counted{int64(d.opts.CheckpointElements), int64(d.opts.CheckpointBytes)}
		x.out.full = func() { d.task(func() fact { return bundleFull{o.id} }) }
	}
	if needsStable(stage) && d.opts.Journal != nil {
		x.stable, x.after = true, d.opts.Journal.Last()
	}
	if keepsState(stage) {
		x.txn = d.store.Begin()
	}
	x.state = &bundleState{sides: d.views.open(stage), txn: x.txn, stage: stage, input: o.input, split: d.splitValues}
	if x.out.pipe.expires {
		x.state.written = &scopes{}
	}
	d.mu.Lock()
	x.worker = d.workers[o.worker]
	d.running[o.id] = x
	d.mu.Unlock()
	b := &harness.Bundle{
		ID: o.id, Stage: stage, Input: o.input, Output: x.out, State: x.state, Time: o.time,
		StateCache: []byte(o.stateCache), ViewCaches: x.state.tokens(),
	}
	d.task(func() fact { return d.execute(ctx, x, b, &o) })
}

// keepsState says whether bundles of the stage may read or write state.
func keepsState(s *plan.Stage) bool {
	switch k := s.Kind.(type) {
	case *plan.Impulse, *plan.TestSource:
	case *plan.GroupByKey:
		return k.Streaming
	case *plan.View, *plan.TimeSort:
		return true
	case *plan.Executable:
		return len(k.States) > 0
	}
	return false
}

func needsStable(s *plan.Stage) bool {
	k, ok := s.Kind.(*plan.Executable)
	return ok && k.StableInput
}

// execute runs the bundle to its end.
func (d *driver) execute(ctx context.Context, x *execution, b *harness.Bundle, o *startBundle) fact {
	err := d.stabilize(ctx, x)
	var done bundleDone
	if err == nil {
		done, err = d.process(ctx, x, b, o)
	}
	if broken := x.state.broken.Load(); broken != nil && err != nil {
		err = errors.Join(*broken, err)
	}
	if err != nil {
		return bundleFailed{
			id: x.id, err: err, lost: errors.Is(err, harness.ErrWorkerLost),
			fatal: errors.Is(err, shuffle.ErrDisk) || errors.Is(err, ErrJournal),
		}
	}
	return done
}

func (d *driver) process(ctx context.Context, x *execution, b *harness.Bundle, o *startBundle) (bundleDone, error) {
	defer x.state.end()
	var loaded int64
	defer func() { d.accounts.running.Add(-loaded) }()
	var err error
	if loads(x.stage) {
		b.Input, loaded, err = load(b.Input)
		d.accounts.running.Add(loaded)
	}
	timers := o.timers
	if err == nil && len(o.parked) > 0 {
		x.loaded, err = x.unpark(o.parked)
		timers = slices.Concat(x.loaded, timers)
	}
	if err == nil {
		err = x.prepare(b, timers)
	}
	if err != nil {
		return bundleDone{}, fmt.Errorf("stage %s bundle %d: %w", x.stage.Name, x.id, err)
	}
	if !x.spent(b) {
		if err := x.run(ctx, b); err != nil {
			return bundleDone{}, err
		}
	}
	f, err := x.finish(b)
	if err == nil && x.txn != nil {
		err = x.txn.Settle()
	}
	if err != nil {
		return bundleDone{}, fmt.Errorf("stage %s bundle %d: %w", x.stage.Name, x.id, err)
	}
	return f, nil
}

// prepare gives the bundle what of its input and timers is for the harness.
func (x *execution) prepare(b *harness.Bundle, timers []*timer.Timer) error {
	pipe := x.out.pipe
	var err error
	if !x.early {
		if timers, x.forget, err = pipe.sift(timers, b.Time.Watermark); err != nil {
			return err
		}
	}
	b.Timers = harnessTimers(timers)
	if pipe.expires {
		if b.Input, x.dropped, err = pipe.dropLate(b.Input, b.Time.Watermark); err != nil {
			return err
		}
	}
	x.share = newShare(b.Input) // no split begins before the execution
	if k, ok := x.stage.Kind.(*plan.Executable); ok && k.TimeSorted {
		b.Input, err = x.layout.SortByTime(b.Input)
	}
	return err
}

// spent says that nothing is left of the bundle for the harness.
func (x *execution) spent(b *harness.Bundle) bool {
	return len(b.Input) == 0 && len(b.Timers) == 0
}

// run lets the worker execute the bundle.
func (x *execution) run(ctx context.Context, b *harness.Bundle) error {
	handle, err := x.worker.Start(ctx, b)
	if err != nil {
		return err
	}
	x.mu.Lock()
	x.handle = handle
	x.mu.Unlock()
	x.started.Store(&handle)
	x.result, err = handle.Wait()
	// From here on no split begins, and one that is under way has been told.
	x.mu.Lock()
	x.handle = nil
	x.mu.Unlock()
	return err
}

// finish says what the bundle has done.
func (x *execution) finish(b *harness.Bundle) (bundleDone, error) {
	f := bundleDone{id: x.id, requests: x.state.requests.Load(), loaded: x.loaded}
	var err error
	if f.outputs, f.timers, err = x.out.close(); err != nil {
		return f, err
	}
	if f.timers, err = x.out.pipe.endings(f.timers, x.consumed(b), x.state.written); err != nil {
		return f, err
	}
	if f.parked, err = x.park(f.timers); err != nil {
		return f, err
	}
	if err := forget(x.txn, x.stage, x.forget); err != nil {
		return f, err
	}
	for _, c := range x.out.shown {
		f.shown = append(f.shown, c.window)
	}
	x.result.Metrics = append(x.result.Metrics, x.late()...)
	if f.residuals, err = x.makeResiduals(x.result.Residuals); err != nil {
		return f, err
	}
	x.out.pipe.spill.Last(blocksOf(f.residuals))
	return f, nil
}

// consumed is the input that the bundle has not given back.
func (x *execution) consumed(b *harness.Bundle) []element.Block {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.split {
		return x.kept
	}
	return b.Input
}

// errNoInput reports work left for later by a stage that has no place for it.
var errNoInput = errors.New("a stage without input cannot leave work for later")

// makeResiduals turns what an SDK left into blocks.
func (x *execution) makeResiduals(rs []harness.Residual) ([]residual, error) {
	if len(rs) > 0 && x.stage.Input == nil {
		return nil, fmt.Errorf("stage %s bundle %d: %w", x.stage.Name, x.id, errNoInput)
	}
	out := make([]residual, 0, len(rs))
	for i, r := range rs {
		block, err := oneElement(x.layout, r.Element)
		if err != nil {
			return nil, fmt.Errorf("stage %s bundle %d: residual %d: %w", x.stage.Name, x.id, i, err)
		}
		if r.Watermark != nil {
			block.MinTime = *r.Watermark
		}
		group, err := x.group(&block)
		if err != nil {
			return nil, fmt.Errorf("stage %s bundle %d: residual %d: %w", x.stage.Name, x.id, i, err)
		}
		out = append(out, residual{block: block, group: group, delay: r.Delay})
	}
	return out, nil
}

// blocksOf are the blocks of residuals.
func blocksOf(rs []residual) iter.Seq[*element.Block] {
	return func(yield func(*element.Block) bool) {
		for i := range rs {
			if !yield(&rs[i].block) {
				return
			}
		}
	}
}

func eachOf(blocks []element.Block) iter.Seq[*element.Block] {
	return func(yield func(*element.Block) bool) {
		for i := range blocks {
			if !yield(&blocks[i]) {
				return
			}
		}
	}
}

// group returns the key group of a block, all of whose elements are in it.
func (x *execution) group(b *element.Block) (element.KeyGroup, error) {
	if !x.stage.Input.Keyed {
		return element.Unkeyed, nil
	}
	e, err := x.layout.Cut(b.Data)
	if err != nil {
		return 0, err
	}
	return shuffle.KeyGroup(e.Key(), x.groups), nil
}

// splitBundle asks the harness to give back a part of a bundle's work.
func (d *driver) splitBundle(ctx context.Context, o splitBundle) {
	d.mu.Lock()
	x := d.running[o.id]
	d.mu.Unlock()
	d.task(func() fact {
		if x == nil {
			return bundleSplit{id: o.id}
		}
		// The fact is sent under the lock: see execution.mu. So is that of a
		// panic, or the bundle could commit without what was given back.
		x.mu.Lock()
		defer x.mu.Unlock()
		d.send(guard(func() fact { return d.split(ctx, x, o) }))
		return nil
	})
}

func (d *driver) split(ctx context.Context, x *execution, o splitBundle) bundleSplit {
	refused := bundleSplit{id: x.id}
	if x.handle == nil {
		return refused
	}
	s, ok, err := x.handle.Split(ctx, o.fraction)
	if err != nil {
		d.log.Debug("split bundle", "stage", x.stage.Name, "bundle", x.id, "error", err)
	}
	if err != nil || !ok {
		return refused
	}
	f, err := x.cut(s, o.parts)
	if err == nil {
		x.last(&f)
		return f
	}
	// The harness has given work back that cannot be read. What the bundle
	// yields is then not the whole: it must not be committed.
	x.out.fail(fmt.Errorf("split: %w", err))
	return refused
}

// cut takes what was given back out of the bundle's share, and divides it into
// parts.
func (x *execution) cut(s harness.Split, parts int) (bundleSplit, error) {
	f := bundleSplit{id: x.id, ok: true}
	keep, rest, err := x.share.split(x.layout, s)
	if err != nil {
		return f, err
	}
	if f.rest, err = x.makeResiduals(s.Residuals); err != nil {
		return f, err
	}
	if rest, err = divide(x.layout, rest, parts); err != nil {
		return f, err
	}
	begun := groupsOf(f.rest)
	for i := range rest {
		group, err := x.group(&rest[i])
		if err != nil {
			return f, err
		}
		f.rest = append(f.rest, residual{block: rest[i], group: group})
	}
	if x.stage.Input.Keyed {
		for i := range keep {
			group, err := x.group(&keep[i])
			if err != nil {
				return f, err
			}
			f.groups = append(f.groups, group)
		}
		if n := len(keep); n > 0 { // groups come one after the other
			begun = append(begun, f.groups[n-1])
		}
		f.freed = slices.DeleteFunc(groupsOf(f.rest), func(g element.KeyGroup) bool { return slices.Contains(begun, g) })
	}
	f.keep, x.kept, x.split = keep, keep, true
	return f, nil
}

// last makes the blocks last that are new because others were cut.
func (x *execution) last(f *bundleSplit) {
	x.out.pipe.spill.Last(eachOf(f.keep))
	x.out.pipe.spill.Last(blocksOf(f.rest))
}

// groupsOf lists the key groups of residuals, in order.
func groupsOf(rs []residual) []element.KeyGroup {
	var groups []element.KeyGroup
	for i := range rs {
		if !slices.Contains(groups, rs[i].group) {
			groups = append(groups, rs[i].group)
		}
	}
	return groups
}
