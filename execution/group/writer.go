package group

import (
	"encoding/binary"
	"errors"
	"fmt"
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
	home  *room
	// expected is the size of all that is written, about.
	expected int
	block    element.Block
}

// grouped is a key in a window with the values that one element is to hold.
type grouped struct {
	key, window []byte
	at          element.EventTime
	// pane is encoded.
	pane   []byte
	values values
}

// usedShare is how many times smaller than a new block one may be that takes memory
// which was used before.
const usedShare = 16

// errElement refuses an element that no message can hold.
var errElement = errors.New("too large for one element, and what reads them cannot read them page by page")

// write writes an element.
func (w *writer) write(g *grouped) error {
	size := 12 + len(g.window) + len(g.pane) + len(g.key) + 4
	paged := w.paged && w.params.PagedBytes > 0 && g.values.bytes > w.params.PagedBytes
	if !paged {
		size += g.values.bytes
		if size > w.params.ElementBytesMax || g.values.total > math.MaxInt32 {
			return fmt.Errorf("%d values of %d bytes of key %s: %w: more than %d bytes or %d values",
				g.values.total, g.values.bytes, abbreviate(g.key), errElement, w.params.ElementBytesMax, math.MaxInt32)
		}
	}
	if len(w.block.Data)+size > min(w.params.BlockBytes, cap(w.block.Data)) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if w.block.Data == nil {
		room := min(w.params.BlockBytes, w.expected)
		w.block = element.Block{Data: w.params.Spill.Take(max(size, room/usedShare), room), MinTime: element.MaxTime}
	}
	d := coder.PutHeader(w.block.Data, element.Header{
		Timestamp: g.at, Windows: g.window, NumWindows: 1, Pane: g.pane,
	})
	d = append(d, g.key...)
	var err error
	if paged {
		d, err = w.writePaged(d, g)
	} else {
		d = binary.BigEndian.AppendUint32(d, uint32(g.values.total))
		d, err = g.values.appendTo(d)
	}
	if err != nil {
		return err
	}
	w.block.Data = d
	w.block.Count++
	w.block.MinTime = min(w.block.MinTime, g.at)
	return nil
}

// abbreviate prints the beginning of a key.
func abbreviate(key []byte) string {
	const most = 32
	if len(key) > most {
		return fmt.Sprintf("%x... (%d bytes)", key[:most], len(key))
	}
	return fmt.Sprintf("%x", key)
}

// writePaged keeps the values in a page of the block and puts its token in
// their place.
func (w *writer) writePaged(d []byte, g *grouped) ([]byte, error) {
	page := &element.Page{Token: w.params.Token()}
	chunks, rest := g.values.split()
	for _, c := range chunks {
		if c.Stored == nil {
			var err error
			if c, err = w.home.chunk(c.Data); err != nil {
				return nil, err
			}
		}
		page.Chunks = append(page.Chunks, c)
	}
	err := rest.cut(w.params.BlockBytes, func(data []byte) ([]byte, error) {
		c, next, err := w.home.seal(data)
		page.Chunks = append(page.Chunks, c)
		return next, err
	})
	if err != nil {
		return nil, err
	}
	w.block.Pages = append(w.block.Pages, page)
	// Count -1 announces chunks, chunk -1 a token.
	d = append(d, 0xff, 0xff, 0xff, 0xff)
	d = binary.AppendUvarint(d, 1<<64-1)
	d = binary.AppendUvarint(d, uint64(len(page.Token)))
	return append(d, page.Token...), nil
}

func (w *writer) flush() error {
	if w.block.Count == 0 {
		return nil
	}
	b := w.block
	w.block = element.Block{}
	if len(b.Pages) > 0 {
		w.home.add(len(b.Data) - b.Resident())
	}
	return w.emit(b)
}
