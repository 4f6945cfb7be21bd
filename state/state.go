// Package state is the contract of the store that keeps user state between
// bundles, with an implementation in memory.
//
// A bundle reads and writes through a [Txn], which sees the store as it was
// when the bundle began plus the bundle's own writes. The engine applies the
// transaction when the bundle commits, or drops it: then it has had no
// effect. Two transactions that are open at the same time never touch the
// same key, because a key group is in one bundle at a time; a store need not
// detect conflicts.
package state

import (
	"github.com/gorunner/gorunner/plan"
)

// Cell names one state of one key in one window.
type Cell struct {
	Transform plan.TransformID
	State     string
	// Key and Window are encoded.
	Key, Window string
}

// Store keeps cells. Each cell is a sorted map from an entry's name to a run
// of encoded values: a bag uses the one entry "", a multimap an entry for
// each of its keys, an ordered list an entry for each sort key.
// Implementations are safe for concurrent use.
type Store interface {
	// Begin opens a transaction.
	Begin() Txn
	// Close frees what the store holds.
	Close() error
}

// Txn is the view of one bundle. It is safe for concurrent use.
type Txn interface {
	// Get returns the chunks of an entry in order, none if it is empty. The
	// chunks are not to be changed; each holds whole values.
	Get(cell Cell, entry string) ([][]byte, error)
	// Entries returns the names of the entries that are not empty, sorted.
	Entries(cell Cell) ([]string, error)
	// Append adds values to an entry. The data is copied.
	Append(cell Cell, entry string, data []byte) error
	// Clear empties an entry.
	Clear(cell Cell, entry string) error
	// ClearAll empties all entries of the cell.
	ClearAll(cell Cell) error
	// Apply makes the writes visible to transactions that begin later. The
	// transaction is not used afterwards.
	Apply() error
}
