package group_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	"github.com/gorunner/gorunner/shuffle"
)

// fakeDisk keeps what is stored in memory.
type fakeDisk struct {
	// left is how many more operations succeed; negative is all.
	left int
	// spoil changes what is loaded.
	spoil func([]byte)
	// stored counts bytes, loads counts operations; observe is called by all.
	stored, loads int
	observe       func()
	// parter divides what is stored into as many parts as parts says, or leaves it
	// in memory if that is 0; nil, and nothing is divided.
	parter *shuffle.Parter
	parts  func() int
}

var errFake = fmt.Errorf("fake %w", shuffle.ErrDisk)

func (d *fakeDisk) use() error {
	if d.observe != nil {
		d.observe()
	}
	if d.left == 0 {
		return errFake
	}
	d.left--
	return nil
}

func (d *fakeDisk) Store(parts ...[]byte) (element.Stored, error) {
	for _, p := range parts {
		d.stored += len(p)
	}
	return newFakeStored(d, parts), d.use()
}

type fakeStored struct {
	disk *fakeDisk
	data []byte
	ends []int // of the parts
}

func newFakeStored(d *fakeDisk, parts [][]byte) *fakeStored {
	s := &fakeStored{disk: d, data: bytes.Join(parts, nil)}
	end := 0
	for _, p := range parts {
		end += len(p)
		s.ends = append(s.ends, end)
	}
	return s
}

func (s *fakeStored) Parts() int { return len(s.ends) }

func (s *fakeStored) start(i int) int {
	if i == 0 {
		return 0
	}
	return s.ends[i-1]
}

func (s *fakeStored) PartSize(i int) int { return s.ends[i] - s.start(i) }

func (s *fakeStored) LoadParts(dst []byte, from, to int) ([]byte, error) {
	data, err := s.Load()
	if err != nil {
		return dst, err
	}
	return append(dst, data[s.start(from):s.start(to)]...), nil
}

func (s *fakeStored) Size() int { return len(s.data) }

func (s *fakeStored) Place() (element.Place, error) {
	return element.Place{Size: uint32(len(s.data))}, nil
}

func (s *fakeStored) Load() ([]byte, error) {
	s.disk.loads++
	if err := s.disk.use(); err != nil {
		return nil, err
	}
	data := bytes.Clone(s.data)
	if s.disk.spoil != nil {
		s.disk.spoil(data)
	}
	return data, nil
}

// store moves blocks to the disk.
func (d *fakeDisk) store(blocks []element.Block) []element.Block {
	stored := slices.Clone(blocks)
	for i := range stored {
		b := &stored[i]
		if len(b.Data) == 0 {
			continue
		}
		parts := [][]byte{b.Data}
		if d.parter != nil {
			n := d.parts()
			if n == 0 {
				continue
			}
			var err error
			if parts, err = d.parter.Split(b.Data, n); err != nil {
				panic(err) // these are elements
			}
		}
		b.Data, b.Stored = nil, newFakeStored(d, parts)
	}
	return stored
}

// exceeded is a budget that is, or one without limit.
func exceeded(over bool) *shuffle.Budget {
	if !over {
		return shuffle.NewBudget(nil, 0)
	}
	b := shuffle.NewBudget(nil, 1)
	b.Account("other").Set(2)
	return b
}

// drawLong is drawRecords with values that are worth storing.
func drawLong(t *rapid.T, w strategy) []record {
	records := drawRecords(t, w)
	for i := range records {
		if rapid.IntRange(0, 2).Draw(t, "long") == 0 {
			records[i].value += strings.Repeat("w", 400)
		}
	}
	return records
}

// What is grouped in parts is what is grouped at once.
func TestPartsAgainstDefinition(t *testing.T) {
	for name, w := range windowings() {
		for _, output := range []plan.OutputTime{plan.EndOfWindow, plan.Latest, plan.Earliest} {
			t.Run(fmt.Sprint(name, "/", int(output)), rapid.MakeCheck(func(t *rapid.T) {
				disk := &fakeDisk{left: -1}
				budget := exceeded(rapid.Bool().Draw(t, "over"))
				params := group.Params{
					PagedBytes:  rapid.SampledFrom([]int{0, 10, 300, 2000}).Draw(t, "paged"),
					BlockBytes:  rapid.SampledFrom([]int{1, 150, 1 << 20}).Draw(t, "block"),
					MemoryBytes: rapid.SampledFrom([]int{1, 40, 1000, 10_000}).Draw(t, "memory"),
					ValuesMax:   rapid.SampledFrom([]int{0, 1, 7}).Draw(t, "values"),
					Token:       tokens(),
					Spill:       &shuffle.Spill{Memory: budget, Disk: disk},
				}
				g, err := group.New(kind(w, output), params)
				if err != nil {
					t.Fatal(err)
				}
				records := drawLong(t, w)
				if rapid.Bool().Draw(t, "in parts") {
					k := kind(w, output)
					disk.parter = shuffle.NewParter(&shuffle.Layout{Value: coder.Must(coder.KV, k.Key, k.Value), Window: k.Windowing.Window})
					most := rapid.SampledFrom([]int{0, 4, shuffle.PartsMax}).Draw(t, "parts")
					disk.parts = func() int {
						return rapid.SampledFrom([]int{shuffle.PartsMax, most}).Draw(t, "parts of a block")
					}
				}
				input := cutIntoBlocks(t, records)
				if rapid.Bool().Draw(t, "stored") {
					input = disk.store(input)
				}
				r := &reader{window: coder.Must(w.coder), params: params}
				runAndClear(t, g, input, r)
				if held := budget.Usage()["group"]; held != 0 {
					t.Fatalf("%d bytes are counted as held at the end", held)
				}
				checkResults(t, naive(records, name == "sessions", output), r.results)
			}))
		}
	}
}

// checkResults compares results whatever their order, and that of their values.
func checkResults(t *rapid.T, want, got []result) {
	for _, results := range [][]result{want, got} {
		for i := range results {
			slices.Sort(results[i].values)
		}
		slices.SortFunc(results, compareResults)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(result{}, span{})); diff != "" {
		t.Fatalf("grouped (-want +got):\n%s", diff)
	}
}

// Windows that only the SDK can merge are gathered from all parts.
func TestPartsOfCustomWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		merge := func(_ context.Context, sets [][][]byte) ([][]windows.Merged, error) {
			out := make([][]windows.Merged, len(sets))
			for i, set := range sets {
				var err error
				if out[i], err = windows.MergeIntervals(set); err != nil {
					return nil, err
				}
			}
			return out, nil
		}
		disk := &fakeDisk{left: -1}
		params := group.Params{
			Merge: merge, MemoryBytes: rapid.SampledFrom([]int{1, 2000}).Draw(t, "memory"), BlockBytes: 1 << 20,
			Spill: &shuffle.Spill{Memory: exceeded(rapid.Bool().Draw(t, "over")), Disk: disk},
		}
		g, err := group.New(custom(plan.Earliest), params)
		if err != nil {
			t.Fatal(err)
		}
		records := drawLong(t, windowings()["sessions"])
		r := &reader{window: coder.Must(coder.IntervalWindow), params: params}
		if err := g.Run(t.Context(), disk.store(cutIntoBlocks(t, records)), r.block); err != nil {
			t.Fatal(err)
		}
		checkResults(t, naive(records, true, plan.Earliest), r.results)
	})
}

// manyRecords is a number of records of 1 KB.
func manyRecords(n, keys int) []element.Block {
	var blocks []element.Block
	for i := range n {
		if i%50 == 0 {
			blocks = append(blocks, element.Block{})
		}
		b := &blocks[len(blocks)-1]
		b.Data = record{
			at: element.EventTime(i), windows: []span{{element.EventTime(i), element.EventTime(i) + 4}},
			key: fmt.Sprint("key", i%keys), value: fmt.Sprintf("%01000d", i),
		}.encode(b.Data)
		b.Count++
	}
	return blocks
}

// A Run holds no more than it may, and what its output is made of.
func TestPartsBoundMemory(t *testing.T) {
	const records, limit, block = 4_000, 100_000, 20_000
	for _, keys := range []int{1, 7, records} {
		for name, w := range windowings() {
			if name == "sliding" {
				continue
			}
			t.Run(fmt.Sprint(name, "/", keys), func(t *testing.T) {
				disk := &fakeDisk{left: -1}
				budget := shuffle.NewBudget(nil, 1)
				budget.Account("other").Set(2)
				params := group.Params{
					PagedBytes: 50_000, BlockBytes: block, MemoryBytes: limit, Token: tokens(),
					Spill: &shuffle.Spill{Memory: budget, Disk: disk},
				}
				g, err := group.New(kind(w, plan.Earliest), params)
				if err != nil {
					t.Fatal(err)
				}
				input := manyRecords(records, keys)
				if name == "global" {
					input = manyGlobal(records, keys)
				}
				input = disk.store(input)
				most := int64(0)
				observe := func() { most = max(most, budget.Usage()["group"]) }
				disk.observe = observe
				values := 0
				r := &reader{window: coder.Must(w.coder), params: params}
				err = g.Run(t.Context(), input, func(b element.Block) error {
					observe()
					loads := disk.loads
					defer func() { disk.loads = loads }()
					if err := r.block(b); err != nil {
						return err
					}
					for _, g := range r.results {
						values += len(g.values)
					}
					r.results = nil
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				// A frame for each run, and buffers.
				if most > 3*limit/2+2*block {
					t.Errorf("%d bytes held", most)
				}
				if values != records {
					t.Errorf("%d values of %d", values, records)
				}
				// One large key is read by who reads its page.
				if size := records * 1000; name == "global" && keys == 1 && disk.loads > len(input)+size/limit+10 {
					t.Errorf("%d loads", disk.loads)
				}
			})
		}
	}
}

func manyGlobal(n, keys int) []element.Block {
	var blocks []element.Block
	for i := range n {
		if i%50 == 0 {
			blocks = append(blocks, element.Block{})
		}
		b := &blocks[len(blocks)-1]
		b.Data = record{windows: []span{{}}, key: fmt.Sprint("key", i%keys), value: fmt.Sprintf("%01000d", i)}.encode(b.Data)
		b.Count++
	}
	return blocks
}

// Whatever the disk does, the error says that it was the disk.
func TestPartsWithDiskErrors(t *testing.T) {
	for _, name := range []string{"global", "sessions"} {
		w := windowings()[name]
		input := manyRecords(300, 20)
		if name == "global" {
			input = manyGlobal(300, 20)
		}
		failed := 0
		for n := 0; ; n++ {
			disk := &fakeDisk{left: -1}
			budget := exceeded(true)
			g, err := group.New(kind(w, plan.Latest), group.Params{
				PagedBytes: 5000, BlockBytes: 2000, MemoryBytes: 30_000, Token: tokens(),
				Spill: &shuffle.Spill{Memory: budget, Disk: disk},
			})
			if err != nil {
				t.Fatal(err)
			}
			stored := disk.store(input)
			disk.left = n
			err = g.Run(t.Context(), stored, func(element.Block) error { return nil })
			if held := budget.Usage()["group"]; held != 0 {
				t.Fatalf("%d bytes are counted as held at the end", held)
			}
			if err == nil {
				break
			}
			failed++
			if !errors.Is(err, shuffle.ErrDisk) {
				t.Fatalf("operation %d failed: got error %v", n, err)
			}
		}
		if failed < 30 {
			t.Errorf("%s: the disk was used %d times", name, failed)
		}
	}
}

// What comes back changed makes an error, or another result, but no panic.
func TestPartsSpoiled(t *testing.T) {
	for _, name := range []string{"global", "sessions"} {
		w := windowings()[name]
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			disk := &fakeDisk{left: -1}
			g, err := group.New(kind(w, plan.Latest), group.Params{
				PagedBytes: 1000, BlockBytes: 500, MemoryBytes: 2000, Token: tokens(),
				Spill: &shuffle.Spill{Memory: exceeded(true), Disk: disk},
			})
			if err != nil {
				t.Fatal(err)
			}
			input := disk.store(cutIntoBlocks(t, drawLong(t, w)))
			disk.spoil = func(data []byte) {
				if rapid.Bool().Draw(t, "spoil") {
					i := rapid.IntRange(0, len(data)-1).Draw(t, "at")
					data[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
				}
			}
			err = g.Run(t.Context(), input, func(element.Block) error { return nil })
			known := errors.Is(err, shuffle.ErrDisk) || errors.Is(err, coder.ErrShort) || errors.Is(err, coder.ErrMalformed)
			if err != nil && !known {
				t.Fatalf("got error %v", err)
			}
		}))
	}
}

// What is too large for an element, and cannot be paged, is an error that says
// what the limit is.
func TestElementTooLarge(t *testing.T) {
	k := kind(windowings()["global"], plan.EndOfWindow)
	k.PagedValues = false
	for _, memory := range []int{0, 1000} {
		for limit, fits := range map[int]bool{3000: false, 100_000: true} {
			g, err := group.New(k, group.Params{ElementBytesMax: limit, MemoryBytes: memory})
			if err != nil {
				t.Fatal(err)
			}
			values := 0
			r := &reader{window: k.Windowing.Window, params: group.Params{BlockBytes: 1 << 20}}
			err = g.Run(t.Context(), manyGlobal(10, 2), func(b element.Block) error {
				values += b.Count
				return r.block(b)
			})
			switch {
			case fits && (err != nil || len(r.results) != 2):
				t.Errorf("memory %d: got %d elements and error %v, want 2", memory, len(r.results), err)
			case !fits && (err == nil || !strings.Contains(err.Error(), "5 values of 5010 bytes of key 046b657930") ||
				!strings.Contains(err.Error(), "more than 3000 bytes")):
				t.Errorf("memory %d: got error %v, want one that names key and limit", memory, err)
			}
		}
	}
}
