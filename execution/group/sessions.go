package group

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
)

// merger joins the entries of a table whose windows merge.
type merger func(ctx context.Context, window *coder.Coder, t *table) error

// interval is an entry with its window read as [start, end).
type interval struct {
	start, end element.EventTime
	entry      entry
}

// mergeIntervals joins, for each key, the interval windows that intersect.
func mergeIntervals(_ context.Context, window *coder.Coder, t *table) error {
	var merged []entry
	for _, entries := range t.byKey() {
		intervals := make([]interval, len(entries))
		for i, e := range entries {
			start, end, err := readInterval(window, e.window)
			if err != nil {
				return fmt.Errorf("group by key: %w", err)
			}
			intervals[i] = interval{start, end, e}
		}
		slices.SortStableFunc(intervals, func(a, b interval) int { return cmp.Compare(a.start, b.start) })
		current := intervals[0]
		for _, next := range intervals[1:] {
			if next.start < current.end {
				current.end = max(current.end, next.end)
				t.absorb(&current.entry, &next.entry)
				continue
			}
			merged = append(merged, current.close())
			current = next
		}
		merged = append(merged, current.close())
	}
	t.replace(merged)
	return nil
}

// close returns the entry in the window that the interval has become.
func (i *interval) close() entry {
	e := i.entry
	e.window = coder.PutTime(make([]byte, 0, 8+binary.MaxVarintLen64), i.end)
	e.window = binary.AppendUvarint(e.window, uint64(i.end-i.start))
	return e
}

func readInterval(window *coder.Coder, b []byte) (start, end element.EventTime, err error) {
	if window.Kind() != coder.IntervalWindow {
		return 0, 0, fmt.Errorf("sessions in windows of coder %v", window)
	}
	if end, err = coder.Time(b); err != nil {
		return 0, 0, fmt.Errorf("interval window: %w", err)
	}
	length, n := binary.Uvarint(b[8:])
	// Times are int64: a length that leads back beyond them is not one.
	if n <= 0 || length > uint64(end)-1<<63 {
		return 0, 0, fmt.Errorf("interval window of %d ms until %v: %w", length, end, coder.ErrMalformed)
	}
	return end - element.EventTime(length), end, nil
}
