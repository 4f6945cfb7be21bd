package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/state"
)

// bundleState answers the state requests of one bundle, as long as it runs. It
// implements harness.State.
type bundleState struct {
	views *views
	txn   state.Txn
	stage *plan.Stage
	input []element.Block

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

// Get reads a page.
func (b *bundleState) Get(_ context.Context, key harness.StateKey, token []byte) (page, next []byte, err error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.ended {
		return nil, nil, b.wrap("get", key, errEnded)
	}
	chunks, err := b.chunks(key)
	if err != nil {
		return nil, nil, b.wrap("get", key, err)
	}
	i, err := readToken(token, len(chunks))
	if err != nil {
		return nil, nil, b.wrap("get", key, err)
	}
	if len(chunks) == 0 {
		return nil, nil, nil
	}
	page, n := join(chunks[i:])
	if i+n < len(chunks) {
		next = binary.AppendUvarint(nil, uint64(i+n))
	}
	return page, next, nil
}

// join makes a page of the first n chunks, as many as fit and at least one: a
// bag may consist of many small ones, and each page is a round trip.
func join(chunks [][]byte) (page []byte, n int) {
	size := len(chunks[0])
	for n = 1; n < len(chunks) && size+len(chunks[n]) <= pageBytes; n++ {
		size += len(chunks[n])
	}
	if n == 1 {
		return chunks[0], 1
	}
	return slices.Concat(chunks[:n]...), n
}

// readToken returns the chunk that a continuation token names.
func readToken(token []byte, chunks int) (int, error) {
	if len(token) == 0 {
		return 0, nil
	}
	i, n := binary.Uvarint(token)
	if n != len(token) || i >= uint64(chunks) {
		return 0, errToken
	}
	return int(i), nil
}

func (b *bundleState) chunks(key harness.StateKey) ([][]byte, error) {
	switch k := key.(type) {
	case harness.SideInputKey:
		return b.sideInput(k)
	case harness.UserStateKey:
		return b.userState(k)
	case harness.PageKey:
		for i := range b.input {
			for _, p := range b.input[i].Pages {
				if p.Token == k.Token {
					return p.Chunks, nil
				}
			}
		}
	}
	return nil, errNoPage
}

func (b *bundleState) sideInput(k harness.SideInputKey) ([][]byte, error) {
	for _, side := range b.stage.SideInputs {
		if side.Transform != k.Transform || side.Tag != k.Tag {
			continue
		}
		v := b.views.edges[side.Edge]
		if k.Part == harness.PartIterable {
			index, err := v.iterable()
			if err != nil {
				return nil, err
			}
			return index[string(k.Window)].all(), nil
		}
		if side.Access != plan.AccessMultimap {
			return nil, errPart
		}
		index, err := v.multimap()
		if err != nil {
			return nil, err
		}
		w := index[string(k.Window)]
		if w == nil {
			return nil, nil
		}
		switch k.Part {
		case harness.PartValues:
			return w.values[string(k.Key)].all(), nil
		case harness.PartKeys:
			return w.keyPages().all(), nil
		case harness.PartEntries:
			return w.entryPages().all(), nil
		case harness.PartIterable:
		}
		return nil, errPart
	}
	return nil, errNoSideInput
}

// all returns the chunks, none for no pages.
func (p *pages) all() [][]byte {
	if p == nil {
		return nil
	}
	return p.chunks
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

func (b *bundleState) userState(k harness.UserStateKey) ([][]byte, error) {
	cell, err := b.cell(k)
	if err != nil {
		return nil, err
	}
	switch k.Part {
	case harness.PartBag:
		return b.txn.Get(cell, "")
	case harness.PartMapValues:
		return b.txn.Get(cell, string(k.MapKey))
	case harness.PartMapKeys:
		return b.entries(cell, func(p *pages, name string, _ [][]byte) { p.add([]byte(name)) })
	case harness.PartMapEntries:
		return b.mapEntries(cell, k)
	case harness.PartOrderedList:
		return b.entries(cell, func(p *pages, name string, chunks [][]byte) {
			if at := sortKey(name); at < k.Start || at >= k.End {
				return
			}
			for _, c := range chunks {
				p.add(c)
			}
		})
	}
	return nil, errPart
}

// mapEntries reads each key of a multimap with the iterable of its values,
// which the runner has to count.
func (b *bundleState) mapEntries(cell state.Cell, k harness.UserStateKey) ([][]byte, error) {
	spec, err := b.spec(k)
	if err != nil {
		return nil, err
	}
	if spec.Value == nil {
		return nil, fmt.Errorf("%w: its values cannot be told apart", errPart)
	}
	var malformed error
	chunks, err := b.entries(cell, func(p *pages, name string, chunks [][]byte) {
		var count uint32
		for _, c := range chunks {
			for at := 0; at < len(c); count++ {
				n, err := spec.Value.Measure(c[at:])
				if err == nil && n == 0 {
					err = coder.ErrMalformed // values of no byte leave none to count
				}
				if err != nil {
					malformed = errors.Join(malformed, fmt.Errorf("value %v: %w", spec.Value, err))
					return
				}
				at += n
			}
		}
		entry := binary.BigEndian.AppendUint32([]byte(name), count)
		p.add(append(entry, slices.Concat(chunks...)...))
	})
	return chunks, errors.Join(err, malformed)
}

// entries reads the entries of a cell, in order, into pages.
func (b *bundleState) entries(cell state.Cell, add func(p *pages, name string, chunks [][]byte)) ([][]byte, error) {
	names, err := b.txn.Entries(cell)
	if err != nil {
		return nil, err
	}
	p := &pages{}
	for _, name := range names {
		chunks, err := b.txn.Get(cell, name)
		if err != nil {
			return nil, err
		}
		add(p, name, chunks)
	}
	return p.chunks, nil
}

// Append adds values to user state.
func (b *bundleState) Append(_ context.Context, key harness.StateKey, data []byte) error {
	return b.write("append", key, func(cell state.Cell, k harness.UserStateKey) error {
		switch k.Part {
		case harness.PartBag:
			return b.txn.Append(cell, "", data)
		case harness.PartMapValues:
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
	names, err := b.txn.Entries(cell)
	if err != nil {
		return err
	}
	for _, name := range names {
		if at := sortKey(name); at >= start && at < end {
			if err := b.txn.Clear(cell, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// sortName names the entries of a sort key: 8 bytes whose order is that of the
// signed key.
func sortName(at int64) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(at)^(1<<63)))
}

// sortKey reads what sortName wrote.
func sortKey(name string) int64 {
	if len(name) != 8 {
		return math.MinInt64
	}
	return int64(binary.BigEndian.Uint64([]byte(name)) ^ (1 << 63))
}

func (b *bundleState) write(op string, key harness.StateKey, f func(state.Cell, harness.UserStateKey) error) error {
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
		err = f(cell, k)
	}
	return b.wrap(op, key, err)
}

// wrap says which state of which stage an error is about.
func (b *bundleState) wrap(op string, key harness.StateKey, err error) error {
	if err == nil {
		return nil
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
