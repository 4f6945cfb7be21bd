package state_test

import (
	"errors"
	"testing"

	"github.com/gorunner/gorunner/state"
	"github.com/gorunner/gorunner/state/statetest"
)

// Rows that are none are refused or overlooked, by whoever opens a store of them
// and whoever goes through them.
func FuzzRows(f *testing.F) {
	j := statetest.NewJournal(1)
	store := lasting(j, 1, 1<<40)
	for _, entry := range []string{"", "e\x00"} {
		txn := store.Begin()
		_ = txn.Append(state.Cell{Transform: "t", State: "s", Key: "k", Window: "w"}, entry, []byte("value"))
		seq, err := j.Commit(txn)
		if err = errors.Join(err, j.Wait(f.Context(), seq)); err != nil {
			f.Fatal(err)
		}
	}
	rows, err := j.Table.Rows(nil, nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	for err = rows.Seek(nil); err == nil && rows.Key() != nil; err = rows.Next() {
		value, err := rows.Value()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(rows.Key(), value, []byte("\x00\x00\x00\x00\x07\x01"), []byte("x"))
	}
	f.Add([]byte("\x00\x00\x00\x00\x01\x00"), []byte("\x01ts"), []byte("\x01\x01k\x01w\x00\x02"), []byte("x"))
	f.Add([]byte("\x00\x00\x00\x00\x01\x00"), []byte("\x01ts"), []byte("\x01\x01k\x01w\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"), []byte("x"))
	f.Add([]byte("\x00\xff\xff\xff\xff\x00"), []byte("\x01ts"), []byte("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), []byte("x"))
	f.Fuzz(func(t *testing.T, key, value, second, secondValue []byte) {
		table := &statetest.Table{}
		b := table.Batch()
		if err := errors.Join(b.Set(key, value), b.Set(second, secondValue), b.Commit()); err != nil {
			t.Fatal(err)
		}
		var cells []state.Cell
		_ = state.Walk(table, nil, func(cell state.Cell, _ string, _ []byte) error {
			cells = append(cells, cell)
			return nil
		})
		_, _ = state.Rename(table, func(n state.Name) (state.Name, bool) { return n, true })
		store := state.New(state.Params{Lasting: &state.Lasting{Table: table, Durable: func() uint64 { return 0 }}})
		txn := store.Begin()
		for _, cell := range append(cells, state.Cell{Transform: "t", State: "s", Key: "k", Window: "w"}) {
			_, _ = state.Get(txn, cell, "")
			_, _ = state.Entries(txn, cell)
		}
		txn.Drop()
	})
}
