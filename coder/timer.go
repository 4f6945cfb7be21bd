package coder

import (
	"encoding/binary"
	"fmt"

	"github.com/gorunner/gorunner/element"
)

// The layout of a timer on the wire: key, tag (like Bytes), number of windows
// (4 bytes), the windows, a byte that says whether the timer is cleared, and,
// unless it is: fire time and hold time (8 bytes each) and the pane.

// Timer is a timer cut into its parts, which alias the bytes it was cut from.
type Timer struct {
	// Key is encoded. Tag tells apart the timers of a family with dynamic tags;
	// it is the text without its length.
	Key, Tag []byte
	// Windows are encoded, back to back.
	Windows    []byte
	NumWindows int
	// Clear says that the timer is unset; then nothing follows it.
	Clear bool
	// Fire is when the timer is due, in milliseconds of its time domain.
	Fire element.EventTime
	// Hold is the event time of what the timer will emit. It is [HoldNothing],
	// and so beyond the limits, if that is nothing.
	Hold element.EventTime
	Pane []byte
	// Size is the number of bytes of the whole timer.
	Size int
}

// HoldNothing is the hold of a timer that must emit nothing, which its SDK
// checks as it fires.
const HoldNothing = element.MaxTime + 1

// CutTimer cuts the timer at the start of b.
func CutTimer(b []byte, key, window *Coder) (Timer, error) {
	var t Timer
	at, err := key.Measure(b)
	if err != nil {
		return t, fmt.Errorf("timer key: %w", err)
	}
	t.Key = b[:at]
	n, err := measureBytes(b[at:])
	if err != nil {
		return t, fmt.Errorf("timer tag: %w", err)
	}
	_, prefix := binary.Uvarint(b[at:])
	t.Tag = b[at+prefix : at+n]
	at += n
	if _, err = fixed(b[at:], 4); err != nil {
		return t, fmt.Errorf("timer windows: %w", err)
	}
	count := int32(binary.BigEndian.Uint32(b[at:]))
	end, err := measureWindows(b, at+4, count, window)
	if err != nil {
		return t, fmt.Errorf("timer windows: %w", err)
	}
	t.Windows, t.NumWindows = b[at+4:end], int(count)
	at = end
	if n, err = fixed(b[at:], 1); err != nil {
		return t, fmt.Errorf("timer clear bit: %w", err)
	}
	t.Clear = b[at] != 0
	at += n
	if t.Clear {
		t.Size = at
		return t, nil
	}
	if _, err = fixed(b[at:], 16); err != nil {
		return t, fmt.Errorf("timer times: %w", err)
	}
	t.Fire, t.Hold = TimeWithin(b[at:]), TimeWithin(b[at+8:])
	if rawTime(b[at+8:]) > element.MaxTime {
		t.Hold = HoldNothing
	}
	at += 16
	if n, err = measurePane(b[at:]); err != nil {
		return t, fmt.Errorf("timer pane: %w", err)
	}
	t.Pane = b[at : at+n]
	t.Size = at + n
	return t, nil
}

// TimeWithin reads 8 bytes as a time within the limits.
func TimeWithin(b []byte) element.EventTime { return within(rawTime(b)) }

func rawTime(b []byte) element.EventTime {
	return element.EventTime(binary.BigEndian.Uint64(b) ^ (1 << 63))
}

// PutTimer appends the encoding of a timer.
func PutTimer(b []byte, t Timer) []byte {
	b = append(b, t.Key...)
	b = binary.AppendUvarint(b, uint64(len(t.Tag)))
	b = append(b, t.Tag...)
	b = binary.BigEndian.AppendUint32(b, uint32(t.NumWindows))
	b = append(b, t.Windows...)
	if t.Clear {
		return append(b, 1)
	}
	b = append(b, 0)
	b = PutTime(b, t.Fire)
	b = PutTime(b, t.Hold)
	return append(b, t.Pane...)
}
