package group

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
)

// writer fills blocks with grouped elements.
type writer struct {
	params *Params
	// paged says that large values may be kept beside the element.
	paged bool
	emit  func(element.Block) error
	// room is the expected size of all that is written.
	room  int
	block element.Block
}

// grouped is a key in a window with the values that one element is to hold.
type grouped struct {
	key, window []byte
	at          element.EventTime
	// pane is encoded.
	pane   []byte
	values run
}

// run is a number of encoded values: first those in chunks, each chunk whole
// values, then some of a table's.
type run struct {
	chunks [][]byte
	table  *table
	values []uint32 // of the table
	// total and bytes count all values.
	total, bytes int
}

// pieces yields the values in order, each piece one or more.
func (r *run) pieces() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, c := range r.chunks {
			if !yield(c) {
				return
			}
		}
		for _, i := range r.values {
			if !yield(r.table.at(r.table.values[i].extent)) {
				return
			}
		}
	}
}

// collect puts the values into chunks. Chunks that there are already are kept
// as they are, the others have size bytes, or one value.
func (r *run) collect(size int) [][]byte {
	chunks := r.chunks[:len(r.chunks):len(r.chunks)]
	rest := run{table: r.table, values: r.values}
	left := r.bytes
	for _, c := range r.chunks {
		left -= len(c)
	}
	var chunk []byte
	for v := range rest.pieces() {
		if len(chunk) > 0 && len(chunk)+len(v) > size {
			chunks = append(chunks, chunk)
			chunk = nil
		}
		if chunk == nil {
			chunk = make([]byte, 0, max(min(size, left), len(v)))
		}
		chunk = append(chunk, v...)
		left -= len(v)
	}
	if len(chunk) > 0 {
		chunks = append(chunks, chunk)
	}
	return chunks
}

// write writes an element.
func (w *writer) write(g *grouped) error {
	if g.values.total > math.MaxInt32 {
		return fmt.Errorf("%w: %d of one key", errTooMany, g.values.total)
	}
	size := 12 + len(g.window) + len(g.pane) + len(g.key) + 4
	paged := w.paged && w.params.PagedBytes > 0 && g.values.bytes > w.params.PagedBytes
	if !paged {
		size += g.values.bytes
	}
	if len(w.block.Data)+size > w.params.BlockBytes {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if w.block.Data == nil {
		room := min(w.params.BlockBytes, w.room)
		w.block = element.Block{Data: make([]byte, 0, max(size, room)), MinTime: element.MaxTime}
	}
	d := coder.PutHeader(w.block.Data, element.Header{
		Timestamp: g.at, Windows: g.window, NumWindows: 1, Pane: g.pane,
	})
	d = append(d, g.key...)
	if paged {
		d = w.writePaged(d, g)
	} else {
		d = binary.BigEndian.AppendUint32(d, uint32(g.values.total))
		for v := range g.values.pieces() {
			d = append(d, v...)
		}
	}
	w.block.Data = d
	w.block.Count++
	w.block.MinTime = min(w.block.MinTime, g.at)
	return nil
}

// writePaged keeps the values in a page of the block and puts its token in
// their place.
func (w *writer) writePaged(d []byte, g *grouped) []byte {
	page := &element.Page{Token: w.params.Token()}
	for _, c := range g.values.collect(w.params.BlockBytes) {
		page.Chunks = append(page.Chunks, element.Chunk{Data: c})
	}
	w.block.Pages = append(w.block.Pages, page)
	// Count -1 announces chunks, chunk -1 a token.
	d = append(d, 0xff, 0xff, 0xff, 0xff)
	d = binary.AppendUvarint(d, 1<<64-1)
	d = binary.AppendUvarint(d, uint64(len(page.Token)))
	return append(d, page.Token...)
}

func (w *writer) flush() error {
	if w.block.Count == 0 {
		return nil
	}
	b := w.block
	w.block = element.Block{}
	return w.emit(b)
}
