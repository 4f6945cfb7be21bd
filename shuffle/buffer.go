package shuffle

import (
	"iter"

	"github.com/gorunner/gorunner/element"
)

// The sizes of blocks, in bytes. Blocks start small, because a bundle may
// write little, or little for each group, and double up to the maximum.
// Messages of the plain maximum cost the harnesses least.
//
//nolint:gochecknoglobals // constants, if structs could be
var (
	plainSizes = sizes{min: 16 << 10, max: 1 << 20}
	groupSizes = sizes{min: 4 << 10, max: 256 << 10}
	// A bundle may write to very many windows.
	windowSizes = sizes{min: 512, max: 256 << 10}
)

// regionBytes is what a block on disk should have at least: what is smaller
// costs more to read than its bytes do.
const regionBytes = 64 << 10

// sizes bound the blocks of one kind.
type sizes struct{ min, max int }

// buffer is a block that is being filled.
type buffer struct {
	data    []byte
	count   int
	minTime element.EventTime
	window  []byte // of all its elements, where the edge is partitioned by it
}

// some are a number of whole elements.
type some struct {
	data    []byte
	count   int
	minTime element.EventTime
}

// add appends elements to a buffer whose blocks go to the given ones.
func (w *Writer) add(b *buffer, blocks *[]element.Block, s sizes, e some) error {
	if len(b.data)+len(e.data) > cap(b.data) {
		if err := w.makeRoom(b, blocks, s, len(e.data)); err != nil {
			return err
		}
	}
	if b.count == 0 {
		b.minTime = e.minTime
	}
	b.data = append(b.data, e.data...)
	b.count += e.count
	b.minTime = min(b.minTime, e.minTime)
	return nil
}

// makeRoom makes room for n bytes in a buffer that lacks it. What is in it
// becomes a block, and what follows gets a buffer twice the size, within the
// bounds. Where blocks go to disk, small ones grow instead.
func (w *Writer) makeRoom(b *buffer, blocks *[]element.Block, s sizes, n int) error {
	room := s.min
	if b.count > 0 {
		room = min(2*cap(b.data), s.max)
		if cap(b.data) < regionBytes && w.spill.Over() {
			w.allocate(b, max(room, len(b.data)+n))
			return w.relieve(b)
		}
		free, err := w.end(b, blocks)
		if err != nil {
			return err
		}
		b.data = free
	}
	if cap(b.data) < n || cap(b.data) < room && w.open+int64(room) <= w.spill.openBytes() {
		w.allocate(b, max(room, n))
	}
	return w.relieve(b)
}

// allocate gives the buffer that much memory.
func (w *Writer) allocate(b *buffer, room int) {
	w.open -= int64(cap(b.data))
	b.data = append(make([]byte, 0, room), b.data...)
	w.open += int64(cap(b.data))
}

// seal ends the block of a buffer, if there is one, and frees its memory.
func (w *Writer) seal(b *buffer, blocks *[]element.Block) error {
	if b.count == 0 {
		return nil
	}
	free, err := w.end(b, blocks)
	w.open -= int64(cap(free))
	return err
}

// end makes a block of what is in a buffer. It returns the buffer's memory if
// the block does not need it, because it went to disk.
func (w *Writer) end(b *buffer, blocks *[]element.Block) (free []byte, err error) {
	data := b.data
	block := element.Block{Data: data, Count: b.count, MinTime: b.minTime, Window: b.window}
	*b = buffer{window: b.window}
	if err := w.spill.Block(&block); err != nil {
		return nil, err
	}
	*blocks = append(*blocks, block)
	w.sealed += int64(block.Resident())
	if block.Stored != nil {
		return data[:0], nil
	}
	w.open -= int64(cap(data))
	return nil, nil
}

// relieve seals the largest blocks but one, if all that are being filled take
// too much.
func (w *Writer) relieve(but *buffer) error {
	limit := w.spill.openBytes()
	if w.open <= limit || !w.spill.Over() {
		return nil
	}
	for size := int64(regionBytes); w.open > limit/2 && size > 0; size /= 4 {
		for b, blocks := range w.buffers() {
			if b == but || int64(len(b.data)) < size {
				continue
			}
			if err := w.seal(b, blocks); err != nil {
				return err
			}
		}
	}
	return nil
}

// sealAll ends all blocks that are being filled.
func (w *Writer) sealAll() error {
	for b, blocks := range w.buffers() {
		if err := w.seal(b, blocks); err != nil {
			return err
		}
	}
	return nil
}

// buffers yields all buffers, each with the blocks that it adds to.
func (w *Writer) buffers() iter.Seq2[*buffer, *[]element.Block] {
	return func(yield func(*buffer, *[]element.Block) bool) {
		if !yield(&w.plain, &w.out.Plain) {
			return
		}
		for g := range w.groups {
			if !yield(&w.groups[g], &w.out.Keyed[g]) {
				return
			}
		}
		for i := range w.windows.buffers {
			b := &w.windows.buffers[i]
			blocks := &w.out.Plain
			if b.group != element.Unkeyed {
				blocks = &w.out.Keyed[b.group]
			}
			if !yield(&b.buffer, blocks) {
				return
			}
		}
	}
}
