package shuffle_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// inWindows lists, for each window, the elements of the blocks that are in it,
// in order.
func inWindows(t rapid.TB, l *shuffle.Layout, blocks []element.Block) map[string][]string {
	t.Helper()
	got := make(map[string][]string)
	for i := range blocks {
		err := l.Each(&blocks[i], func(e *shuffle.Element, window []byte) error {
			got[string(window)] = append(got[string(window)], fmt.Sprintf("%v %x %x", e.Header.Timestamp, e.Header.Pane, e.Value))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return got
}

// checkWindows checks that each element is in one window, that of its block.
func checkWindows(t rapid.TB, l *shuffle.Layout, blocks []element.Block) {
	t.Helper()
	for i, b := range blocks {
		for data := b.Data; len(data) > 0; {
			e, err := l.Cut(data)
			if err != nil {
				t.Fatal(err)
			}
			if e.Header.NumWindows != 1 || !bytes.Equal(e.Header.Windows, b.Window) {
				t.Fatalf("block %d of window %x has an element in %d windows %x", i, b.Window, e.Header.NumWindows, e.Header.Windows)
			}
			data = data[e.Size:]
		}
	}
}

// Whatever is written, each window has the elements that it should have, in
// order, and no block has those of two.
func TestWriterPartitionsByWindow(t *testing.T) {
	for _, want := range []shuffle.Partitions{
		{Plain: true},
		{Plain: true, Single: true},
		{Groups: 3},
		{Plain: true, Groups: 2},
	} {
		want.Windows = true
		t.Run(fmt.Sprintf("%+v", want), rapid.MakeCheck(func(t *rapid.T) {
			l := pairs()
			var data []byte
			count := 0
			groups := make([][]byte, want.Groups)
			for _, p := range drawPairs(t) {
				count++
				data = append(data, p.data...)
				if want.Groups > 0 {
					g := shuffle.KeyGroup(prefixed(p.key), want.Groups)
					groups[g] = append(groups[g], p.data...)
				}
			}
			w := shuffle.NewWriter(l, want, nil)
			writeInPieces(t, w, data)
			out, err := w.Close()
			if err != nil {
				t.Fatal(err)
			}
			if out.Count != int64(count) || out.Bytes != int64(len(data)) {
				t.Fatalf("got %d elements of %d bytes, want %d of %d", out.Count, out.Bytes, count, len(data))
			}
			compare := func(what string, whole []byte, blocks []element.Block) {
				checkBlocks(t, l, blocks)
				checkWindows(t, l, blocks)
				if diff := cmp.Diff(inWindows(t, l, []element.Block{{Data: whole}}), inWindows(t, l, blocks)); diff != "" {
					t.Fatalf("%s: (-want +got)\n%s", what, diff)
				}
			}
			if !want.Plain {
				data = nil
			}
			compare("plain", data, out.Plain)
			for g := range groups {
				var blocks []element.Block
				if len(out.Keyed) > 0 {
					blocks = out.Keyed[g]
				}
				compare(fmt.Sprintf("group %d", g), groups[g], blocks)
			}
			for i, b := range out.Plain {
				if want.Single && b.Count != 1 {
					t.Fatalf("block %d has %d elements, want one", i, b.Count)
				}
			}
		}))
	}
}

// The global window has no bytes, and an element in no window is nowhere.
func TestWriterPartitionsByTheGlobalWindow(t *testing.T) {
	w := shuffle.NewWriter(lists(), shuffle.Partitions{Plain: true, Windows: true}, nil)
	nowhere := coder.PutHeader(nil, element.Header{Pane: []byte{coder.PaneOnlyFiring}})
	nowhere = append(nowhere, list("a", 1)[13:]...)
	if err := w.Write(slicesConcat(list("a", 1), nowhere, list("b", 2))); err != nil {
		t.Fatal(err)
	}
	out, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if got := checkBlocks(t, lists(), out.Plain); got != string(slicesConcat(list("a", 1), list("b", 2))) || len(out.Plain) != 1 || len(out.Plain[0].Window) != 0 {
		t.Errorf("got %d blocks with %q", len(out.Plain), got)
	}
}

// Blocks of many windows do not cost much more memory than their elements.
func TestWriterOfManyWindowsIsSmall(t *testing.T) {
	l := pairs()
	one := pair(0, 1, "key", "value")
	w := shuffle.NewWriter(l, shuffle.Partitions{Plain: true, Windows: true}, nil)
	for i := range 1000 {
		copy(one[12:], coder.PutTime(nil, element.EventTime(i)))
		if err := w.Write(one); err != nil {
			t.Fatal(err)
		}
	}
	out, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, b := range out.Plain {
		size += cap(b.Data)
	}
	if len(out.Plain) != 1000 || size > 1000*512 {
		t.Errorf("%d blocks of %d bytes in all", len(out.Plain), size)
	}
}

// Half a block is of the same window as the whole.
func TestSplitBlockKeepsItsWindow(t *testing.T) {
	l := pairs()
	b, err := l.MakeBlock(slicesConcat(pair(1, 1, "a", "1"), pair(2, 1, "b", "2")))
	if err != nil {
		t.Fatal(err)
	}
	b.Window = []byte("window")
	first, last, err := l.SplitAt([]element.Block{b}, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if string(first[0].Window) != "window" || string(last[0].Window) != "window" {
		t.Errorf("got windows %q and %q", first[0].Window, last[0].Window)
	}
}
