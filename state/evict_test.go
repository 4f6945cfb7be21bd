package state_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/state"
	"github.com/gorunner/gorunner/state/statetest"
)

// spilling is a cache over a table in memory.
func spilling(table *statetest.Table, limit int64) *state.Cache {
	return state.New(state.Params{
		Open:       func() (state.Table, error) { return table, nil },
		Over:       func(used int64) bool { return used > limit },
		BatchBytes: 1 << 10,
		LoadBytes:  1 << 10,
	})
}

func TestEvictingContract(t *testing.T) {
	for _, limit := range []int64{0, 2000, 100_000} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			statetest.TestStore(t, func() state.Store { return spilling(&statetest.Table{}, limit) })
		})
	}
}

// TestEvictionAmidTransactions lets transactions be read, written and applied
// while a batch is under way, before and after its rows can be seen.
func TestEvictionAmidTransactions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := &statetest.Table{}
		store := spilling(table, 0)
		model := make(map[string]map[string]string)
		cells := []string{"a", "b", "c"}
		names := []string{"", "x", "y"}
		// A key is in one bundle at a time.
		busy := make(map[string]bool)
		commit := func() {
			free := slices.DeleteFunc(slices.Clone(cells), func(key string) bool { return busy[key] })
			if len(free) == 0 {
				return
			}
			txn := store.Begin()
			key := rapid.SampledFrom(free).Draw(t, "key")
			busy[key] = true
			defer delete(busy, key)
			cell := state.Cell{State: "s", Key: key}
			want := maps.Clone(model[key])
			if want == nil {
				want = make(map[string]string)
			}
			for range rapid.IntRange(0, 3).Draw(t, "writes") {
				name := rapid.SampledFrom(names).Draw(t, "name")
				switch rapid.IntRange(0, 5).Draw(t, "op") {
				case 0:
					_ = txn.ClearAll(cell)
					clear(want)
				case 1:
					_ = txn.Clear(cell, name)
					delete(want, name)
				default:
					data := strings.Repeat(rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "data"), rapid.SampledFrom([]int{1, 700}).Draw(t, "size"))
					_ = txn.Append(cell, name, []byte(data))
					want[name] += data
				}
			}
			check(t, txn, cell, want)
			if rapid.Bool().Draw(t, "apply") {
				if err := txn.Apply(0); err != nil {
					t.Fatal(err)
				}
				model[key] = want
			} else {
				txn.Drop()
			}
		}
		amid := func() {
			if rapid.Bool().Draw(t, "amid") {
				commit()
			}
		}
		table.Before = func() error { amid(); return nil }
		table.Written = amid
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			commit()
			txn := store.Begin()
			if rapid.Bool().Draw(t, "settle") {
				if err := txn.Settle(); err != nil {
					t.Fatal(err)
				}
			}
			for _, key := range cells {
				busy[key] = true
				check(t, txn, state.Cell{State: "s", Key: key}, model[key])
				delete(busy, key)
			}
			txn.Drop()
		}
		if table.Open() != 0 {
			t.Fatalf("%d views left open", table.Open())
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func check(t rapid.TB, txn state.Txn, cell state.Cell, want map[string]string) {
	t.Helper()
	got := make(map[string]string)
	err := txn.Scan(cell, state.Place{}, "", func(p state.Piece) bool {
		got[p.Entry] += string(p.Data)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Fatalf("cell %q: got %d entries %.200v, want %d %.200v", cell.Key, len(got), got, len(want), want)
	}
	names, err := state.Entries(txn, cell)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(names, slices.Sorted(maps.Keys(want))) {
		t.Fatalf("cell %q: got names %q, want %v", cell.Key, names, want)
	}
}

// TestMemoryIsBounded writes far more than fits, and counts what is in memory.
func TestMemoryIsBounded(t *testing.T) {
	const limit = 64 << 10
	table := &statetest.Table{}
	var used, most atomic.Int64
	store := state.New(state.Params{
		Open:       func() (state.Table, error) { return table, nil },
		Over:       func(used int64) bool { return used > limit },
		Used:       func(n int64) { used.Add(n) },
		BatchBytes: 4 << 10,
	})
	for i := range 2000 {
		txn := store.Begin()
		cell := state.Cell{State: "s", Key: fmt.Sprint(i)}
		if err := txn.Append(cell, "", bytes.Repeat([]byte("v"), 500)); err != nil {
			t.Fatal(err)
		}
		if err := txn.Settle(); err != nil {
			t.Fatal(err)
		}
		if err := txn.Apply(0); err != nil {
			t.Fatal(err)
		}
		most.Store(max(most.Load(), used.Load()))
	}
	// What a transaction has, and what the cache has not told yet.
	if m := most.Load(); m > limit+40<<10 || m < limit/2 {
		t.Errorf("at most %d bytes were in memory, limit %d", m, limit)
	}
	if n := table.Len(); n < 1000 {
		t.Errorf("%d rows are on disk", n)
	}
	txn := store.Begin()
	for i := range 2000 {
		if data, err := state.Get(txn, state.Cell{State: "s", Key: fmt.Sprint(i)}, ""); err != nil || len(bytes.Join(data, nil)) != 500 {
			t.Fatalf("cell %d: got %d pieces, error %v", i, len(data), err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if n := used.Load(); n != 0 {
		t.Errorf("%d bytes are still in use after the end", n)
	}
}

// TestNothingIsOpenedInVain shows that a store that fits needs no table, and
// that what was forgotten before it was written leaves nothing on disk.
func TestNothingIsOpenedInVain(t *testing.T) {
	table := &statetest.Table{}
	opened := 0
	limit := int64(1 << 20)
	store := state.New(state.Params{
		Open: func() (state.Table, error) { opened++; return table, nil },
		Over: func(used int64) bool { return used > limit },
	})
	cell := state.Cell{State: "s", Key: "k"}
	for range 10 {
		txn := store.Begin()
		_ = txn.ClearAll(cell)
		_ = txn.Append(cell, "", []byte("value"))
		if err := errors.Join(txn.Settle(), txn.Apply(0)); err != nil {
			t.Fatal(err)
		}
	}
	if opened != 0 || !store.Begin().Prompt() {
		t.Errorf("the table was opened %d times; prompt: %v", opened, store.Begin().Prompt())
	}
	limit = 0
	txn := store.Begin()
	if err := txn.Settle(); err != nil {
		t.Fatal(err)
	}
	if txn.Prompt() {
		t.Error("it claims to be prompt with a table")
	}
	if opened != 1 || table.Len() != 1 {
		t.Errorf("the table was opened %d times and has %d rows, want 1 each", opened, table.Len())
	}
	_ = txn.ClearAll(cell)
	if err := txn.Apply(0); err != nil {
		t.Fatal(err)
	}
	if err := store.Begin().Settle(); err != nil || table.Len() != 0 {
		t.Errorf("%d rows are left, error %v", table.Len(), err)
	}
}

// TestWriteErrors shows that a store that cannot write says so from then on.
func TestWriteErrors(t *testing.T) {
	broken := errors.New("broken")
	for name, params := range map[string]state.Params{
		"open": {Open: func() (state.Table, error) { return nil, broken }},
		"write": {Open: func() (state.Table, error) {
			return &statetest.Table{Before: func() error { return broken }}, nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			params.Over = func(int64) bool { return true }
			store := state.New(params)
			txn := store.Begin()
			_ = txn.Append(state.Cell{State: "s"}, "", []byte("x"))
			if err := txn.Apply(0); err != nil {
				t.Fatal(err)
			}
			txn = store.Begin()
			for range 2 {
				if err := txn.Settle(); !errors.Is(err, broken) {
					t.Errorf("settle: got error %v", err)
				}
			}
			if _, err := state.Get(txn, state.Cell{State: "s"}, ""); !errors.Is(err, broken) {
				t.Errorf("get: got error %v", err)
			}
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
