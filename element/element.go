// Package element holds the vocabulary every layer shares: event time, key
// groups, element headers and blocks of encoded elements.
//
// Values are plain data, safe to copy; a [Block] is immutable once made, so
// it may be read from any goroutine. The package never looks inside a user's
// value: an element is a header (timestamp, windows, pane) followed by bytes
// whose extent package coder can find.
package element

import (
	"fmt"
	"math"
)

// EventTime is a timestamp in the event-time domain, in milliseconds since
// the Unix epoch, always within [MinTime, MaxTime].
type EventTime int64

// The limits of event time. They are the microsecond range of the Beam model
// cut to milliseconds, so that every SDK can represent them.
const (
	MinTime EventTime = math.MinInt64 / 1000
	MaxTime EventTime = math.MaxInt64 / 1000
	// EndOfGlobalWindow is the maximum timestamp of the global window: one day
	// before MaxTime, which leaves room for timers set at its end.
	EndOfGlobalWindow EventTime = MaxTime - 24*60*60*1000
)

// String prints the limits by name and other times as milliseconds.
func (t EventTime) String() string {
	switch t {
	case MinTime:
		return "-inf"
	case MaxTime:
		return "+inf"
	case EndOfGlobalWindow:
		return "end-of-global"
	}
	return fmt.Sprintf("%dms", int64(t))
}

// KeyGroup is one of the fixed number of partitions of a keyed edge. All
// elements of a key are in one group.
type KeyGroup uint16

// Unkeyed is the group of elements on an edge that is not partitioned.
const Unkeyed KeyGroup = math.MaxUint16

// Header is what stands before a value on the wire. Its slices alias the
// bytes it was cut from.
type Header struct {
	// Timestamp is the element's event time.
	Timestamp EventTime
	// Windows holds the encoded windows, back to back.
	Windows []byte
	// NumWindows says how many windows there are; more than one means that the
	// element stands for one copy in each.
	NumWindows int
	// Pane holds the pane byte, its indices and the metadata it announces.
	Pane []byte
}

// Block is an immutable run of encoded windowed values, back to back and
// each whole.
type Block struct {
	// Data holds the elements. Nobody may write to it once the block is made.
	Data []byte
	// Count is the number of elements in Data.
	Count int
	// MinTime is the smallest timestamp among the elements.
	MinTime EventTime
	// Window is the encoded window of all elements, where the edge is partitioned
	// by window. The global window has no bytes.
	Window []byte
	// Pages are the values that elements of the block refer to by token
	// because they were too large to stand in it. They live as long as the
	// block does.
	Pages []*Page
}

// Page is a value kept beside the block that refers to it. Its data is a run
// of encoded values in chunks, each whole, that the SDK reads one by one.
type Page struct {
	// Token names the page within its job; it travels inside the element.
	Token string
	// Chunks are the pieces in order.
	Chunks [][]byte
}

// Bytes is the memory the block accounts for: its elements and its pages.
func (b *Block) Bytes() int {
	n := len(b.Data)
	for _, p := range b.Pages {
		for _, c := range p.Chunks {
			n += len(c)
		}
	}
	return n
}
