package jobdb

import (
	"errors"
	"fmt"

	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/metrics"
)

// run is the goroutine of the database.
func (d *DB) run() {
	defer close(d.done)
	pace := newPace(d.params.SyncInterval)
	defer pace.stop()
	for range d.work {
		pace.wait()
		d.writePending()
		d.takeSnapshots()
	}
	d.writePending()
	d.settle(0, 0, ErrClosed)
	d.takeSnapshots() // none any more
}

// writePending writes what was handed over, if nothing has failed before.
func (d *DB) writePending() {
	d.mu.Lock()
	group, failed := d.pending, d.failed
	d.pending = nil
	d.mu.Unlock()
	if len(group) == 0 || failed != nil {
		return
	}
	var bytes int64
	for i := range group {
		bytes += group[i].bytes
	}
	last := group[len(group)-1].seq
	err := d.write(group)
	if err == nil {
		err = d.mark.set(last)
	}
	if err != nil {
		d.settle(0, 0, fmt.Errorf("commit %d to %d in %s: %w", group[0].seq, last, d.params.Dir, err))
		return
	}
	d.settle(last, bytes, nil)
	for i := range group {
		d.refs.drop(group[i].commit)
	}
}

// settle says how far the database has come, or that it comes no further.
func (d *DB) settle(durable journal.Seq, written int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.durable = max(d.durable, durable)
	d.behind -= written
	if d.failed == nil {
		d.failed = err
	}
	close(d.moved)
	d.moved = make(chan struct{})
}

// write makes a group durable: steps 3 and 4 of the protocol.
func (d *DB) write(group []pending) (err error) {
	if err := d.segments.Sync(); err != nil {
		return err
	}
	b := d.table.Batch()
	defer func() { err = errors.Join(err, b.Close()) }()
	changed := make(map[string]bool)
	for i := range group {
		c := group[i].commit
		changes, err := c.Changes()
		if err != nil {
			return err
		}
		if err := errors.Join(changes.Apply(b), c.State.ApplyUnder([]byte{rowState}, b)); err != nil {
			return err
		}
		d.refs.add(c)
		if err := d.metrics.Add(c.Metrics); err != nil {
			d.params.Log.Debug("metrics refused", "error", err) // as they were when it was committed
		}
		for i := range c.Metrics {
			changed[metrics.KeyOf(c.Metrics[i].URN, c.Metrics[i].Labels)] = true
		}
	}
	for _, in := range d.metrics.Of(changed) {
		key, value := journal.Metric(&in)
		if err := b.Set(key, value); err != nil {
			return err
		}
	}
	d.about.seq = group[len(group)-1].seq
	if err := d.putAbout(b); err != nil {
		return err
	}
	return b.Commit()
}
