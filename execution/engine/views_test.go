package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// window encodes the interval window of length 10 that ends at the time.
func window(end element.EventTime) []byte { return append(coder.PutTime(nil, end), 10) }

// text encodes a string.
func text(s string) []byte { return append(binary.AppendUvarint(nil, uint64(len(s))), s...) }

// viewedPlan has three stages on one edge of KVs in interval windows: the
// first writes it, the second reads it twice, as both kinds of side input,
// the third once.
func viewedPlan() *plan.Plan {
	bytes := coder.Must(coder.Bytes)
	windowing := &plan.Windowing{Fn: plan.FixedWindows{Size: 10}, Window: coder.Must(coder.IntervalWindow)}
	reader := func(id plan.StageID, sides ...plan.SideInput) *plan.Stage {
		return &plan.Stage{ID: id, Name: fmt.Sprintf("reader%d", id), Kind: &plan.Executable{}, Input: &plan.Input{Edge: 1}, SideInputs: sides}
	}
	return &plan.Plan{
		KeyGroups: 1,
		Edges: []*plan.Edge{
			{ID: 0, Name: "viewed", Value: coder.Must(coder.KV, bytes, bytes), Windowing: windowing},
			{ID: 1, Name: "main", Value: bytes, Windowing: global()},
		},
		Stages: []*plan.Stage{
			{ID: 0, Name: "writer", Kind: &plan.Executable{}, Input: &plan.Input{Edge: 1}, Outputs: []plan.Output{{Edge: 0}}},
			reader(1,
				plan.SideInput{Edge: 0, Transform: "t", Tag: "list", Access: plan.AccessIterable},
				plan.SideInput{Edge: 0, Transform: "t", Tag: "map", Access: plan.AccessMultimap}),
			reader(2, plan.SideInput{Edge: 0, Transform: "u", Tag: "map", Access: plan.AccessMultimap}),
		},
	}
}

func viewedLayout() *shuffle.Layout {
	e := viewedPlan().Edges[0]
	return &shuffle.Layout{Value: e.Value, Window: e.Windowing.Window}
}

// viewed makes a block of the edge that is viewed.
func viewed(t rapid.TB, elements ...[]byte) element.Block {
	t.Helper()
	b, err := viewedLayout().MakeBlock(slices.Concat(elements...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sideState is the state of a bundle of stage 1 of viewedPlan.
func sideState(v *views) *bundleState {
	stage := viewedPlan().Stages[1]
	return &bundleState{sides: v.open(stage), txn: state.NewMemory().Begin(), stage: stage}
}

// readAll reads all pages of a cell.
func readAll(b *bundleState, key harness.StateKey) (pages [][]byte, err error) {
	var token []byte
	for {
		page, next, err := b.Get(context.Background(), key, token)
		if err != nil {
			return nil, err
		}
		pages = append(pages, page)
		if len(next) == 0 {
			return pages, nil
		}
		token = next
	}
}

// read is all of a cell in one.
func read(t rapid.TB, b *bundleState, key harness.StateKey) string {
	t.Helper()
	pages, err := readAll(b, key)
	if err != nil {
		t.Fatalf("read %+v: %v", key, err)
	}
	return string(slices.Concat(pages...))
}

func TestViewParts(t *testing.T) {
	v := newViews(viewedPlan(), account(), 0)
	w1, w2 := window(10), window(20)
	v.add(0, []element.Block{
		viewed(t, windowed(1, [][]byte{w1}, pair("a", "1")), windowed(2, [][]byte{w1, w2}, pair("b", "2"))),
		viewed(t, windowed(3, [][]byte{w1}, pair("a", "3"))),
	})
	v.add(0, []element.Block{viewed(t, windowed(4, [][]byte{w2}, pair("c", "")))})
	v.add(1, []element.Block{viewed(t, windowed(5, [][]byte{w2}, pair("not", "viewed")))})
	tests := []struct {
		part   harness.SideInputPart
		tag    string
		window []byte
		key    string
		want   string
	}{
		{part: harness.PartIterable, tag: "list", window: w1, want: "\x01a\x011" + "\x01b\x012" + "\x01a\x013"},
		{part: harness.PartIterable, tag: "list", window: w2, want: "\x01b\x012" + "\x01c\x00"},
		{part: harness.PartIterable, tag: "list", window: window(30), want: ""},
		{part: harness.PartIterable, tag: "map", window: w2, want: "\x01b\x012" + "\x01c\x00"},
		{part: harness.PartKeys, tag: "map", window: w1, want: "\x01a\x01b"},
		{part: harness.PartKeys, tag: "map", window: window(30), want: ""},
		{part: harness.PartValues, tag: "map", window: w1, key: "\x01a", want: "\x011\x013"},
		{part: harness.PartValues, tag: "map", window: w2, key: "\x01c", want: "\x00"},
		{part: harness.PartValues, tag: "map", window: w2, key: "\x01a", want: ""},
		{part: harness.PartEntries, tag: "map", window: w1, want: "\x01a\x00\x00\x00\x02\x011\x013" + "\x01b\x00\x00\x00\x01\x012"},
		{part: harness.PartEntries, tag: "map", window: w2, want: "\x01b\x00\x00\x00\x01\x012" + "\x01c\x00\x00\x00\x01\x00"},
	}
	b := sideState(v)
	for _, test := range tests {
		key := harness.SideInputKey{Transform: "t", Tag: test.tag, Window: test.window, Part: test.part, Key: []byte(test.key)}
		if diff := cmp.Diff(test.want, read(t, b, key)); diff != "" {
			t.Errorf("%+v: (-want +got)\n%s", test, diff)
		}
	}
}

// TestViewsAgainstModel compares the views of random elements with plain maps,
// read by several goroutines at once.
func TestViewsAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := newViews(viewedPlan(), account(), 0)
		lists, values := map[string]string{}, map[string]string{}
		for range rapid.IntRange(0, 20).Draw(t, "elements") {
			k := rapid.StringMatching("[ab]?").Draw(t, "key")
			value := strings.Repeat("v", rapid.SampledFrom([]int{0, 1, 100}).Draw(t, "size"))
			var windows [][]byte
			for _, end := range rapid.SliceOfNDistinct(rapid.IntRange(1, 3), 0, 3, rapid.ID).Draw(t, "windows") {
				w := window(element.EventTime(end * 10))
				windows = append(windows, w)
				lists[string(w)] += string(pair(k, value))
				values[string(w)+k] += string(text(value))
			}
			if windows == nil {
				windows = [][]byte{} // in no window at all
			}
			v.add(0, []element.Block{viewed(t, windowed(0, windows, pair(k, value)))})
		}
		b := sideState(v)
		var wg sync.WaitGroup
		for _, end := range []element.EventTime{10, 20, 30} {
			wg.Go(func() {
				w := window(end)
				checkRead(t, b, harness.SideInputKey{Transform: "t", Tag: "list", Window: w}, lists[string(w)])
				for _, k := range []string{"", "a", "b", "never"} {
					key := harness.SideInputKey{Transform: "t", Tag: "map", Window: w, Part: harness.PartValues, Key: text(k)}
					checkRead(t, b, key, values[string(w)+k])
				}
			})
		}
		wg.Wait()
	})
}

// checkRead is safe in any goroutine of a test.
func checkRead(t *rapid.T, b *bundleState, key harness.StateKey, want string) {
	pages, err := readAll(b, key)
	if got := string(slices.Concat(pages...)); err != nil || got != want {
		t.Errorf("%+v: got %q, error %v, want %q", key, got, err, want)
	}
}

// TestViewPages shows that what is larger than a page is cut between values,
// and that a value larger than a page stays whole.
func TestViewPages(t *testing.T) {
	v := newViews(viewedPlan(), account(), 0)
	w := window(10)
	const size = 300 << 10
	for i := range 10 {
		value := strings.Repeat(string(rune('0'+i)), size)
		v.add(0, []element.Block{viewed(t, windowed(0, [][]byte{w}, slices.Concat(text("k"), text(value))))})
	}
	huge := strings.Repeat("h", pageBytes+1)
	v.add(0, []element.Block{viewed(t, windowed(0, [][]byte{w}, slices.Concat(text("k"), text(huge))))})
	for i := range 3 << 10 {
		v.add(0, []element.Block{viewed(t, windowed(0, [][]byte{w}, slices.Concat(text(fmt.Sprintf("%0600d", i)), text(""))))})
	}
	b := sideState(v)
	value, kv := coder.Must(coder.Bytes), viewedLayout().Value
	entry := coder.Must(coder.KV, value, coder.Must(coder.Iterable, value))
	tests := []struct {
		part   harness.SideInputPart
		coder  *coder.Coder
		values int
		pages  int
	}{
		{harness.PartIterable, kv, 11 + 3<<10, 4 + 1 + 2},
		{harness.PartValues, value, 11, 4 + 1},
		{harness.PartKeys, value, 1 + 3<<10, 2},
		{harness.PartEntries, entry, 1 + 3<<10, 1 + 2},
	}
	for _, test := range tests {
		tag := "map"
		pages, err := readAll(b, harness.SideInputKey{Transform: "t", Tag: tag, Window: w, Part: test.part, Key: text("k")})
		if err != nil {
			t.Fatal(err)
		}
		values := 0
		for i, page := range pages {
			here := 0
			for rest := page; len(rest) > 0; here++ {
				n, err := test.coder.Measure(rest)
				if err != nil {
					t.Fatalf("part %d: page %d of %d bytes is not whole values: %v", test.part, i, len(page), err)
				}
				rest = rest[n:]
			}
			if here > 1 && len(page) > pageBytes {
				t.Errorf("part %d: page %d has %d bytes and %d values", test.part, i, len(page), here)
			}
			values += here
		}
		if values != test.values || len(pages) != test.pages {
			t.Errorf("part %d: got %d values in %d pages, want %d in %d", test.part, values, len(pages), test.values, test.pages)
		}
	}
}

func TestViewOfNothingIsEmpty(t *testing.T) {
	b := sideState(newViews(viewedPlan(), account(), 0))
	for _, part := range []harness.SideInputPart{harness.PartIterable, harness.PartKeys, harness.PartValues, harness.PartEntries} {
		if got := read(t, b, harness.SideInputKey{Transform: "t", Tag: "map", Window: window(10), Part: part}); got != "" {
			t.Errorf("part %d: got %q, want nothing", part, got)
		}
	}
}

// TestViewIsFreed shows that a view lives until the last stage that reads it
// has finished, and takes nothing in afterwards.
func TestViewIsFreed(t *testing.T) {
	v := newViews(viewedPlan(), account(), 0)
	block := viewed(t, windowed(0, [][]byte{window(10)}, pair("k", "v")))
	v.add(0, []element.Block{block})
	for id := range plan.StageID(2) {
		v.stageFinished(id)
		if v.complete[0] == nil {
			t.Fatalf("the view is gone with stage %d, before its last reader", id)
		}
	}
	v.stageFinished(2)
	if v.complete[0] != nil {
		t.Error("the view is still there after its last reader")
	}
	v.add(0, []element.Block{block})
	if v.complete[0] != nil {
		t.Error("the view is there again")
	}
	v.drop()
}

// TestViewOfBrokenElements shows that bytes that are no elements make errors,
// for every reader.
func TestViewOfBrokenElements(t *testing.T) {
	whole := windowed(0, [][]byte{window(10)}, pair("k", "v"))
	v := newViews(viewedPlan(), account(), 0)
	v.add(0, []element.Block{{Data: whole[:len(whole)-1], Count: 1}})
	b := sideState(v)
	for _, part := range []harness.SideInputPart{harness.PartIterable, harness.PartKeys, harness.PartValues, harness.PartEntries} {
		for range 2 {
			key := harness.SideInputKey{Transform: "t", Tag: "map", Window: window(10), Part: part}
			if _, err := readAll(b, key); !errors.Is(err, coder.ErrShort) {
				t.Errorf("part %d: got error %v, want one that wraps ErrShort", part, err)
			}
		}
	}
}
