// Package group executes GroupByKey: it collects the values of each key and
// window and writes one element for each.
//
// Input arrives partitioned by key group, and a group is a bundle: its blocks
// are indexed in one table small enough for the processor's caches, the
// values are never copied until they are written out, and groups are
// independent of one another. Of an element only the header and the extent of
// the key are looked at.
//
// There are two that do so. A [Grouper] has input that is complete: every
// window fires once, on time, and merging windows are merged over all values of
// a key, never over those of one bundle. A [Panes] has input that goes on: what
// has come waits in state, between bundles, until the window's trigger fires.
//
// Both are immutable; Run may be called from many goroutines.
package group

import (
	"context"
	"fmt"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// Grouper groups the input of one GroupByKey stage.
type Grouper struct {
	indexer indexer
	kind    *plan.GroupByKey
	params  Params
	// merge is nil where windows do not merge.
	merge MergeFunc
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
	// Spill says where what is grouped lies; default in memory.
	Spill *shuffle.Spill
}

// New makes the grouper of a stage.
func New(kind *plan.GroupByKey, params Params) (*Grouper, error) {
	value, err := coder.New(coder.KV, kind.Key, kind.Value)
	if err != nil {
		return nil, err
	}
	params = params.withDefaults()
	g := &Grouper{
		indexer: indexer{
			layout:    shuffle.Layout{Value: value, Window: kind.Windowing.Window},
			valuesMax: params.ValuesMax,
		},
		kind:   kind,
		params: params,
	}
	if err := checkWindows(kind.Windowing); err != nil {
		return nil, fmt.Errorf("group by key: %w", err)
	}
	if g.merge, err = merger(kind.Windowing, params.Merge); err != nil {
		return nil, fmt.Errorf("group by key: %w", err)
	}
	return g, nil
}

// withDefaults returns the parameters with those set that have a default.
func (p Params) withDefaults() Params {
	if p.BlockBytes == 0 {
		p.BlockBytes = 1 << 20
	}
	const valuesMax = 1<<31 - 1
	if p.ValuesMax <= 0 || p.ValuesMax > valuesMax {
		p.ValuesMax = valuesMax
	}
	return p
}

// Run groups the elements of the blocks, which hold whole key groups, and
// emits blocks of output.
func (g *Grouper) Run(ctx context.Context, input []element.Block, emit func(element.Block) error) error {
	if err := g.run(ctx, input, emit); err != nil {
		return fmt.Errorf("group by key: %w", err)
	}
	return nil
}

func (g *Grouper) run(ctx context.Context, input []element.Block, emit func(element.Block) error) error {
	t, err := g.indexer.index(ctx, input)
	if err != nil {
		return err
	}
	if g.merge != nil {
		if err := mergeTable(ctx, g.merge, t); err != nil {
			return err
		}
	}
	t.sort()
	// No more than what the input can need.
	w := &writer{params: &g.params, paged: g.kind.PagedValues, emit: emit, room: t.bytes + 64*len(t.entries)}
	for i := range t.entries {
		if i%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if e := &t.entries[i]; e.count > 0 {
			if err := g.write(w, t, e); err != nil {
				return err
			}
		}
	}
	return w.flush()
}

// paneOnTime is the encoded pane of the one firing of a window: on time,
// first and last, index 0.
//
//nolint:gochecknoglobals // a constant
var paneOnTime = coder.PutPane(nil, element.Pane{First: true, Last: true, Timing: element.OnTime})

func (g *Grouper) write(w *writer, t *table, e *entry) error {
	window := t.at(e.window)
	end, err := g.kind.Windowing.Window.WindowEnd(window)
	if err != nil {
		return err
	}
	at := end
	switch g.kind.Windowing.OutputTime {
	case plan.EndOfWindow:
	case plan.Earliest:
		at = min(e.earliest, end)
	case plan.Latest:
		at = min(e.latest, end)
	}
	return w.write(&grouped{
		key: t.at(e.key), window: window, at: at, pane: paneOnTime,
		values: run{table: t, values: t.of(e), total: int(e.count), bytes: e.bytes},
	})
}
