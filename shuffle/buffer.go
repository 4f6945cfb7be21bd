package shuffle

import (
	"bytes"
	"iter"

	"github.com/gorunner/gorunner/element"
)

// The sizes of blocks, in bytes. A bundle may write little, or little for each
// group, so that the first block is about as large as what is at hand; those that
// follow double up to the maximum. Messages of the plain maximum cost the harnesses
// least.
//
//nolint:gochecknoglobals // constants, if structs could be
var (
	plainSizes = sizes{first: 16 << 10, max: 1 << 20}
	groupSizes = sizes{first: 256 << 10, max: 256 << 10}
	// A bundle may write to very many windows.
	windowSizes = sizes{first: blockMin, max: 256 << 10}
)

// blockMin is what a block has room for at least.
const blockMin = 512

// regionBytes is what a block on disk should have at least: what is smaller
// costs more to read than its bytes do.
const regionBytes = 64 << 10

// sizes bound the blocks of one kind.
type sizes struct{ first, max int }

// expecting bounds the first block by what is at hand for it.
func (s sizes) expecting(bytes int) sizes {
	s.first = max(blockMin, min(bytes, s.first))
	return s
}

// buffer is a block that is being filled.
type buffer struct {
	data    []byte
	count   int
	minTime element.EventTime
	minEnd  element.EventTime
	window  []byte // of all its elements, where the edge is partitioned by it
}

// some are a number of whole elements.
type some struct {
	data    []byte
	count   int
	minTime element.EventTime
	minEnd  element.EventTime // of their windows, if it is asked for
}

// add appends elements to a buffer whose blocks go to the given ones.
func (w *Writer) add(b *buffer, blocks *[]element.Block, s sizes, e some) error {
	if len(b.data)+len(e.data) > cap(b.data) {
		return w.grow(b, blocks, s, e)
	}
	b.append(e)
	return nil
}

// append appends elements for which there is room.
func (b *buffer) append(e some) {
	n := len(b.data)
	b.data = b.data[:n+len(e.data)]
	copy(b.data[n:], e.data)
	b.count += e.count
	b.minTime = min(b.minTime, e.minTime)
	b.minEnd = min(b.minEnd, e.minEnd)
}

// grow appends elements to a buffer that has no room for them. What is in it
// becomes a block, and what follows gets a buffer twice the size, within the
// bounds. Where blocks go to disk, small ones are copied into a larger buffer
// instead.
func (w *Writer) grow(b *buffer, blocks *[]element.Block, s sizes, e some) error {
	room := s.first
	switch {
	case b.count == 0:
		b.minTime, b.minEnd = element.MaxTime, element.MaxTime
	case cap(b.data) < regionBytes && w.spill.Over():
		room = max(min(2*cap(b.data), s.max), len(b.data)+len(e.data))
	default:
		room = min(2*cap(b.data), s.max)
		if len(*blocks) == 0 && w.want.Expected > 0 {
			room = cap(b.data) / 4 // what exceeds what was expected is little
		}
		free, err := w.end(b, blocks)
		if err != nil {
			return err
		}
		if int64(room) > w.spill.openBytes()-w.open {
			room = cap(free)
		}
		b.data, b.minTime, b.minEnd = free, element.MaxTime, element.MaxTime
	}
	if room = max(room, len(b.data)+len(e.data)); room > cap(b.data) {
		w.open -= int64(cap(b.data))
		b.data = append(w.spill.Take(max(room/2, len(b.data)+len(e.data)), room), b.data...)
		w.open += int64(cap(b.data))
	}
	b.append(e)
	return w.relieve(b)
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
	block := element.Block{Data: data, Count: b.count, MinTime: b.minTime, MinEnd: b.minEnd, Window: b.window}
	*b = buffer{window: b.window}
	if err := w.spill.Block(&block, w.parterOf(b)); err != nil {
		return nil, err
	}
	switch {
	case block.OnDisk():
		free = data[:0]
	case len(data) < cap(data)-cap(data)/4 && w.spill.near():
		block.Data = bytes.Clone(data) // lest it keep what it does not need
		fallthrough
	default:
		w.open -= int64(cap(data))
	}
	w.sealed += int64(block.Resident())
	*blocks = append(*blocks, block)
	return free, nil
}

// parterOf divides the blocks of a buffer into parts; nil if they have none.
func (w *Writer) parterOf(b *buffer) *Parter {
	if !w.want.Parts || b == &w.plain {
		return nil
	}
	if w.parter == nil {
		w.parter = NewParter(w.layout)
	}
	return w.parter
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
