package engine

import (
	"context"
	"sync"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/internal/invariants"
)

// ending finds an execution that has ended. One that has ended without a word of
// metrics counts with what it told while it ran.
func (d *driver) ending(id harness.BundleID) *execution {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.running[id]
	if x == nil {
		invariants.Failf("bundle %d ended twice", id)
	}
	if len(x.result.Metrics) == 0 {
		x.result.Metrics = x.told
	}
	return x
}

// end takes an execution out of the running ones, and adds its metrics to the
// set: in one, so that none are ever missing from the picture.
func (d *driver) end(x *execution, set *metrics.Set) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.running, x.id)
	d.add(set, x, x.result.Metrics)
}

// add adds metrics of an execution to a set. Malformed ones are the SDK's fault
// and cost nothing but themselves.
func (d *driver) add(set *metrics.Set, x *execution, infos []metrics.Info) {
	if err := set.Add(infos); err != nil {
		d.log.Warn("metrics of a bundle", "stage", x.stage.Name, "bundle", x.id, "error", err)
	}
}

// metrics returns the metrics of all executions, those under way among them,
// and of the committed ones.
func (d *driver) metrics() (attempted, committed []metrics.Info) {
	d.ask()
	d.mu.Lock()
	defer d.mu.Unlock()
	var all metrics.Set
	for _, x := range d.running {
		d.add(&all, x, x.told)
	}
	for _, set := range []*metrics.Set{&d.failed, &d.committed} {
		if err := all.Merge(set); err != nil {
			d.log.Warn("metrics of all bundles", "error", err)
		}
	}
	return all.Infos(), d.committed.Infos()
}

// ask asks all running executions for their metrics. One that does not answer
// in time, or has ended meanwhile, is left as it was.
func (d *driver) ask() {
	ctx, cancel := context.WithTimeout(context.Background(), d.opts.ProgressTimeout)
	defer cancel()
	var answers sync.WaitGroup
	d.mu.Lock()
	for _, x := range d.running {
		if handle := x.started.Load(); handle != nil {
			answers.Go(func() { d.askOne(ctx, x, *handle) })
		}
	}
	d.mu.Unlock()
	answers.Wait()
}

func (d *driver) askOne(ctx context.Context, x *execution, handle harness.Execution) {
	var err error
	defer func() {
		if err = contain(recover(), err); err != nil {
			d.log.Debug("progress of a bundle", "stage", x.stage.Name, "bundle", x.id, "error", err)
		}
	}()
	p, err := handle.Progress(ctx)
	if err == nil && len(p.Metrics) > 0 {
		d.mu.Lock()
		defer d.mu.Unlock()
		x.told = p.Metrics
	}
}
