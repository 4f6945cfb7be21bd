package shuffle_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

func TestCutAndKey(t *testing.T) {
	l := pairs()
	data := pair(42, 2, "key", "value")
	e, err := l.Cut(append(slices.Clip(data), "next"...))
	if err != nil {
		t.Fatal(err)
	}
	if e.Size != len(data) || e.Header.Timestamp != 42 || e.Header.NumWindows != 2 {
		t.Errorf("got %d bytes, %v in %d windows", e.Size, e.Header.Timestamp, e.Header.NumWindows)
	}
	if want := string(prefixed("key")) + string(prefixed("value")); string(e.Value) != want {
		t.Errorf("value: got %q, want %q", e.Value, want)
	}
	if key := e.Key(); string(key) != string(prefixed("key")) {
		t.Errorf("key: got %q", key)
	}
	for n := range data {
		if _, err := l.Cut(data[:n:n]); !errors.Is(err, coder.ErrShort) {
			t.Fatalf("%d of %d bytes: got error %v, want ErrShort", n, len(data), err)
		}
	}
}

func TestKeyGroupSpreads(t *testing.T) {
	const groups, keys = 64, 64 * 1000
	var counts [groups]int
	for i := range keys {
		counts[shuffle.KeyGroup(fmt.Append(nil, "key", i), groups)]++
	}
	for g, n := range counts {
		if n < 800 || n > 1200 {
			t.Errorf("group %d has %d keys, far from %d", g, n, keys/groups)
		}
	}
	if g := shuffle.KeyGroup(nil, groups); g != shuffle.KeyGroup([]byte{}, groups) || int(g) >= groups {
		t.Errorf("group of the empty key: %d", g)
	}
	if g := shuffle.KeyGroup([]byte("key"), 1); g != 0 {
		t.Errorf("group among one: %d", g)
	}
}

func TestMakeBlock(t *testing.T) {
	l := pairs()
	data := slicesConcat(pair(7, 1, "a", "1"), pair(-3, 0, "b", ""), pair(9, 2, "", ""))
	b, err := l.MakeBlock(data)
	if err != nil || b.Count != 3 || b.MinTime != -3 {
		t.Errorf("got %d elements from %v and error %v", b.Count, b.MinTime, err)
	}
	if b, err := l.MakeBlock(nil); err != nil || b.Count != 0 || b.MinTime != element.MaxTime {
		t.Errorf("of nothing: got %d elements from %v and error %v", b.Count, b.MinTime, err)
	}
	_, err = l.MakeBlock(data[:len(data)-1])
	if !errors.Is(err, coder.ErrShort) || !strings.Contains(err.Error(), "element 2 at byte") {
		t.Errorf("cut short: got error %v", err)
	}
}

// drawBlocks generates blocks and the elements in them.
func drawBlocks(t *rapid.T, l *shuffle.Layout) (blocks []element.Block, elements []string) {
	for range rapid.IntRange(0, 5).Draw(t, "blocks") {
		var data []byte
		for range rapid.IntRange(0, 4).Draw(t, "elements") {
			n := len(elements)
			e := pair(element.EventTime(n), 1, "k", strings.Repeat("v", n%3))
			elements = append(elements, string(e))
			data = append(data, e...)
		}
		b, err := l.MakeBlock(data)
		if err != nil {
			t.Fatal(err)
		}
		b.Pages = []*element.Page{{Token: fmt.Sprint(len(blocks))}}
		blocks = append(blocks, b)
	}
	return blocks, elements
}

// checkPart checks that blocks hold the elements, with a bound on their
// timestamps, and pages.
func checkPart(t *rapid.T, l *shuffle.Layout, blocks []element.Block, elements []string) {
	var data []byte
	count := 0
	for _, b := range blocks {
		data = append(data, b.Data...)
		count += b.Count
		whole, err := l.MakeBlock(b.Data)
		if err != nil {
			t.Fatal(err)
		}
		if whole.Count != b.Count || whole.MinTime < b.MinTime {
			t.Fatalf("block of %d elements from %v says %d from %v", whole.Count, whole.MinTime, b.Count, b.MinTime)
		}
		if b.Count > 0 && len(b.Pages) != 1 {
			t.Fatal("a part of a block has lost the pages")
		}
	}
	if count != len(elements) || string(data) != strings.Join(elements, "") {
		t.Fatalf("%d elements %q, want %q", count, data, elements)
	}
}

func TestSplitAt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := pairs()
		blocks, elements := drawBlocks(t, l)
		before := slices.Clone(blocks)
		n := rapid.IntRange(0, len(elements)).Draw(t, "n")
		m := rapid.IntRange(n, len(elements)).Draw(t, "m")
		first, last, err := l.SplitAt(blocks, int64(n), int64(m))
		if err != nil {
			t.Fatal(err)
		}
		checkPart(t, l, first, elements[:n])
		checkPart(t, l, last, elements[m:])
		checkPart(t, l, before, elements)
		checkPart(t, l, blocks, elements)
	})
}

func TestSplitAtBeyondTheInput(t *testing.T) {
	l := pairs()
	one, err := l.MakeBlock(pair(0, 1, "k", "v"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		blocks []element.Block
		n, m   int64
		want   string
	}{
		{nil, 0, 1, "cut 1 elements past the last"},
		{[]element.Block{one}, 2, 2, "cut 1 elements past the last"},
		{[]element.Block{one}, 0, 5, "cut 4 elements past the last"},
		{[]element.Block{one}, -1, 0, "cut at element -1"},
		{[]element.Block{one}, 0, -7, "cut at element -7"},
	}
	for _, test := range tests {
		_, _, err := l.SplitAt(test.blocks, test.n, test.m)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("(%d, %d) of %d blocks: got error %v, want one with %q", test.n, test.m, len(test.blocks), err, test.want)
		}
	}
	broken := element.Block{Data: one.Data[:5], Count: 2}
	if _, _, err := l.SplitAt([]element.Block{broken}, 1, 1); !errors.Is(err, coder.ErrShort) {
		t.Errorf("of a block that is not whole: got error %v, want ErrShort", err)
	}
}
