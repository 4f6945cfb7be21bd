package state

import (
	"bytes"
	"maps"
	"slices"
	"sync"
)

// Memory is a Store that keeps everything in memory.
type Memory struct {
	mu    sync.RWMutex // guards cells, not the chunks, which never change
	cells map[Cell]entries
}

type entries map[string][][]byte

// NewMemory makes an empty store.
func NewMemory() *Memory { return &Memory{cells: make(map[Cell]entries)} }

// Begin opens a transaction.
func (m *Memory) Begin() Txn { return &memoryTxn{store: m, writes: make(map[Cell]*cellWrites)} }

// Close drops all cells.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cells = make(map[Cell]entries)
	return nil
}

func (m *Memory) get(cell Cell, entry string) [][]byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Clip(m.cells[cell][entry])
}

func (m *Memory) names(cell Cell) []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Collect(maps.Keys(m.cells[cell]))
}

// memoryTxn holds the writes of a bundle over what the store has.
type memoryTxn struct {
	store  *Memory
	mu     sync.Mutex // guards writes
	writes map[Cell]*cellWrites
}

// cellWrites are the changes to one cell: first cleared, then the entries.
type cellWrites struct {
	cleared bool
	entries map[string]*entryWrites
}

// entryWrites are the changes to one entry: first cleared, then appended.
type entryWrites struct {
	cleared  bool
	appended [][]byte
}

func (t *memoryTxn) cell(c Cell) *cellWrites {
	w := t.writes[c]
	if w == nil {
		w = &cellWrites{entries: make(map[string]*entryWrites)}
		t.writes[c] = w
	}
	return w
}

func (w *cellWrites) entry(name string) *entryWrites {
	e := w.entries[name]
	if e == nil {
		e = &entryWrites{}
		w.entries[name] = e
	}
	return e
}

// Get returns the stored chunks and the bundle's own.
func (t *memoryTxn) Get(c Cell, name string) ([][]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.writes[c]
	if w == nil {
		return t.store.get(c, name), nil
	}
	e := w.entries[name]
	if w.cleared || e != nil && e.cleared {
		if e == nil {
			return nil, nil
		}
		return slices.Clone(e.appended), nil
	}
	stored := t.store.get(c, name)
	if e == nil {
		return stored, nil
	}
	return slices.Concat(stored, e.appended), nil
}

// Entries returns the names of what Get would find.
func (t *memoryTxn) Entries(c Cell) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.writes[c]
	names := make(map[string]bool)
	if w == nil || !w.cleared {
		for _, name := range t.store.names(c) {
			names[name] = true
		}
	}
	if w != nil {
		for name, e := range w.entries {
			switch {
			case len(e.appended) > 0:
				names[name] = true
			case e.cleared:
				delete(names, name)
			}
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// Append adds a chunk. An append of nothing makes no entry: a value that
// encodes to no byte cannot be told from none in a run of values.
func (t *memoryTxn) Append(c Cell, name string, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.cell(c).entry(name)
	e.appended = append(e.appended, bytes.Clone(data))
	return nil
}

// Clear empties an entry.
func (t *memoryTxn) Clear(c Cell, name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	*t.cell(c).entry(name) = entryWrites{cleared: true}
	return nil
}

// ClearAll empties the cell.
func (t *memoryTxn) ClearAll(c Cell) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writes[c] = &cellWrites{cleared: true, entries: make(map[string]*entryWrites)}
	return nil
}

// Apply writes the changes to the store.
func (t *memoryTxn) Apply() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	for c, w := range t.writes {
		t.store.apply(c, w)
	}
	t.writes = nil
	return nil
}

func (m *Memory) apply(c Cell, w *cellWrites) {
	stored := m.cells[c]
	if stored == nil || w.cleared {
		stored = make(entries)
	}
	for name, e := range w.entries {
		if e.cleared {
			delete(stored, name)
		}
		if len(e.appended) > 0 {
			// Readers hold the old slice without a lock, and look no further
			// than its end.
			stored[name] = compact(append(stored[name], e.appended...))
		}
	}
	if len(stored) == 0 {
		delete(m.cells, c)
		return
	}
	m.cells[c] = stored
}

// compact joins the last chunks if they have become many and small, so that a
// bag which grows by single values is read in few pieces and costs little
// beside them. It changes no chunk and not the slice it was given.
func compact(chunks [][]byte) [][]byte {
	const chunkBytesMin, smallMax = 64 << 10, 16
	small := len(chunks)
	for small > 0 && len(chunks[small-1]) < chunkBytesMin {
		small--
	}
	if len(chunks)-small <= smallMax {
		return chunks
	}
	out := slices.Clone(chunks[:small])
	var tail []byte
	for _, c := range chunks[small:] {
		tail = append(tail, c...)
		if len(tail) >= chunkBytesMin {
			out, tail = append(out, tail), nil
		}
	}
	if tail != nil {
		out = append(out, tail)
	}
	return out
}
