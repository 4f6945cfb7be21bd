package windowing

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
)

// Interval is an interval window: from Start up to, but without, End.
type Interval struct{ Start, End element.EventTime }

// Append appends the interval's encoding.
func (i Interval) Append(b []byte) []byte {
	return binary.AppendUvarint(coder.PutTime(b, i.End), uint64(i.End-i.Start))
}

// ReadInterval reads an encoded interval window, which is all of b.
func ReadInterval(b []byte) (Interval, error) {
	end, err := coder.Time(b)
	if err != nil {
		return Interval{}, fmt.Errorf("interval window: %w", err)
	}
	length, n := binary.Uvarint(b[8:])
	// Times are int64: a length that leads back beyond them is not one.
	if n != len(b)-8 || length > uint64(end)-1<<63 {
		return Interval{}, fmt.Errorf("interval window %x: %w", b, coder.ErrMalformed)
	}
	return Interval{end - element.EventTime(length), end}, nil
}

// Merged is a window and the ones of which it was made. From are the windows
// asked for; Window may be one of them.
type Merged struct {
	Window []byte
	From   [][]byte
}

// MergeIntervals joins interval windows that intersect, with the start of one
// before the end of the other. Windows that stay alone are in the result too,
// which is in the order of time.
func MergeIntervals(windows [][]byte) ([]Merged, error) {
	type item struct {
		Interval
		window []byte
	}
	items := make([]item, len(windows))
	for i, w := range windows {
		interval, err := ReadInterval(w)
		if err != nil {
			return nil, err
		}
		items[i] = item{interval, w}
	}
	slices.SortFunc(items, func(a, b item) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End))
	})
	var out []Merged
	for first := 0; first < len(items); {
		whole := items[first].Interval
		end := first + 1
		for ; end < len(items) && items[end].Start < whole.End; end++ {
			whole.End = max(whole.End, items[end].End)
		}
		m := Merged{Window: items[first].window, From: make([][]byte, 0, end-first)}
		for _, it := range items[first:end] {
			m.From = append(m.From, it.window)
		}
		if whole != items[first].Interval {
			m.Window = whole.Append(nil)
		}
		out = append(out, m)
		first = end
	}
	return out, nil
}
