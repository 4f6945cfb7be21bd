package group

import (
	"context"
	"errors"
	"fmt"

	"github.com/gorunner/gorunner/coder"
)

// errMerged reports windows that were merged into more or less than they were.
var errMerged = errors.New("the merged windows are not those that were to be merged")

// mergeCustom is the merger that asks the SDK, once for all keys.
func mergeCustom(ask MergeFunc) merger {
	return func(ctx context.Context, _ *coder.Coder, t *table) error {
		keys := t.byKey()
		sets := make([][][]byte, len(keys))
		for i, entries := range keys {
			for _, e := range entries {
				sets[i] = append(sets[i], e.window)
			}
		}
		merged, err := ask(ctx, sets)
		if err != nil {
			return fmt.Errorf("merge windows: %w", err)
		}
		out := make([]entry, 0, len(t.entries))
		for i, entries := range keys {
			byWindow := make(map[string]*entry, len(entries))
			for j := range entries {
				byWindow[string(entries[j].window)] = &entries[j]
			}
			for _, m := range merged[i] {
				var one *entry
				for _, from := range m.From {
					e := byWindow[string(from)]
					delete(byWindow, string(from))
					switch {
					case e == nil:
						return errMerged
					case one == nil:
						one = e
					default:
						t.absorb(one, e)
					}
				}
				if one == nil {
					return errMerged
				}
				one.window = m.Window
				out = append(out, *one)
			}
			if len(byWindow) > 0 {
				return errMerged
			}
		}
		t.replace(out)
		return nil
	}
}
