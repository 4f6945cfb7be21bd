package group

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/cespare/xxhash/v2"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
)

// runRecord is a record as it stands in a frame.
type runRecord struct {
	key, window      []byte
	count            int64
	earliest, latest element.EventTime
	chunks           int
	inline           []byte
}

// cutRecord cuts the record at the start of b, and returns its length.
func cutRecord(b []byte) (r runRecord, size int, err error) {
	rest := b
	var bad bool
	number := func() int {
		v, n := binary.Uvarint(rest)
		if n <= 0 || v > math.MaxInt64 {
			bad = true
			return 0
		}
		rest = rest[n:]
		return int(v)
	}
	piece := func(n int) []byte {
		if bad || n > len(rest) {
			bad = true
			return nil
		}
		p := rest[:n:n]
		rest = rest[n:]
		return p
	}
	const times = 16
	r.key = piece(number())
	r.window = piece(number())
	r.count = int64(number())
	at := piece(times)
	r.chunks = number()
	r.inline = piece(number())
	if bad {
		return runRecord{}, 0, fmt.Errorf("%w: record of %d bytes", errRun, len(b))
	}
	if r.earliest, err = coder.Time(at); err == nil {
		r.latest, err = coder.Time(at[8:])
	}
	return r, len(b) - len(rest), err
}

// cursor reads a run from its beginning to its end.
type cursor struct {
	room *room
	run  *sortedRun
	// index is that of the run among those that are merged.
	index int
	// frame is the next to be loaded, rest what is left of the one before.
	frame      int
	rest       []byte
	frameBytes int
	// chunk is the first of the run's that is of a record to come, or of this one.
	chunk int
	hash  uint64
	runRecord
}

// next moves on to the next record; false says that there is none.
func (c *cursor) next() (bool, error) {
	for len(c.rest) == 0 {
		c.room.add(-c.frameBytes)
		c.frameBytes = 0
		if c.frame == len(c.run.frames) {
			return false, nil
		}
		if err := c.load(); err != nil {
			return false, err
		}
	}
	r, n, err := cutRecord(c.rest)
	if err != nil {
		return false, err
	}
	hash := xxhash.Sum64(r.key)
	if hash < c.hash || r.chunks > len(c.run.chunks)-c.chunk {
		return false, fmt.Errorf("%w: record with %d chunks out of order", errRun, r.chunks)
	}
	c.rest = c.rest[n:]
	c.runRecord, c.hash = r, hash
	return true, nil
}

// load loads the next frame. The run forgets it.
func (c *cursor) load() error {
	frame := &c.run.frames[c.frame]
	onDisk := frame.OnDisk()
	data, err := frame.Load()
	if err != nil {
		return err
	}
	if onDisk {
		c.room.add(len(data))
	}
	*frame = element.Chunk{}
	c.frame++
	c.rest, c.frameBytes = data, len(data)
	return nil
}

// before says whether the record comes before the other's.
func (c *cursor) before(o *cursor) bool {
	if c.hash != o.hash {
		return c.hash < o.hash
	}
	return cmp.Or(bytes.Compare(c.key, o.key), bytes.Compare(c.window, o.window), c.index-o.index) < 0
}

// runMerger merges runs into one sequence of records.
type runMerger struct {
	// heap has the cursor with the first record on top.
	heap []*cursor
	// record is what next has returned, chunks are those of its values.
	record record
	chunks []element.Chunk
}

// newRunMerger begins to merge runs, whose frames are used up by that.
func newRunMerger(r *room, runs []*sortedRun) (*runMerger, error) {
	m := &runMerger{}
	for i, run := range runs {
		c := &cursor{room: r, run: run, index: i}
		more, err := c.next()
		if err != nil {
			return nil, err
		}
		if more {
			m.heap = append(m.heap, c)
		}
	}
	for i := len(m.heap) / 2; i >= 0; i-- {
		m.down(i)
	}
	return m, nil
}

// next returns the next record, with the values of all runs, nil at the end. It
// is good until the next call.
func (m *runMerger) next() (*record, error) {
	if len(m.heap) == 0 {
		return nil, nil
	}
	c := m.heap[0]
	r := &m.record
	*r = record{
		key: c.key, window: c.window, earliest: c.earliest, latest: c.latest,
		values: values{pieces: r.values.pieces[:0]},
	}
	m.chunks = m.chunks[:0]
	for hash := c.hash; ; c = m.heap[0] {
		r.earliest, r.latest = min(r.earliest, c.earliest), max(r.latest, c.latest)
		m.take(c)
		if err := m.advance(); err != nil {
			return nil, err
		}
		if len(m.heap) == 0 || m.heap[0].hash != hash {
			return r, nil
		}
		if next := m.heap[0]; !bytes.Equal(next.key, r.key) || !bytes.Equal(next.window, r.window) {
			return r, nil
		}
	}
}

// take adds the values of the cursor's record to those of the merger's.
func (m *runMerger) take(c *cursor) {
	v := &m.record.values
	for range c.runRecord.chunks {
		m.chunks = append(m.chunks, c.run.chunks[c.chunk])
		c.room.add(-len(c.run.chunks[c.chunk].Data))
		c.run.chunks[c.chunk] = element.Chunk{}
		c.chunk++
		chunk := &m.chunks[len(m.chunks)-1]
		v.add(piece{chunk: chunk, end: chunk.Size()})
	}
	if len(c.inline) > 0 {
		v.add(piece{data: c.inline})
	}
	v.total += c.count
}

// advance moves the first cursor on.
func (m *runMerger) advance() error {
	more, err := m.heap[0].next()
	if err != nil {
		return err
	}
	if !more {
		last := len(m.heap) - 1
		m.heap[0] = m.heap[last]
		m.heap = m.heap[:last]
	}
	m.down(0)
	return nil
}

// down restores the heap below i.
func (m *runMerger) down(i int) {
	for {
		first := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(m.heap); child++ {
			if m.heap[child].before(m.heap[first]) {
				first = child
			}
		}
		if first == i {
			return
		}
		m.heap[i], m.heap[first] = m.heap[first], m.heap[i]
		i = first
	}
}

// mergeRuns calls f with the records of all runs, in order. What cannot be
// merged at once is merged into longer runs first, whose large records keep
// their chunks.
func mergeRuns(ctx context.Context, r *room, sizes runSizes, runs []*sortedRun, f func(*record) error) error {
	for len(runs) > sizes.fanIn {
		n := min(sizes.fanIn, len(runs)-sizes.fanIn+1)
		w := &runWriter{room: r, sizes: sizes}
		if err := mergeSome(ctx, r, runs[:n], w.add); err != nil {
			return err
		}
		run, err := w.close()
		if err != nil {
			return err
		}
		runs = append(runs[n:], run)
	}
	return mergeSome(ctx, r, runs, f)
}

func mergeSome(ctx context.Context, r *room, runs []*sortedRun, f func(*record) error) error {
	m, err := newRunMerger(r, runs)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		if i%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rec, err := m.next()
		if err != nil || rec == nil {
			return err
		}
		if err := f(rec); err != nil {
			return err
		}
	}
}
