// Package shuffle moves blocks of encoded elements from the bundle that wrote
// them to the stage that reads them.
//
// A [Writer] turns the byte stream of one output of one bundle into immutable
// blocks, per key group where a consumer is keyed; the blocks are invisible
// until the engine commits them to a [Queue], from which they are leased to
// bundles of the consuming stage. Bytes are copied once, by the writer.
//
// The bytes of a block lie in memory, or, where a [Spill] says that there is no
// room, on a [Disk]: a Writer puts them there when it seals the block, before
// the bundle commits. Whoever looks at elements loads them first.
//
// A Writer is used by one goroutine at a time, a Queue by the goroutine that
// owns the job's scheduler. A Queue does no I/O.
package shuffle

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
)

// Layout is how the elements of an edge stand in its blocks.
type Layout struct {
	// Value is the coder of the values, a KV where Keys is used.
	Value *coder.Coder
	// Window is the coder of the windows.
	Window *coder.Coder
	// Key is the coder of the key at the start of the value; nil stands for the
	// first component of the KV.
	Key *coder.Coder
}

// EdgeLayout is the layout of an edge.
func EdgeLayout(e *plan.Edge) *Layout {
	return &Layout{Value: e.Value, Window: e.Windowing.Window, Key: e.Key}
}

// Element is an element cut into its parts; all alias the bytes it was cut
// from.
type Element struct {
	Header element.Header
	// Value is the encoded value.
	Value []byte
	// KeySize is the number of bytes of the key at the start of the value, if
	// it is a KV.
	KeySize int
	// Size is the number of bytes of the whole element.
	Size int
}

// Key is the encoded key of a KV.
func (e *Element) Key() []byte { return e.Value[:e.KeySize] }

// Cut cuts the element at the start of b. It returns an error that wraps
// coder.ErrShort when b ends within it.
func (l *Layout) Cut(b []byte) (Element, error) {
	h, n, err := coder.CutHeader(b, l.Window)
	if err != nil {
		return Element{}, fmt.Errorf("header: %w", err)
	}
	keySize, size, err := l.measure(b[n:])
	if err != nil {
		return Element{}, fmt.Errorf("value %v: %w", l.Value, err)
	}
	return Element{Header: h, Value: b[n : n+size], KeySize: keySize, Size: n + size}, nil
}

// measure returns the extent of the value at the start of b, and of its key.
func (l *Layout) measure(b []byte) (key, size int, err error) {
	if l.Key != nil {
		if key, err = l.Key.Measure(b); err != nil {
			return 0, 0, err
		}
		size, err = l.Value.Measure(b)
		return key, size, err
	}
	if l.Value.Kind() != coder.KV {
		size, err = l.Value.Measure(b)
		return 0, size, err
	}
	if key, err = l.Value.Component(0).Measure(b); err != nil {
		return 0, 0, err
	}
	size, err = l.Value.Component(1).Measure(b[key:])
	return key, key + size, err
}

// minEnd is the earliest end of the windows of an element.
func (l *Layout) minEnd(h *element.Header) (element.EventTime, error) {
	earliest := element.MaxTime
	rest := h.Windows
	for range h.NumWindows {
		n, err := l.Window.Measure(rest)
		if err != nil {
			return 0, fmt.Errorf("window: %w", err)
		}
		end, err := l.Window.WindowEnd(rest[:n])
		if err != nil {
			return 0, fmt.Errorf("window: %w", err)
		}
		earliest = min(earliest, end)
		rest = rest[n:]
	}
	return earliest, nil
}

// Each calls f for every element of the block, once for each of its windows.
func (l *Layout) Each(b *element.Block, f func(e *Element, window []byte) error) error {
	if b.OnDisk() {
		return errStored
	}
	for at := 0; at < len(b.Data); {
		e, err := l.Cut(b.Data[at:])
		if err != nil {
			return fmt.Errorf("element at byte %d of a block: %w", at, err)
		}
		rest := e.Header.Windows
		for range e.Header.NumWindows {
			n, err := l.Window.Measure(rest)
			if err != nil {
				return fmt.Errorf("window: %w", err)
			}
			if err := f(&e, rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
		at += e.Size
	}
	return nil
}

// KeyGroup is the group of an encoded key among n.
func KeyGroup(key []byte, n int) element.KeyGroup {
	// The upper half of the hash picks the group; tables within a group use
	// the lower half, so that their entries still spread.
	return element.KeyGroup(uint32(xxhash.Sum64(key)>>32) % uint32(n))
}

// MakeBlock makes a block of whole elements. It fails when data is not whole
// elements of the layout.
func (l *Layout) MakeBlock(data []byte) (element.Block, error) {
	b := element.Block{Data: data, MinTime: element.MaxTime}
	for at := 0; at < len(data); {
		e, err := l.Cut(data[at:])
		if err != nil {
			return element.Block{}, fmt.Errorf("element %d at byte %d: %w", b.Count, at, err)
		}
		b.Count++
		b.MinTime = min(b.MinTime, e.Header.Timestamp)
		at += e.Size
	}
	return b, nil
}

// errStored reports a look at elements that have not been loaded.
var errStored = errors.New("block lies on disk and has not been loaded")

// errOutOfRange reports a cut beyond the elements of a bundle.
var errOutOfRange = errors.New("beyond the input of the bundle")

// SplitAt cuts blocks in two: the first n elements, and all but the first m.
// The elements from n to m are in neither part. A block that is cut must be in
// memory.
func (l *Layout) SplitAt(blocks []element.Block, n, m int64) (first, last []element.Block, err error) {
	if first, _, err = l.cutAt(blocks, n); err != nil {
		return nil, nil, err
	}
	if _, last, err = l.cutAt(blocks, m); err != nil {
		return nil, nil, err
	}
	return first, last, nil
}

func (l *Layout) cutAt(blocks []element.Block, n int64) (first, last []element.Block, err error) {
	if n < 0 {
		return nil, nil, fmt.Errorf("cut at element %d: %w", n, errOutOfRange)
	}
	for i := range blocks {
		b := &blocks[i]
		if n >= int64(b.Count) {
			first = append(first, *b)
			n -= int64(b.Count)
			continue
		}
		if n == 0 {
			return first, append(last, blocks[i:]...), nil
		}
		if b.OnDisk() {
			return nil, nil, fmt.Errorf("cut block of %d elements: %w", b.Count, errStored)
		}
		at := 0
		for range n {
			e, err := l.Cut(b.Data[at:])
			if err != nil {
				return nil, nil, fmt.Errorf("cut block of %d elements: %w", b.Count, err)
			}
			at += e.Size
		}
		// Both parts keep the block's minimum: a bound that is too low only
		// holds the watermark a little longer.
		head := element.Block{Data: b.Data[:at], Count: int(n), MinTime: b.MinTime, MinEnd: b.MinEnd, Window: b.Window, Pages: b.Pages}
		tail := element.Block{Data: b.Data[at:], Count: b.Count - int(n), MinTime: b.MinTime, MinEnd: b.MinEnd, Window: b.Window, Pages: b.Pages}
		return append(first, head), append(append(last, tail), blocks[i+1:]...), nil
	}
	if n > 0 {
		return nil, nil, fmt.Errorf("cut %d elements past the last: %w", n, errOutOfRange)
	}
	return first, nil, nil
}

// SortByTime returns the elements of blocks in order of time, those of the
// same time in the order in which they were.
func (l *Layout) SortByTime(blocks []element.Block) ([]element.Block, error) {
	type item struct {
		at   element.EventTime
		data []byte
	}
	var items []item
	for i := range blocks {
		if blocks[i].OnDisk() {
			return nil, fmt.Errorf("sort by time: block %d: %w", i, errStored)
		}
		for data := blocks[i].Data; len(data) > 0; {
			e, err := l.Cut(data)
			if err != nil {
				return nil, fmt.Errorf("sort by time: %w", err)
			}
			items = append(items, item{e.Header.Timestamp, data[:e.Size]})
			data = data[e.Size:]
		}
	}
	slices.SortStableFunc(items, func(a, b item) int { return cmp.Compare(a.at, b.at) })
	w := NewWriter(l, Partitions{Plain: true}, nil)
	for _, it := range items {
		if err := w.Write(it.data); err != nil {
			return nil, fmt.Errorf("sort by time: %w", err)
		}
	}
	out, err := w.Close()
	if err != nil {
		return nil, fmt.Errorf("sort by time: %w", err)
	}
	sorted := out.Plain
	var pages []*element.Page
	for i := range blocks {
		pages = append(pages, blocks[i].Pages...)
	}
	if len(pages) > 0 {
		addPages(sorted, pages) // any of them may have the elements that refer to them
	}
	return sorted, nil
}
