package statetest

import (
	"bytes"
	"slices"
	"sync"

	"github.com/gorunner/gorunner/state"
)

// Table is a state.Table in memory, for tests of what is above it.
type Table struct {
	// Before is called before a batch is committed, Written after that, as other
	// goroutines may come in between; both may be nil. An error fails the batch.
	Before  func() error
	Written func()

	mu   sync.Mutex
	rows []row // sorted by key, never changed in place; guarded by mu
	open int   // views that are open; guarded by mu
}

type row struct{ key, value []byte }

func find(rows []row, key []byte) (int, bool) {
	return slices.BinarySearchFunc(rows, key, func(r row, key []byte) int { return bytes.Compare(r.key, key) })
}

// Len is the number of rows.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.rows)
}

// Open is the number of views that are open.
func (t *Table) Open() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open
}

// Rows opens a view.
func (t *Table) Rows(_, from, to []byte) (state.Rows, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	begin, _ := find(t.rows, from)
	end := len(t.rows)
	if to != nil {
		end, _ = find(t.rows, to)
	}
	t.open++
	return &view{table: t, rows: t.rows[begin:max(begin, end)]}, nil
}

// Batch makes an empty batch.
func (t *Table) Batch() state.Batch { return &batch{table: t} }

// Close forgets all rows.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = nil
	return nil
}

type view struct {
	table *Table
	rows  []row
	at    int
}

func (v *view) Seek(key []byte) error {
	v.at, _ = find(v.rows, key)
	return nil
}

func (v *view) Next() error {
	v.at++
	return nil
}

func (v *view) Key() []byte {
	if v.at >= len(v.rows) {
		return nil
	}
	return v.rows[v.at].key
}

func (v *view) Value() ([]byte, error) { return v.rows[v.at].value, nil }

func (v *view) Close() error {
	v.table.mu.Lock()
	defer v.table.mu.Unlock()
	v.table.open--
	return nil
}

type batch struct {
	table *Table
	ops   []func([]row) []row
	size  int
}

func (b *batch) add(size int, op func([]row) []row) error {
	b.size += size
	b.ops = append(b.ops, op)
	return nil
}

func (b *batch) Set(key, value []byte) error {
	r := row{bytes.Clone(key), bytes.Clone(value)}
	return b.add(len(key)+len(value), func(rows []row) []row {
		i, found := find(rows, r.key)
		if found {
			rows[i] = r
			return rows
		}
		return slices.Insert(rows, i, r)
	})
}

func (b *batch) Delete(key []byte) error {
	key = bytes.Clone(key)
	return b.add(len(key), func(rows []row) []row {
		if i, found := find(rows, key); found {
			return slices.Delete(rows, i, i+1)
		}
		return rows
	})
}

func (b *batch) DeleteRange(from, to []byte) error {
	from, to = bytes.Clone(from), bytes.Clone(to)
	return b.add(len(from)+len(to), func(rows []row) []row {
		begin, _ := find(rows, from)
		end := len(rows)
		if to != nil {
			end, _ = find(rows, to)
		}
		return slices.Delete(rows, begin, max(begin, end))
	})
}

func (b *batch) Len() int { return b.size }

func (b *batch) Commit() error {
	if b.table.Before != nil {
		if err := b.table.Before(); err != nil {
			return err
		}
	}
	b.table.mu.Lock()
	rows := slices.Clone(b.table.rows)
	for _, op := range b.ops {
		rows = op(rows)
	}
	b.table.rows = rows
	b.table.mu.Unlock()
	if b.table.Written != nil {
		b.table.Written()
	}
	return nil
}

func (b *batch) Close() error { return nil }
