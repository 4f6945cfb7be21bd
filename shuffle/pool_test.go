package shuffle_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// room is a block without elements in memory of that size.
func room(size int) element.Block { return element.Block{Data: make([]byte, 0, size)} }

func TestPoolGivesWhatFits(t *testing.T) {
	tests := []struct {
		given       []int
		least, most int
		want        int // room of what is taken
	}{
		{nil, 10 << 10, 100 << 10, 100 << 10},
		{nil, 100 << 10, 10 << 10, 100 << 10},
		{[]int{32 << 10}, 20 << 10, 100 << 10, 32 << 10},
		{[]int{32 << 10, 64 << 10}, 20 << 10, 100 << 10, 32 << 10},
		{[]int{32 << 10, 64 << 10}, 33 << 10, 100 << 10, 64 << 10},
		{[]int{40 << 10}, 33 << 10, 64 << 10, 40 << 10},
		{[]int{40 << 10}, 41 << 10, 64 << 10, 64 << 10},
		{[]int{1 << 20}, 1, 64 << 10, 64 << 10},     // too large
		{[]int{4 << 10}, 1 << 10, 2 << 10, 2 << 10}, // not kept
		{[]int{3 << 20}, 1 << 20, 1 << 20, 3 << 20},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%v/%d", test.given, test.least), func(t *testing.T) {
			spill := &shuffle.Spill{Free: shuffle.NewPool(nil)}
			for _, size := range test.given {
				spill.Free.Give([]element.Block{room(size)})
			}
			if got := spill.Take(test.least, test.most); len(got) != 0 || cap(got) != test.want {
				t.Errorf("took %d bytes with room for %d, want %d", len(got), cap(got), test.want)
			}
			if got := spill.Take(test.least, test.least); cap(got) != test.least {
				t.Errorf("took room for %d that was taken before", cap(got))
			}
		})
	}
}

func TestPoolIsBounded(t *testing.T) {
	budget := shuffle.NewBudget(nil, 16<<20)
	pool := shuffle.NewPool(budget)
	pool.Give([]element.Block{room(256 << 10), room(512 << 10), room(512 << 10), room(128 << 10)})
	if got, want := budget.Used(), int64(896<<10); got != want {
		t.Errorf("%d bytes are kept, want %d", got, want)
	}
	spill := &shuffle.Spill{Free: pool}
	spill.Take(512<<10, 512<<10)
	if got, want := budget.Used(), int64(384<<10); got != want {
		t.Errorf("%d bytes are kept after some were taken, want %d", got, want)
	}
	budget.Account("others").Set(10 << 20)
	pool.Give([]element.Block{room(64 << 10)})
	if got := budget.Usage()["pool"]; got != 0 {
		t.Errorf("%d bytes are kept while memory is short", got)
	}
	if got := spill.Take(256<<10, 256<<10); cap(got) != 256<<10 {
		t.Errorf("took room for %d", cap(got))
	}
}

// longPair is an element whose value may have any length.
func longPair(value []byte) []byte {
	e := coder.PutHeader(nil, element.Header{NumWindows: 1, Windows: make([]byte, 9), Pane: []byte{coder.PaneOnlyFiring}})
	e = append(e, "\x03key"...)
	return append(binary.AppendUvarint(e, uint64(len(value))), value...)
}

// What is written in memory that was used before is what was written, and nobody
// writes where something else lies.
func TestWritersShareMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spill := &shuffle.Spill{Free: shuffle.NewPool(nil)}
		var live [][]element.Block
		var want []string
		for range rapid.IntRange(2, 6).Draw(t, "bundles") {
			var data []byte
			for range rapid.IntRange(1, 20).Draw(t, "elements") {
				value := make([]byte, rapid.SampledFrom([]int{1, 100, 9000, 70_000}).Draw(t, "value"))
				value[len(value)-1] = rapid.Byte().Draw(t, "last")
				data = append(data, longPair(value)...)
			}
			w := shuffle.NewWriter(pairs(), shuffle.Partitions{
				Groups: 1, Expected: int64(rapid.SampledFrom([]int{0, 1, 100_000, len(data)}).Draw(t, "expected")),
			}, spill)
			writeInPieces(t, w, data)
			out, err := w.Close()
			if err != nil {
				t.Fatal(err)
			}
			live, want = append(live, out.Keyed[0]), append(want, string(data))
			if rapid.Bool().Draw(t, "consume") {
				spill.Free.Give(live[0])
				live, want = live[1:], want[1:]
			}
			for i, blocks := range live {
				if checkBlocks(t, pairs(), blocks) != want[i] {
					t.Fatalf("bundle %d is not what was written", i)
				}
			}
		}
	})
}

// What was expected to be written has room in one block of each group.
func TestWriterExpects(t *testing.T) {
	one := longPair(make([]byte, 1000))
	w := shuffle.NewWriter(pairs(), shuffle.Partitions{Groups: 1, Expected: int64(100 * len(one))}, nil)
	for range 130 {
		if err := w.Write(one); err != nil {
			t.Fatal(err)
		}
	}
	out, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(out.Keyed[0]); n != 2 || out.Keyed[0][0].Count != 125 {
		t.Errorf("a quarter more than expected is in %d blocks, the first of %d elements", n, out.Keyed[0][0].Count)
	}
	if room := cap(out.Keyed[0][1].Data); room > 40<<10 {
		t.Errorf("what is beyond has room for %d bytes", room)
	}
}
