package group

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// indexer enters elements into a table.
type indexer struct {
	layout shuffle.Layout
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
	t.keep(x.key)
	return t
}

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
	keyAt := extent{0, 0, uint32(len(x.key))}
	for at < len(data) {
		e, err := x.layout.Cut(data[at:])
		if err != nil {
			return 0, fmt.Errorf("element at byte %d of a block: %w", at, err)
		}
		if t.full(e.Header.NumWindows) {
			return at, nil
		}
		end := at + e.Size
		v := extent{b, uint32(end - len(e.Value)), uint32(end)}
		key := x.key
		if key == nil {
			key = e.Key()
			keyAt = extent{b, v.start, v.start + uint32(len(key))}
			v.start = keyAt.end
		}
		if e.Header.NumWindows == 1 {
			t.add(e.Header.Windows, key, keyAt, e.Header.Timestamp, v)
		} else if err := x.addWindows(t, &e, key, keyAt, v); err != nil {
			return 0, err
		}
		at = end
	}
	return at, nil
}

// addWindows enters a value once for each of its windows.
func (x *indexer) addWindows(t *table, e *shuffle.Element, key []byte, keyAt, v extent) error {
	rest := e.Header.Windows
	for range e.Header.NumWindows {
		n, err := x.layout.Window.Measure(rest)
		if err != nil {
			return fmt.Errorf("window: %w", err)
		}
		t.add(rest[:n], key, keyAt, e.Header.Timestamp, v)
		rest = rest[n:]
	}
	return nil
}
