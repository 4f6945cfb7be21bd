package group

import (
	"context"
	"errors"
	"fmt"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/execution/windowing"
	"github.com/gorunner/gorunner/plan"
)

// MergeFunc merges the windows of many keys, each set for itself. The result
// has the order of the sets; windows that stay alone are in it too.
type MergeFunc func(ctx context.Context, sets [][][]byte) ([][]windowing.Merged, error)

var (
	// errMerging refuses what translation should have refused.
	errMerging = errors.New("windows that only the SDK can merge, and no function that does")
	// errSessions refuses what translation should have refused, too.
	errSessions = errors.New("sessions in windows that are no intervals")
	// errMerged reports windows that were merged into more or less than they were.
	errMerged = errors.New("the merged windows are not those that were to be merged")
)

// checkWindows refuses sessions that are no intervals.
func checkWindows(w *plan.Windowing) error {
	if _, sessions := w.Fn.(plan.Sessions); sessions && w.Window.Kind() != coder.IntervalWindow {
		return fmt.Errorf("%w: coder %v", errSessions, w.Window)
	}
	return nil
}

// merger returns what merges the windows of a strategy, nil if they do not
// merge; ask is for those that only the SDK can merge.
func merger(w *plan.Windowing, ask MergeFunc) (MergeFunc, error) {
	switch fn := w.Fn.(type) {
	case plan.Sessions:
		return mergeSessions, nil
	case plan.CustomWindows:
		switch {
		case !fn.Merging:
			return nil, nil
		case ask == nil:
			return nil, fmt.Errorf("%v: %w", fn, errMerging)
		}
		return checkMerged(ask), nil
	case plan.GlobalWindows, plan.FixedWindows, plan.SlidingWindows:
	}
	return nil, nil
}

// mergeSessions merges windows that intersect.
func mergeSessions(_ context.Context, sets [][][]byte) ([][]windowing.Merged, error) {
	merged := make([][]windowing.Merged, len(sets))
	for i, set := range sets {
		var err error
		if merged[i], err = windowing.MergeIntervals(set); err != nil {
			return nil, err
		}
	}
	return merged, nil
}

// checkMerged is the function ask, whose answer is an error unless each window
// was merged once.
func checkMerged(ask MergeFunc) MergeFunc {
	return func(ctx context.Context, sets [][][]byte) ([][]windowing.Merged, error) {
		merged, err := ask(ctx, sets)
		if err != nil {
			return nil, fmt.Errorf("merge windows: %w", err)
		}
		if len(merged) != len(sets) {
			return nil, fmt.Errorf("%w: %d sets of %d", errMerged, len(merged), len(sets))
		}
		for i, set := range sets {
			if err := checkSet(set, merged[i]); err != nil {
				return nil, err
			}
		}
		return merged, nil
	}
}

func checkSet(set [][]byte, merged []windowing.Merged) error {
	left := make(map[string]bool, len(set))
	for _, w := range set {
		left[string(w)] = true
	}
	for _, m := range merged {
		if len(m.From) == 0 {
			return fmt.Errorf("%w: %x is made of none", errMerged, m.Window)
		}
		for _, from := range m.From {
			if !left[string(from)] {
				return fmt.Errorf("%w: %x", errMerged, from)
			}
			delete(left, string(from))
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("%w: %d were left", errMerged, len(left))
	}
	return nil
}

// mergeTable joins the entries of a table whose windows merge.
func mergeTable(ctx context.Context, merge MergeFunc, t *table) error {
	keys := t.byKey()
	sets := make([][][]byte, len(keys))
	for k, entries := range keys {
		for _, i := range entries {
			sets[k] = append(sets[k], t.at(t.entries[i].window))
		}
	}
	merged, err := merge(ctx, sets)
	if err != nil {
		return err
	}
	into := make([]uint32, len(t.entries))
	windows := make([]extent, len(t.entries))
	for k, entries := range keys {
		key := t.at(t.entries[entries[0]].key)
		for _, m := range merged[k] {
			one, _ := t.find(m.From[0], key)
			for _, from := range m.From {
				i, _ := t.find(from, key)
				into[i] = uint32(one)
				if i != one {
					t.absorb(&t.entries[one], &t.entries[i])
				}
			}
			windows[one] = t.keep(m.Window)
		}
	}
	// Entries are found by their windows, which change when all were found.
	for i := range t.entries {
		t.entries[i].window = windows[i]
	}
	t.relabel(into)
	return nil
}
