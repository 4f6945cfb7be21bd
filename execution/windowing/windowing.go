// Package windowing knows the windows of the Beam model as far as a runner
// must: when they end and expire, how they merge, which window of a side input
// belongs to one of the main input, and which timestamp their panes have.
// Windows come and go encoded.
//
// It is pure, and its functions may be called from any goroutine.
package windowing

import (
	"fmt"
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
)

// Expiry is the last moment of a window with that end (its maximum timestamp):
// a watermark beyond it has passed both the window and the lateness it allows.
// No lateness reaches beyond the end of the global window, and the watermark
// passes every expiry when it comes to its end.
func Expiry(end element.EventTime, lateness time.Duration) element.EventTime {
	// Neither is near enough to the limits of an int64 for the sum to overflow.
	late := end + element.EventTime(max(lateness, 0).Milliseconds())
	return min(max(end, min(late, element.EndOfGlobalWindow)), element.MaxTime-1)
}

// Mapper returns the function that maps a window of the main input to the one
// of the side input that it reads: the side input's window of the last moment
// of the main input's, and of several the earliest. ok is false where only the
// SDK can tell.
func Mapper(main, side *plan.Windowing) (m func(window []byte) ([]byte, error), ok bool) {
	var of func(element.EventTime) Interval
	switch fn := side.Fn.(type) {
	case plan.GlobalWindows:
		return func([]byte) ([]byte, error) { return nil, nil }, true
	case plan.FixedWindows:
		of = func(t element.EventTime) Interval { return fixedWindow(fn, t) }
	case plan.SlidingWindows:
		of = func(t element.EventTime) Interval { return slidingWindow(fn, t) }
	case plan.Sessions, plan.CustomWindows:
		return nil, false
	}
	return func(window []byte) ([]byte, error) {
		end, err := main.Window.WindowEnd(window)
		if err != nil {
			return nil, fmt.Errorf("map window %x to %v: %w", window, side.Fn, err)
		}
		return of(end).Append(nil), nil
	}, true
}

// fixedWindow returns the window that t is in.
func fixedWindow(fn plan.FixedWindows, t element.EventTime) Interval {
	size := millis(fn.Size)
	start := floor(t, size, millis(fn.Offset))
	return Interval{start, start + size}
}

// slidingWindow returns the earliest of the windows that t is in. Where there
// are gaps between the windows it may be the one behind t.
func slidingWindow(fn plan.SlidingWindows, t element.EventTime) Interval {
	size, period := millis(fn.Size), millis(fn.Period)
	start := floor(t-size, period, millis(fn.Offset)) + period
	return Interval{start, start + size}
}

// floor returns the last of the times offset + n*period that is not after t.
func floor(t, period, offset element.EventTime) element.EventTime {
	since := (t%period - offset%period) % period
	if since < 0 {
		since += period
	}
	return t - since
}

// millis is a duration in the unit of event time.
func millis(d time.Duration) element.EventTime { return element.EventTime(d.Milliseconds()) }

// OutputTime is the timestamp that an element at t in a window with that end
// (its maximum timestamp) gives a pane.
func OutputTime(how plan.OutputTime, t, end element.EventTime) element.EventTime {
	if how == plan.EndOfWindow {
		return end
	}
	return min(t, end)
}

// CombineTimes is the timestamp of a pane that has the timestamp a for some of
// its elements and b for the others. Where windows merge, those of the end of
// the window follow the merged window's end.
func CombineTimes(how plan.OutputTime, a, b element.EventTime) element.EventTime {
	if how == plan.Earliest {
		return min(a, b)
	}
	return max(a, b)
}
