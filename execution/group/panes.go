package group

import (
	"context"
	"errors"
	"fmt"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/trigger"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// Panes groups input that does not end: it keeps the values of each key and
// window in state until the trigger fires them. A Panes is immutable.
//
// The input of a bundle is indexed by key and window, so that the state of
// each is touched once; the trigger is asked after every value. What is fired
// therefore depends on the order of input and on the clocks, but not on where
// bundles begin and end, except that all values of a bundle see the same
// clocks, and that its windows are merged before its values are looked at.
//
// When the values of a bundle are in, its keys may be told of a later watermark
// (harness.Time.Ahead). What happens then is what the timers would do that the
// bundle would otherwise set for the times up to there.
//
// Of each (key, window) with anything in it there is one event-time timer,
// whose hold is the timestamp of what it will emit: for the end of the window,
// or for its expiry, when it is forgotten. There may be one in each domain of
// processing time besides, for the trigger.
//
// A pane has the timestamp that the strategy makes of its values, without
// those that were late: a value behind the watermark cannot hold it. If all
// were late, or there is none, it is the end of the window, and what is then
// beyond the end holds the watermark only at the window's expiry.
type Panes struct {
	indexer   indexer
	params    PanesParams
	windowing *plan.Windowing
	machine   *trigger.Machine
	merging   bool
	// paged says that large values may be kept beside an element, view that
	// what is fired goes into a view.
	paged, view bool
}

// PanesParams are the settings of a Panes.
type PanesParams struct {
	Params
	Windowing *plan.Windowing
	// Layout-relevant coders are the stage's: Kind is *plan.GroupByKey, or
	// *plan.View, all of whose elements are of one key, which is empty.
	Stage *plan.Stage
	Edge  *plan.Edge
	// RefiredBytes bounds what the panes of a window may repeat within one
	// bundle: a trigger that fires for every value emits the square of them if
	// panes accumulate. Beyond that, the trigger is asked once more, when all
	// values of the bundle have come. Default 1 MiB.
	RefiredBytes int
}

// Bundle is the work of one bundle and what it needs.
type Bundle struct {
	// Input holds the elements, Due the timers that fire, in order.
	Input []element.Block
	Due   []Timer
	// Time is that of the elements. Windows go by Time.Reached, and by Time.Ahead
	// when the elements are in.
	Time  harness.Time
	State state.Txn
	// Merge merges windows where only the SDK can; else nil.
	Merge MergeFunc
	// Set sets a timer; it replaces the one of the same domain, key and window.
	Set func(Timer) error
	// Clear clears a timer, of which only domain, key and window count.
	Clear func(Timer) error
	// Emit takes blocks of the stage's output, Show what is now in a window of
	// a view. One of them is nil.
	Emit func(element.Block) error
	Show func(Contents) error
	// Dropped counts what came too late, or after the trigger had finished. It
	// is set by Run.
	Dropped int64
}

// Timer is a timer of a key in a window, both encoded.
type Timer struct {
	Domain      plan.TimeDomain
	Key, Window []byte
	Fire, Hold  element.EventTime
}

// Contents is what a firing puts into a window of a view: encoded values, back
// to back in chunks, each whole.
type Contents struct {
	Window []byte
	Chunks [][]byte
	Count  int
}

// errKind refuses a stage that does not group.
var errKind = errors.New("neither a GroupByKey nor a view")

// NewPanes makes the operator of a stage.
func NewPanes(params PanesParams) (*Panes, error) {
	params.Params = params.withDefaults()
	if params.RefiredBytes == 0 {
		params.RefiredBytes = 1 << 20
	}
	p := &Panes{
		params:    params,
		windowing: params.Windowing,
		merging:   plan.Merging(params.Windowing.Fn),
		indexer: indexer{
			layout:    shuffle.Layout{Value: params.Edge.Value, Window: params.Windowing.Window},
			times:     true,
			valuesMax: params.ValuesMax,
		},
	}
	fires := params.Windowing.Trigger
	switch k := params.Stage.Kind.(type) {
	case *plan.GroupByKey:
		p.paged = k.PagedValues
		value, err := coder.New(coder.KV, k.Key, k.Value)
		if err != nil {
			return nil, err
		}
		p.indexer.layout.Value = value
	case *plan.View:
		p.view = true
		fires = viewTrigger(params.Windowing)
		p.indexer.key = []byte{0} // no byte, encoded as bytes are
	case *plan.Impulse, *plan.TestSource, *plan.TimeSort, *plan.Executable:
		return nil, fmt.Errorf("panes: %w: %v", errKind, k)
	}
	p.indexer.prepare()
	if err := checkWindows(params.Windowing); err != nil {
		return nil, fmt.Errorf("panes: %w", err)
	}
	var err error
	if p.machine, err = trigger.Compile(fires); err != nil {
		return nil, fmt.Errorf("panes: %w", err)
	}
	return p, nil
}

// viewTrigger is the trigger of a view. Where panes discard, an early one is a
// piece of its window that the next one would take away again. A window that
// ends is therefore shown when it does, and as a whole.
func viewTrigger(w *plan.Windowing) plan.Trigger {
	t, ends := w.Trigger.(plan.AfterEndOfWindow)
	if _, global := w.Fn.(plan.GlobalWindows); !ends || global || w.Accumulation != plan.Discarding {
		return w.Trigger
	}
	t.Early = nil
	return t
}

// Run executes a bundle. It has no effect but through b.
func (p *Panes) Run(ctx context.Context, b *Bundle) error {
	t, err := p.indexer.index(ctx, b.Input)
	if err != nil {
		return fmt.Errorf("panes: %w", err)
	}
	t.sort()
	b.Dropped = 0
	r := &firing{Panes: p, bundle: b, table: t, watermark: max(b.Time.Watermark, b.Time.Reached), due: p.dueTimers(t, b.Due)}
	home := newRoom(p.params.Spill)
	defer home.release()
	r.writer = writer{params: &p.params.Params, paged: p.paged, emit: b.Emit, home: home}
	if p.merging {
		err = r.mergingKeys(ctx)
	} else {
		err = r.windows(ctx)
	}
	if err == nil && !p.view {
		err = r.writer.flush()
	}
	if err != nil {
		return fmt.Errorf("panes: %w", err)
	}
	return nil
}

// dueDomains says in which domains a key in a window has a timer that is due.
type dueDomains [timerDomains]bool

// dueTimers enters the keys and windows of timers into the table, and returns
// what is due of each of its entries; nil if nothing is.
func (p *Panes) dueTimers(t *table, timers []Timer) []dueDomains {
	if len(timers) == 0 {
		return nil
	}
	entries := make([]int, len(timers))
	for i := range timers {
		key := timers[i].Key
		if p.view {
			key = p.indexer.key
		}
		entries[i] = t.findOwn(timers[i].Window, key)
	}
	due := make([]dueDomains, len(t.entries))
	for i, e := range entries {
		due[e][timers[i].Domain] = true
	}
	return due
}
