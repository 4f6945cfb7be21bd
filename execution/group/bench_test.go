package group

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/shuffle/segment"
	"github.com/gorunner/gorunner/state"
)

const (
	benchRecords = 1_000_000
	benchGroups  = 64
)

// benchGrouper is a grouper, and records of 100 bytes for it in key groups, as
// the writer of a bundle scatters them.
func benchGrouper(b *testing.B, fn plan.WindowFn, keys, groups int) (*Grouper, [][]element.Block) {
	b.Helper()
	window := coder.Must(coder.GlobalWindow)
	var encoded []byte
	if _, global := fn.(plan.GlobalWindows); !global {
		window = coder.Must(coder.IntervalWindow)
		encoded = append(coder.PutTime(nil, 1000), 0xe8, 0x07)
	}
	kind := &plan.GroupByKey{
		Windowing: &plan.Windowing{Fn: fn, Window: window},
		Key:       coder.Must(coder.Bytes),
		Value:     coder.Must(coder.Bytes),
	}
	g, err := New(kind, Params{})
	if err != nil {
		b.Fatal(err)
	}
	w := shuffle.NewWriter(&g.indexer.layout, shuffle.Partitions{Groups: groups}, nil)
	var data []byte
	random := rand.New(rand.NewPCG(1, 2))
	for i := range benchRecords {
		data = coder.PutHeader(data[:0], element.Header{
			Windows: encoded, NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring},
		})
		data = append(data, 8)
		data = fmt.Appendf(data, "%08d", uint(i)*2654435761%uint(keys))
		data = append(data, byte(99-len(data)))
		for len(data) < 100 {
			data = append(data, byte(random.Uint32()))
		}
		if err := w.Write(data); err != nil {
			b.Fatal(err)
		}
	}
	out, err := w.Close()
	if err != nil {
		b.Fatal(err)
	}
	return g, out.Keyed
}

func benchmarkRun(b *testing.B, fn plan.WindowFn, keys, groups int) {
	b.Helper()
	g, input := benchGrouper(b, fn, keys, groups)
	b.ReportAllocs()
	for b.Loop() {
		count := 0
		for _, blocks := range input {
			err := g.Run(b.Context(), blocks, func(out element.Block) error {
				count += out.Count
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		if count != keys {
			b.Fatalf("%d elements for %d keys", count, keys)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/record")
}

func BenchmarkRun1000Keys(b *testing.B) { benchmarkRun(b, plan.GlobalWindows{}, 1000, benchGroups) }
func BenchmarkRun100000Keys(b *testing.B) {
	benchmarkRun(b, plan.GlobalWindows{}, 100_000, benchGroups)
}

// BenchmarkRunLargeGroups has groups of 12 MB, which do not fit the caches of a processor.
func BenchmarkRunLargeGroups(b *testing.B) { benchmarkRun(b, plan.GlobalWindows{}, 1000, 8) }

// BenchmarkRunLargeGroupsKeys has 25,000 keys in each.
func BenchmarkRunLargeGroupsKeys(b *testing.B) { benchmarkRun(b, plan.GlobalWindows{}, 200_000, 8) }

func BenchmarkRunFixedWindows(b *testing.B) {
	benchmarkRun(b, plan.FixedWindows{Size: time.Second}, 1000, benchGroups)
}

func BenchmarkRunSessions(b *testing.B) {
	benchmarkRun(b, plan.Sessions{Gap: time.Second}, 1000, benchGroups)
}

// BenchmarkIndex1000Keys is the first half of BenchmarkRun1000Keys.
func BenchmarkIndex1000Keys(b *testing.B) {
	g, groups := benchGrouper(b, plan.GlobalWindows{}, 1000, benchGroups)
	b.ReportAllocs()
	for b.Loop() {
		for _, blocks := range groups {
			if _, err := g.indexer.index(b.Context(), blocks); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/record")
}

// BenchmarkRunManySessions groups records of which each key has a thousand
// windows, that merge by twos.
func BenchmarkRunManySessions(b *testing.B) {
	const keys, windows = 100, 1000
	g, err := New(&plan.GroupByKey{
		Windowing: &plan.Windowing{Fn: plan.Sessions{Gap: time.Second}, Window: coder.Must(coder.IntervalWindow)},
		Key:       coder.Must(coder.Bytes),
		Value:     coder.Must(coder.Bytes),
	}, Params{})
	if err != nil {
		b.Fatal(err)
	}
	var block element.Block
	for w := range windows {
		end := element.EventTime(2000*(w/2) + 10*w)
		window := append(coder.PutTime(nil, end+1000), 0xe8, 0x07)
		for k := range keys {
			block.Data = coder.PutHeader(block.Data, element.Header{
				Timestamp: end, Windows: window, NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring},
			})
			block.Data = append(block.Data, 1, byte(k), 1, 0)
			block.Count++
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := g.Run(b.Context(), []element.Block{block}, func(element.Block) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys/windows, "ns/record")
}

// BenchmarkPanes is a windowed grouping of a stream: 1000 keys, windows of 1 s,
// a bundle every 100 ms, which the watermark follows.
func BenchmarkPanes(b *testing.B) { benchmarkPanes(b, 1000, 10_000, 100) }

// BenchmarkPanesOfOne has one small value for each key in a bundle, as of a lifted
// combiner.
func BenchmarkPanesOfOne(b *testing.B) { benchmarkPanes(b, 1000, 1000, 35) }

func benchmarkPanes(b *testing.B, keys, perBundle, size int) {
	b.Helper()
	const bundlesPerWindow = 10
	bytesCoder := coder.Must(coder.Bytes)
	w := &plan.Windowing{Fn: plan.FixedWindows{Size: time.Second}, Window: coder.Must(coder.IntervalWindow)}
	panes, err := NewPanes(PanesParams{
		Windowing: w,
		Stage:     &plan.Stage{Name: "group", Kind: &plan.GroupByKey{Windowing: w, Key: bytesCoder, Value: bytesCoder}},
		Edge:      &plan.Edge{Value: coder.Must(coder.KV, bytesCoder, bytesCoder), Windowing: w},
	})
	if err != nil {
		b.Fatal(err)
	}
	store := state.NewMemory()
	var timers []Timer
	run := func(bundle *Bundle) {
		txn := store.Begin()
		bundle.State = txn
		bundle.Set = func(t Timer) error {
			timers = append(timers, t)
			return nil
		}
		bundle.Clear = func(Timer) error { return nil }
		bundle.Emit = func(element.Block) error { return nil }
		if err := panes.Run(b.Context(), bundle); err != nil {
			b.Fatal(err)
		}
		if err := txn.Apply(0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	bundle := 0
	for b.Loop() {
		start := element.EventTime(bundle/bundlesPerWindow) * 1000
		block := benchBlock(start, keys, perBundle, size)
		run(&Bundle{Input: []element.Block{block}, Time: harness.Time{Watermark: start}})
		if bundle++; bundle%bundlesPerWindow == 0 {
			due := timers
			timers = nil
			run(&Bundle{Due: due, Time: harness.Time{Watermark: start + 1000}})
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(perBundle), "ns/record")
}

// benchBlock is n records of a size in the window that begins at start.
func benchBlock(start element.EventTime, keys, n, size int) element.Block {
	window := append(coder.PutTime(nil, start+1000), 0xe8, 0x07)
	block := element.Block{Count: n, MinTime: start, Data: make([]byte, 0, size*n)}
	for i := range n {
		d := coder.PutHeader(block.Data, element.Header{
			Timestamp: start, Windows: window, NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring},
		})
		d = append(d, 8)
		d = fmt.Appendf(d, "%08d", uint(i)*2654435761%uint(keys))
		rest := len(block.Data) + size - len(d) - 1
		block.Data = append(append(d, byte(rest)), make([]byte, rest)...)
	}
	return block
}

// benchmarkParts groups 100 MB in one group, from disk, a part at a time.
func benchmarkParts(b *testing.B, keys int) {
	b.Helper()
	g, groups := benchGrouper(b, plan.GlobalWindows{}, keys, 1)
	budget := shuffle.NewBudget(nil, 1)
	budget.Account("other").Set(2)
	disk, err := segment.Open(segment.Params{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer disk.Close()
	spill := &shuffle.Spill{Memory: budget, Disk: disk}
	for i := range groups[0] {
		if err := spill.Block(&groups[0][i], nil); err != nil {
			b.Fatal(err)
		}
	}
	kind := *g.kind
	kind.PagedValues = true
	params := Params{MemoryBytes: 24 << 20, PagedBytes: 4 << 20, Token: func() string { return "page" }, Spill: spill}
	if g, err = New(&kind, params); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		count := 0
		err := g.Run(b.Context(), groups[0], func(out element.Block) error {
			count += out.Count
			return nil
		})
		if err != nil || count != keys {
			b.Fatalf("%d elements for %d keys, error %v", count, keys, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/record")
}

func BenchmarkPartsOneKey(b *testing.B)        { benchmarkParts(b, 1) }
func BenchmarkParts10000Keys(b *testing.B)     { benchmarkParts(b, 10_000) }
func BenchmarkPartsDifferentKeys(b *testing.B) { benchmarkParts(b, benchRecords) }
