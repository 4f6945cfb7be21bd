// Package state is the contract of the store that keeps user state between
// bundles, and the store itself: a [Cache] in memory, over a [Table] on disk. To that
// it writes back what is too much for memory; or, if the store is to outlive its
// process, others write all of it there, with the commits of bundles.
//
// # Transactions
//
// A bundle reads and writes through a [Txn], which sees the store as it was
// when the bundle began plus the bundle's own writes. The engine applies the
// transaction when the bundle commits, or drops it: then it has had no
// effect. Two transactions that are open at the same time never touch the
// same key, because a key group is in one bundle at a time; a store need not
// detect conflicts.
//
// # Layers
//
// What a cell holds is told by up to three layers, of which the upper ones hide
// what they have cleared of those below: the writes of the transaction, what
// the cache knows, and the rows of the table. A transaction is applied by
// laying its writes over the cache, which takes no I/O. So the loop that
// commits bundles never waits for a disk; it is the bundle's own goroutine that
// makes room, in Settle, before it asks to be committed. Whoever evicts holds
// up all others who need to: the cache exceeds its limit by what is being
// committed, not more.
//
// # Memory
//
// Most cells are one small value. Those lie in pages without pointers, at some 70
// bytes beside their key and value, and cost the garbage collector nothing. All
// others are objects: they have several entries, or are large, or not known in
// full.
//
// # Eviction
//
// Cells that were not used since the last look are evicted, in no particular
// order: what is not on disk is written, in one batch, and what is on disk is
// forgotten. A cell may be read and written while its batch is under way: the
// pieces being written stay where they are until the batch is written, and
// whoever reads the table meanwhile overlooks rows of their numbers. An append
// never reads: its row comes behind all others of the entry.
//
// # Rows
//
// A row is a piece of an entry. Its key is that of the cell (the number of the
// state, key and window, each after its size), the name of the entry, escaped
// so that rows sort as names do, and the row's number, in eight bytes. The first
// row of an entry that was cleared has the number 0, so that a state which only
// ever has one small value is overwritten in place; the others count up over
// the whole store.
//
// # Durability
//
// A store that outlives its process ([Lasting]) writes nothing itself. In Settle the
// writes of a transaction are encoded as changes of rows, which no row is read
// for; they go with the bundle's commit, and are laid over the cache like any
// others. The table has them some time later. Until then a cell stays in memory,
// with the number of the commit that has touched it last; after that it can be
// forgotten. If all that could be evicted is of commits on their way, whoever
// settles waits for these, but never for its own.
//
// As long as nothing was forgotten, and the store began empty, a cell that is not in
// memory is nowhere, and the table is not asked. From then on it is, and so what a
// commit empties is kept as such until the table knows. A reader may find the table
// ahead of what the cache knows of it: rows of an entry that are in memory too have
// numbers from the first of them on, and are overlooked.
//
// What there is to delete is known mostly, and then rows are deleted one by one: of
// a cell that is in memory as a whole, or of a state whose cells never had another
// row than the first of the entry "". Otherwise it takes a deletion of a range,
// which costs all later readers. A cell in a slot is always written as one row, in
// place, with what was there before: so it never has many.
//
// Any other append is a row of its own. Where a cell of at most LoadBytes is in
// memory as a whole, and has an entry of 32 rows or more that have less than 256
// bytes each, the next append writes it anew as one row. So each byte that is
// appended is written a few times at most, and reading takes a row for 256 bytes.
// What is larger is left alone.
//
// Numbers of states are rows themselves, as are the two traits that decide about
// deletions: whether its cells have other entries than "", and other rows than the
// first. They are in each commit that relies on them until one was applied. Numbers
// of rows begin anew in each process, beyond those of all before.
package state

import (
	"errors"

	"github.com/gorunner/gorunner/plan"
)

// Cell names one state of one key in one window.
type Cell struct {
	Transform plan.TransformID
	State     string
	// Key and Window are encoded.
	Key, Window string
}

// Place is where in a cell reading goes on. The zero value is its beginning. A
// place stays good when the cell has got more, in later bundles too.
type Place struct {
	Entry string
	// Bytes is how much of the entry has been read.
	Bytes uint64
	// Row and Before tell the store that rows with lower numbers have so many
	// bytes of the entry: a hint that spares it to look at them.
	Row, Before uint64
}

// Piece is a part of an entry: a run of whole values.
type Piece struct {
	Entry string
	// Data is not to be changed, and does not change.
	Data []byte
	// Next is the place after the piece.
	Next Place
}

// ErrPlace says that an entry ends before the place where reading was to go on.
var ErrPlace = errors.New("beyond the end of the entry")

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
	// Prompt says that nothing of the store is on disk: reading takes no longer
	// than memory does.
	Prompt() bool
	// Scan calls f with the pieces of the entries whose names come before to, in
	// order and from a place on, until f returns false. An empty to is no bound.
	// f may use the transaction.
	Scan(cell Cell, from Place, to string, f func(Piece) (more bool)) error
	// Names calls f with the names of the entries that are not empty, in the range
	// [from, to) and in order, until f returns false. An empty to is no bound. f
	// may use the transaction.
	Names(cell Cell, from, to string, f func(name string) (more bool)) error
	// Value returns an entry in one piece, nil if it is empty: for those who know that
	// it is small. It is not to be changed.
	Value(cell Cell, entry string) ([]byte, error)
	// Append adds values to an entry. The data is copied. An append of nothing
	// makes no entry.
	Append(cell Cell, entry string, data []byte) error
	// Clear empties an entry.
	Clear(cell Cell, entry string) error
	// Replace empties an entry and adds values to it.
	Replace(cell Cell, entry string, data []byte) error
	// ClearAll empties all entries of the cell.
	ClearAll(cell Cell) error
	// Settle makes room in the store for what the transaction has written. It may
	// take long. It is called at most once, when all has been written.
	Settle() error
	// Changes are the writes as changes of rows, for the commit that makes them last;
	// nil in a store that does not outlive the process. They are asked for after
	// Settle.
	Changes() *Changes
	// Apply makes the writes visible to transactions that begin later. It takes
	// no I/O. The transaction is not used afterwards. seq is the number of the commit
	// which has its changes, 0 if there is none.
	Apply(seq uint64) error
	// Drop gives up the transaction, which is not used afterwards.
	Drop()
}

// After returns the name that comes next after a name.
func After(name string) string { return name + "\x00" }

// Get returns the pieces of an entry in order, none if it is empty: for those
// who know that it is small.
func Get(txn Txn, cell Cell, entry string) (pieces [][]byte, err error) {
	err = txn.Scan(cell, Place{Entry: entry}, After(entry), func(p Piece) bool {
		pieces = append(pieces, p.Data)
		return true
	})
	return pieces, err
}

// Entries returns the names of the entries of a cell that are not empty, in
// order: for those who know that they are few.
func Entries(txn Txn, cell Cell) (names []string, err error) {
	err = txn.Names(cell, "", "", func(name string) bool {
		names = append(names, name)
		return true
	})
	return names, err
}
