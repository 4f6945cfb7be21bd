package group_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/group"
	windows "github.com/gorunner/gorunner/execution/windowing"
	"github.com/gorunner/gorunner/plan"
)

// custom is a GroupByKey in windows that only the SDK can merge.
func custom(output plan.OutputTime) *plan.GroupByKey {
	w := windowings()["sessions"]
	w.fn = plan.CustomWindows{URN: "custom", Merging: true}
	return kind(w, output)
}

// An SDK that merges windows as sessions do gets the same results, and is asked
// once.
func TestCustomWindowsAgainstSessions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := drawRecords(t, windowings()["sessions"])
		asked := 0
		merge := func(_ context.Context, sets [][][]byte) ([][]windows.Merged, error) {
			asked++
			out := make([][]windows.Merged, len(sets))
			for i, set := range sets {
				var err error
				if out[i], err = windows.MergeIntervals(set); err != nil {
					return nil, err
				}
			}
			return out, nil
		}
		g, err := group.New(custom(plan.Earliest), group.Params{Merge: merge})
		if err != nil {
			t.Fatal(err)
		}
		r := &reader{window: coder.Must(coder.IntervalWindow), params: group.Params{BlockBytes: 1 << 20}}
		if err := g.Run(t.Context(), cutIntoBlocks(t, records), r.block); err != nil {
			t.Fatal(err)
		}
		for i := range r.results {
			slices.Sort(r.results[i].values)
		}
		want := naive(records, true, plan.Earliest)
		slices.SortFunc(want, compareResults)
		slices.SortFunc(r.results, compareResults)
		if diff := cmp.Diff(want, r.results, cmp.AllowUnexported(result{}, span{})); diff != "" {
			t.Fatalf("grouped (-want +got):\n%s", diff)
		}
		if asked != 1 {
			t.Fatalf("asked %d times", asked)
		}
	})
}

// What is merged must be the windows that were asked for, each once.
func TestCustomWindowsMisMerged(t *testing.T) {
	one, other := span{0, 4}.encode(nil), span{2, 6}.encode(nil)
	refused := errors.New("refused")
	for _, test := range []struct {
		name string
		set  []windows.Merged
		err  error
		want string
	}{
		{name: "refused", err: refused, want: refused.Error()},
		{name: "one is lost", set: []windows.Merged{{Window: one, From: [][]byte{one}}}, want: "merged windows"},
		{name: "one is twice", set: []windows.Merged{{Window: one, From: [][]byte{one, one, other}}}, want: "merged windows"},
		{name: "of nothing", set: []windows.Merged{{Window: one, From: [][]byte{one, other}}, {Window: other}}, want: "merged windows"},
	} {
		merge := func(context.Context, [][][]byte) ([][]windows.Merged, error) {
			return [][]windows.Merged{test.set}, test.err
		}
		g, err := group.New(custom(plan.EndOfWindow), group.Params{Merge: merge})
		if err != nil {
			t.Fatal(err)
		}
		data := record{windows: []span{{0, 4}, {2, 6}}, key: "k"}.encode(nil)
		err = g.Run(t.Context(), []element.Block{{Data: data, Count: 1}}, func(element.Block) error { return nil })
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got error %v", test.name, err)
		}
	}
}
