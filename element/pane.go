package element

import "fmt"

// Timing says how a pane stands to the end of its window.
type Timing int

// The timings of the Beam model, with their numbers on the wire. Of a window
// there are any number of early panes, then at most one that is on time, then
// any number of late ones.
const (
	// Early panes are fired before the watermark has passed the window's end.
	Early Timing = iota
	// OnTime is the first pane after that.
	OnTime
	// Late panes come after the one that is on time.
	Late
	// Unknown is the timing of an element that no trigger has fired.
	Unknown
)

// String is the timing's name in the Beam model.
func (t Timing) String() string {
	switch t {
	case Early:
		return "EARLY"
	case OnTime:
		return "ON_TIME"
	case Late:
		return "LATE"
	case Unknown:
		return "UNKNOWN"
	}
	return fmt.Sprintf("timing(%d)", int(t))
}

// Pane says which of the firings of a key and window an element belongs to.
type Pane struct {
	First, Last bool
	Timing      Timing
	// Index counts the panes of the window from 0.
	Index int64
	// NonSpeculative counts those that are not early from 0; it is -1 for an
	// early pane.
	NonSpeculative int64
	// Metadata is the message about the element that the pane carries, with its
	// length before it; nil if there is none.
	Metadata []byte
}
