// Package statetest checks that a store keeps the contract of package state.
//
// A store calls [TestStore] from its own tests:
//
//	func TestContract(t *testing.T) {
//		statetest.TestStore(t, func() state.Store { return mystore.New() })
//	}
package statetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/state"
)

// TestStore runs all checks, each on stores of its own. open must return an
// empty store; the checks close it.
func TestStore(t *testing.T, open func() state.Store) {
	t.Helper()
	t.Run("model", rapid.MakeCheck(func(t *rapid.T) { checkAgainstModel(t, open()) }))
	t.Run("cells", func(t *testing.T) { checkCells(t, open()) })
	t.Run("copies", func(t *testing.T) { checkCopies(t, open()) })
	t.Run("chunks", func(t *testing.T) { checkChunks(t, open()) })
	t.Run("concurrency", func(t *testing.T) { checkConcurrency(t, open()) })
}

// contents is what a store or a transaction should have: by cell and entry the
// values put together.
type contents map[state.Cell]map[string]string

func (c contents) clone() contents {
	clone := make(contents)
	for cell, entries := range c {
		clone[cell] = make(map[string]string)
		for name, data := range entries {
			clone[cell][name] = data
		}
	}
	return clone
}

func (c contents) append(cell state.Cell, entry, data string) {
	if data == "" {
		return
	}
	if c[cell] == nil {
		c[cell] = make(map[string]string)
	}
	c[cell][entry] += data
}

// model is a store beside what it should have.
type model struct {
	store   state.Store
	stored  contents
	txn     state.Txn // nil between bundles
	written contents  // what txn should see
}

func drawCell(t *rapid.T) state.Cell {
	return state.Cell{
		Transform: plan.TransformID(rapid.SampledFrom([]string{"t1", "t2"}).Draw(t, "transform")),
		State:     "s",
		Key:       rapid.SampledFrom([]string{"", "k", "k\x00", "\xff"}).Draw(t, "key"),
		Window:    rapid.SampledFrom([]string{"", "w"}).Draw(t, "window"),
	}
}

func drawEntry(t *rapid.T) string {
	return rapid.SampledFrom([]string{"", "a", "a\x00b", "\xff\xff"}).Draw(t, "entry")
}

// begin opens a transaction if none is open.
func (m *model) begin() state.Txn {
	if m.txn == nil {
		m.txn, m.written = m.store.Begin(), m.stored.clone()
	}
	return m.txn
}

func (m *model) append(t *rapid.T) {
	cell, entry := drawCell(t), drawEntry(t)
	data := rapid.SampledFrom([]string{"", "x", "value", strings.Repeat("long", 20_000)}).Draw(t, "data")
	if err := m.begin().Append(cell, entry, []byte(data)); err != nil {
		t.Fatal(err)
	}
	m.written.append(cell, entry, data)
}

func (m *model) replace(t *rapid.T) {
	cell, entry := drawCell(t), drawEntry(t)
	data := rapid.SampledFrom([]string{"", "x", "value"}).Draw(t, "data")
	if err := m.begin().Replace(cell, entry, []byte(data)); err != nil {
		t.Fatal(err)
	}
	delete(m.written[cell], entry)
	m.written.append(cell, entry, data)
}

// value reads an entry in one piece.
func (m *model) value(t *rapid.T) {
	cell, entry := drawCell(t), drawEntry(t)
	got, err := m.begin().Value(cell, entry)
	if want := m.written[cell][entry]; err != nil || string(got) != want || want == "" && got != nil {
		t.Fatalf("%+v entry %q: got %d bytes, error %v, want %d", cell, entry, len(got), err, len(want))
	}
}

func (m *model) clear(t *rapid.T) {
	cell, entry := drawCell(t), drawEntry(t)
	if err := m.begin().Clear(cell, entry); err != nil {
		t.Fatal(err)
	}
	delete(m.written[cell], entry)
}

func (m *model) clearAll(t *rapid.T) {
	cell := drawCell(t)
	if err := m.begin().ClearAll(cell); err != nil {
		t.Fatal(err)
	}
	delete(m.written, cell)
}

func (m *model) apply(t *rapid.T) {
	txn := m.begin()
	if rapid.Bool().Draw(t, "settle") {
		if err := txn.Settle(); err != nil {
			t.Fatal(err)
		}
	}
	if err := txn.Apply(0); err != nil {
		t.Fatal(err)
	}
	m.stored, m.txn = m.written, nil
}

// drop is what the engine does with a bundle that failed.
func (m *model) drop(*rapid.T) {
	m.begin().Drop()
	m.txn = nil
}

// settle is what other bundles do meanwhile.
func (m *model) settle(t *rapid.T) {
	txn := m.store.Begin()
	if err := txn.Settle(); err != nil {
		t.Fatal(err)
	}
	txn.Drop()
}

// read looks at one cell through the open transaction, or a new one.
func (m *model) read(t *rapid.T) {
	cell, entry := drawCell(t), drawEntry(t)
	txn, want := m.store.Begin(), m.stored
	if m.txn != nil {
		txn, want = m.txn, m.written
	}
	checkEntry(t, txn, cell, entry, want[cell][entry])
	checkEntries(t, txn, cell, want[cell])
	checkRange(t, txn, cell, want[cell])
	if m.txn == nil {
		txn.Drop()
	}
}

// checkRange reads a part of a cell, piece by piece from place to place.
func checkRange(t *rapid.T, txn state.Txn, cell state.Cell, want map[string]string) {
	t.Helper()
	names := rapid.SampledFrom([]string{"", "a", "a\x00", "a\x00b", "b", "\xff\xff"})
	from, to := names.Draw(t, "from"), names.Draw(t, "to")
	place := state.Place{Entry: from}
	if size := len(want[from]); size > 0 {
		place.Bytes = uint64(rapid.IntRange(0, size).Draw(t, "bytes"))
	}
	got := make(map[string]string)
	begin := place
	for more := true; more; {
		more = false
		left := rapid.IntRange(1, 3).Draw(t, "pieces")
		err := txn.Scan(cell, place, to, func(p state.Piece) bool {
			got[p.Entry] += string(p.Data)
			place, more = p.Next, true
			left--
			return left > 0
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range want {
		switch {
		case name < from || to != "" && name >= to:
			data = ""
		case name == from:
			data = data[begin.Bytes:]
		}
		if got[name] != data {
			t.Fatalf("%+v, entry %q from %+v to %q: got %d bytes, want %d", cell, name, begin, to, len(got[name]), len(data))
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Fatalf("%+v: got entries %v that are not there", cell, len(got))
	}
	inRange := slices.Sorted(maps.Keys(want))
	inRange = slices.DeleteFunc(inRange, func(name string) bool { return name < from || to != "" && name >= to })
	var found []string
	if err := txn.Names(cell, from, to, func(name string) bool { found = append(found, name); return true }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(found, inRange) {
		t.Fatalf("%+v: got names %q in [%q, %q), want %q", cell, found, from, to, inRange)
	}
}

func checkEntry(t rapid.TB, txn state.Txn, cell state.Cell, entry, want string) {
	t.Helper()
	chunks, err := state.Get(txn, cell, entry)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(slices.Concat(chunks...)); got != want {
		t.Fatalf("%+v, entry %q: got %d bytes, want %d", cell, entry, len(got), len(want))
	}
	if want == "" && len(chunks) != 0 {
		t.Fatalf("%+v, entry %q: %d chunks of nothing", cell, entry, len(chunks))
	}
}

func checkEntries(t rapid.TB, txn state.Txn, cell state.Cell, want map[string]string) {
	t.Helper()
	names, err := state.Entries(txn, cell)
	if err != nil {
		t.Fatal(err)
	}
	var wanted []string
	for name := range want {
		wanted = append(wanted, name)
	}
	slices.Sort(wanted)
	if !slices.Equal(names, wanted) {
		t.Fatalf("%+v: got entries %q, want %q", cell, names, wanted)
	}
}

// checkAgainstModel drives the store at random.
func checkAgainstModel(t *rapid.T, store state.Store) {
	m := &model{store: store, stored: make(contents)}
	t.Repeat(map[string]func(*rapid.T){
		"append":   m.append,
		"clear":    m.clear,
		"replace":  m.replace,
		"value":    m.value,
		"clearAll": m.clearAll,
		"apply":    m.apply,
		"drop":     m.drop,
		"settle":   m.settle,
		"read":     m.read,
	})
	txn := store.Begin()
	for cell, entries := range m.stored {
		checkEntries(t, txn, cell, entries)
		for name, data := range entries {
			checkEntry(t, txn, cell, name, data)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// checkCells checks that cells whose parts run together are not the same.
func checkCells(t *testing.T, store state.Store) {
	t.Helper()
	cells := []state.Cell{
		{Transform: "a", State: "bc", Key: "d", Window: "e"},
		{Transform: "ab", State: "c", Key: "d", Window: "e"},
		{Transform: "ab", State: "cd", Key: "", Window: "e"},
		{Transform: "ab", State: "c", Key: "de", Window: ""},
		{Transform: "ab", State: "c", Key: "", Window: "de"},
	}
	write(t, store, func(txn state.Txn) error {
		for i, cell := range cells {
			if err := txn.Append(cell, "", fmt.Append(nil, i)); err != nil {
				return err
			}
		}
		return nil
	})
	txn := store.Begin()
	for i, cell := range cells {
		checkEntry(t, txn, cell, "", fmt.Sprint(i))
	}
	write(t, store, func(txn state.Txn) error { return txn.ClearAll(cells[1]) })
	txn = store.Begin()
	for i, cell := range cells {
		want := fmt.Sprint(i)
		if i == 1 {
			want = ""
		}
		checkEntry(t, txn, cell, "", want)
	}
	closeStore(t, store)
}

// checkCopies checks that the store keeps no slice of its callers and changes
// none that it has given away.
func checkCopies(t *testing.T, store state.Store) {
	t.Helper()
	cell := state.Cell{State: "s"}
	buffer := []byte("first")
	write(t, store, func(txn state.Txn) error {
		err := txn.Append(cell, "", buffer)
		copy(buffer, "XXXXX")
		return err
	})
	reader := store.Begin()
	before, err := state.Get(reader, cell, "")
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		write(t, store, func(txn state.Txn) error { return txn.Append(cell, "", []byte("more")) })
	}
	write(t, store, func(txn state.Txn) error { return txn.Clear(cell, "") })
	write(t, store, func(txn state.Txn) error { return txn.Append(cell, "", []byte("after")) })
	if got := string(slices.Concat(before...)); got != "first" {
		t.Errorf("a value that was read has become %q", got)
	}
	checkEntry(t, store.Begin(), cell, "", "after")
	closeStore(t, store)
}

// checkChunks checks that a chunk holds whole values: chunks may be joined, in
// order, but not cut.
func checkChunks(t *testing.T, store state.Store) {
	t.Helper()
	cell := state.Cell{State: "s"}
	// Every value says its size in its first two bytes.
	var all []byte
	for i := range 400 {
		size := 2 + i*i%5000
		value := make([]byte, size)
		value[0], value[1] = byte(size>>8), byte(size)
		all = append(all, value...)
		write(t, store, func(txn state.Txn) error { return txn.Append(cell, "", value) })
	}
	chunks, err := state.Get(store.Begin(), cell, "")
	if err != nil {
		t.Fatal(err)
	}
	for i, chunk := range chunks {
		for len(chunk) > 0 {
			size := len(chunk) + 1
			if len(chunk) >= 2 {
				size = int(chunk[0])<<8 | int(chunk[1])
			}
			if size > len(chunk) {
				t.Fatalf("chunk %d of %d ends within a value", i, len(chunks))
			}
			chunk = chunk[size:]
		}
	}
	if got := slices.Concat(chunks...); !slices.Equal(got, all) {
		t.Errorf("got %d bytes, want %d", len(got), len(all))
	}
	if len(chunks) > 100 {
		t.Errorf("%d bytes in %d chunks: small values cost too much", len(all), len(chunks))
	}
	closeStore(t, store)
}

// checkConcurrency runs transactions at the same time, each on keys of its
// own, and each with several requests at once.
func checkConcurrency(t *testing.T, store state.Store) {
	t.Helper()
	const bundles, rounds, requests = 8, 50, 4
	var wait sync.WaitGroup
	for b := range bundles {
		wait.Go(func() {
			for range rounds {
				txn := store.Begin()
				var inBundle sync.WaitGroup
				for r := range requests {
					inBundle.Go(func() {
						cell := state.Cell{State: "s", Key: fmt.Sprint(b, "/", r)}
						if err := txn.Append(cell, "e", []byte("x")); err != nil {
							t.Error(err)
						}
						if _, err := state.Get(txn, cell, "e"); err != nil {
							t.Error(err)
						}
						if _, err := state.Entries(txn, cell); err != nil {
							t.Error(err)
						}
					})
				}
				inBundle.Wait()
				if err := txn.Settle(); err != nil {
					t.Error(err)
				}
				if err := txn.Apply(0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	txn := store.Begin()
	for b := range bundles {
		for r := range requests {
			cell := state.Cell{State: "s", Key: fmt.Sprint(b, "/", r)}
			checkEntry(t, txn, cell, "e", strings.Repeat("x", rounds))
		}
	}
	closeStore(t, store)
}

// write applies one transaction.
func write(t *testing.T, store state.Store, f func(state.Txn) error) {
	t.Helper()
	txn := store.Begin()
	if err := f(txn); err != nil {
		t.Fatal(err)
	}
	if err := txn.Settle(); err != nil {
		t.Fatal(err)
	}
	if err := txn.Apply(0); err != nil {
		t.Fatal(err)
	}
}

func closeStore(t *testing.T, store state.Store) {
	t.Helper()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}
