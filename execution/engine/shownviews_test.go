package engine

import (
	"bytes"
	"fmt"
	"maps"
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

func shown(window, value string) shownWindow {
	return shownWindow{window: []byte(window), chunks: []element.Chunk{{Data: []byte(value)}}, count: 1}
}

// values is what a bundle reads in a window.
func values(t rapid.TB, s sideInput, window string) string {
	t.Helper()
	c, err := s.in([]byte(window))
	if err != nil {
		t.Fatal(err)
	}
	if c == nil {
		return ""
	}
	return string(c.data.chunks[0].Data)
}

// TestVersionsOfViews compares what bundles see of a view that changes with
// copies of it, and checks that nothing is kept that nobody reads.
func TestVersionsOfViews(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type reader struct {
			side sideInput
			want map[string]string
		}
		budget := shuffle.NewBudget(nil, 0)
		v := newShownView(1, coder.Must(coder.Bytes), budget.Account("views"), 0)
		now := map[string]string{}
		var readers []reader
		tokens := map[string]map[string]string{}
		windows := rapid.SampledFrom([]string{"", "v", "w"})
		next := 0
		t.Repeat(map[string]func(*rapid.T){
			"show": func(t *rapid.T) {
				var all []shownWindow
				for _, w := range rapid.SliceOfN(windows, 1, 3).Draw(t, "windows") {
					next++
					now[w] = fmt.Sprint(next)
					all = append(all, shown(w, now[w]))
				}
				v.show(all)
			},
			"forget": func(t *rapid.T) {
				w := windows.Draw(t, "window")
				if _, there := now[w]; !there {
					t.Skip("nothing to forget")
				}
				delete(now, w)
				v.forget([]string{w})
			},
			"open": func(t *rapid.T) {
				r := reader{v.open(), maps.Clone(now)}
				readers = append(readers, r)
				// Bundles with the same token see the same, where they look.
				token := string(r.side.token())
				if tokens[token] == nil {
					tokens[token] = r.want
				}
				for w, value := range r.want {
					if tokens[token][w] != value {
						t.Fatalf("token %s stands for %v and for %v", token, tokens[token], r.want)
					}
				}
			},
			"release": func(t *rapid.T) {
				if len(readers) == 0 {
					t.Skip("nobody reads")
				}
				i := rapid.IntRange(0, len(readers)-1).Draw(t, "reader")
				readers[i].side.release()
				readers = append(readers[:i], readers[i+1:]...)
			},
			"": func(t *rapid.T) {
				for _, r := range readers {
					for _, w := range []string{"", "v", "w"} {
						if got := values(t, r.side, w); got != r.want[w] {
							t.Fatalf("window %q: got %q, want %q", w, got, r.want[w])
						}
					}
				}
				kept, size := 0, 0
				for _, e := range v.windows {
					for ; e != nil; e = e.older {
						kept++
						if e.contents != nil {
							size += e.contents.data.chunks[0].Size()
						}
					}
				}
				if int64(size) != budget.Used() {
					t.Fatalf("%d bytes are kept, and %d entered", size, budget.Used())
				}
				if most := len(now) + len(readers)*3 + 3; kept > most {
					t.Fatalf("%d contents are kept, for %d windows and %d readers", kept, len(now), len(readers))
				}
				if len(readers) == 0 && (kept != len(now) || len(v.outdated)+len(v.opened) > 0) {
					t.Fatalf("nobody reads, and %d contents are kept of %d windows, %d outdated", kept, len(now), len(v.outdated))
				}
			},
		})
	})
}

// shownPlan is a view of the edge of viewedPlan, and a stage that reads it.
func shownPlan() *plan.Plan {
	p := viewedPlan()
	p.Stages = []*plan.Stage{
		p.Stages[0],
		{ID: 1, Name: "view", Kind: &plan.View{Windowing: p.Edges[0].Windowing}, Input: &plan.Input{Edge: 0}},
		{ID: 2, Name: "reader", Kind: &plan.Executable{}, Input: &plan.Input{Edge: 1}, SideInputs: []plan.SideInput{
			{Edge: 0, View: 1, Transform: "t", Tag: "map", Access: plan.AccessMultimap},
			{Edge: 0, View: 1, Transform: "t", Tag: "list", Access: plan.AccessIterable},
		}},
	}
	return p
}

// TestBundleReadsOneVersion shows that a bundle reads the same of both side
// inputs that are one view, in all parts, whatever is shown meanwhile; and that
// a view is freed with its last reader.
func TestBundleReadsOneVersion(t *testing.T) {
	p := shownPlan()
	v := newViews(p, account(), 0)
	begin := func() *bundleState {
		return &bundleState{sides: v.open(p.Stages[2]), txn: state.NewMemory().Begin(), stage: p.Stages[2]}
	}
	key := func(tag string, part harness.SideInputPart) harness.SideInputKey {
		return harness.SideInputKey{Transform: "t", Tag: tag, Window: []byte("w"), Part: part, Key: text("k")}
	}
	before := begin()
	v.show(1, []shownWindow{shown("w", string(pair("k", "1")))})
	first := begin()
	v.show(1, []shownWindow{shown("w", string(pair("k", "2"))+string(pair("l", "3")))})
	second := begin()
	for _, test := range []struct {
		bundle                        *bundleState
		list, keys, values, keyValues string
	}{
		{bundle: before},
		{first, "\x01k\x011", "\x01k", "\x011", "\x01k\x00\x00\x00\x01\x011"},
		{second, "\x01k\x012\x01l\x013", "\x01k\x01l", "\x012", "\x01k\x00\x00\x00\x01\x012\x01l\x00\x00\x00\x01\x013"},
	} {
		got := []string{
			read(t, test.bundle, key("list", harness.PartIterable)), read(t, test.bundle, key("map", harness.PartKeys)),
			read(t, test.bundle, key("map", harness.PartValues)), read(t, test.bundle, key("map", harness.PartEntries)),
		}
		if diff := cmp.Diff([]string{test.list, test.keys, test.values, test.keyValues}, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if tokens := test.bundle.tokens(); !bytes.Equal(tokens[0], tokens[1]) {
			t.Errorf("one view has the tokens %q", tokens)
		}
		test.bundle.end()
	}
	v.stageFinished(2)
	v.show(1, []shownWindow{shown("w", "x")})
	v.forget(1, []string{"w"})
	if v.shown[1] != nil {
		t.Error("the view is still there after its last reader")
	}
}

// TestViewsChangeUnderReaders is for the race detector.
func TestViewsChangeUnderReaders(t *testing.T) {
	v := newShownView(1, coder.Must(coder.Bytes), account(), 0)
	var readers sync.WaitGroup
	for i := range 200 {
		v.show([]shownWindow{shown("w", fmt.Sprint(i)), shown("v", fmt.Sprint(i))})
		side := v.open()
		readers.Go(func() {
			defer side.release()
			for range 3 {
				if a, b := values(t, side, "w"), values(t, side, "v"); a != fmt.Sprint(i) || a != b {
					t.Errorf("version %d: got %s and %s", i, a, b)
				}
			}
		})
		if i%10 == 0 {
			v.forget([]string{"v", "w"})
		}
	}
	readers.Wait()
	if len(v.outdated)+len(v.opened) > 0 || len(v.windows) != 2 {
		t.Errorf("%d windows are outdated of %d, %d versions read", len(v.outdated), len(v.windows), len(v.opened))
	}
}
