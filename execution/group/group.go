// Package group executes GroupByKey: it collects the values of each key and
// window and writes one element for each.
//
// Input arrives partitioned by key group, and a group is a bundle: its blocks
// are indexed in one table small enough for the processor's caches, the
// values are never copied until they are written out, and groups are
// independent of one another. Of an element only the header and the extent of
// the key are looked at.
//
// Here the input of a group is complete when it is grouped: every window
// fires once, on time. Merging windows are therefore merged over all the
// values of a key, never over those of one bundle.
//
// A Grouper is immutable; Run may be called from many goroutines.
package group

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// Grouper groups the input of one GroupByKey stage.
type Grouper struct {
	layout shuffle.Layout
	kind   *plan.GroupByKey
	params Params
	merge  merger
}

// Params are the settings of a Grouper.
type Params struct {
	// PagedBytes is the size beyond which the values of one key are kept
	// beside the element, if the plan allows it.
	PagedBytes int
	// BlockBytes is what blocks of output are filled up to; default 1 MiB.
	BlockBytes int
	// Token makes the name of a paged value, unique in the job.
	Token func() string
	// ValuesMax bounds the values of one Run, each counted once per window;
	// default and most is 1<<31 - 1, which is what the wire format of an
	// iterable can count.
	ValuesMax int
	// Merge merges windows where only the SDK can; else nil.
	Merge MergeFunc
}

var (
	// errMerging refuses what translation should have refused.
	errMerging = errors.New("windows that only the SDK can merge, and no function that does")
	// errTooMany is the answer to more values than one Run can hold.
	errTooMany = errors.New("too many values in one bundle")
)

// New makes the grouper of a stage.
func New(kind *plan.GroupByKey, params Params) (*Grouper, error) {
	value, err := coder.New(coder.KV, kind.Key, kind.Value)
	if err != nil {
		return nil, err
	}
	if params.BlockBytes == 0 {
		params.BlockBytes = 1 << 20
	}
	const valuesMax = 1<<31 - 1
	if params.ValuesMax <= 0 || params.ValuesMax > valuesMax {
		params.ValuesMax = valuesMax
	}
	g := &Grouper{
		layout: shuffle.Layout{Value: value, Window: kind.Windowing.Window},
		kind:   kind,
		params: params,
	}
	switch fn := kind.Windowing.Fn.(type) {
	case plan.Sessions:
		g.merge = mergeIntervals
	case plan.CustomWindows:
		if fn.Merging && params.Merge == nil {
			return nil, fmt.Errorf("group by key: %s: %w", fn.URN, errMerging)
		}
		if fn.Merging {
			g.merge = mergeCustom(params.Merge)
		}
	case plan.GlobalWindows, plan.FixedWindows, plan.SlidingWindows:
	}
	return g, nil
}

// Run groups the elements of the blocks, which hold whole key groups, and
// emits blocks of output.
func (g *Grouper) Run(ctx context.Context, input []element.Block, emit func(element.Block) error) error {
	count := 0
	for i := range input {
		count += input[i].Count
	}
	t := newTable(input, count)
	if err := g.index(ctx, t); err != nil {
		return err
	}
	if g.merge != nil {
		if err := g.merge(ctx, g.kind.Windowing.Window, t); err != nil {
			return err
		}
	}
	w := &writer{grouper: g, table: t, emit: emit}
	for i := range t.entries {
		if i%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := w.write(&t.entries[i]); err != nil {
			return err
		}
	}
	return w.flush()
}

// index enters every value of the input under its key and window.
func (g *Grouper) index(ctx context.Context, t *table) error {
	window := g.kind.Windowing.Window
	for b := range t.blocks {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		data := t.blocks[b].Data
		for at := 0; at < len(data); {
			e, err := g.layout.Cut(data[at:])
			if err != nil {
				return fmt.Errorf("group by key: element at byte %d of a block: %w", at, err)
			}
			key := e.Key()
			end := at + e.Size
			v := value{block: uint32(b), start: uint32(end - len(e.Value) + len(key)), end: uint32(end)}
			if len(t.chain)+e.Header.NumWindows > g.params.ValuesMax {
				return fmt.Errorf("group by key: %w: more than %d", errTooMany, g.params.ValuesMax)
			}
			if err := t.addWindows(e.Header, window, key, v); err != nil {
				return fmt.Errorf("group by key: %w", err)
			}
			at = end
		}
	}
	return nil
}

// addWindows enters a value once for each of its windows.
func (t *table) addWindows(h element.Header, window *coder.Coder, key []byte, v value) error {
	if h.NumWindows == 1 {
		t.add(h.Windows, key, h.Timestamp, v)
		return nil
	}
	rest := h.Windows
	for range h.NumWindows {
		n, err := window.Measure(rest)
		if err != nil {
			return fmt.Errorf("window: %w", err)
		}
		t.add(rest[:n], key, h.Timestamp, v)
		rest = rest[n:]
	}
	return nil
}

// paneOnTime is the encoded pane of the one firing of a window: on time,
// first and last, index 0.
const paneOnTime = 0x07

// writer fills blocks with grouped elements.
type writer struct {
	grouper *Grouper
	table   *table
	emit    func(element.Block) error
	block   element.Block
}

func (w *writer) write(e *entry) error {
	g := w.grouper
	end, err := g.kind.Windowing.Window.WindowEnd(e.window)
	if err != nil {
		return fmt.Errorf("group by key: %w", err)
	}
	at := end
	switch g.kind.Windowing.OutputTime {
	case plan.EndOfWindow:
	case plan.Earliest:
		at = min(e.earliest, end)
	case plan.Latest:
		at = min(e.latest, end)
	}
	size := 13 + len(e.window) + len(e.key) + 4 + e.bytes
	paged := g.kind.PagedValues && g.params.PagedBytes > 0 && e.bytes > g.params.PagedBytes
	if paged {
		size -= e.bytes
	}
	if len(w.block.Data)+size > g.params.BlockBytes {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if w.block.Data == nil {
		w.block = element.Block{Data: make([]byte, 0, max(size, w.room())), MinTime: element.MaxTime}
	}
	d := coder.PutHeader(w.block.Data, element.Header{
		Timestamp: at, Windows: e.window, NumWindows: 1, Pane: []byte{paneOnTime},
	})
	d = append(d, e.key...)
	if paged {
		d = w.writePaged(d, e)
	} else {
		d = binary.BigEndian.AppendUint32(d, uint32(e.count))
		for v := range w.table.values(e) {
			d = append(d, v...)
		}
	}
	w.block.Data = d
	w.block.Count++
	w.block.MinTime = min(w.block.MinTime, at)
	return nil
}

// room is the size of the next block: no more than a full one, and no more
// than what the rest of the input can need.
func (w *writer) room() int {
	return min(w.grouper.params.BlockBytes, w.table.bytes+64*len(w.table.entries))
}

// writePaged keeps the values of e in a page of the block and puts its token
// in their place.
func (w *writer) writePaged(d []byte, e *entry) []byte {
	page := &element.Page{Token: w.grouper.params.Token()}
	var chunk []byte
	for v := range w.table.values(e) {
		if len(chunk) > 0 && len(chunk)+len(v) > w.grouper.params.BlockBytes {
			page.Chunks = append(page.Chunks, chunk)
			chunk = nil
		}
		if chunk == nil {
			chunk = make([]byte, 0, max(w.grouper.params.BlockBytes, len(v)))
		}
		chunk = append(chunk, v...)
	}
	page.Chunks = append(page.Chunks, chunk)
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
