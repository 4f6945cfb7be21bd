package group

import (
	"context"
	"fmt"
	"slices"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
)

// grouping is one Run of a Grouper. What fits is grouped in one table. More than
// that is grouped in parts:
//
//	input ─▶ table ─▶ sorted run ─┐
//	          ...                 ├─▶ merge by (key, window) ─▶ merge windows ─▶ output
//	input ─▶ table ─▶ sorted run ─┘
//
// Of a key with many values, which may be all of the input, the runs keep the
// values in chunks by themselves; they become the chunks of its page, and are
// not read before the SDK does so.
type grouping struct {
	*Grouper
	home   *room
	writer writer
	runs   []*sortedRun
}

func (r *grouping) run(ctx context.Context, input []element.Block) error {
	t := r.table(countAll(input))
	defer func() {
		if t.resident() <= tableKeptMax {
			t.reset()
			r.tables.Put(t)
		}
	}()
	if err := r.index(ctx, t, input); err != nil {
		return err
	}
	if len(r.runs) > 0 {
		if err := r.addRun(t); err != nil {
			return err
		}
		return r.merged(ctx)
	}
	if r.merge != nil {
		if err := mergeTable(ctx, r.merge, t); err != nil {
			return err
		}
	}
	t.sort()
	// No more than what the input can need.
	r.writer.expected = t.bytes + 64*len(t.entries)
	for i := range t.entries {
		if i%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if t.entries[i].count == 0 {
			continue
		}
		rec := t.record(&t.entries[i])
		if err := r.write(&rec); err != nil {
			return err
		}
	}
	return r.writer.flush()
}

// tableKeptMax bounds a table that is kept to be used again.
const tableKeptMax = 32 << 20

// table returns an empty table for about count values.
func (r *grouping) table(count int) *table {
	t, used := r.tables.Get().(*table)
	if !used {
		return r.indexer.table(count)
	}
	t.values = slices.Grow(t.values, min(count, t.max))
	return t
}

// index enters the input into a table. When that is full, its contents become a
// run.
func (r *grouping) index(ctx context.Context, t *table, input []element.Block) error {
	for i := range input {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b, err := input[i].InMemory()
		if err != nil {
			return fmt.Errorf("load input: %w", err)
		}
		loaded := 0
		if input[i].OnDisk() {
			loaded = len(b.Data)
		}
		t.loaded += loaded
		for at := 0; at < len(b.Data); {
			if at, err = r.indexer.block(t, b.Data, at); err != nil {
				return err
			}
			r.home.add(t.resident() - t.counted)
			t.counted = t.resident()
			if at == len(b.Data) && (r.params.MemoryBytes == 0 || t.counted <= r.params.MemoryBytes) {
				continue
			}
			if err := r.addRun(t); err != nil {
				return err
			}
			if at < len(b.Data) {
				t.loaded = loaded
			}
		}
	}
	return nil
}

// addRun makes a run of the contents of the table, which is empty then.
func (r *grouping) addRun(t *table) error {
	t.sort()
	w := runWriter{room: r.home, sizes: r.sizes}
	if err := w.addTable(t); err != nil {
		return err
	}
	run, err := w.close()
	if err != nil {
		return err
	}
	r.runs = append(r.runs, run)
	r.home.add(-t.counted)
	t.reset()
	return nil
}

// merged writes what all runs hold.
func (r *grouping) merged(ctx context.Context) error {
	r.writer.expected = r.params.BlockBytes
	if r.merge == nil {
		if err := mergeRuns(ctx, r.home, r.sizes, r.runs, r.write); err != nil {
			return err
		}
		return r.writer.flush()
	}
	g := &gatherer{merge: r.merge, room: r.home, sizes: r.sizes, emit: r.write}
	err := mergeRuns(ctx, r.home, r.sizes, r.runs, func(rec *record) error { return g.add(ctx, rec) })
	if err != nil {
		return err
	}
	if err := g.flush(ctx); err != nil {
		return err
	}
	return r.writer.flush()
}

// write writes the element of a key in a window.
func (r *grouping) write(rec *record) error {
	end, err := r.kind.Windowing.Window.WindowEnd(rec.window)
	if err != nil {
		return err
	}
	at := end
	switch r.kind.Windowing.OutputTime {
	case plan.EndOfWindow:
	case plan.Earliest:
		at = min(rec.earliest, end)
	case plan.Latest:
		at = min(rec.latest, end)
	}
	return r.writer.write(&grouped{key: rec.key, window: rec.window, at: at, pane: paneOnTime, values: rec.values})
}
