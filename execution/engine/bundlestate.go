package engine

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// bundleState answers the state requests of one bundle, as long as it runs. It
// implements harness.State.
type bundleState struct {
	// sides are the stage's side inputs, in their order.
	sides []sideInput
	txn   state.Txn
	stage *plan.Stage
	input []element.Block
	// written takes the windows of keys that the bundle writes to; nil where it
	// is not asked for.
	written *scopes
	// split tells apart values that the runner cannot.
	split splitter

	// requests counts what was asked for.
	requests atomic.Int64

	// broken is an error of the disk, which an SDK is told of but would not tell
	// on as such.
	broken atomic.Pointer[error]

	// mu is held for reading by each request.
	mu    sync.RWMutex
	ended bool // guarded by mu
}

// end waits for the requests being answered and refuses all others: what an
// SDK asks for too late must not touch what is being committed, or has been
// freed.
func (b *bundleState) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	for _, side := range b.sides {
		side.release()
	}
}

// tokens are those of the side inputs.
func (b *bundleState) tokens() [][]byte {
	tokens := make([][]byte, len(b.sides))
	for i, side := range b.sides {
		tokens[i] = side.token()
	}
	return tokens
}

// The ways in which a state request makes no sense.
var (
	errNoSideInput = errors.New("no such side input")
	errNoState     = errors.New("no such user state")
	errNoPage      = errors.New("no such value")
	errReadOnly    = errors.New("cannot be written")
	errPart        = errors.New("cannot be read this way")
	errToken       = errors.New("unknown continuation token")
	errEnded       = errors.New("the bundle has ended")
)

// Prompt implements harness.State.
func (b *bundleState) Prompt(key harness.StateKey) bool {
	switch k := key.(type) {
	case harness.SideInputKey:
		i := b.side(k)
		return i < 0 || b.sides[i].prompt(k.Window, k.Part)
	case harness.PageKey:
		p := b.pageOf(k)
		return p == nil || chunkPages(p.Chunks).inMemory()
	case harness.UserStateKey:
		if _, err := b.spec(k); err != nil {
			return true
		}
		return k.Part != harness.PartMapEntries && b.txn.Prompt() // an SDK may be asked for entries
	}
	return true
}

// Get reads a page.
func (b *bundleState) Get(ctx context.Context, key harness.StateKey, token []byte) (page, next []byte, err error) {
	b.requests.Add(1)
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.ended {
		return nil, nil, b.wrap("get", key, errEnded)
	}
	cell, err := b.paged(ctx, key)
	if err != nil {
		return nil, nil, b.wrap("get", key, err)
	}
	if page, next, err = cell.page(token); err != nil {
		return nil, nil, b.wrap("get", key, err)
	}
	return page, next, nil
}

// paged finds what is read.
func (b *bundleState) paged(ctx context.Context, key harness.StateKey) (paged, error) {
	switch k := key.(type) {
	case harness.SideInputKey:
		return b.sideInput(k)
	case harness.UserStateKey:
		return b.userState(ctx, k)
	case harness.PageKey:
		if p := b.pageOf(k); p != nil {
			return chunkPages(p.Chunks), nil
		}
	}
	return nil, errNoPage
}

// pageOf finds a page of the input; nil if there is none.
func (b *bundleState) pageOf(k harness.PageKey) *element.Page {
	for i := range b.input {
		for _, p := range b.input[i].Pages {
			if p.Token == k.Token {
				return p
			}
		}
	}
	return nil
}

// side finds the number of a side input, -1 if there is none.
func (b *bundleState) side(k harness.SideInputKey) int {
	for i := range b.stage.SideInputs {
		if side := &b.stage.SideInputs[i]; side.Transform == k.Transform && side.Tag == k.Tag {
			return i
		}
	}
	return -1
}

func (b *bundleState) sideInput(k harness.SideInputKey) (paged, error) {
	i := b.side(k)
	if i < 0 {
		return nil, errNoSideInput
	}
	if k.Part != harness.PartIterable && b.stage.SideInputs[i].Access != plan.AccessMultimap {
		return nil, errPart
	}
	c, err := b.sides[i].in(k.Window)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return listOf(nil), nil
	}
	return c.part(k.Part, k.Key)
}

// spec finds the declaration of a state of the stage.
func (b *bundleState) spec(k harness.UserStateKey) (*plan.StateSpec, error) {
	if kind, ok := b.stage.Kind.(*plan.Executable); ok {
		for i := range kind.States {
			if s := &kind.States[i]; s.Transform == k.Transform && s.ID == k.State {
				return s, nil
			}
		}
	}
	return nil, errNoState
}

// cell finds the cell of a key and checks that the stage has the state.
func (b *bundleState) cell(k harness.UserStateKey) (state.Cell, error) {
	if _, err := b.spec(k); err != nil {
		return state.Cell{}, err
	}
	return state.Cell{Transform: k.Transform, State: k.State, Key: string(k.Key), Window: string(k.Window)}, nil
}

func (b *bundleState) userState(ctx context.Context, k harness.UserStateKey) (paged, error) {
	cell, err := b.cell(k)
	if err != nil {
		return nil, err
	}
	switch k.Part {
	case harness.PartBag:
		return &cellPart{txn: b.txn, cell: cell, to: state.After(""), one: true}, nil
	case harness.PartMapValues:
		return &cellPart{txn: b.txn, cell: cell, from: string(k.MapKey), to: state.After(string(k.MapKey)), one: true}, nil
	case harness.PartMapKeys:
		return &cellNames{b.txn, cell, func(name string) ([]byte, error) { return []byte(name), nil }}, nil
	case harness.PartMapEntries:
		return b.mapEntries(ctx, cell, k)
	case harness.PartOrderedList:
		if k.Start >= k.End {
			return listOf(nil), nil
		}
		return &cellPart{txn: b.txn, cell: cell, from: sortName(k.Start), to: sortName(k.End)}, nil
	}
	return nil, errPart
}

// mapEntries reads each key of a multimap with the iterable of its values,
// which the runner has to count.
func (b *bundleState) mapEntries(ctx context.Context, cell state.Cell, k harness.UserStateKey) (paged, error) {
	spec, err := b.spec(k)
	if err != nil {
		return nil, err
	}
	if spec.Value == nil && (spec.Split == 0 || b.split == nil) {
		return nil, fmt.Errorf("%w: its values cannot be told apart", errPart)
	}
	if spec.Value == nil {
		return b.splitEntries(ctx, spec.Split, cell)
	}
	return &cellNames{b.txn, cell, func(name string) ([]byte, error) {
		chunks, err := state.Get(b.txn, cell, name)
		if err != nil {
			return nil, err
		}
		count, err := countValues(spec.Value, chunks)
		entry := binary.BigEndian.AppendUint32([]byte(name), count)
		return append(entry, slices.Concat(chunks...)...), err
	}}, nil
}

// countValues counts the encoded values of chunks.
func countValues(value *coder.Coder, chunks [][]byte) (count uint32, err error) {
	for _, c := range chunks {
		for at := 0; at < len(c); count++ {
			n, err := value.Measure(c[at:])
			if err == nil && n == 0 {
				err = coder.ErrMalformed // values of no byte leave none to count
			}
			if err != nil {
				return 0, fmt.Errorf("value %v: %w", value, err)
			}
			at += n
		}
	}
	return count, nil
}

// Append adds values to user state.
func (b *bundleState) Append(_ context.Context, key harness.StateKey, data []byte) error {
	return b.write("append", key, func(cell state.Cell, k harness.UserStateKey) error {
		switch k.Part {
		case harness.PartBag:
			return b.txn.Append(cell, "", data)
		case harness.PartMapValues:
			if len(data) == 0 {
				// The value of a set's member may have no byte; the member is there
				// all the same. Where nothing else tells, SDKs read it from one.
				data = []byte{0}
			}
			return b.txn.Append(cell, string(k.MapKey), data)
		case harness.PartOrderedList:
			return b.appendSorted(cell, k, data)
		case harness.PartMapKeys, harness.PartMapEntries:
		}
		return errReadOnly
	})
}

// appendSorted adds entries to an ordered list: each is a sort key as varint
// and a value. Both are kept as they came, under the sort key.
func (b *bundleState) appendSorted(cell state.Cell, k harness.UserStateKey, data []byte) error {
	spec, err := b.spec(k)
	if err != nil {
		return err
	}
	if spec.Value == nil {
		return errPart
	}
	for len(data) > 0 {
		at, n := binary.Uvarint(data)
		if n <= 0 {
			return fmt.Errorf("sort key: %w", coder.ErrMalformed)
		}
		m, err := spec.Value.Measure(data[n:])
		if err != nil {
			return fmt.Errorf("value %v: %w", spec.Value, err)
		}
		if err := b.txn.Append(cell, sortName(int64(at)), data[:n+m]); err != nil {
			return err
		}
		data = data[n+m:]
	}
	return nil
}

// Clear empties user state.
func (b *bundleState) Clear(_ context.Context, key harness.StateKey) error {
	return b.write("clear", key, func(cell state.Cell, k harness.UserStateKey) error {
		switch k.Part {
		case harness.PartBag, harness.PartMapKeys, harness.PartMapEntries:
			return b.txn.ClearAll(cell)
		case harness.PartMapValues:
			return b.txn.Clear(cell, string(k.MapKey))
		case harness.PartOrderedList:
			return b.clearRange(cell, k.Start, k.End)
		}
		return errReadOnly
	})
}

func (b *bundleState) clearRange(cell state.Cell, start, end int64) error {
	if start >= end {
		return nil
	}
	var failed error
	err := b.txn.Names(cell, sortName(start), sortName(end), func(name string) bool {
		failed = b.txn.Clear(cell, name)
		return failed == nil
	})
	return cmp.Or(failed, err)
}

// sortName names the entries of a sort key: 8 bytes whose order is that of the
// signed key.
func sortName(at int64) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(at)^(1<<63)))
}

func (b *bundleState) write(op string, key harness.StateKey, f func(state.Cell, harness.UserStateKey) error) error {
	b.requests.Add(1)
	k, ok := key.(harness.UserStateKey)
	if !ok {
		return b.wrap(op, key, errReadOnly)
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.ended {
		return b.wrap(op, key, errEnded)
	}
	cell, err := b.cell(k)
	if err == nil {
		b.written.add(k.Key, k.Window)
		err = f(cell, k)
	}
	return b.wrap(op, key, err)
}

// wrap says which state of which stage an error is about.
func (b *bundleState) wrap(op string, key harness.StateKey, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, shuffle.ErrDisk) {
		broken := err // a copy, so that no other call allocates
		b.broken.Store(&broken)
	}
	switch k := key.(type) {
	case harness.SideInputKey:
		return fmt.Errorf("%s side input %s of %s: %w", op, k.Tag, k.Transform, err)
	case harness.UserStateKey:
		return fmt.Errorf("%s state %s of %s: %w", op, k.State, k.Transform, err)
	case harness.PageKey:
		return fmt.Errorf("%s value %s in stage %s: %w", op, k.Token, b.stage.Name, err)
	}
	return err
}
