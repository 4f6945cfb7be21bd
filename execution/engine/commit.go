package engine

import (
	"context"
	"fmt"
	"runtime"

	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/metrics"
)

// A commit is made by the loop in four steps, of which the second is left out
// where a job ends with its process:
//
//  1. the scheduler takes the fact, and notes what that changes;
//  2. the journal gets all that has changed, in one commit: the loop does not wait
//     for the disk, unless too much is on its way there already;
//  3. state, and what else the driver keeps, is made true in memory;
//  4. the scheduler's orders are carried out.
//
// What cannot be taken back waits for the commit to be durable, in a goroutine of
// its own: finalization, bundles of stages that need stable input, and the end of
// the job. All else goes on at once: what is done with a commit is committed behind
// it, and so is durable only with it.

// follow sets the configuration to what earlier processes have left of the job, and
// returns that; nil if there is nothing.
func (c *config) follow(j Journal) *journal.Image {
	if j == nil {
		return nil
	}
	c.life = j.Epoch()
	if j.Last() == 0 {
		return nil
	}
	image := j.Image()
	for _, s := range image.Scripts { // by which such a job tells the time
		c.elapsed += c.epoch - s.Epoch
		c.epoch = s.Epoch
	}
	return image
}

// begin begins with the job, or goes on with it.
func (d *driver) begin(ctx context.Context) ([]order, error) {
	d.retract(ctx, d.image)
	orders, err := d.start()
	if err != nil {
		return nil, err
	}
	more, err := d.take(ctx, workerReady{env: native, id: nativeID, slots: runtime.GOMAXPROCS(0)})
	return append(orders, more...), err
}

func (d *driver) start() ([]order, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.image
	d.image = nil
	if m == nil {
		return d.sched.start(), nil
	}
	for i := range m.Stages {
		pipe := d.pipes[m.Stages[i].ID]
		pipe.elements.Store(m.Stages[i].ElementsOut)
		pipe.bytes.Store(m.Stages[i].BytesOut)
	}
	d.views.restore(m)
	if err := d.committed.Merge(&m.Metrics); err != nil {
		return nil, fmt.Errorf("metrics of earlier processes: %w", err)
	}
	d.resumeParked()
	if d.opts.Drain && !m.Draining {
		d.askToDrain()
	}
	return d.sched.resume(m), nil
}

// take makes a fact true, and returns what is to be done then.
func (d *driver) take(ctx context.Context, f fact) ([]order, error) {
	var done *execution
	var extra []metrics.Info // of what is no bundle's
	switch f := f.(type) {
	case bundleDone:
		done = d.ending(f.id)
		if int(done.stage.ID) < len(d.plan.Stages) {
			for i, out := range done.stage.Outputs {
				d.views.add(out.Edge, f.outputs[i].Plain)
			}
			d.views.show(done.stage.ID, done.out.shown)
		}
		done.out.release()
	case bundleFailed:
		x := d.ending(f.id)
		if x.txn != nil {
			x.txn.Drop()
		}
		x.out.abandon()
		x.out.release()
		d.end(x, &d.failed)
	case elementParked:
		if f.err == nil {
			extra = parkedCount(f.failure.Stage)
		}
	case workerReady, workerGone, workerRefused, bundleSplit, bundleFull, workHalved, drainAsked, windowsMapped, pressureChanged, idleMeasured, taskPanicked, tick:
	}
	orders := d.step(f)
	seq, err := d.record(ctx, done, extra)
	if err == nil && done != nil {
		err = d.apply(ctx, done, seq)
	}
	if err == nil && len(extra) > 0 {
		err = d.count(extra)
	}
	return orders, err
}

// record hands what the last step has changed to the journal, with what the bundle
// has that it committed, if it did. It returns the number of that commit, 0 if there
// is none.
func (d *driver) record(ctx context.Context, done *execution, extra []metrics.Info) (journal.Seq, error) {
	j := d.opts.Journal
	if j == nil {
		return 0, nil
	}
	c := d.sched.changes()
	if c == nil {
		c = &journal.Commit{}
	}
	d.views.changes(c)
	c.Metrics = extra
	if done != nil {
		c.Metrics = done.result.Metrics
		if done.txn != nil {
			c.State = done.txn.Changes()
		}
	}
	if c.Empty() {
		return 0, nil
	}
	seq, err := j.Append(ctx, c)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return seq, nil
}

// count adds to what was extra.
func (d *driver) count(infos []metrics.Info) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.committed.Add(infos)
}

// apply makes a bundle's commit true in what the driver keeps.
func (d *driver) apply(ctx context.Context, x *execution, seq journal.Seq) error {
	if x.txn != nil {
		if err := x.txn.Apply(uint64(seq)); err != nil {
			return fmt.Errorf("stage %s bundle %d: apply state: %w", x.stage.Name, x.id, err)
		}
	}
	if x.out.pipe.consumes {
		d.spill.Give(x.state.input)
	}
	d.end(x, &d.committed)
	if x.result.Finalize != nil {
		d.finalizers.Go(func() { d.finalize(ctx, x, seq) })
	}
	return nil
}

// finalize tells the harness that its bundle is committed, once nothing can undo
// that. A job does not fail for it: the bundle stands.
func (d *driver) finalize(ctx context.Context, x *execution, seq journal.Seq) {
	var err error
	defer func() {
		if err = contain(recover(), err); err != nil {
			d.log.Warn("finalize bundle", "stage", x.stage.Name, "bundle", x.id, "error", err)
		}
	}()
	if err = d.durable(ctx, seq); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d.opts.FinalizeTimeout)
	defer cancel()
	err = x.result.Finalize(ctx)
}

// stabilize returns when the input of a bundle is what it will be in every process,
// if its stage needs that.
func (d *driver) stabilize(ctx context.Context, x *execution) error {
	if !x.stable {
		return nil
	}
	if err := d.durable(ctx, x.after); err != nil {
		return fmt.Errorf("stage %s bundle %d: wait for stable input: %w", x.stage.Name, x.id, err)
	}
	return nil
}

// outlive returns when all commits are durable that were made before.
func (d *driver) outlive(ctx context.Context) error {
	if d.opts.Journal == nil {
		return nil
	}
	return d.durable(ctx, d.opts.Journal.Last())
}

// durable returns when a commit outlives the machine, at once if the job does not.
func (d *driver) durable(ctx context.Context, seq journal.Seq) error {
	if d.opts.Journal == nil {
		return nil
	}
	if err := d.opts.Journal.Wait(ctx, seq); err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return nil
}
