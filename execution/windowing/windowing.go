// Package windowing knows the windows of the Beam model as far as a runner
// must: when they end and expire, how they merge, and which window of a side
// input belongs to one of the main input. Windows come and go encoded.
//
// It is pure, and its functions may be called from any goroutine.
package windowing

import (
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
)

// Expiry is the last moment of a window with that end (its maximum timestamp):
// a watermark beyond it has passed both the window and the lateness it allows.
func Expiry(end element.EventTime, lateness time.Duration) element.EventTime { return end }

// Mapper returns the function that maps a window of the main input to the one
// of the side input that it reads: the side input's window of the last moment
// of the main input's. ok is false where only the SDK can tell.
func Mapper(main, side *plan.Windowing) (m func(window []byte) ([]byte, error), ok bool) {
	return nil, false
}

// Merged is a window and the ones of which it was made. From are the windows
// asked for; Window may be one of them.
type Merged struct {
	Window []byte
	From   [][]byte
}

// MergeIntervals joins interval windows that intersect, with the start of one
// before the end of the other. Windows that stay alone are in the result too.
func MergeIntervals(windows [][]byte) ([]Merged, error) { return nil, nil }
