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
	"github.com/gorunner/gorunner/execution/timesort"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// operator executes the bundles of one of the runner's own stages. It may be
// called from any goroutine.
type operator func(ctx context.Context, op *operation) error

// operation is a bundle of an operator. It has no effect before it commits.
type operation struct {
	*harness.Bundle
	out *collector
	txn state.Txn
	// dropped counts the elements that came too late.
	dropped int64
}

// The ways in which a bundle is none of the native worker's.
var (
	errNativeStage  = errors.New("not executed by the runner itself")
	errNativeBundle = errors.New("not a bundle of this engine")
)

// newOperation finds the parts of a bundle that only the engine has.
func newOperation(b *harness.Bundle) (*operation, error) {
	out, isCollector := b.Output.(*collector)
	st, isState := b.State.(*bundleState)
	if !isCollector || !isState {
		return nil, fmt.Errorf("%w: output %T, state %T", errNativeBundle, b.Output, b.State)
	}
	return &operation{Bundle: b, out: out, txn: st.txn}, nil
}

// newOperators makes the operators of a plan.
func newOperators(p *plan.Plan, o Options, spill *shuffle.Spill, call caller) (map[plan.StageID]operator, error) {
	var tokens atomic.Int64
	m := &operatorMaker{plan: p, call: call, params: group.Params{
		PagedBytes:  o.PagedBytes,
		BlockBytes:  groupedBytes(o.Memory),
		MemoryBytes: groupingBytes(o.Memory),
		Spill:       spill,
		Token:       func() string { return strconv.FormatInt(tokens.Add(1), 36) },
	}}
	operators := make(map[plan.StageID]operator)
	for _, s := range p.Stages {
		run, err := m.make(s)
		if err != nil {
			return nil, fmt.Errorf("stage %s: %w", s.Name, err)
		}
		operators[s.ID] = run
	}
	return operators, nil
}

// groupedBytes is what blocks of grouped elements are filled up to.
func groupedBytes(memory *shuffle.Budget) int {
	const most, least, share = 1 << 20, 64 << 10, 64
	if memory == nil || memory.Limit() == 0 {
		return most
	}
	return max(least, min(most, int(memory.Limit()/share)))
}

// groupingBytes is how much one grouping may load into memory, 0 if there is no
// bound: all that run at a time, as many as there are cores, together have a
// quarter of the budget.
func groupingBytes(memory *shuffle.Budget) int {
	const share = 4
	if memory == nil || memory.Limit() == 0 {
		return 0
	}
	return max(1, int(memory.Limit()/int64(share*runtime.GOMAXPROCS(0))))
}

// operatorMaker makes the operators of a plan.
type operatorMaker struct {
	plan   *plan.Plan
	call   caller
	params group.Params
}

// make makes the operator of a stage; nil if an SDK executes it.
func (m *operatorMaker) make(s *plan.Stage) (operator, error) {
	switch k := s.Kind.(type) {
	case *plan.Impulse:
		return func(_ context.Context, op *operation) error { return op.emit(impulse()) }, nil
	case *plan.TestSource:
		return pass, nil
	case *plan.GroupByKey:
		if k.Streaming {
			return m.panes(s, k.Windowing)
		}
		return m.group(s, k)
	case *plan.View:
		return m.panes(s, k.Windowing)
	case *plan.TimeSort:
		return m.sort(s, k), nil
	case *plan.Executable:
	}
	return nil, nil
}

// pass emits the input.
func pass(_ context.Context, op *operation) error {
	for _, b := range op.Input {
		if err := op.emit(b); err != nil {
			return err
		}
	}
	return nil
}

// group makes the operator of a GroupByKey whose input is complete.
func (m *operatorMaker) group(s *plan.Stage, k *plan.GroupByKey) (operator, error) {
	params := m.params
	params.Merge = newMergeFunc(m.plan, mergeFunction(s), m.call)
	g, err := group.New(k, params)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, op *operation) error { return g.Run(ctx, op.Input, op.emit) }, nil
}

// panes makes the operator of a view, or of a GroupByKey that fires while input
// comes.
func (m *operatorMaker) panes(s *plan.Stage, w *plan.Windowing) (operator, error) {
	merge := newMergeFunc(m.plan, mergeFunction(s), m.call)
	panes, err := group.NewPanes(group.PanesParams{
		Params: m.params, Windowing: w, Stage: s, Edge: m.plan.Edges[s.Input.Edge],
	})
	if err != nil {
		return nil, err
	}
	_, isView := s.Kind.(*plan.View)
	return func(ctx context.Context, op *operation) error {
		b := &group.Bundle{
			Input: op.Input, Time: op.Time, State: op.txn, Merge: merge, Set: op.set, Clear: op.clear,
		}
		if isView {
			b.Show = op.show
		} else {
			b.Emit = op.emit
		}
		if err := op.due(func(t group.Timer) { b.Due = append(b.Due, t) }); err != nil {
			return err
		}
		err := panes.Run(ctx, b)
		op.dropped = b.Dropped
		return err
	}, nil
}

// sort makes the operator of a TimeSort.
func (m *operatorMaker) sort(s *plan.Stage, k *plan.TimeSort) operator {
	sorter := timesort.New(timesort.Params{
		Name:     "sort/" + strconv.Itoa(int(s.ID)),
		Layout:   shuffle.EdgeLayout(m.plan.Edges[s.Input.Edge]),
		Lateness: k.Windowing.AllowedLateness,
	})
	return func(ctx context.Context, op *operation) error {
		b := &timesort.Bundle{Input: op.Input, Watermark: op.Time.Watermark, State: op.txn, Emit: op.emit}
		b.Set = func(t timesort.Timer) error {
			return op.set(group.Timer{Domain: plan.EventTimeDomain, Key: t.Key, Fire: t.Fire, Hold: t.Hold})
		}
		err := op.due(func(t group.Timer) {
			b.Due = append(b.Due, timesort.Timer{Key: t.Key, Fire: t.Fire, Hold: t.Hold})
		})
		if err != nil {
			return err
		}
		err = sorter.Run(ctx, b)
		op.dropped = b.Dropped
		return err
	}
}

// emit takes a block of output.
func (op *operation) emit(b element.Block) error { return emitToAll(op.out, b) }

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

// show keeps the new contents of a window of a view until the bundle commits.
func (op *operation) show(c group.Contents) error {
	w := shownWindow{window: c.Window, count: c.Count}
	for _, data := range c.Chunks {
		chunk, err := op.out.pipe.spill.Chunk(data)
		if err != nil {
			return err
		}
		w.chunks = append(w.chunks, chunk)
	}
	op.out.pipe.spill.LastChunks(w.chunks)
	op.out.shown = append(op.out.shown, w)
	return nil
}

// due cuts the timers that fire.
func (op *operation) due(add func(group.Timer)) error {
	for _, timers := range op.Timers {
		f := &op.out.pipe.families[timers.Family]
		for data := timers.Data; len(data) > 0; {
			t, err := coder.CutTimer(data, f.spec.Key, f.window)
			if err != nil {
				return fmt.Errorf("timers %s: %w", f.spec.Family, err)
			}
			add(group.Timer{Domain: f.spec.Domain, Key: t.Key, Window: t.Windows, Fire: t.Fire, Hold: t.Hold})
			data = data[t.Size:]
		}
	}
	return nil
}

// set sets a timer of an operator, whose families are numbered as the domains.
func (op *operation) set(t group.Timer) error {
	return op.writeTimer(t.Domain, coder.Timer{
		Key: t.Key, Windows: t.Window, NumWindows: 1, Fire: t.Fire, Hold: t.Hold, Pane: []byte{coder.PaneOnlyFiring},
	})
}

// clear clears a timer of an operator.
func (op *operation) clear(t group.Timer) error {
	return op.writeTimer(t.Domain, coder.Timer{Key: t.Key, Windows: t.Window, NumWindows: 1, Clear: true})
}

func (op *operation) writeTimer(d plan.TimeDomain, t coder.Timer) error {
	return op.out.timers.put(int(d), &op.out.pipe.families[d], t)
}
