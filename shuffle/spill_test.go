package shuffle_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// memDisk is a disk that is none.
type memDisk struct {
	stored, least int // regions, and the size of the smallest
	fails         error
}

func (d *memDisk) Store(parts ...[]byte) (element.Stored, error) {
	data := bytes.Join(parts, nil)
	if d.fails != nil {
		return nil, fmt.Errorf("%w: %w", shuffle.ErrDisk, d.fails)
	}
	if d.stored == 0 || len(data) < d.least {
		d.least = len(data)
	}
	d.stored++
	return memStored(data), nil
}

type memStored []byte

func (s memStored) Size() int                     { return len(s) }
func (s memStored) Place() (element.Place, error) { return element.Place{Size: uint32(len(s))}, nil }
func (s memStored) Load() ([]byte, error)         { return bytes.Clone(s), nil }

// overBudget is a budget that is exceeded.
func overBudget() *shuffle.Budget {
	b := shuffle.NewBudget(nil, 1)
	b.Account("others").Set(2)
	return b
}

func drawSpill(t *rapid.T) *shuffle.Spill {
	switch rapid.SampledFrom([]string{"none", "in memory", "on disk"}).Draw(t, "spill") {
	case "in memory":
		return &shuffle.Spill{Memory: shuffle.NewBudget(nil, 1), Disk: &memDisk{}}
	case "on disk":
		return &shuffle.Spill{
			Memory: overBudget(), Disk: &memDisk{},
			OpenBytes: rapid.SampledFrom([]int64{0, 1, 10_000}).Draw(t, "open"),
		}
	}
	return nil
}

// Once there is no memory, what is written goes to disk in pieces of some size,
// and the writer keeps little.
func TestWriterOverBudget(t *testing.T) {
	const openBytes = 4 << 20
	tests := []struct {
		name     string
		want     shuffle.Partitions
		elements int // of 1 KB
		least    int // what the regions should have on average
	}{
		{"plain", shuffle.Partitions{Plain: true}, 20_000, 512 << 10},
		{"few groups", shuffle.Partitions{Groups: 4}, 20_000, 128 << 10},
		{"many groups", shuffle.Partitions{Groups: 64}, 40_000, 40 << 10},
		{"more groups than fit", shuffle.Partitions{Groups: 1000}, 40_000, 2 << 10},
		{"both", shuffle.Partitions{Plain: true, Groups: 64}, 40_000, 40 << 10},
		{"windows", shuffle.Partitions{Plain: true, Windows: true}, 20_000, 64 << 10},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			disk := &memDisk{}
			w := shuffle.NewWriter(pairs(), test.want, &shuffle.Spill{Memory: overBudget(), Disk: disk, OpenBytes: openBytes})
			var size int
			for i := range test.elements {
				one := pair(1, 1, fmt.Sprint(i), strings.Repeat("v", 1000))
				size += len(one)
				if err := w.Write(one); err != nil {
					t.Fatal(err)
				}
				// One buffer more may be filled until the others are looked at.
				if r := w.Resident(); r > openBytes+1<<20 {
					t.Fatalf("after %d elements the writer has %d bytes in memory", i, r)
				}
			}
			out, err := w.Close()
			if err != nil {
				t.Fatal(err)
			}
			if r := w.Resident(); r != 0 {
				t.Errorf("%d bytes are in memory at the end", r)
			}
			written := 0
			for _, blocks := range append(out.Keyed, out.Plain) {
				written += len(checkBlocks(t, pairs(), blocks))
			}
			if test.want.Plain && test.want.Groups > 0 {
				size *= 2
			}
			if written != size || written/disk.stored < test.least {
				t.Errorf("%d bytes in %d regions, want %d in regions of %d", written, disk.stored, size, test.least)
			}
		})
	}
}

func TestWriterWithinBudget(t *testing.T) {
	disk := &memDisk{}
	budget := shuffle.NewBudget(nil, 1<<20)
	account := budget.Account("output")
	w := shuffle.NewWriter(pairs(), shuffle.Partitions{Groups: 4}, &shuffle.Spill{Memory: budget, Disk: disk})
	one := pair(1, 1, "key", strings.Repeat("v", 1000))
	var before int64
	for disk.stored == 0 {
		before = w.Resident()
		if err := w.Write(one); err != nil {
			t.Fatal(err)
		}
		account.Set(w.Resident())
	}
	if before <= 1<<20 || before > 1<<20+1<<19 {
		t.Errorf("the first block went to disk when the writer had %d bytes of %d", before, 1<<20)
	}
}

func TestWriterTakesOverBlocks(t *testing.T) {
	l := pairs()
	block, err := l.MakeBlock(bytes.Repeat(pair(1, 1, "key", strings.Repeat("v", 100)), 100))
	if err != nil {
		t.Fatal(err)
	}
	onDisk := block
	onDisk.Data, onDisk.Stored = nil, memStored(block.Data)
	for _, want := range []shuffle.Partitions{{Plain: true}, {Groups: 2}} {
		disk := &memDisk{}
		w := shuffle.NewWriter(l, want, &shuffle.Spill{Memory: overBudget(), Disk: disk})
		for _, b := range []element.Block{block, onDisk} {
			if err := w.WriteBlock(b); err != nil {
				t.Fatal(err)
			}
		}
		out, err := w.Close()
		if err != nil {
			t.Fatal(err)
		}
		if got := w.Resident(); got != 0 || out.Count != 200 || out.Bytes != int64(2*block.Size()) {
			t.Errorf("%+v: %d bytes in memory of %d elements of %d bytes", want, got, out.Count, out.Bytes)
		}
		if disk.stored != 1 {
			t.Errorf("%+v: %d regions were written", want, disk.stored)
		}
	}
}

func TestWriterDiskFails(t *testing.T) {
	full := errors.New("full")
	for _, want := range []shuffle.Partitions{{Plain: true}, {Groups: 2}, {Single: true}, {Plain: true, Windows: true}, {Groups: 2, Windows: true}} {
		w := shuffle.NewWriter(pairs(), want, &shuffle.Spill{Memory: overBudget(), Disk: &memDisk{fails: full}, OpenBytes: 1})
		err := w.Write(pair(1, 1, "key", strings.Repeat("v", 10_000)))
		if err == nil {
			err = w.Write(pair(1, 1, "key", strings.Repeat("v", 10_000)))
		}
		if err == nil {
			_, err = w.Close()
		}
		if !errors.Is(err, shuffle.ErrDisk) || !errors.Is(err, full) {
			t.Errorf("%+v: error %v", want, err)
		}
	}
}

// Nobody takes a block on disk for an empty one.
func TestStoredBlocksAreNotLookedAt(t *testing.T) {
	l := pairs()
	data := bytes.Repeat(pair(1, 1, "k", "v"), 4)
	stored := element.Block{Stored: memStored(data), Count: 4, MinTime: 1}
	if err := l.Each(&stored, func(*shuffle.Element, []byte) error { return nil }); err == nil {
		t.Error("its elements were gone through")
	}
	if _, err := l.SortByTime([]element.Block{stored}); err == nil {
		t.Error("it was sorted")
	}
	if _, _, err := l.SplitAt([]element.Block{stored}, 1, 1); err == nil {
		t.Error("it was cut")
	}
	first, last, err := l.SplitAt([]element.Block{stored, stored}, 4, 4)
	if err != nil || len(first) != 1 || len(last) != 1 {
		t.Errorf("cut between blocks: %d and %d, error %v", len(first), len(last), err)
	}
}
