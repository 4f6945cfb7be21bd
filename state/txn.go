package state

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// txn is a transaction of a Cache.
type txn struct {
	store *Cache
	mu    sync.Mutex
	// writes are what lies over the cells, by key; guarded by mu. size is the
	// memory that they take.
	writes map[string]*overlay
	size   int64
	// encoded are the writes as changes, where they are to last; guarded by mu.
	encoded *encoder
}

// Prompt says that there is no table.
func (t *txn) Prompt() bool { return t.store.table.Load() == nil }

// Scan goes through the transaction's own writes, the cache and the table.
func (t *txn) Scan(cell Cell, from Place, to string, f func(Piece) bool) error {
	return t.scan(cell, from, to, &scanner{f: f})
}

// Names is Scan for names.
func (t *txn) Names(cell Cell, from, to string, f func(string) bool) error {
	return t.scan(cell, Place{Entry: from}, to, &scanner{names: f})
}

// Value looks where a small entry is first.
func (t *txn) Value(cell Cell, name string) ([]byte, error) {
	if name == "" {
		var room [64]byte
		key := t.store.key(room[:0], &cell)
		t.mu.Lock()
		_, written := t.writes[string(key)]
		t.mu.Unlock()
		if !written {
			if value, ok := t.store.smallValue(key); ok {
				return value, nil
			}
		}
	}
	pieces, err := Get(t, cell, name)
	if len(pieces) == 1 {
		return pieces[0], err
	}
	return slices.Concat(pieces...), err
}

// scan scans as far as the layers can be seen at a time, and so on to the end.
func (t *txn) scan(cell Cell, from Place, to string, s *scanner) error {
	var room [64]byte
	s.key, s.to = t.store.key(room[:0], &cell), to
	for {
		s.from = from
		if err := t.part(s); err != nil {
			return err
		}
		end := s.end()
		if !s.more || end == to {
			return nil
		}
		from = Place{Entry: end}
	}
}

// part scans as far as the layers can be seen at a time.
func (t *txn) part(s *scanner) (err error) {
	s.top, s.mid, s.rows = layer{}, layer{}, nil
	t.mu.Lock()
	if w := t.writes[string(s.key)]; w != nil {
		s.top = w.look(s.from.Entry, s.to)
	}
	t.mu.Unlock()
	if !s.top.hides {
		if s.mid, s.rows, err = t.store.lookUp(s.key, s.from.Entry, s.to); err != nil {
			return err
		}
	}
	if s.rows == nil {
		return s.run()
	}
	err = s.run()
	if closeErr := s.rows.Close(); err == nil {
		err = closeErr
	}
	return err
}

// write changes what lies over a cell.
func (t *txn) write(cell *Cell, f func(*overlay)) {
	var room [64]byte
	key := t.store.key(room[:0], cell)
	t.mu.Lock()
	w := t.writes[string(key)]
	if w == nil {
		own := &struct { // most write one entry
			overlay
			one [1]entry
		}{}
		w = &own.overlay
		w.entries.first = own.one[:0]
		t.writes[string(key)] = w
		t.grow(cellBytes + len(key))
	}
	f(w)
	t.mu.Unlock()
}

// grow enters that the writes take n bytes more. Who calls it holds mu.
func (t *txn) grow(n int) {
	t.size += int64(n)
	t.store.grow(int64(n))
}

// Append adds a piece.
func (t *txn) Append(cell Cell, name string, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	t.write(&cell, func(w *overlay) {
		e, isNew := w.entries.put(name)
		before := e.bytes()
		if isNew {
			before = 0
		}
		if len(e.tail) > 0 && len(e.tail)+len(data) <= chunkBytesMax {
			e.append(data) // which copies it
		} else {
			e.append(bytes.Clone(data))
		}
		t.grow(e.bytes() - before)
	})
	return nil
}

// Clear empties an entry.
func (t *txn) Clear(cell Cell, name string) error {
	t.write(&cell, func(w *overlay) {
		if w.hides {
			if e := w.entries.get(name); e != nil {
				t.grow(-e.bytes())
				w.entries.remove(name)
			}
			return
		}
		e, isNew := w.entries.put(name)
		if !isNew {
			t.grow(-e.bytes())
		}
		e.clear()
		t.grow(e.bytes())
	})
	return nil
}

// Replace empties an entry and adds a piece.
func (t *txn) Replace(cell Cell, name string, data []byte) error {
	t.write(&cell, func(w *overlay) {
		e, isNew := w.entries.put(name)
		if !isNew {
			t.grow(-e.bytes())
		}
		e.clear()
		if len(data) > 0 {
			e.append(bytes.Clone(data))
		}
		t.grow(e.bytes())
	})
	return nil
}

// ClearAll empties the cell.
func (t *txn) ClearAll(cell Cell) error {
	t.write(&cell, func(w *overlay) {
		freed := 0
		w.entries.ascend("", func(e *entry) bool {
			freed += e.bytes()
			return true
		})
		*w = overlay{hides: true}
		t.grow(-freed)
	})
	return nil
}

// Settle makes room, and encodes what is to last.
func (t *txn) Settle() error {
	if err := t.store.relieve(); err != nil {
		return err
	}
	if err := t.store.failed.Load(); err != nil {
		return *err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.encode()
	return nil
}

// Changes are what lasts.
func (t *txn) Changes() *Changes {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.encode(); t.encoded == nil {
		return nil
	}
	return t.encoded.out
}

// Apply lays the writes over the cache.
func (t *txn) Apply(seq uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.store.params.Lasting != nil && len(t.writes) > 0 {
		last := t.store.lasts.applied.Load()
		if t.encoded != nil && t.encoded.out.Len() == 0 {
			seq = last // nothing is different for the table
		}
		if t.encoded == nil || seq < last {
			return fmt.Errorf("%w: number %d after %d", errCommit, seq, last)
		}
		t.store.begin(seq)
		t.encoded.applied()
	}
	for key, w := range t.writes {
		t.store.apply(key, w, seq)
	}
	t.forget()
	return nil
}

var errCommit = errors.New("state that lasts is applied with no commit of it")

// Drop forgets the writes.
func (t *txn) Drop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget()
}

func (t *txn) forget() {
	t.store.grow(-t.size)
	t.writes, t.size, t.encoded = nil, 0, nil
}
