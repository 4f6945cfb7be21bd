package group

import (
	"context"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/windowing"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/state"
)

// Panes groups input that does not end: it keeps the values of each key and
// window in state until the trigger fires them. A Panes is immutable.
//
// Of each (key, window) with anything in it there is one event-time timer,
// whose hold is the timestamp of what it will emit: for the end of the window,
// or for its expiry, when it is forgotten. There may be one in each domain of
// processing time besides, for the trigger.
type Panes struct{}

// PanesParams are the settings of a Panes.
type PanesParams struct {
	Params
	Windowing *plan.Windowing
	// Layout-relevant coders are the stage's: Kind is *plan.GroupByKey, or
	// *plan.View, all of whose elements are of one key, which is empty.
	Stage *plan.Stage
	Edge  *plan.Edge
}

// Bundle is the work of one bundle and what it needs.
type Bundle struct {
	// Input holds the elements, Due the timers that fire, in order.
	Input []element.Block
	Due   []Timer
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

// MergeFunc asks the SDK to merge the windows of many keys, each set for
// itself. The result has the order of the sets.
type MergeFunc func(ctx context.Context, sets [][][]byte) ([][]windowing.Merged, error)

// NewPanes makes the operator of a stage.
func NewPanes(PanesParams) (*Panes, error) { return &Panes{}, nil }

// Run executes a bundle. It has no effect but through b.
func (p *Panes) Run(ctx context.Context, b *Bundle) error { return nil }
