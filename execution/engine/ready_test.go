package engine

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestStageSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(t, "places")
		set, want := make(stageSet, (n+63)/64), map[int]bool{}
		for range rapid.IntRange(0, 50).Draw(t, "changes") {
			i := rapid.IntRange(0, n-1).Draw(t, "place")
			if rapid.Bool().Draw(t, "add") {
				set.add(i)
				want[i] = true
			} else {
				set.remove(i)
				delete(want, i)
			}
		}
		var got []int
		for i := set.below(n); i >= 0; i = set.below(i) {
			got = append(got, i)
		}
		var all []int
		for i := n - 1; i >= 0; i-- {
			if set.has(i) != want[i] {
				t.Fatalf("place %d: %t", i, set.has(i))
			}
			if want[i] {
				all = append(all, i)
			}
		}
		if !slices.Equal(got, all) {
			t.Fatalf("got %v, want %v", got, all)
		}
	})
}
