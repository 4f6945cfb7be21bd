package group

import (
	"context"
	"fmt"

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

// index enters every value of the input under its key and window.
func (x *indexer) index(ctx context.Context, input []element.Block) (*table, error) {
	count := 0
	for i := range input {
		count += input[i].Count
	}
	t := newTable(input, count)
	if x.times {
		t.times = make([]element.EventTime, 0, count)
	}
	for b := range input {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := x.block(t, b); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// block enters the values of block b.
func (x *indexer) block(t *table, b int) error {
	data := t.blocks[b].Data
	for at := 0; at < len(data); {
		e, err := x.layout.Cut(data[at:])
		if err != nil {
			return fmt.Errorf("element at byte %d of a block: %w", at, err)
		}
		end := at + e.Size
		v := value{block: uint32(b), start: uint32(end - len(e.Value)), end: uint32(end)}
		key := x.key
		if key == nil {
			key = e.Key()
			v.start += uint32(len(key))
		}
		if len(t.chain)+e.Header.NumWindows > x.valuesMax {
			return fmt.Errorf("%w: more than %d", errTooMany, x.valuesMax)
		}
		if err := x.addWindows(t, e.Header, key, v); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// addWindows enters a value once for each of its windows.
func (x *indexer) addWindows(t *table, h element.Header, key []byte, v value) error {
	if h.NumWindows == 1 {
		t.add(h.Windows, key, h.Timestamp, v)
		return nil
	}
	rest := h.Windows
	for range h.NumWindows {
		n, err := x.layout.Window.Measure(rest)
		if err != nil {
			return fmt.Errorf("window: %w", err)
		}
		t.add(rest[:n], key, h.Timestamp, v)
		rest = rest[n:]
	}
	return nil
}
