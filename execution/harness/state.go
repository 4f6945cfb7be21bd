package harness

import (
	"context"

	"github.com/gorunner/gorunner/plan"
)

// State answers the state requests of one bundle. It is safe for concurrent
// use; requests for the same key come in order. Keys and data are the caller's
// again when a call returns.
type State interface {
	// Prompt says that a request for the key takes no longer than memory does:
	// it waits neither for a disk nor for an SDK.
	Prompt(key StateKey) bool
	// Get reads a page of the cell. token is empty for the first page and
	// otherwise what the page before returned as next; next is empty on the
	// last page. A page holds whole encoded values; its bytes do not change.
	Get(ctx context.Context, key StateKey, token []byte) (page, next []byte, err error)
	// Append adds encoded values to the cell.
	Append(ctx context.Context, key StateKey, data []byte) error
	// Clear empties the cell.
	Clear(ctx context.Context, key StateKey) error
}

// StateKey names a cell of state. The set is closed: [SideInputKey],
// [UserStateKey], [PageKey].
//
//sumtype:decl
type StateKey interface{ stateKey() }

// SideInputKey is a view of a side input in one of its windows.
type SideInputKey struct {
	Transform plan.TransformID
	Tag       string
	// Window is the encoded side-input window.
	Window []byte
	// Part says what of the view is wanted.
	Part SideInputPart
	// Key is the encoded key for PartValues.
	Key []byte
}

// SideInputPart is what of a side input is read.
type SideInputPart int

// The parts of a side input.
const (
	// PartIterable is all elements of the window.
	PartIterable SideInputPart = iota
	// PartKeys is the distinct keys of the window.
	PartKeys
	// PartValues is the values of a key.
	PartValues
	// PartEntries is each key with its iterable of values.
	PartEntries
)

// UserStateKey is a cell of user state.
type UserStateKey struct {
	Transform plan.TransformID
	State     string
	// Window and Key are encoded.
	Window, Key []byte
	// Part says what of the cell is meant.
	Part UserStatePart
	// MapKey is the encoded key within a map for PartMapValues.
	MapKey []byte
	// Start and End bound the sort keys of an ordered list, End excluded.
	Start, End int64
}

// UserStatePart is what of a user state a request means.
type UserStatePart int

// The parts of user state, after the state keys of the Fn API.
const (
	// PartBag is a bag.
	PartBag UserStatePart = iota
	// PartMapKeys is all keys of a multimap.
	PartMapKeys
	// PartMapValues is the values of one key of a multimap.
	PartMapValues
	// PartMapEntries is all keys of a multimap with their values.
	PartMapEntries
	// PartOrderedList is a range of an ordered list.
	PartOrderedList
)

// PageKey is a value that was too large to stand in its element.
type PageKey struct{ Token string }

func (SideInputKey) stateKey() {}
func (UserStateKey) stateKey() {}
func (PageKey) stateKey()      {}
