package group

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// sortedRun is a part of a bundle's input, grouped: records in order of (hash of
// key, key, window), one for each key and window. It lasts no longer than the
// bundle, except for chunks, which pages may refer to.
type sortedRun struct {
	// frames hold the records, each whole ones.
	frames []element.Chunk
	// chunks hold the values of large records, and nothing else, in the order of
	// the records.
	chunks []element.Chunk
}

// record is a key in a window with some of its values.
type record struct {
	key, window      []byte
	earliest, latest element.EventTime
	values           values
}

// runSizes are the sizes of what runs are made of.
type runSizes struct {
	// frame is what frames are filled up to, and chunk what the chunks of large
	// records are; inline is the largest record without chunks.
	frame, inline, chunk int
	// fanIn is how many runs are merged at a time.
	fanIn int
}

// sizesFor returns the sizes of runs that are merged in limit bytes, 0 for no
// limit.
func sizesFor(limit, block int) runSizes {
	const frameMin, frameMax, fanInMax, frames = 512, 256 << 10, 128, 32
	s := runSizes{frame: frameMax, chunk: block, fanIn: fanInMax}
	if limit > 0 {
		s.frame = min(max(limit/frames, frameMin), frameMax)
		s.fanIn = min(max(limit/(2*s.frame), 2), fanInMax)
	}
	s.inline = max(min(s.frame/4, block), 1)
	return s
}

// errRun reports a run that is not what was written.
var errRun = fmt.Errorf("%w: malformed sorted run", shuffle.ErrDisk)

// runWriter writes a run.
type runWriter struct {
	room  *room
	sizes runSizes
	run   sortedRun
	frame []byte
}

// add appends a record. A record is its key and window, each with its length
// before it, the number of values, their earliest and latest time, the number
// of its chunks, and the other values with their length before them.
func (w *runWriter) add(r *record) error {
	chunks, rest := r.values.split()
	count := len(chunks)
	for _, c := range chunks {
		w.room.add(len(c.Data))
		w.run.chunks = append(w.run.chunks, c)
	}
	if rest.bytes > w.sizes.inline {
		before := len(w.run.chunks)
		if err := w.addChunks(&rest); err != nil {
			return err
		}
		count += len(w.run.chunks) - before
		rest = values{}
	}
	const numbers = 5*binary.MaxVarintLen64 + 16
	if n := len(w.frame); n > 0 && n+numbers+len(r.key)+len(r.window)+rest.bytes > w.sizes.frame {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if w.frame == nil {
		w.frame = make([]byte, 0, w.sizes.frame)
	}
	b := binary.AppendUvarint(w.frame, uint64(len(r.key)))
	b = append(b, r.key...)
	b = binary.AppendUvarint(b, uint64(len(r.window)))
	b = append(b, r.window...)
	b = binary.AppendUvarint(b, uint64(r.values.total))
	b = coder.PutTime(coder.PutTime(b, r.earliest), r.latest)
	b = binary.AppendUvarint(b, uint64(count))
	b = binary.AppendUvarint(b, uint64(rest.bytes))
	b, err := rest.appendTo(b)
	if err != nil {
		return err
	}
	w.frame = b
	return nil
}

// addChunks puts values into chunks.
func (w *runWriter) addChunks(v *values) error {
	return v.cut(w.sizes.chunk, func(data []byte) ([]byte, error) {
		c, next, err := w.room.seal(data)
		w.run.chunks = append(w.run.chunks, c)
		return next, err
	})
}

func (w *runWriter) flush() error {
	if len(w.frame) == 0 {
		return nil
	}
	c, next, err := w.room.seal(w.frame)
	w.run.frames = append(w.run.frames, c)
	w.frame = next
	return err
}

// close returns the run.
func (w *runWriter) close() (*sortedRun, error) {
	err := w.flush()
	return &w.run, err
}

// addTable appends the entries of a table, whose values have been sorted.
func (w *runWriter) addTable(t *table) error {
	for _, h := range t.hashed() {
		e := &t.entries[h.entry]
		r := t.record(e)
		if err := w.add(&r); err != nil {
			return err
		}
	}
	return nil
}

// record is an entry with its values.
func (t *table) record(e *entry) record {
	return record{
		key: t.at(e.key), window: t.at(e.window), earliest: e.earliest, latest: e.latest,
		values: values{table: t, order: t.of(e), total: int64(e.count), bytes: e.bytes},
	}
}

// hashed is an entry of a table and the hash of its key.
type hashed struct {
	hash  uint64
	entry uint32
}

// hashed returns the entries that have values in the order of runs.
func (t *table) hashed() []hashed {
	var all []hashed
	for i := range t.entries {
		if e := &t.entries[i]; e.count > 0 {
			all = append(all, hashed{xxhash.Sum64(t.at(e.key)), uint32(i)})
		}
	}
	compare := func(a, b hashed) int {
		if a.hash != b.hash {
			return cmp.Compare(a.hash, b.hash)
		}
		x, y := &t.entries[a.entry], &t.entries[b.entry]
		return cmp.Or(bytes.Compare(t.at(x.key), t.at(y.key)), bytes.Compare(t.at(x.window), t.at(y.window)))
	}
	for _, few := range spread(all) {
		slices.SortFunc(few, compare)
	}
	return all
}

// spread sorts entries by the upper bits of their hashes, which leaves few that
// are to be sorted by the rest.
func spread(all []hashed) [][]hashed {
	shift := 64 - max(bits.Len(uint(len(all)))-2, 0)
	if shift == 64 {
		return [][]hashed{all}
	}
	ends := make([]int, 1<<(64-shift))
	for _, h := range all {
		ends[h.hash>>shift]++
	}
	sum := 0
	for i, n := range ends {
		ends[i] = sum
		sum += n
	}
	from := slices.Clone(all)
	for _, h := range from {
		all[ends[h.hash>>shift]] = h
		ends[h.hash>>shift]++
	}
	parts := make([][]hashed, len(ends))
	start := 0
	for i, end := range ends {
		parts[i] = all[start:end]
		start = end
	}
	return parts
}
