package state_test

import (
	"testing"

	"github.com/gorunner/gorunner/state"
	"github.com/gorunner/gorunner/state/statetest"
)

func TestMemory(t *testing.T) {
	statetest.TestStore(t, func() state.Store { return state.NewMemory() })
}

func TestMemoryClosedIsEmpty(t *testing.T) {
	m := state.NewMemory()
	cell := state.Cell{State: "s"}
	txn := m.Begin()
	if err := txn.Append(cell, "", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := txn.Apply(0); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if chunks, err := state.Get(m.Begin(), cell, ""); err != nil || len(chunks) != 0 {
		t.Errorf("got %q and error %v, want nothing", chunks, err)
	}
}
