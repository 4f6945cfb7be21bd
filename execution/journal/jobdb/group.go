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
	pace := newPace(d.params.SyncInterval, d.params.IdleInterval)
	defer pace.stop()
	for range d.work {
		pace.wait(d.hurry, d.urgent)
		d.writePending()
		d.takeSnapshots()
	}
	d.writePending()
	d.settle(0, 0, ErrClosed)
	d.takeSnapshots() // none any more
}

// urgent says that somebody waits for the next group. Without that it is better to
// wait: what is consumed meanwhile need not be written.
func (d *DB) urgent() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting > 0 || d.closing || d.failed != nil || len(d.asked) > 0 || d.behind > d.params.BehindBytes/behindShare
}

// hurried lets the goroutine ask again whether it is urgent.
func (d *DB) hurried() {
	select {
	case d.hurry <- struct{}{}:
	default:
	}
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
	commits := make([]*journal.Commit, len(group))
	for i := range group {
		commits[i] = group[i].commit
	}
	c := journal.Merge(commits)
	err := d.write(c, last)
	if err == nil {
		err = d.mark.set(last)
	}
	if err != nil {
		d.settle(0, 0, fmt.Errorf("commit %d to %d in %s: %w", group[0].seq, last, d.params.Dir, err))
		return
	}
	d.settle(last, bytes, nil)
	d.refs.drop(c)
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

// store puts what a group is to store on disk, unless it is so little that its rows
// may have it.
func (d *DB) store(c *journal.Commit) error {
	all := c.Later()
	total := 0
	for _, l := range all {
		total += l.Size()
	}
	if total < togetherMin {
		return nil
	}
	for len(all) > 0 {
		var data [][]byte
		for size := 0; len(data) < len(all) && size < storeBytes; {
			one := all[len(data)].Unwritten()
			data = append(data, one)
			size += len(one)
		}
		stored, err := d.segments.StoreAll(data)
		if err != nil {
			return err
		}
		for i, s := range stored {
			all[i].Wrote(s)
		}
		all = all[len(data):]
	}
	return nil
}

// write makes a group durable: steps 3 to 5 of the protocol.
func (d *DB) write(c *journal.Commit, last journal.Seq) (err error) {
	if err := d.store(c); err != nil {
		return err
	}
	if err := d.segments.Sync(); err != nil {
		return err
	}
	changes, err := c.Changes()
	if err != nil {
		return err
	}
	b := d.table.Batch()
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := errors.Join(changes.Apply(b), c.State.ApplyUnder([]byte{rowState}, b)); err != nil {
		return err
	}
	d.refs.add(c)
	if err := d.metrics.Add(c.Metrics); err != nil {
		d.params.Log.Debug("metrics refused", "error", err) // as they were when it was committed
	}
	changed := make(map[string]bool)
	for i := range c.Metrics {
		changed[metrics.KeyOf(c.Metrics[i].URN, c.Metrics[i].Labels)] = true
	}
	for _, in := range d.metrics.Of(changed) {
		key, value := journal.Metric(&in)
		if err := b.Set(key, value); err != nil {
			return err
		}
	}
	d.about.seq = last
	if err := d.putAbout(b); err != nil {
		return err
	}
	return b.Commit()
}
