package state_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/state"
	"github.com/gorunner/gorunner/state/statetest"
)

// lasting is a cache over the table of a journal.
func lasting(j *statetest.Journal, epoch uint64, limit int64) *state.Cache {
	return state.New(state.Params{
		Over:       func(used int64) bool { return used > limit },
		BatchBytes: 1 << 10,
		LoadBytes:  4 << 10,
		Lasting:    j.Lasting(epoch),
	})
}

func TestLastingContract(t *testing.T) {
	for _, limit := range []int64{0, 2000, 1 << 40} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			seed := uint64(0)
			statetest.TestStore(t, func() state.Store {
				seed++
				j := statetest.NewJournal(seed)
				return j.Store(lasting(j, 1, limit))
			})
		})
	}
}

// contents is what a store should have, by cell and entry.
type contents map[state.Cell]map[string]string

func (c contents) clone() contents {
	all := make(contents)
	for cell, entries := range c {
		all[cell] = maps.Clone(entries)
	}
	return all
}

// life is a store that is ended and opened again, with what it should have after
// each commit.
type life struct {
	journal *statetest.Journal
	store   *state.Cache
	epoch   uint64
	now     contents
	after   map[uint64]contents
}

func (l *life) cells() []state.Cell {
	var all []state.Cell
	for _, name := range []string{"single", "bag", "map"} {
		for _, key := range []string{"", "a", "\x00b"} {
			all = append(all, state.Cell{Transform: "t", State: name, Key: key, Window: "w"})
		}
	}
	return all
}

// write writes to a cell as the state of its name is written to.
func (l *life) write(t *rapid.T, txn state.Txn, cell state.Cell) {
	is := l.now[cell]
	if is == nil {
		is = make(map[string]string)
		l.now[cell] = is
	}
	data := strings.Repeat(rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "data"), rapid.SampledFrom([]int{1, 1, 30, 700, 5000}).Draw(t, "size"))
	entry := ""
	if cell.State == "map" {
		entry = rapid.SampledFrom([]string{"", "x", "\x00y", "z"}).Draw(t, "entry")
	}
	op := rapid.IntRange(0, 6).Draw(t, "op")
	switch {
	case op == 0:
		_ = txn.ClearAll(cell)
		clear(is)
	case op == 1:
		_ = txn.Clear(cell, entry)
		delete(is, entry)
	case op == 2 || cell.State == "single":
		_ = txn.Replace(cell, entry, []byte(data))
		is[entry] = data
	default:
		_ = txn.Append(cell, entry, []byte(data))
		is[entry] += data
	}
}

func (l *life) commit(t *rapid.T) {
	txn := l.store.Begin()
	before := l.now.clone()
	for range rapid.IntRange(0, 4).Draw(t, "writes") {
		cell := rapid.SampledFrom(l.cells()).Draw(t, "cell")
		if rapid.Bool().Draw(t, "read") {
			check(t, txn, cell, l.now[cell])
		}
		l.write(t, txn, cell)
	}
	switch rapid.IntRange(0, 9).Draw(t, "end") {
	case 0: // the bundle fails
		txn.Drop()
		l.now = before
	case 1: // it fails when its changes were asked for
		if err := txn.Settle(); err != nil {
			t.Fatal(err)
		}
		txn.Changes()
		txn.Drop()
		l.now = before
	default:
		seq, err := l.journal.Commit(txn)
		if err != nil {
			t.Fatal(err)
		}
		l.after[seq] = l.now.clone()
	}
	l.journal.Some()
}

// evict makes room, or lets somebody do it between the end of a bundle and its
// commit.
func (l *life) evict(t *rapid.T) {
	txn := l.store.Begin()
	if err := txn.Settle(); err != nil {
		t.Fatal(err)
	}
	txn.Drop()
}

func (l *life) readAll(t *rapid.T) {
	txn := l.store.Begin()
	defer txn.Drop()
	for _, cell := range l.cells() {
		check(t, txn, cell, l.now[cell])
	}
}

func (l *life) checkWalk(t *rapid.T) {
	got := make(contents)
	if err := state.Walk(&l.journal.Table, nil, func(cell state.Cell, entry string, data []byte) error {
		if got[cell] == nil {
			got[cell] = make(map[string]string)
		}
		got[cell][entry] += string(data)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(l.now, func(_ state.Cell, entries map[string]string) bool { return len(entries) == 0 })
	for cell, want := range l.now {
		if !maps.Equal(got[cell], want) {
			t.Fatalf("%+v: walked to %.200q, want %.200q", cell, got[cell], want)
		}
	}
	if len(got) != len(l.now) {
		t.Fatalf("walked to %d cells, want %d", len(got), len(l.now))
	}
}

// Whenever the process ends, the table has what the store had after one of its
// commits, and another process goes on from there.
func TestLastingCrashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &life{journal: statetest.NewJournal(rapid.Uint64().Draw(t, "seed")), now: contents{}, after: map[uint64]contents{0: {}}}
		for range rapid.IntRange(1, 4).Draw(t, "lives") {
			l.epoch++
			limit := rapid.SampledFrom([]int64{0, 300, 3000, 1 << 40}).Draw(t, "limit")
			l.store = lasting(l.journal, l.epoch, limit)
			l.readAll(t)
			for range rapid.IntRange(0, 60).Draw(t, "steps") {
				switch rapid.IntRange(0, 9).Draw(t, "step") {
				case 0:
					l.evict(t)
				case 1:
					l.readAll(t)
				default:
					l.commit(t)
				}
			}
			l.readAll(t)
			if err := l.store.Close(); err != nil {
				t.Fatal(err)
			}
			l.now = l.after[l.journal.Crash()].clone()
			l.checkWalk(t)
			if n := l.journal.Table.Open(); n != 0 {
				t.Fatalf("%d views left open", n)
			}
		}
	})
}

// A store whose commits never reach the table says so instead of growing.
func TestLastingWaits(t *testing.T) {
	broken := errors.New("broken")
	j := statetest.NewJournal(1)
	store := lasting(j, 1, 0)
	if !store.Begin().Prompt() {
		t.Error("a new store is not prompt")
	}
	commit := func(key string) error {
		txn := store.Begin()
		_ = txn.Append(state.Cell{State: "s", Key: key}, "", []byte("x"))
		_, err := j.Commit(txn)
		return err
	}
	for _, key := range []string{"a", "b"} {
		if err := commit(key); err != nil {
			t.Fatal(err)
		}
	}
	if j.Durable() != 1 { // which the second has waited for
		t.Errorf("commit %d is durable", j.Durable())
	}
	j.Fail(broken)
	if err := commit("c"); !errors.Is(err, broken) {
		t.Errorf("got error %v", err)
	}
}

// States are found by their names, and can be given others.
func TestRename(t *testing.T) {
	j := statetest.NewJournal(1)
	store := lasting(j, 1, 1<<40)
	for _, name := range []string{"a", "b", "c"} {
		txn := store.Begin()
		_ = txn.Append(state.Cell{Transform: "t", State: name, Key: "k"}, "e", []byte("of "+name))
		if _, err := j.Commit(txn); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Wait(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	rename := func(to func(state.Name) (state.Name, bool)) error {
		changes, err := state.Rename(&j.Table, to)
		if err != nil {
			return err
		}
		b := j.Table.Batch()
		return errors.Join(changes.Apply(b), b.Commit())
	}
	if err := rename(func(state.Name) (state.Name, bool) { return state.Name{State: "one"}, true }); err == nil {
		t.Error("three states have one name")
	}
	if err := rename(func(n state.Name) (state.Name, bool) {
		return state.Name{Transform: "new " + n.Transform, State: n.State}, n.State != "b"
	}); err != nil {
		t.Fatal(err)
	}
	names, err := state.Names(&j.Table)
	if got := fmt.Sprint(names); err != nil || got != "[{new t a} {new t c}]" {
		t.Errorf("names %s, error %v", got, err)
	}
	store = lasting(j, 2, 1<<40)
	txn := store.Begin()
	check(t, txn, state.Cell{Transform: "new t", State: "c", Key: "k"}, map[string]string{"e": "of c"})
	check(t, txn, state.Cell{Transform: "t", State: "c", Key: "k"}, nil)
	check(t, txn, state.Cell{Transform: "t", State: "b", Key: "k"}, nil)
	if n := j.Table.Len(); n != 2*3 {
		t.Errorf("%d rows, want 6: names, that they have entries, and the entries", n)
	}
}

// What was emptied is not found again in the table, when that is asked for the
// first time.
func TestEmptiedBeforeTheTableIsAsked(t *testing.T) {
	j := statetest.NewJournal(1)
	limit := int64(1 << 40)
	store := state.New(state.Params{Over: func(used int64) bool { return used > limit }, Lasting: j.Lasting(1)})
	cell := func(key string) state.Cell { return state.Cell{State: "s", Key: key} }
	for _, key := range []string{"emptied", "other"} {
		txn := store.Begin()
		_ = txn.Append(cell(key), "", []byte("x"))
		seq, err := j.Commit(txn)
		if err = errors.Join(err, j.Wait(t.Context(), seq)); err != nil {
			t.Fatal(err)
		}
	}
	txn := store.Begin()
	_ = txn.ClearAll(cell("emptied"))
	if _, err := j.Commit(txn); err != nil {
		t.Fatal(err)
	}
	if !store.Begin().Prompt() {
		t.Error("nothing was forgotten, but it is not prompt")
	}
	limit = 0
	if err := store.Begin().Settle(); err != nil {
		t.Fatal(err)
	}
	if store.Begin().Prompt() {
		t.Error("it claims to be prompt, but has forgotten something")
	}
	check(t, store.Begin(), cell("emptied"), nil)
	check(t, store.Begin(), cell("other"), map[string]string{"": "x"})
}

// A bag to which each bundle adds a little becomes one row again, now and then,
// if it is read.
func TestSmallRowsAreJoined(t *testing.T) {
	j := statetest.NewJournal(1)
	limit := int64(1 << 40)
	params := state.Params{Over: func(used int64) bool { return used > limit }, Lasting: j.Lasting(1)}
	store := state.New(params)
	cell := state.Cell{State: "s", Key: "k"}
	value := strings.Repeat("v", 100)
	want, most := "", 0
	for i := range 300 {
		if i%50 == 0 { // another process
			params.Lasting = j.Lasting(uint64(i + 2))
			store = state.New(params)
		}
		txn := store.Begin()
		if i%3 == 0 && i >= 100 {
			is := map[string]string{"": want}
			if want == "" {
				is = nil
			}
			check(t, txn, cell, is)
		}
		_ = txn.Append(cell, "", []byte(value))
		want += value
		seq, err := j.Commit(txn)
		if err = errors.Join(err, j.Wait(t.Context(), seq)); err != nil {
			t.Fatal(err)
		}
		most = max(most, j.Table.Len())
	}
	check(t, state.New(state.Params{Lasting: j.Lasting(1000)}).Begin(), cell, map[string]string{"": want})
	if most > 200 {
		t.Errorf("300 small pieces were in %d rows", most)
	}
}
