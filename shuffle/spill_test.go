package shuffle_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
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
	switch rapid.SampledFrom([]string{"none", "in memory", "on disk", "lasting"}).Draw(t, "spill") {
	case "lasting":
		s := &shuffle.Spill{Disk: &memDisk{}, Lasting: true}
		if rapid.Bool().Draw(t, "over") {
			s.Memory = overBudget()
		}
		return s
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

// What is to last is on disk, or will be. Only what is small is not.
func TestWriterOfWhatLasts(t *testing.T) {
	tests := []struct {
		name     string
		want     shuffle.Partitions
		elements int // of 1 KB
	}{
		{"nothing", shuffle.Partitions{Plain: true}, 0},
		{"plain", shuffle.Partitions{Plain: true}, 2000},
		{"few groups", shuffle.Partitions{Groups: 4}, 2000},
		{"many groups", shuffle.Partitions{Groups: 64}, 2000},
		{"single", shuffle.Partitions{Single: true}, 20},
		{"both", shuffle.Partitions{Plain: true, Groups: 64}, 2000},
	}
	for _, test := range tests {
		for _, over := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, over %v", test.name, over), func(t *testing.T) {
				disk := &memDisk{}
				spill := &shuffle.Spill{Disk: disk, Lasting: true}
				if over {
					spill.Memory = overBudget()
				}
				w := shuffle.NewWriter(pairs(), test.want, spill)
				for i := range test.elements {
					if err := w.Write(pair(element.EventTime(i), 1, fmt.Sprint(i), strings.Repeat("v", 1000))); err != nil {
						t.Fatal(err)
					}
				}
				out, err := w.Close()
				if err != nil {
					t.Fatal(err)
				}
				for _, blocks := range append(slices.Clone(out.Keyed), out.Plain) {
					for i := range blocks {
						b := &blocks[i]
						if b.Stored == nil {
							t.Errorf("a block of %d bytes does not last", b.Size())
							continue
						}
						if _, later := b.Stored.(*shuffle.Later); later == over || over == (b.Data != nil) {
							t.Errorf("budget exceeded is %v, and a block is stored as %T, in memory is %v", over, b.Stored, b.Data != nil)
						}
						checkBlocks(t, pairs(), []element.Block{{Stored: b.Stored, Count: b.Count, MinTime: b.MinTime}})
					}
				}
				if !over && disk.stored > 0 {
					t.Errorf("%d blocks were stored at once", disk.stored)
				}
			})
		}
	}
}

// Pages last as blocks do.
func TestPagesLast(t *testing.T) {
	w := shuffle.NewWriter(pairs(), shuffle.Partitions{Plain: true}, &shuffle.Spill{Disk: &memDisk{}, Lasting: true})
	chunks := []element.Chunk{{Data: make([]byte, 2<<20)}, {Data: make([]byte, 2000)}, {Data: make([]byte, 20)}}
	if err := w.WriteBlock(element.Block{Data: pair(0, 1, "k", "v"), Count: 1, Pages: []*element.Page{{Chunks: chunks}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for i, c := range chunks {
		if got, want := c.Stored != nil, len(c.Data) > 1000; got != want || c.Data == nil {
			t.Errorf("chunk %d of %d bytes: lasts is %v", i, len(c.Data), got)
		}
	}
}

// A Later is the same before and after it is stored, for who reads it meanwhile.
func TestLater(t *testing.T) {
	l := shuffle.NewLater([]byte("data"))
	var readers sync.WaitGroup
	check := func() {
		if data, err := l.Load(); err != nil || string(data) != "data" || l.Size() != 4 {
			t.Errorf("loaded %q of size %d, error %v", data, l.Size(), err)
		}
	}
	if p, err := l.Place(); err == nil || string(l.Unwritten()) != "data" {
		t.Errorf("it is at %v before it is stored, and %q is to be written", p, l.Unwritten())
	}
	for range 8 {
		readers.Go(check)
	}
	l.Wrote(memStored("data"))
	readers.Wait()
	check()
	if p, err := l.Place(); err != nil || p.Size != 4 || l.Unwritten() != nil {
		t.Errorf("it is at %v, error %v, and %q is to be written", p, err, l.Unwritten())
	}
}

// Memory of what is not stored may be in a commit that is not written yet.
func TestWhatLastsIsNotWrittenOver(t *testing.T) {
	for _, lasting := range []bool{false, true} {
		spill := &shuffle.Spill{Free: shuffle.NewPool(nil), Lasting: lasting}
		stored, small, later := make([]byte, 32<<10), make([]byte, 32<<10), make([]byte, 32<<10)
		wrote := shuffle.NewLater(stored)
		wrote.Wrote(memStored(nil))
		spill.Give([]element.Block{{Data: stored, Stored: wrote}, {Data: small}, {Data: later, Stored: shuffle.NewLater(later)}})
		var taken []*byte
		for range 3 {
			b := spill.Take(32<<10, 32<<10)
			taken = append(taken, &b[:1][0])
		}
		if !slices.Contains(taken, &stored[0]) {
			t.Errorf("lasting is %v, and what is on disk was not used again", lasting)
		}
		if slices.Contains(taken, &small[0]) == lasting || slices.Contains(taken, &later[0]) == lasting {
			t.Errorf("lasting is %v, and it is not the contrary that what is only in memory was used again", lasting)
		}
	}
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

// TestWriterOfWhatIsReadAtOnce keeps blocks in memory until the budget is exceeded by
// more than a little.
func TestWriterOfWhatIsReadAtOnce(t *testing.T) {
	l := pairs()
	block, err := l.MakeBlock(bytes.Repeat(pair(1, 1, "key", strings.Repeat("v", 100)), 100))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		soon   bool
		used   int64
		stored int
	}{
		{soon: false, used: 1000, stored: 0},
		{soon: false, used: 1001, stored: 1},
		{soon: true, used: 1125, stored: 0},
		{soon: true, used: 1126, stored: 1},
	} {
		disk, budget := &memDisk{}, shuffle.NewBudget(nil, 1000)
		budget.Account("others").Set(tt.used)
		w := shuffle.NewWriter(l, shuffle.Partitions{Plain: true, Soon: tt.soon}, &shuffle.Spill{Memory: budget, Disk: disk})
		if err := w.WriteBlock(block); err != nil {
			t.Fatal(err)
		}
		if disk.stored != tt.stored {
			t.Errorf("%+v: %d regions were written", tt, disk.stored)
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
