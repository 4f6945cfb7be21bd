package jobdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/shuffle/segment"
	"github.com/gorunner/gorunner/state/pebblestore"
)

// Snapshot is the job between two commits, as files and regions that stay as they
// are until it is released, while the job goes on. A directory in which they are
// put under the same names, rows in RowsDir and regions in SegmentsDir, is that of
// a database with these commits and no others.
type Snapshot struct {
	db   *DB
	rows *pebblestore.Snapshot
	seq  journal.Seq
	// stored is what the rows refer to.
	stored []element.Stored
}

// The directories of a database, in that of the job.
const (
	RowsDir     = "rows"
	SegmentsDir = "segments"
)

// asked is a snapshot that somebody waits for.
type asked struct {
	made chan struct{} // closed when the rest is there
	out  *Snapshot
	err  error
}

// Snapshot makes a snapshot, of which there is one at a time. The job does not
// wait for it, and what becomes durable waits only while rows are flushed and
// files linked.
func (d *DB) Snapshot(ctx context.Context) (*Snapshot, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", d.params.Dir, err)
	}
	return s, nil
}

func (d *DB) snapshot(ctx context.Context) (*Snapshot, error) {
	a := &asked{made: make(chan struct{})}
	d.mu.Lock()
	if d.closing || d.failed != nil {
		defer d.mu.Unlock()
		return nil, cmp.Or(d.failed, ErrClosed)
	}
	d.asked = append(d.asked, a)
	d.hurried()
	d.wake()
	d.mu.Unlock()
	select {
	case <-a.made:
		return a.out, a.err
	case <-ctx.Done():
		go func() { // it comes all the same
			if <-a.made; a.err == nil {
				_ = a.out.Release()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// takeSnapshots makes those that were asked for, of what is durable.
func (d *DB) takeSnapshots() {
	d.mu.Lock()
	all, err := d.asked, d.failed
	d.asked = nil
	d.mu.Unlock()
	for _, a := range all {
		if a.err = err; err == nil {
			a.out, a.err = d.take()
		}
		close(a.made)
	}
}

func (d *DB) take() (*Snapshot, error) {
	if d.held.Swap(true) {
		return nil, errors.New("there is one already")
	}
	rows, err := d.table.Snapshot()
	if err != nil {
		d.held.Store(false)
		return nil, err
	}
	return &Snapshot{db: d, rows: rows, seq: d.about.seq, stored: d.refs.all()}, nil
}

// all is what rows refer to.
func (r *references) all() []element.Stored {
	var all []element.Stored
	for _, s := range r.queued {
		all = append(all, s...)
	}
	for _, s := range r.side {
		all = append(all, s...)
	}
	for _, s := range r.shown {
		all = append(all, s...)
	}
	return all
}

// Seq is the number of the last commit that it has, Epoch that of the process
// that has made it.
func (s *Snapshot) Seq() journal.Seq { return s.seq }

// Epoch counts the processes that have had the job.
func (s *Snapshot) Epoch() uint64 { return s.db.about.epoch }

// Rows are the files of the rows.
func (s *Snapshot) Rows() []pebblestore.SnapshotFile { return s.rows.Files }

// OpenRows opens one of them.
func (s *Snapshot) OpenRows(name string) (vfs.File, error) { return s.rows.Open(name) }

// Regions returns where what rows refer to is in segments, in order; no place is
// named twice.
func (s *Snapshot) Regions() ([]segment.Extent, error) {
	all := make([]segment.Extent, 0, len(s.stored))
	for _, stored := range s.stored {
		p, err := stored.Place()
		if err != nil {
			return nil, err
		}
		all = append(all, segment.Extent{File: p.File, From: int64(p.Offset), To: int64(p.Offset) + int64(p.Bytes)})
	}
	slices.SortFunc(all, func(a, b segment.Extent) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.From, b.From), cmp.Compare(b.To, a.To))
	})
	regions := all[:0]
	for _, e := range all {
		if n := len(regions); n > 0 && regions[n-1].File == e.File && e.To <= regions[n-1].To {
			continue
		}
		regions = append(regions, e)
	}
	return regions, nil
}

// Pack packs some of the regions. It can be read until the snapshot is released.
func (s *Snapshot) Pack(regions []segment.Extent) (*segment.Pack, error) {
	return s.db.segments.NewPack(regions)
}

// Release lets go of the files and regions. Only its first call has an effect.
func (s *Snapshot) Release() error {
	if s.rows == nil {
		return nil
	}
	err := s.rows.Release()
	runtime.KeepAlive(s.stored)
	s.rows, s.stored = nil, nil
	s.db.held.Store(false)
	return err
}
