package group

import (
	"context"
	"fmt"
	"slices"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// grouping is one Run of a Grouper. What fits is grouped in one table. More than
// that is grouped pass by pass, each of which has all values of some keys, by
// their hashes. A pass that does not fit still, because some key has very many
// values, is grouped in pieces:
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
	// arena holds the input of a pass that was loaded.
	arena  []byte
	parter *shuffle.Parter
}

func (r *grouping) run(ctx context.Context, input []element.Block) error {
	passes := r.passes(input)
	if len(passes) > 1 {
		r.parter = shuffle.NewParter(&r.indexer.layout)
	}
	t := r.table(passes[0].count)
	defer func() {
		if t.room() <= tableKeptMax {
			t.reset()
			r.tables.Put(t)
		}
	}()
	for _, p := range passes {
		if err := r.pass(ctx, t, input, p); err != nil {
			return err
		}
		if len(passes) > 1 {
			r.home.add(-t.counted)
			t.reset()
		}
	}
	return r.writer.flush()
}

// pass is the parts of the input, from one on and before another, that are
// grouped at a time, and about how many values that are, and bytes to load.
type pass struct{ from, to, count, load int }

// passes divides the input. It is one pass if it fits, or if that would load most
// of it again and again.
func (g *Grouper) passes(input []element.Block) []pass {
	const perValue = 96 // what a value takes in a table at most, with an entry of its own
	all := pass{to: shuffle.PartsMax, count: countAll(input)}
	bytes := 0
	for i := range input {
		bytes += input[i].Size()
		all.load += shuffle.LoadBytes(&input[i], 0, shuffle.PartsMax)
	}
	if g.params.MemoryBytes == 0 || all.load == 0 || all.load+perValue*all.count <= g.params.MemoryBytes {
		return []pass{all}
	}
	var passes []pass
	next := pass{}
	for p := range shuffle.PartsMax {
		size, load := partBytes(input, p)
		count := int(float64(size) / float64(bytes) * float64(all.count))
		if next.to > next.from && next.load+load+perValue*(next.count+count) > g.params.MemoryBytes {
			passes = append(passes, next)
			next = pass{from: p}
		}
		next = pass{next.from, p + 1, next.count + count, next.load + load}
	}
	passes = append(passes, next)
	loads := 0
	for _, p := range passes {
		for i := range input {
			loads += shuffle.LoadBytes(&input[i], p.from, p.to)
		}
	}
	if loads > 2*all.load {
		return []pass{all}
	}
	return passes
}

// partBytes is how many bytes of the input are in a part, about, and how many of
// them are to be loaded.
func partBytes(input []element.Block, part int) (bytes, load int) {
	for i := range input {
		n := shuffle.PartBytes(&input[i], part)
		bytes += n
		if input[i].OnDisk() {
			load += n
		}
	}
	return bytes, load
}

// whole says that the pass is all there is.
func (p *pass) whole() bool { return p.from == 0 && p.to == shuffle.PartsMax }

// pass groups the elements of a pass.
func (r *grouping) pass(ctx context.Context, t *table, input []element.Block, p pass) error {
	if err := r.index(ctx, t, input, p); err != nil {
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
	return nil
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

// load returns what of a block is in a pass, and how much of that is in memory of
// its own.
func (r *grouping) load(b *element.Block, p pass) (data []byte, loaded int, err error) {
	if p.whole() {
		in, err := b.InMemory()
		if b.OnDisk() {
			loaded = len(in.Data)
		}
		return in.Data, loaded, err
	}
	if r.arena == nil {
		r.arena = make([]byte, 0, min(p.load+p.load/8, r.params.MemoryBytes))
	}
	start := len(r.arena)
	if r.arena, err = r.parter.Load(r.arena, b, p.from, p.to); err != nil {
		return nil, 0, err
	}
	return r.arena[start:], len(r.arena) - start, nil
}

// index enters the input of a pass into a table. When that is full, its contents
// become a run.
func (r *grouping) index(ctx context.Context, t *table, input []element.Block, p pass) error {
	r.arena = r.arena[:0]
	for i := range input {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		data, loaded, err := r.load(&input[i], p)
		if err != nil {
			return fmt.Errorf("load input: %w", err)
		}
		t.loaded += loaded
		for at := 0; at < len(data); {
			if at, err = r.indexer.block(t, data, at); err != nil {
				return err
			}
			r.home.add(t.resident() - t.counted)
			t.counted = t.resident()
			if at == len(data) && (r.params.MemoryBytes == 0 || t.counted <= r.params.MemoryBytes) {
				continue
			}
			if err := r.addRun(t); err != nil {
				return err
			}
			if at < len(data) {
				t.loaded = loaded
			} else {
				r.arena = r.arena[:0]
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
	runs := r.runs
	r.runs = nil
	if r.merge == nil {
		return mergeRuns(ctx, r.home, r.sizes, runs, r.write)
	}
	g := &gatherer{merge: r.merge, room: r.home, sizes: r.sizes, emit: r.write}
	err := mergeRuns(ctx, r.home, r.sizes, runs, func(rec *record) error { return g.add(ctx, rec) })
	if err != nil {
		return err
	}
	return g.flush(ctx)
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
