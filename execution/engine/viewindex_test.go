package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/group"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// account is one of a budget without a limit.
func account() *shuffle.Account { return shuffle.NewBudget(nil, 0).Account("views") }

// storedBytes are bytes that say how often they were loaded.
type storedBytes struct {
	data  []byte
	loads *int
	err   error
}

func (s storedBytes) Size() int { return len(s.data) }

func (s storedBytes) Place() (element.Place, error) {
	return element.Place{Size: uint32(len(s.data))}, nil
}

func (s storedBytes) Load() ([]byte, error) {
	*s.loads++
	return slices.Clone(s.data), s.err
}

// TestViewsOnDisk compares views of which some blocks are on disk with a plain
// map, and what they say they have in memory with what they do.
func TestViewsOnDisk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		budget := shuffle.NewBudget(nil, 0)
		v := newViews(viewedPlan(), budget.Account("views"), 0)
		loads, stored := 0, false
		w := window(10)
		var all string
		values, order := map[string][]string{}, []string{}
		for i := range rapid.IntRange(1, 30).Draw(t, "blocks") {
			var elements [][]byte
			for j := range rapid.IntRange(1, 5).Draw(t, "elements") {
				key, value := rapid.StringMatching("[a-d]").Draw(t, "key"), fmt.Sprint(i, j)
				elements = append(elements, windowed(0, [][]byte{w}, pair(key, value)))
				all += string(pair(key, value))
				if values[key] == nil {
					order = append(order, key)
				}
				values[key] = append(values[key], value)
			}
			b := viewed(t, elements...)
			if rapid.Bool().Draw(t, "stored") {
				b.Stored, b.Data = storedBytes{data: b.Data, loads: &loads}, nil
				stored = true
			}
			v.add(0, []element.Block{b})
		}
		b := sideState(v)
		side := func(part harness.SideInputPart, key []byte) harness.SideInputKey {
			return harness.SideInputKey{Transform: "t", Tag: "map", Window: w, Part: part, Key: key}
		}
		checkRead(t, b, side(harness.PartIterable, nil), all)
		entries := ""
		for _, key := range append(order, "never") {
			want := ""
			for _, value := range values[key] {
				want += string(text(value))
			}
			checkRead(t, b, side(harness.PartValues, text(key)), want)
			if values[key] != nil {
				entries += string(text(key)) + string(binary.BigEndian.AppendUint32(nil, uint32(len(values[key])))) + want
			}
		}
		checkRead(t, b, side(harness.PartEntries, nil), entries)
		if prompt := b.Prompt(side(harness.PartValues, nil)); prompt == stored {
			t.Errorf("it says that it is prompt: %v, and has blocks on disk: %v", prompt, stored)
		}
		if budget.Used() <= 0 {
			t.Errorf("it says that it has %d bytes in memory", budget.Used())
		}
		for id := range plan.StageID(3) {
			v.stageFinished(id)
		}
		if budget.Used() != 0 {
			t.Errorf("it says that it has %d bytes in memory when it has gone", budget.Used())
		}
	})
}

// TestViewLoadsAChunkOnce shows that readers who go on where they were do not
// load a chunk again for each page or value, and that what is kept is bounded,
// unless there is room for all.
func TestViewLoadsAChunkOnce(t *testing.T) {
	for _, room := range []bool{false, true} {
		t.Run(fmt.Sprint("room is ", room), func(t *testing.T) { testLoads(t, room) })
	}
}

func testLoads(t *testing.T, room bool) {
	t.Helper()
	budget := shuffle.NewBudget(nil, 10_000_000)
	if !room {
		budget.Account("others").Set(10_000_001)
	}
	v := newViews(viewedPlan(), budget.Account("views"), 0)
	loads, w := 0, window(10)
	const blocks, each = 2 * loadedChunks, 100
	for i := range blocks {
		var elements [][]byte
		for j := range each {
			elements = append(elements, windowed(0, [][]byte{w}, pair(fmt.Sprintf("%03d.%03d", i, j), "v")))
		}
		b := viewed(t, elements...)
		b.Stored, b.Data = storedBytes{data: b.Data, loads: &loads}, nil
		v.add(0, []element.Block{b})
	}
	b := sideState(v)
	key := harness.SideInputKey{Transform: "t", Tag: "map", Window: w, Part: harness.PartValues}
	for i := range blocks {
		for j := range each {
			key.Key = text(fmt.Sprintf("%03d.%03d", i, j))
			if got := read(t, b, key); got != "\x01v" {
				t.Fatalf("%s: %q", key.Key, got)
			}
		}
	}
	// Once for the windows, once for the keys, once for the values.
	if room && loads > blocks || loads > 3*blocks {
		t.Errorf("%d chunks were loaded %d times", blocks, loads)
	}
	data := v.complete[0]
	index, err := data.index()
	if err != nil || len(index[string(w)].data.loaded) > loadedChunks {
		t.Errorf("%d chunks are kept, %v", len(index[string(w)].data.loaded), err)
	}
}

// TestViewOfALostDisk shows that what cannot be loaded is an error, each time.
func TestViewOfALostDisk(t *testing.T) {
	v := newViews(viewedPlan(), account(), 0)
	loads, lost := 0, fmt.Errorf("%w: torn", shuffle.ErrDisk)
	b := viewed(t, windowed(0, [][]byte{window(10)}, pair("k", "v")))
	b.Stored, b.Data = storedBytes{data: b.Data, loads: &loads, err: lost}, nil
	v.add(0, []element.Block{b})
	for _, part := range []harness.SideInputPart{harness.PartIterable, harness.PartKeys, harness.PartValues, harness.PartEntries} {
		_, err := readAll(sideState(v), harness.SideInputKey{Transform: "t", Tag: "map", Window: window(10), Part: part})
		if !errors.Is(err, shuffle.ErrDisk) {
			t.Errorf("part %d: %v, want an error of the disk", part, err)
		}
	}
}

// TestViewTokens shows that a token that was never given is refused.
func TestViewTokens(t *testing.T) {
	v := newViews(viewedPlan(), account(), 0)
	v.add(0, []element.Block{viewed(t, windowed(0, [][]byte{window(10)}, pair("k", "v")))})
	b := sideState(v)
	number := func(n ...uint64) (token []byte) {
		for _, n := range n {
			token = binary.AppendUvarint(token, n)
		}
		return token
	}
	for _, part := range []harness.SideInputPart{harness.PartIterable, harness.PartKeys, harness.PartValues, harness.PartEntries} {
		key := harness.SideInputKey{Transform: "t", Tag: "map", Window: window(10), Part: part, Key: text("k")}
		for _, token := range [][]byte{{0x80}, number(1), number(0, 1<<40), number(7, 0), number(0, 0, 0), number(1 << 63)} {
			if page, next, err := b.Get(t.Context(), key, token); !errors.Is(err, errToken) {
				t.Errorf("part %d, token %x: %q, %x, %v", part, token, page, next, err)
			}
		}
	}
}

// TestIndexGrows holds an index of many keys against a map.
func TestIndexGrows(t *testing.T) {
	k, want := builtIndex(t, 5000)
	for key, value := range want {
		values := k.valuesOf(k.find([]byte(key)))
		if len(values) != 1 {
			t.Fatalf("%x has %d values", key, len(values))
		}
		got, err := k.data.at(values[0])
		if err != nil || string(got) != value {
			t.Fatalf("%x: %x, %v", key, got, err)
		}
	}
	if n := k.find([]byte("never")); n >= 0 {
		t.Errorf("a key that is not there has number %d", n)
	}
}

// builtIndex is an index of so many pairs of integers.
func builtIndex(tb testing.TB, n int) (*keyIndex, map[string]string) {
	tb.Helper()
	data, want := benchView(n)
	k, err := indexKeys(data, []span{{to: uint32(len(data.chunks[0].Data))}}, 0)
	if err != nil {
		tb.Fatal(err)
	}
	return k, want
}

func benchView(n int) (*viewData, map[string]string) {
	var chunk []byte
	want := make(map[string]string, n)
	for i := range n {
		key, value := binary.AppendUvarint(nil, uint64(i)*7919), binary.AppendUvarint(nil, uint64(i))
		chunk = append(append(chunk, key...), value...)
		want[string(key)] = string(value)
	}
	varint := coder.Must(coder.VarInt)
	return newViewData([]element.Chunk{{Data: chunk}}, cutValues(coder.Must(coder.KV, varint, varint)), &viewMemory{account: account()}), want
}

const benchEntries = 100_000

// BenchmarkIndexBuild is the cost of an entry.
func BenchmarkIndexBuild(b *testing.B) {
	data, _ := benchView(benchEntries)
	spans := []span{{to: uint32(len(data.chunks[0].Data))}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := indexKeys(data, spans, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchEntries, "ns/entry")
}

// BenchmarkIndexFind is the cost of a look-up.
func BenchmarkIndexFind(b *testing.B) {
	k, want := builtIndex(b, benchEntries)
	keys := make([]string, 0, len(want))
	for key := range want {
		keys = append(keys, key)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if len(k.valuesOf(k.find([]byte(keys[i])))) != 1 {
			b.Fatal("a key is missing")
		}
		if i++; i == len(keys) {
			i = 0
		}
	}
}

// BenchmarkSideInput is the cost of a look-up by a bundle.
func BenchmarkSideInput(b *testing.B) {
	v := newViews(viewedPlan(), account(), 0)
	w := window(10)
	var elements [][]byte
	var keys [][]byte
	for i := range 10_000 {
		name := fmt.Sprintf("%07d", i)
		elements = append(elements, windowed(0, [][]byte{w}, pair(name, "value")))
		keys = append(keys, text(name))
	}
	block, err := viewedLayout().MakeBlock([]byte(strings.Join(asStrings(elements), "")))
	if err != nil {
		b.Fatal(err)
	}
	v.add(0, []element.Block{block})
	s := &bundleState{sides: v.open(viewedPlan().Stages[1]), txn: state.NewMemory().Begin(), stage: viewedPlan().Stages[1]}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		key := harness.SideInputKey{Transform: "t", Tag: "map", Window: w, Part: harness.PartValues, Key: keys[i%len(keys)]}
		i++
		if page, _, err := s.Get(b.Context(), key, nil); err != nil || len(page) == 0 {
			b.Fatal(err)
		}
	}
}

func asStrings(all [][]byte) (s []string) {
	for _, b := range all {
		s = append(s, string(b))
	}
	return s
}

// copyingDisk is a disk of stored bytes.
type copyingDisk struct{ loads int }

func (d *copyingDisk) Store(parts ...[]byte) (element.Stored, error) {
	data := bytes.Join(parts, nil)
	return storedBytes{data: data, loads: &d.loads}, nil
}

// TestShownViewOnDisk shows that what a window is to show goes to disk when
// memory is short, and is read from there.
func TestShownViewOnDisk(t *testing.T) {
	budget := shuffle.NewBudget(nil, 1)
	budget.Account("others").Set(2)
	disk := &copyingDisk{}
	op := &operation{out: &collector{pipe: &pipe{spill: &shuffle.Spill{Memory: budget, Disk: disk}}}}
	value := strings.Repeat("v", 1000)
	if err := op.show(group.Contents{Window: []byte("w"), Chunks: [][]byte{pair("k", "small"), slices.Concat(text("k"), text(value))}, Count: 2}); err != nil {
		t.Fatal(err)
	}
	p := shownPlan()
	v := newViews(p, budget.Account("views"), 0)
	v.show(1, op.out.shown)
	b := &bundleState{sides: v.open(p.Stages[2]), txn: state.NewMemory().Begin(), stage: p.Stages[2]}
	key := harness.SideInputKey{Transform: "t", Tag: "map", Window: []byte("w"), Part: harness.PartValues, Key: text("k")}
	if got, want := read(t, b, key), string(text("small"))+string(text(value)); got != want {
		t.Errorf("read %q, want %q", got, want)
	}
	if disk.loads == 0 || b.Prompt(key) {
		t.Errorf("loaded %d times, prompt: %v", disk.loads, b.Prompt(key))
	}
}
