package group

import (
	"fmt"

	"github.com/gorunner/gorunner/element"
)

// values is a number of encoded values: those of pieces, then some of a
// table's.
type values struct {
	pieces []piece
	table  *table
	order  []uint32 // values of the table
	// total and bytes count all values.
	total int64
	bytes int
}

// piece is some whole values, back to back: data, or else a part of a chunk.
type piece struct {
	data       []byte
	chunk      *element.Chunk
	start, end int
}

func (p *piece) size() int { return len(p.data) + p.end - p.start }

// stored returns the pieces of what was read from state. What is large can be
// kept as it is.
func stored(chunks [][]byte) []piece {
	const largeMin = 64 << 10
	pieces := make([]piece, len(chunks))
	for i, c := range chunks {
		pieces[i].data = c
		if len(c) >= largeMin {
			pieces[i] = piece{chunk: &element.Chunk{Data: c}, end: len(c)}
		}
	}
	return pieces
}

// whole returns the piece as a chunk, if it is all of one.
func (p *piece) whole() (chunk element.Chunk, ok bool) {
	if p.chunk == nil || p.start > 0 || p.end < p.chunk.Size() {
		return element.Chunk{}, false
	}
	return *p.chunk, true
}

// add appends a piece, but does not count its values.
func (v *values) add(p piece) {
	v.pieces = append(v.pieces, p)
	v.bytes += p.size()
}

// each calls f for all values in order, with one or more at a time. Of what is
// on disk one chunk is in memory at a time.
func (v *values) each(f func([]byte) error) error {
	var loaded []byte
	var from *element.Chunk
	for i := range v.pieces {
		p := &v.pieces[i]
		data := p.data
		if p.chunk != nil {
			if p.chunk != from {
				var err error
				if loaded, err = p.chunk.Load(); err != nil {
					return err
				}
				from = p.chunk
			}
			if p.end > len(loaded) {
				return fmt.Errorf("%w: %d bytes of %d", errRun, len(loaded), p.chunk.Size())
			}
			data = loaded[p.start:p.end]
		}
		if err := f(data); err != nil {
			return err
		}
	}
	for _, i := range v.order {
		if err := f(v.table.at(v.table.values[i].extent)); err != nil {
			return err
		}
	}
	return nil
}

// split returns the pieces that are chunks, and all other values.
func (v *values) split() (chunks []element.Chunk, rest values) {
	rest = values{table: v.table, order: v.order, bytes: v.bytes}
	for i := range v.pieces {
		if c, ok := v.pieces[i].whole(); ok {
			chunks = append(chunks, c)
			rest.bytes -= c.Size()
		} else {
			rest.pieces = append(rest.pieces, v.pieces[i])
		}
	}
	return chunks, rest
}

// cut calls f with the values in chunks of size bytes, or one piece. f returns
// a buffer to fill next, which may be nil.
func (v *values) cut(size int, f func(chunk []byte) ([]byte, error)) error {
	var chunk []byte
	left := v.bytes
	err := v.each(func(data []byte) error {
		if len(chunk) > 0 && len(chunk)+len(data) > size {
			var err error
			if chunk, err = f(chunk); err != nil {
				return err
			}
		}
		if chunk == nil {
			chunk = make([]byte, 0, max(min(size, left), len(data)))
		}
		chunk = append(chunk, data...)
		left -= len(data)
		return nil
	})
	if err == nil && len(chunk) > 0 {
		_, err = f(chunk)
	}
	return err
}

// appendTo appends all values to b.
func (v *values) appendTo(b []byte) ([]byte, error) {
	if len(v.pieces) > 0 {
		pieces := values{pieces: v.pieces}
		if err := pieces.each(func(data []byte) error {
			b = append(b, data...)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	for _, i := range v.order {
		b = append(b, v.table.at(v.table.values[i].extent)...)
	}
	return b, nil
}

// collect returns values in memory in chunks: those that there are as they are, and
// the others in chunks of size bytes, or one value.
func (v *values) collect(size int) ([][]byte, error) {
	var chunks [][]byte
	rest := values{table: v.table, order: v.order, bytes: v.bytes}
	for i := range v.pieces {
		data := v.pieces[i].data
		if c, ok := v.pieces[i].whole(); ok {
			data = c.Data
		}
		chunks = append(chunks, data)
		rest.bytes -= len(data)
	}
	err := rest.cut(size, func(data []byte) ([]byte, error) {
		chunks = append(chunks, data)
		return nil, nil
	})
	return chunks, err
}
