package engine

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// splitter has a function of the plan tell encoded values apart. A chunk has
// whole values; the values of all chunks are returned in order.
type splitter func(ctx context.Context, by plan.StageID, chunks [][]byte) ([][]byte, error)

// splitBlockBytes is what blocks of values are filled up to.
const splitBlockBytes = 1 << 20

// splitValues is the driver's splitter.
func (d *driver) splitValues(ctx context.Context, by plan.StageID, chunks [][]byte) ([][]byte, error) {
	var blocks []element.Block
	var b element.Block
	for _, c := range chunks {
		// How many elements there are is what is to be found out.
		b = element.Block{Data: append(b.Data, c...), Count: 1, MinTime: element.MinTime}
		if len(b.Data) >= splitBlockBytes {
			blocks = append(blocks, b)
			b = element.Block{}
		}
	}
	if len(b.Data) > 0 {
		blocks = append(blocks, b)
	}
	fn := d.plan.Stage(by)
	outputs, err := d.call(ctx, fn, blocks)
	if err != nil {
		return nil, err
	}
	layout := shuffle.EdgeLayout(d.plan.Edges[fn.Outputs[0].Edge])
	var values [][]byte
	for _, block := range outputs[0].Plain {
		for data := block.Data; len(data) > 0; {
			e, err := layout.Cut(data)
			if err != nil {
				return nil, fmt.Errorf("function %s: %w", fn.Name, err)
			}
			_, n := binary.Uvarint(e.Value)
			values = append(values, e.Value[n:])
			data = data[e.Size:]
		}
	}
	return values, nil
}

// splitEntries reads a multimap whose values an SDK has to tell apart. It is
// asked once for all, at the price of being asked again for each page.
func (b *bundleState) splitEntries(ctx context.Context, by plan.StageID, cell state.Cell) (paged, error) {
	names, err := state.Entries(b.txn, cell)
	if err != nil {
		return nil, err
	}
	var chunks [][]byte
	sizes := make([]int, len(names))
	for i, name := range names {
		values, err := state.Get(b.txn, cell, name)
		if err != nil {
			return nil, err
		}
		for _, c := range values {
			sizes[i] += len(c)
		}
		chunks = append(chunks, values...)
	}
	if len(chunks) == 0 {
		return listOf(nil), nil
	}
	values, err := b.split(ctx, by, chunks)
	if err != nil {
		return nil, err
	}
	entries := make([][]byte, len(names))
	for i, name := range names {
		count := 0
		for left := sizes[i]; left > 0; count++ {
			if count == len(values) {
				return nil, fmt.Errorf("values of key %x: %w", name, coder.ErrShort)
			}
			// A value of no byte stands as one.
			left -= max(1, len(values[count]))
			if left < 0 {
				return nil, fmt.Errorf("values of key %x: %w", name, coder.ErrMalformed)
			}
		}
		entries[i] = binary.BigEndian.AppendUint32([]byte(name), uint32(count))
		for _, v := range values[:count] {
			entries[i] = append(entries[i], v...)
		}
		values = values[count:]
	}
	if len(values) > 0 {
		return nil, fmt.Errorf("%d values too many: %w", len(values), coder.ErrMalformed)
	}
	return listOf(entries), nil
}
