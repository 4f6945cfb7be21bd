package coder

import (
	"encoding/binary"
	"fmt"

	"github.com/gorunner/gorunner/element"
)

// The layout of a windowed value: timestamp (8 bytes), number of windows (4
// bytes), the windows, the pane, the value.

// Bits of the pane byte. The two in the middle of the high nibble say how
// many indices follow it.
const (
	paneMetadata   = 0x80 // a length-prefixed message follows the indices
	paneFormatBits = 0x70
	paneOneIndex   = 0x10
	paneTwoIndices = 0x20
)

// PaneOnlyFiring is the encoded pane of an element that no trigger fired:
// first, last, timing unknown.
const PaneOnlyFiring = 0x0f

// PutTime appends the 8-byte encoding of t, whose byte order is that of time.
func PutTime(b []byte, t element.EventTime) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t)^(1<<63))
}

// Time reads the 8 bytes that PutTime writes.
func Time(b []byte) (element.EventTime, error) {
	if len(b) < 8 {
		return 0, ErrShort
	}
	return element.EventTime(binary.BigEndian.Uint64(b) ^ (1 << 63)), nil
}

// PutHeader appends the header of an element in the given windows.
func PutHeader(b []byte, h element.Header) []byte {
	b = PutTime(b, h.Timestamp)
	b = binary.BigEndian.AppendUint32(b, uint32(h.NumWindows))
	b = append(b, h.Windows...)
	return append(b, h.Pane...)
}

// CutHeader reads the header at the start of an element whose windows have
// the given coder, and returns its length.
func CutHeader(b []byte, window *Coder) (element.Header, int, error) {
	if len(b) < 12 {
		return element.Header{}, 0, ErrShort
	}
	count := int32(binary.BigEndian.Uint32(b[8:]))
	end, err := measureWindows(b, 12, count, window)
	if err != nil {
		return element.Header{}, 0, err
	}
	n, err := measurePane(b[end:])
	if err != nil {
		return element.Header{}, 0, err
	}
	return element.Header{
		Timestamp:  TimeWithin(b),
		Windows:    b[12:end],
		NumWindows: int(count),
		Pane:       b[end : end+n],
	}, end + n, nil
}

// within bounds a time from outside by the limits of event time.
func within(t element.EventTime) element.EventTime {
	return min(max(t, element.MinTime), element.MaxTime)
}

// measureWindows returns where count windows end that begin at b[at].
func measureWindows(b []byte, at int, count int32, window *Coder) (int, error) {
	if count == 1 && window.kind == GlobalWindow {
		return at, nil
	}
	if count < 0 {
		return 0, fmt.Errorf("%w: element in %d windows", ErrMalformed, count)
	}
	for i := range count {
		n, err := window.Measure(b[at:])
		if err != nil {
			return 0, err
		}
		if n == 0 && i > 0 {
			// A window without bytes is the only one of its kind. What reads
			// the header may loop over the count, which comes from outside.
			return 0, fmt.Errorf("%w: element in %d windows of coder %v", ErrMalformed, count, window)
		}
		at += n
	}
	return at, nil
}

func measurePane(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, ErrShort
	}
	if b[0]&(paneMetadata|paneFormatBits) == 0 {
		return 1, nil // the most common case
	}
	indices := 0
	switch b[0] & paneFormatBits {
	case 0:
	case paneOneIndex:
		indices = 1
	case paneTwoIndices:
		indices = 2
	default:
		return 0, fmt.Errorf("%w: pane byte %#x", ErrMalformed, b[0])
	}
	at := 1
	for range indices {
		_, n, err := varint(b[at:])
		if err != nil {
			return 0, err
		}
		at += n
	}
	if b[0]&paneMetadata != 0 {
		n, err := measureBytes(b[at:])
		if err != nil {
			return 0, err
		}
		at += n
	}
	return at, nil
}

// WindowEnd returns the maximum timestamp of the encoded window at the start
// of b, within the limits of event time.
func (c *Coder) WindowEnd(b []byte) (element.EventTime, error) {
	switch c.kind {
	case GlobalWindow:
		return element.EndOfGlobalWindow, nil
	case IntervalWindow:
		end, err := Time(b)
		return min(max(end, element.MinTime+1)-1, element.MaxTime), err
	case CustomWindow:
		end, err := Time(b)
		return within(end), err
	case Bytes, LengthPrefix, VarInt, Bool, Double, KV, Iterable, StateBackedIterable, Nullable, ShardedKey:
	}
	return 0, fmt.Errorf("coder: %v is not a window coder whose end is known", c)
}
