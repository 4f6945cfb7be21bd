package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/state"
)

// statefulStage has a state of each protocol, and a list of values nobody can
// measure.
func statefulStage() *plan.Stage {
	return &plan.Stage{ID: 1, Name: "stateful", Kind: &plan.Executable{States: []plan.StateSpec{
		{Transform: "t", ID: "bag", Protocol: plan.BagState},
		{Transform: "t", ID: "map", Protocol: plan.MultimapState},
		{Transform: "t", ID: "list", Protocol: plan.OrderedListState, Value: coder.Must(coder.Bytes)},
		{Transform: "t", ID: "untold", Protocol: plan.OrderedListState},
	}}}
}

func stateOn(store state.Store) *bundleState {
	return &bundleState{txn: store.Begin(), stage: statefulStage()}
}

func bagKey(user string) harness.UserStateKey {
	return harness.UserStateKey{Transform: "t", State: "bag", Window: []byte("w"), Key: []byte(user)}
}

// mapKey is a key of the map, or with another part, the map.
func mapKey(part harness.UserStatePart, entry string) harness.UserStateKey {
	return harness.UserStateKey{Transform: "t", State: "map", Window: []byte("w"), Key: []byte("u"), Part: part, MapKey: []byte(entry)}
}

// listRange is the part [start, end) of the list.
func listRange(start, end int64) harness.UserStateKey {
	return harness.UserStateKey{
		Transform: "t", State: "list", Window: []byte("w"), Key: []byte("u"), Part: harness.PartOrderedList, Start: start, End: end,
	}
}

// listed encodes an entry of an ordered list.
func listed(at int64, value string) []byte {
	return append(binary.AppendUvarint(nil, uint64(at)), text(value)...)
}

func add(t rapid.TB, b *bundleState, key harness.StateKey, data []byte) {
	t.Helper()
	if err := b.Append(context.Background(), key, data); err != nil {
		t.Fatal(err)
	}
}

func empty(t rapid.TB, b *bundleState, key harness.StateKey) {
	t.Helper()
	if err := b.Clear(context.Background(), key); err != nil {
		t.Fatal(err)
	}
}

func expect(t rapid.TB, b *bundleState, key harness.StateKey, want string) {
	t.Helper()
	if got := read(t, b, key); got != want {
		t.Errorf("%+v: got %q, want %q", key, got, want)
	}
}

func TestBag(t *testing.T) {
	store := state.NewMemory()
	b := stateOn(store)
	expect(t, b, bagKey("u"), "")
	add(t, b, bagKey("u"), []byte("one"))
	add(t, b, bagKey("u"), nil)
	add(t, b, bagKey("u"), []byte("two"))
	add(t, b, bagKey("v"), []byte("of another key"))
	expect(t, b, bagKey("u"), "onetwo")
	if err := b.txn.Apply(0); err != nil {
		t.Fatal(err)
	}
	b = stateOn(store)
	add(t, b, bagKey("u"), []byte("three"))
	expect(t, b, bagKey("u"), "onetwothree")
	empty(t, b, bagKey("u"))
	expect(t, b, bagKey("u"), "")
	add(t, b, bagKey("u"), []byte("four"))
	expect(t, b, bagKey("u"), "four")
	// This bundle is not committed: the next one sees nothing of it.
	expect(t, stateOn(store), bagKey("u"), "onetwo")
	expect(t, stateOn(store), bagKey("v"), "of another key")
}

func TestMultimap(t *testing.T) {
	store := state.NewMemory()
	b := stateOn(store)
	add(t, b, mapKey(harness.PartMapValues, "k2"), []byte("a"))
	add(t, b, mapKey(harness.PartMapValues, "k1"), []byte("b"))
	add(t, b, mapKey(harness.PartMapValues, "k2"), []byte("c"))
	expect(t, b, mapKey(harness.PartMapKeys, ""), "k1k2")
	expect(t, b, mapKey(harness.PartMapValues, "k2"), "ac")
	expect(t, b, mapKey(harness.PartMapValues, "k3"), "")
	if err := b.txn.Apply(0); err != nil {
		t.Fatal(err)
	}
	b = stateOn(store)
	empty(t, b, mapKey(harness.PartMapValues, "k2"))
	expect(t, b, mapKey(harness.PartMapValues, "k2"), "")
	expect(t, b, mapKey(harness.PartMapKeys, ""), "k1")
	for _, whole := range []harness.UserStatePart{harness.PartMapKeys, harness.PartMapEntries} {
		b = stateOn(store)
		empty(t, b, mapKey(whole, ""))
		expect(t, b, mapKey(harness.PartMapKeys, ""), "")
		add(t, b, mapKey(harness.PartMapValues, "k3"), []byte("d"))
		expect(t, b, mapKey(harness.PartMapKeys, ""), "k3")
	}
}

// TestSet keeps members whose value has no byte, and lets SDKs see them.
func TestSet(t *testing.T) {
	store := state.NewMemory()
	b := stateOn(store)
	add(t, b, mapKey(harness.PartMapValues, "member"), nil)
	if err := b.txn.Apply(0); err != nil {
		t.Fatal(err)
	}
	b = stateOn(store)
	expect(t, b, mapKey(harness.PartMapKeys, ""), "member")
	expect(t, b, mapKey(harness.PartMapValues, "member"), "\x00")
	empty(t, b, mapKey(harness.PartMapValues, "member"))
	expect(t, b, mapKey(harness.PartMapKeys, ""), "")
}

// TestMultimapEntries reads each key with the iterable of its values, where the
// runner can count them.
func TestMultimapEntries(t *testing.T) {
	b := stateOn(state.NewMemory())
	for _, kv := range [][2]string{{"k2", "\x01a\x00"}, {"k1", "\x01b"}, {"k2", "\x02cd"}} {
		add(t, b, mapKey(harness.PartMapValues, kv[0]), []byte(kv[1]))
	}
	k, ok := b.stage.Kind.(*plan.Executable)
	if !ok {
		t.Fatal("not an executable stage")
	}
	i := slices.IndexFunc(k.States, func(s plan.StateSpec) bool { return s.Protocol == plan.MultimapState })
	k.States[i].Value = coder.Must(coder.Bytes)
	expect(t, b, mapKey(harness.PartMapEntries, ""), "k1\x00\x00\x00\x01\x01b"+"k2\x00\x00\x00\x03\x01a\x00\x02cd")
	add(t, b, mapKey(harness.PartMapValues, "k3"), []byte("\x05cut"))
	if _, _, err := b.Get(t.Context(), mapKey(harness.PartMapEntries, ""), nil); !errors.Is(err, coder.ErrShort) {
		t.Errorf("got %v, want ErrShort", err)
	}
}

func TestOrderedList(t *testing.T) {
	all := listRange(math.MinInt64, math.MaxInt64)
	entries := map[int64][]byte{}
	for _, at := range []int64{math.MinInt64, -300, -1, 0, 1, 300, math.MaxInt64 - 1, math.MaxInt64} {
		entries[at] = listed(at, "v")
	}
	b := stateOn(state.NewMemory())
	// Written out of order, several at a time.
	add(t, b, all, slices.Concat(entries[300], entries[-1], entries[math.MaxInt64]))
	add(t, b, all, slices.Concat(entries[0], entries[math.MinInt64], entries[1]))
	add(t, b, all, slices.Concat(entries[math.MaxInt64-1], entries[-300]))
	join := func(ats ...int64) string {
		var out []byte
		for _, at := range ats {
			out = append(out, entries[at]...)
		}
		return string(out)
	}
	expect(t, b, all, join(math.MinInt64, -300, -1, 0, 1, 300, math.MaxInt64-1))
	expect(t, b, listRange(math.MaxInt64-1, math.MaxInt64), join(math.MaxInt64-1))
	expect(t, b, listRange(-300, 1), join(-300, -1, 0))
	expect(t, b, listRange(-299, 0), join(-1))
	expect(t, b, listRange(2, 300), "")
	expect(t, b, listRange(1, 1), "")
	expect(t, b, listRange(1, -1), "")
	// Entries of equal sort keys stay in the order in which they came.
	add(t, b, all, listed(0, "w"))
	expect(t, b, listRange(0, 1), string(slices.Concat(listed(0, "v"), listed(0, "w"))))
	empty(t, b, listRange(-1, 300))
	expect(t, b, all, join(math.MinInt64, -300, 300, math.MaxInt64-1))
	empty(t, b, all)
	expect(t, b, all, "")
}

// TestOrderedListAgainstModel compares ranges with a sorted list, over commits.
func TestOrderedListAgainstModel(t *testing.T) {
	type entry struct {
		at    int64
		value string
	}
	rapid.Check(t, func(t *rapid.T) {
		store := state.NewMemory()
		b := stateOn(store)
		var model []entry
		key := rapid.SampledFrom([]int64{math.MinInt64, -1 << 40, -129, -128, -1, 0, 1, 127, 128, 1 << 40, math.MaxInt64})
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				e := entry{key.Draw(t, "at"), rapid.StringMatching("[a-z]?").Draw(t, "value")}
				add(t, b, listRange(0, 0), listed(e.at, e.value))
				model = append(model, e)
				slices.SortStableFunc(model, func(a, b entry) int {
					switch {
					case a.at < b.at:
						return -1
					case a.at > b.at:
						return 1
					}
					return 0
				})
			},
			"clear": func(t *rapid.T) {
				start, end := key.Draw(t, "start"), key.Draw(t, "end")
				empty(t, b, listRange(start, end))
				model = slices.DeleteFunc(model, func(e entry) bool { return e.at >= start && e.at < end })
			},
			"commit": func(t *rapid.T) {
				if err := b.txn.Apply(0); err != nil {
					t.Fatal(err)
				}
				b = stateOn(store)
			},
			"": func(t *rapid.T) {
				start, end := key.Draw(t, "start"), key.Draw(t, "end")
				var want []byte
				for _, e := range model {
					if e.at >= start && e.at < end {
						want = append(want, listed(e.at, e.value)...)
					}
				}
				expect(t, b, listRange(start, end), string(want))
			},
		})
	})
}

// TestStatePages reads a bag that consists of small and of large chunks: small
// ones share a page.
func TestStatePages(t *testing.T) {
	b := stateOn(state.NewMemory())
	var want []byte
	for _, size := range []int{1, 1, pageBytes - 2, 1, pageBytes, pageBytes + 1, 1, 1} {
		data := bytes.Repeat([]byte{byte(len(want))}, size)
		add(t, b, bagKey("u"), data)
		want = append(want, data...)
	}
	pages, err := readAll(b, bagKey("u"))
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for _, p := range pages {
		sizes = append(sizes, len(p))
	}
	if want := []int{pageBytes, 1, pageBytes, pageBytes + 1, 2}; !slices.Equal(sizes, want) {
		t.Errorf("got pages of %d bytes, want %d", sizes, want)
	}
	if !bytes.Equal(slices.Concat(pages...), want) {
		t.Error("the pages are not what was written")
	}
}

func TestContinuationTokens(t *testing.T) {
	b := stateOn(state.NewMemory())
	for range 3 {
		add(t, b, bagKey("u"), bytes.Repeat([]byte("x"), pageBytes))
	}
	_, next, err := b.Get(t.Context(), bagKey("u"), nil)
	if err != nil {
		t.Fatal(err)
	}
	// A token may be used again: answers get lost.
	for range 2 {
		if page, _, err := b.Get(t.Context(), bagKey("u"), next); err != nil || len(page) != pageBytes {
			t.Errorf("second page: got %d bytes, error %v", len(page), err)
		}
	}
	for name, token := range map[string][]byte{
		"huge":      putPlace(state.Place{Bytes: math.MaxUint64}),
		"beyond":    putPlace(state.Place{Bytes: 3*pageBytes + 1}),
		"cut short": {0x80},
		"no rows":   {0x01},
		"overflow":  bytes.Repeat([]byte{0xff}, 11),
	} {
		for _, key := range []harness.UserStateKey{bagKey("u"), bagKey("empty")} {
			if _, _, err := b.Get(t.Context(), key, token); !errors.Is(err, errToken) {
				t.Errorf("%s, of %q: got error %v, want %v", name, key.Key, err, errToken)
			}
		}
	}
	b.input = []element.Block{{Pages: []*element.Page{{Token: "a", Chunks: chunksOf([]byte{1}, []byte{2}, []byte{3})}}}}
	for name, token := range map[string][]byte{
		"beyond the last": {3},
		"huge":            binary.AppendUvarint(nil, math.MaxUint64),
		"cut short":       {0x80},
		"overflow":        bytes.Repeat([]byte{0xff}, 11),
		"trailing bytes":  {1, 1},
		"text":            []byte("page 2"),
	} {
		if _, _, err := b.Get(t.Context(), harness.PageKey{Token: "a"}, token); !errors.Is(err, errToken) {
			t.Errorf("%s, of a value: got error %v, want %v", name, err, errToken)
		}
	}
}

// TestReadingGoesOnAfterWrites shows that a token of one bundle is good for the
// next: an SDK that keeps state may have read only the first page of it.
func TestReadingGoesOnAfterWrites(t *testing.T) {
	store := state.NewMemory()
	large := strings.Repeat("x", pageBytes-1)
	begin := func(values []string, names ...string) *bundleState {
		b := stateOn(store)
		for _, v := range values {
			add(t, b, bagKey("u"), []byte(v))
		}
		for _, n := range names {
			add(t, b, mapKey(harness.PartMapValues, n+large), []byte("value"))
		}
		return b
	}
	cells := []harness.UserStateKey{bagKey("u"), mapKey(harness.PartMapKeys, "")}
	want := []string{"23", "d" + large + "e" + large + "f" + large}
	tokens := make([][]byte, len(cells))
	b := begin([]string{"1", large, "2"}, "b", "d", "f")
	for i, cell := range cells {
		var err error
		if _, tokens[i], err = b.Get(t.Context(), cell, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.txn.Apply(0); err != nil {
		t.Fatal(err)
	}
	b = begin([]string{"3"}, "a", "e")
	for i, cell := range cells {
		got := ""
		for token := tokens[i]; len(token) > 0; {
			page, next, err := b.Get(t.Context(), cell, token)
			if err != nil {
				t.Fatal(err)
			}
			got += string(page)
			token = next
		}
		if got != want[i] {
			t.Errorf("cell %d: got %d bytes %.10q, want %d bytes %.10q", i, len(got), got, len(want[i]), want[i])
		}
	}
}

func TestPagedValues(t *testing.T) {
	b := stateOn(state.NewMemory())
	large := bytes.Repeat([]byte("l"), pageBytes)
	b.input = []element.Block{
		{Pages: []*element.Page{{Token: "a", Chunks: chunksOf([]byte("first"))}}},
		{},
		{Pages: []*element.Page{{Token: "b", Chunks: chunksOf(large, []byte("last"))}, {Token: "none"}}},
	}
	expect(t, b, harness.PageKey{Token: "a"}, "first")
	expect(t, b, harness.PageKey{Token: "b"}, string(large)+"last")
	expect(t, b, harness.PageKey{Token: "none"}, "")
	if _, err := readAll(b, harness.PageKey{Token: "c"}); !errors.Is(err, errNoPage) || !strings.Contains(err.Error(), "stage stateful") {
		t.Errorf("got error %v, want one that names the stage and wraps %v", err, errNoPage)
	}
}

// TestStateRequestsThatMakeNoSense shows that each fails by name, whatever is
// asked.
func TestStateRequestsThatMakeNoSense(t *testing.T) {
	const (
		get = 1 << iota
		write
		drop
	)
	userKey := func(transform plan.TransformID, id string) harness.UserStateKey {
		return harness.UserStateKey{Transform: transform, State: id}
	}
	side := func(transform plan.TransformID, tag string, part harness.SideInputPart) harness.SideInputKey {
		return harness.SideInputKey{Transform: transform, Tag: tag, Part: part}
	}
	tests := []struct {
		name string
		key  harness.StateKey
		ops  int
		want error
	}{
		{"state of another transform", userKey("u", "bag"), get | write | drop, errNoState},
		{"unknown state", userKey("t", "no"), get | write | drop, errNoState},
		{"side input of another transform", side("u", "map", harness.PartIterable), get, errNoSideInput},
		{"unknown side input", side("t", "no", harness.PartIterable), get, errNoSideInput},
		{"keys of a list", side("t", "list", harness.PartKeys), get, errPart},
		{"values of a list", side("t", "list", harness.PartValues), get, errPart},
		{"side input", side("t", "map", harness.PartIterable), write | drop, errReadOnly},
		{"page", harness.PageKey{Token: "a"}, write | drop, errReadOnly},
		{"map by its keys", mapKey(harness.PartMapKeys, ""), write, errReadOnly},
		{"map by its entries", mapKey(harness.PartMapEntries, ""), write, errReadOnly},
		{"entries of a map", mapKey(harness.PartMapEntries, ""), get, errPart},
		{"part of a later version", mapKey(99, ""), get, errPart},
		{"part of a later version", mapKey(99, ""), write | drop, errReadOnly},
		{"nothing", nil, get, errNoPage},
		{"nothing", nil, write | drop, errReadOnly},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := sideState(newViews(viewedPlan(), account(), 0))
			b.stage.Kind = statefulStage().Kind
			check := func(op int, name string, err error) {
				if test.ops&op != 0 && !errors.Is(err, test.want) {
					t.Errorf("%s: got error %v, want %v", name, err, test.want)
				}
			}
			_, _, err := b.Get(t.Context(), test.key, nil)
			check(get, "get", err)
			check(write, "append", b.Append(t.Context(), test.key, []byte("x")))
			check(drop, "clear", b.Clear(t.Context(), test.key))
		})
	}
}

func TestMalformedListEntries(t *testing.T) {
	b := stateOn(state.NewMemory())
	whole := listed(1, "value")
	tests := map[string]struct {
		data []byte
		want error
	}{
		"no sort key":       {[]byte{0x80}, coder.ErrMalformed},
		"endless sort key":  {bytes.Repeat([]byte{0xff}, 11), coder.ErrMalformed},
		"no value":          {whole[:1], coder.ErrShort},
		"value cut short":   {whole[:len(whole)-1], coder.ErrShort},
		"second cut short":  {slices.Concat(whole, whole[:3]), coder.ErrShort},
		"length of a giant": {binary.AppendUvarint([]byte{1}, math.MaxUint64), coder.ErrMalformed},
	}
	for name, test := range tests {
		if err := b.Append(t.Context(), listRange(0, 0), test.data); !errors.Is(err, test.want) {
			t.Errorf("%s: got error %v, want %v", name, err, test.want)
		}
	}
	untold := listRange(0, 0)
	untold.State = "untold"
	if err := b.Append(t.Context(), untold, whole); !errors.Is(err, errPart) {
		t.Errorf("list of values that cannot be measured: got error %v, want %v", err, errPart)
	}
}

// TestStateAfterTheEnd shows that requests that come too late have no effect.
func TestStateAfterTheEnd(t *testing.T) {
	store := state.NewMemory()
	b := stateOn(store)
	add(t, b, bagKey("u"), []byte("in time"))
	b.end()
	if err := b.txn.Apply(0); err != nil {
		t.Fatal(err)
	}
	_, _, getErr := b.Get(t.Context(), bagKey("u"), nil)
	for op, err := range map[string]error{
		"get":    getErr,
		"append": b.Append(t.Context(), bagKey("u"), []byte("late")),
		"clear":  b.Clear(t.Context(), bagKey("u")),
	} {
		if !errors.Is(err, errEnded) {
			t.Errorf("%s: got error %v, want %v", op, err, errEnded)
		}
	}
	expect(t, stateOn(store), bagKey("u"), "in time")
}

// TestStateEndsAfterRequests shows that the end waits for what is being
// answered.
func TestStateEndsAfterRequests(t *testing.T) {
	b := stateOn(state.NewMemory())
	slow := &slowTxn{Txn: b.txn, reached: make(chan struct{}), goOn: make(chan struct{})}
	b.txn = slow
	answered := make(chan error, 1)
	go func() { answered <- b.Append(t.Context(), bagKey("u"), []byte("x")) }()
	<-slow.reached
	if b.mu.TryLock() {
		t.Error("the end would not wait")
		b.mu.Unlock()
	}
	close(slow.goOn)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	b.end()
}

// slowTxn stops in Append.
type slowTxn struct {
	state.Txn
	reached, goOn chan struct{}
}

func (s *slowTxn) Append(c state.Cell, entry string, data []byte) error {
	close(s.reached)
	<-s.goOn
	return s.Txn.Append(c, entry, data)
}

func chunksOf(data ...[]byte) []element.Chunk {
	chunks := make([]element.Chunk, len(data))
	for i := range data {
		chunks[i].Data = data[i]
	}
	return chunks
}
