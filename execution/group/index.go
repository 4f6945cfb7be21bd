package group

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// indexer enters elements into a table.
type indexer struct {
	layout shuffle.Layout
	cutter *shuffle.Cutter
	// key is the key of all elements; nil where each begins with its own.
	key []byte
	// times says that the timestamps of single values are kept.
	times     bool
	valuesMax int
}

var (
	// errTooMany is the answer to more values than one bundle can hold.
	errTooMany = errors.New("too many values in one bundle")
	// errBlockSize refuses what an extent cannot refer to.
	errBlockSize = errors.New("block too large")
)

// table makes a table for about count values.
func (x *indexer) table(count int) *table {
	t := newTable(count, x.valuesMax)
	if x.times {
		t.times = make([]element.EventTime, 0, count)
	}
	t.ownKey = t.keep(x.key)
	return t
}

// prepare prepares the cutting of elements.
func (x *indexer) prepare() { x.cutter = shuffle.NewCutter(&x.layout) }

// index enters every value of the input under its key and window.
func (x *indexer) index(ctx context.Context, input []element.Block) (*table, error) {
	t := x.table(countAll(input))
	for i := range input {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		b, err := input[i].InMemory()
		if err != nil {
			return nil, fmt.Errorf("load input: %w", err)
		}
		n, err := x.block(t, b.Data, 0)
		if err != nil {
			return nil, err
		}
		if n < len(b.Data) {
			return nil, fmt.Errorf("%w: more than %d", errTooMany, x.valuesMax)
		}
	}
	return t, nil
}

func countAll(input []element.Block) int {
	count := 0
	for i := range input {
		count += input[i].Count
	}
	return count
}

// block enters the values of a block from byte at on, and returns how far it
// has come when the table is full.
func (x *indexer) block(t *table, data []byte, at int) (int, error) {
	if len(data) > math.MaxUint32 {
		return 0, fmt.Errorf("%w: %d bytes", errBlockSize, len(data))
	}
	b := uint32(len(t.data))
	t.data = append(t.data, data)
	keyAt := t.ownKey
	for at < len(data) {
		rest := data[at:]
		value, keyEnd, end := x.cutter.Cut(rest)
		if end <= 0 {
			size, err := x.unusual(t, rest, at)
			if err != nil {
				return 0, fmt.Errorf("element at byte %d of a block: %w", at, err)
			}
			if size == 0 {
				return at, nil
			}
			at += size
			continue
		}
		if t.full(1) {
			return at, nil
		}
		key, start := x.key, value
		if key == nil {
			key, start = rest[value:keyEnd], keyEnd
			keyAt = extent{b, uint32(at + value), uint32(at + keyEnd)}
		}
		const beforeWindow, pane = 12, 1
		window := rest[beforeWindow : value-pane]
		t.add(window, key, keyAt, coder.TimeWithin(rest), extent{b, uint32(at + start), uint32(at + end)})
		at += end
	}
	return at, nil
}

// unusual enters the values of the element at the start of rest, which is byte at
// of the last block, once for each of its windows. It returns the element's size,
// 0 if the table is full.
func (x *indexer) unusual(t *table, rest []byte, at int) (int, error) {
	e, err := x.layout.Cut(rest)
	if err != nil {
		return 0, err
	}
	if t.full(e.Header.NumWindows) {
		return 0, nil
	}
	b, start, end := uint32(len(t.data)-1), at+e.Size-len(e.Value), at+e.Size
	key, keyAt := x.key, t.ownKey
	if key == nil {
		key = e.Key()
		keyAt = extent{b, uint32(start), uint32(start + len(key))}
		start += len(key)
	}
	v := extent{b, uint32(start), uint32(end)}
	windows := e.Header.Windows
	for range e.Header.NumWindows {
		n, err := x.layout.Window.Measure(windows)
		if err != nil {
			return 0, fmt.Errorf("window: %w", err)
		}
		t.add(windows[:n], key, keyAt, e.Header.Timestamp, v)
		windows = windows[n:]
	}
	return e.Size, nil
}
