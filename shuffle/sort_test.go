package shuffle_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// TestSortByTime holds that sorting keeps every element, puts them in order of
// time, and leaves those of one time in their order.
func TestSortByTime(t *testing.T) {
	l := &shuffle.Layout{Value: coder.Must(coder.Bytes), Window: coder.Must(coder.GlobalWindow)}
	type item struct {
		at element.EventTime
		id byte
	}
	rapid.Check(t, func(t *rapid.T) {
		var want []item
		var blocks []element.Block
		for range rapid.IntRange(0, 5).Draw(t, "blocks") {
			var data []byte
			for range rapid.IntRange(1, 5).Draw(t, "elements") {
				it := item{element.EventTime(rapid.IntRange(-2, 2).Draw(t, "time")), byte(len(want))}
				want = append(want, it)
				data = coder.PutHeader(data, element.Header{Timestamp: it.at, NumWindows: 1, Pane: []byte{0}})
				data = append(data, 1, it.id)
			}
			b, err := l.MakeBlock(data)
			if err != nil {
				t.Fatal(err)
			}
			b.Pages = []*element.Page{{Token: "p"}}
			blocks = append(blocks, b)
		}
		sorted, err := l.SortByTime(blocks)
		if err != nil {
			t.Fatal(err)
		}
		var got []item
		for i := range sorted {
			if len(sorted[i].Pages) != len(blocks) {
				t.Fatalf("block %d keeps %d pages, want %d", i, len(sorted[i].Pages), len(blocks))
			}
			if err := l.Each(&sorted[i], func(e *shuffle.Element, _ []byte) error {
				got = append(got, item{e.Header.Timestamp, e.Value[1]})
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		slices.SortStableFunc(want, func(a, b item) int { return int(a.at - b.at) })
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
	if _, err := l.SortByTime([]element.Block{{Data: []byte{1}, Count: 1}}); err == nil {
		t.Error("a block cut short was sorted")
	}
}
