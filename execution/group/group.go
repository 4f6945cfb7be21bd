// Package group executes GroupByKey: it collects the values of each key and
// window and writes one element for each.
//
// Input arrives partitioned by key group, and a group is a bundle: its blocks
// are indexed in one table small enough for the processor's caches, the
// values are never copied until they are written out, and groups are
// independent of one another. Of an element only the header and the extent of
// the key are looked at. A group that memory has no room for is grouped in
// parts, which are merged.
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
	"sync"

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
	sizes runSizes
	// tables are those of earlier runs, to be used again. Each takes some
	// hundred KB, and would be cleared or fresh if it were new.
	tables sync.Pool
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
	// ElementBytesMax bounds an element whose values cannot be paged; default
	// and most is what a message can hold.
	ElementBytesMax int
	// ValuesMax bounds the values that are looked at together, each counted once
	// per window; default and most is 1<<31 - 1. A Run with more groups them in
	// parts, a bundle of a Panes fails.
	ValuesMax int
	// MemoryBytes is what a Run may hold in memory besides blocks that are there
	// already; default no bound. Beyond that, it groups in parts, which go
	// through Spill.
	MemoryBytes int
	// Merge merges windows where only the SDK can; else nil.
	Merge MergeFunc
	// Spill takes pages and parts; default memory.
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
		sizes:  sizesFor(params.MemoryBytes, params.BlockBytes),
	}
	g.indexer.prepare()
	if params.MemoryBytes > 0 {
		const indexBytes = 32 // of a value
		g.indexer.valuesMax = min(params.ValuesMax, max(params.MemoryBytes/indexBytes, 1))
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
	p.ValuesMax = bounded(p.ValuesMax, valuesMax)
	// A message has other parts besides.
	const elementMax = 1<<31 - 1<<20
	p.ElementBytesMax = bounded(p.ElementBytesMax, elementMax)
	return p
}

// bounded returns a limit that is set and not above most, or else most.
func bounded(limit, most int) int {
	if limit <= 0 || limit > most {
		return most
	}
	return limit
}

// Run groups the elements of the blocks, which hold whole key groups, and
// emits blocks of output.
func (g *Grouper) Run(ctx context.Context, input []element.Block, emit func(element.Block) error) error {
	r := &grouping{Grouper: g, home: newRoom(g.params.Spill)}
	defer r.home.release()
	r.writer = writer{params: &g.params, paged: g.kind.PagedValues, emit: emit, home: r.home}
	if err := r.run(ctx, input); err != nil {
		return fmt.Errorf("group by key: %w", err)
	}
	return nil
}

// paneOnTime is the encoded pane of the one firing of a window: on time,
// first and last, index 0.
//
//nolint:gochecknoglobals // a constant
var paneOnTime = coder.PutPane(nil, element.Pane{First: true, Last: true, Timing: element.OnTime})
