package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// DeadLetters keep what could not be executed, for people to look at. They are used
// by many goroutines at a time.
type DeadLetters interface {
	// Keep returns once what it has kept outlives the machine, and says where that is.
	// What has an equal Number replaces what was kept before.
	Keep(ctx context.Context, l *DeadLetter) (where string, err error)
	// Retract removes what is kept of parked elements whose Number is to be retracted:
	// of them a process before has kept, but not committed, that they are parked.
	Retract(ctx context.Context, retracted func(element.Number) bool) error
}

// DeadLetter is input that failed.
type DeadLetter struct {
	Stage *plan.Stage
	// Edge is that of the input, Layout how its elements stand in the blocks.
	Edge   *plan.Edge
	Layout *shuffle.Layout
	// Parked says that the job goes on without the input, which is one element.
	Parked   bool
	Bundle   harness.BundleID
	Attempts int
	// Err is what the harness said last.
	Err error
	// Number names the element within its job, in every process that has it; 0 where
	// jobs end with their process.
	Number element.Number
	// Input is in memory, but for its pages. Timers are those that were to fire.
	Input  []element.Block
	Timers []*timer.Timer
}

// keep gives the input of a failed bundle to whoever keeps it.
func (d *driver) keep(ctx context.Context, e *BundleError, parked bool) (string, error) {
	if d.opts.DeadLetters == nil {
		return "", nil
	}
	l := &DeadLetter{Stage: e.Stage, Parked: parked, Bundle: e.Bundle, Attempts: e.Attempts, Err: e.Err, Timers: e.timers}
	if e.Stage.Input != nil {
		l.Edge, l.Layout = d.plan.Edges[e.Stage.Input.Edge], d.pipes[e.Stage.ID].input
	}
	var err error
	var loaded int64
	if l.Input, loaded, err = load(e.input); err != nil {
		return "", err
	}
	d.accounts.running.Add(loaded)
	defer d.accounts.running.Add(-loaded)
	if parked {
		l.Number = e.input[0].Number
	}
	return d.opts.DeadLetters.Keep(ctx, l)
}

// keepLast keeps the input of the bundle that the job fails with.
func (d *driver) keepLast(ctx context.Context, e *BundleError) {
	if e.disk || len(e.input) == 0 && len(e.timers) == 0 {
		return
	}
	where, err := d.keep(ctx, e, false)
	if err != nil {
		d.log.Warn("the input of the failed bundle is not kept", "stage", e.Stage.Name, "error", err)
		return
	}
	e.Kept = where
}

// park puts an element aside. The fact that it is comes after it lasts. What is kept
// comes after the element itself is durable: so that a later process, which finds
// what is kept, finds the element unless it was parked.
func (d *driver) park(ctx context.Context, o parkElement) fact {
	e := o.failure
	if err := d.outlive(ctx); err != nil {
		return elementParked{id: o.id, err: err}
	}
	where, err := d.keep(ctx, e, true)
	if err != nil {
		return elementParked{id: o.id, err: err}
	}
	d.log.Warn("element parked", "stage", e.Stage.Name, "where", where, "error", e.Err)
	return elementParked{id: o.id, where: where, failure: e}
}

// retract removes what is kept of elements that an earlier process was about to park:
// they are queued still, and may succeed this time. If it cannot, one of them is
// there twice, which is no reason to end the job.
func (d *driver) retract(ctx context.Context, m *journal.Image) {
	if d.opts.DeadLetters == nil || m == nil {
		return
	}
	queued := make(map[element.Number]bool, len(m.Queued))
	for i := range m.Queued {
		queued[m.Queued[i].Number] = true
	}
	if err := d.opts.DeadLetters.Retract(ctx, func(n element.Number) bool { return queued[n] }); err != nil {
		d.log.Warn("what is kept of elements that were not parked is not removed", "error", err)
	}
}

// halve cuts the input of work in two.
func (d *driver) halve(o halveWork) fact {
	f := workHalved{id: o.id, lost: o.lost}
	f.halves, f.err = d.cutInTwo(o)
	return f
}

func (d *driver) cutInTwo(o halveWork) (halves [2]portion, err error) {
	layout, spill := d.pipes[o.stage].input, d.pipes[o.stage].spill
	half := countOf(o.input) / 2
	input := append([]element.Block(nil), o.input...)
	before, loaded := int64(0), int64(0)
	defer func() { d.accounts.running.Add(-loaded) }()
	for i := range input { // only the one that is cut has to be in memory
		if n := int64(input[i].Count); before < half && half < before+n && input[i].OnDisk() {
			if input[i], err = input[i].InMemory(); err != nil {
				return halves, fmt.Errorf("%w: %w", shuffle.ErrDisk, err)
			}
			loaded += int64(len(input[i].Data))
			d.accounts.running.Add(int64(len(input[i].Data)))
		}
		before += int64(input[i].Count)
	}
	halves[0].blocks, halves[1].blocks, err = layout.SplitAt(input, half, half)
	if err != nil {
		return halves, err
	}
	x := execution{stage: d.plan.Stage(o.stage), layout: layout, groups: d.plan.KeyGroups}
	for i := range halves {
		p := &halves[i]
		spill.Last(eachNew(p.blocks))
		if !x.stage.Input.Keyed {
			continue
		}
		for j := range p.blocks {
			b, err := p.blocks[j].InMemory()
			if err != nil {
				return halves, fmt.Errorf("%w: %w", shuffle.ErrDisk, err)
			}
			size := int64(0)
			if p.blocks[j].OnDisk() {
				size = int64(len(b.Data))
			}
			d.accounts.running.Add(size)
			g, err := x.group(&b)
			d.accounts.running.Add(-size)
			if err != nil {
				return halves, err
			}
			p.groups = append(p.groups, g)
		}
	}
	return halves, nil
}

// eachNew yields the blocks that were cut, and so have no number.
func eachNew(blocks []element.Block) func(yield func(*element.Block) bool) {
	return func(yield func(*element.Block) bool) {
		for i := range blocks {
			if blocks[i].Number == 0 && !yield(&blocks[i]) {
				return
			}
		}
	}
}

// resumeParked takes the counts of earlier processes, which their metrics have. mu is
// held.
func (d *driver) resumeParked() {
	counts := make(map[plan.TransformID]int)
	for _, m := range d.committed.Infos() {
		if m.URN == sumURN && m.Labels["NAMESPACE"] == putAsideNamespace && m.Labels["NAME"] == putAsideName {
			n, _ := binary.Uvarint(m.Payload)
			counts[plan.TransformID(m.Labels["PTRANSFORM"])] = int(min(n, math.MaxInt32))
		}
	}
	for _, st := range d.sched.stages {
		if k, ok := st.Kind.(*plan.Executable); ok && len(k.Transforms) > 0 {
			st.parked = counts[k.Transforms[0].ID]
		}
	}
}

// The names of the counter of elements that were parked.
const (
	sumURN            = "beam:metric:user:sum_int64:v1"
	putAsideNamespace = "gorunner"
	putAsideName      = "parkedElements"
)

// parkedCount is the counter of the elements of a stage that were parked.
func parkedCount(s *plan.Stage) []metrics.Info {
	k, ok := s.Kind.(*plan.Executable)
	if !ok || len(k.Transforms) == 0 {
		return nil
	}
	return []metrics.Info{{
		URN:  sumURN,
		Type: "beam:metrics:sum_int64:v1",
		Labels: map[string]string{
			"PTRANSFORM": string(k.Transforms[0].ID), "NAMESPACE": putAsideNamespace, "NAME": putAsideName,
		},
		Payload: binary.AppendUvarint(nil, 1),
	}}
}
