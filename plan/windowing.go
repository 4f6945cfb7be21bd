package plan

import (
	"time"

	"github.com/gorunner/gorunner/coder"
)

// Windowing is a windowing strategy.
type Windowing struct {
	Fn WindowFn
	// Window is the wire coder of the windows.
	Window *coder.Coder
	// Trigger says when the panes of a window are fired; nil stands for
	// [DefaultTrigger].
	Trigger Trigger
	// AllowedLateness is how long a window takes data after its end.
	AllowedLateness time.Duration
	Accumulation    Accumulation
	OutputTime      OutputTime
	// Closing says whether a window that expires has a last pane even if
	// nothing is new in it.
	Closing Closing
	// OnTime says whether a window has an on-time pane even if it is empty.
	OnTime OnTime
}

// WindowFn assigns and merges windows. The set is closed:
// [GlobalWindows], [FixedWindows], [SlidingWindows], [Sessions], [CustomWindows].
//
//sumtype:decl
type WindowFn interface {
	windowFn()
	String() string
}

// GlobalWindows puts everything into one window.
type GlobalWindows struct{}

// FixedWindows are consecutive windows of one size.
type FixedWindows struct{ Size, Offset time.Duration }

// SlidingWindows start every Period and last Size.
type SlidingWindows struct{ Size, Period, Offset time.Duration }

// Sessions merge while the gap between elements is shorter than Gap.
type Sessions struct{ Gap time.Duration }

// CustomWindows is a WindowFn that only the SDK understands. Its windows are
// opaque bytes here.
type CustomWindows struct {
	URN string
	// Merging says that the SDK must merge windows before they fire.
	Merging bool
}

func (GlobalWindows) windowFn()  {}
func (FixedWindows) windowFn()   {}
func (SlidingWindows) windowFn() {}
func (Sessions) windowFn()       {}
func (CustomWindows) windowFn()  {}

// Merging says whether windows of the WindowFn merge.
func Merging(fn WindowFn) bool {
	switch f := fn.(type) {
	case Sessions:
		return true
	case CustomWindows:
		return f.Merging
	case GlobalWindows, FixedWindows, SlidingWindows:
	}
	return false
}

// Accumulation says what a later pane of a window holds.
type Accumulation int

// The accumulation modes that are executed; retracting is refused.
const (
	Discarding Accumulation = iota
	Accumulating
)

// OutputTime is the timestamp of a grouped element.
type OutputTime int

// The timestamp combiners of the Beam model.
const (
	EndOfWindow OutputTime = iota
	Latest
	Earliest
)

// Closing is what happens when a window expires.
type Closing int

// The closing behaviours of the Beam model.
const (
	EmitIfNonEmpty Closing = iota
	EmitAlways
)

// OnTime is what happens when the watermark passes the end of a window.
type OnTime int

// The on-time behaviours of the Beam model.
const (
	FireIfNonEmpty OnTime = iota
	FireAlways
)
