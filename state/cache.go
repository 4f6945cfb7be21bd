package state

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// Params are the settings of a Cache.
type Params struct {
	// Open opens the table when the cache must grow no more, and no sooner. It
	// is empty. Nil keeps everything in memory.
	Open func() (Table, error)
	// Over says that the cache is to shrink while it takes used bytes; nil is never.
	Over func(used int64) bool
	// Used is told by how much more or less memory the cache takes, give or take a
	// few KiB; may be nil.
	Used func(change int64)
	// BatchBytes is how much is written at a time; default 256 KiB.
	BatchBytes int
	// LoadBytes is how large a cell may be to be read from the table at once;
	// larger ones are read piece by piece, and not kept. Default 64 KiB.
	LoadBytes int
	// Lasting makes the store outlive its process; nil for not at all. It takes the
	// place of Open.
	Lasting *Lasting
}

// Cache is a Store that keeps cells in memory, and on disk what is too much.
type Cache struct {
	params Params
	seed   maphash.Seed
	shards [shardCount]shard
	used   atomic.Int64
	untold atomic.Int64 // how much of used was not told yet
	// table is nil until it is needed. It is read under the lock of a shard by
	// whoever concludes from it that something is nowhere.
	table  atomic.Pointer[Reader]
	failed atomic.Pointer[error] // by which writing has failed
	names  *names
	row    atomic.Uint64 // the number of the last row, but for those of number 0
	lasts  lasts

	evicting sync.Mutex // held by who evicts
	// What follows is guarded by evicting.
	spill Table // which this cache writes itself; nil if there is none
	hand  int   // the shard to look at next
}

const shardCount = 16

// shard has a part of the cells, each in one of two ways.
type shard struct {
	mu      sync.Mutex
	small   small            // guarded by mu
	cells   map[string]*cell // guarded by mu; by key
	scratch []byte           // guarded by mu
	graves  graves           // guarded by mu
	_       [64]byte         // of another line of the processor's cache
}

// cell is what the cache knows of a cell. If its overlay hides what is below,
// that is all there is: of what is on disk the entries say how much they have.
type cell struct {
	overlay
	size int
	// below says that there may be rows of it on disk, void that they are to be
	// deleted.
	below, void bool
	// used says that it was used since it was last looked at by who evicts,
	// large that it is not worth a try to load it.
	used, large bool
	// version counts the flights that began or ended; flying says that one is
	// under way.
	version int
	flying  bool
	// seq is the commit that has touched it last, hand the entry to look at next for
	// who forgets.
	seq  uint64
	hand string
}

// New makes a store, which is empty unless it is a lasting one. If what that has
// cannot be read, whoever reads or settles is told.
func New(p Params) *Cache {
	if p.BatchBytes == 0 {
		p.BatchBytes = 256 << 10
	}
	if p.LoadBytes == 0 {
		p.LoadBytes = 64 << 10
	}
	s := &Cache{params: p, seed: maphash.MakeSeed(), names: &names{}}
	for i := range s.shards {
		s.shards[i].cells = make(map[string]*cell)
	}
	if p.Lasting != nil {
		if err := s.open(p.Lasting); err != nil {
			s.failed.Store(&err)
		}
	}
	return s
}

// NewMemory makes an empty store that keeps everything in memory.
func NewMemory() *Cache { return New(Params{}) }

// Begin opens a transaction.
func (s *Cache) Begin() Txn { return &txn{store: s, writes: make(map[string]*overlay)} }

// Close drops all cells and removes the table.
func (s *Cache) Close() error {
	s.evicting.Lock()
	defer s.evicting.Unlock()
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.cells, sh.small, sh.graves = make(map[string]*cell), small{}, graves{}
		sh.mu.Unlock()
	}
	s.grow(-s.used.Load())
	if s.params.Used != nil {
		s.params.Used(s.untold.Swap(0))
	}
	s.table.Store(nil)
	if s.spill == nil {
		return nil
	}
	defer func() { s.spill = nil }()
	return s.spill.Close()
}

// grow enters that the cache takes n bytes more.
func (s *Cache) grow(n int64) {
	if n == 0 {
		return
	}
	s.used.Add(n)
	if s.params.Used == nil {
		return
	}
	if untold := s.untold.Add(n); untold > untoldMax || untold < -untoldMax {
		s.params.Used(s.untold.Swap(0))
	}
}

// untoldMax is how much is not told at once: many change little.
const untoldMax = 4 << 10

// key appends the key of a cell.
func (s *Cache) key(b []byte, c *Cell) []byte {
	return appendCell(b, s.names.of(Name{c.Transform, c.State}).number, c)
}

func (s *Cache) hash(key string) uint64 { return maphash.String(s.seed, key) }

// lookUp returns what the cache has of a cell in the range [from, to), and the
// rows that it does not hide; nil if it hides all.
func (s *Cache) lookUp(key []byte, from, to string) (l layer, rows Rows, err error) {
	hash := maphash.Bytes(s.seed, key)
	sh := &s.shards[hash%shardCount]
	if err := s.failed.Load(); err != nil {
		return layer{}, nil, *err
	}
	// Who evicts may be faster than who reads: then it is read piece by piece.
	for tries := 0; ; tries++ {
		sh.mu.Lock()
		if one := find(&sh.small, hash, key); one != nil {
			one[0] |= slotUsed
			l = one.look(from)
			sh.mu.Unlock()
			return l, nil, s.helpAfter(tries)
		}
		c := sh.cells[string(key)]
		table := s.table.Load()
		if c == nil && table == nil {
			sh.mu.Unlock()
			return layer{hides: true}, nil, nil
		}
		if c.toLoad() && tries < loadTries {
			if of, few := c.outline(); few {
				sh.mu.Unlock()
				if err := s.load(sh, hash, *table, key, of); err != nil {
					return layer{}, nil, err
				}
				continue
			}
			c.large = true
		}
		if c != nil {
			c.used = true
			l = c.look(from, to)
		}
		if !l.hides && !l.tells(from, to) {
			rows, err = openRows(*table, key, from, to)
		}
		sh.mu.Unlock()
		return l, rows, cmp.Or(err, s.helpAfter(tries))
	}
}

// smallValue returns the entry "" of a cell that has no other, or of one of which
// nothing is known and nothing can be; ok is false if it is neither.
func (s *Cache) smallValue(key []byte) (value []byte, ok bool) {
	if s.failed.Load() != nil {
		return nil, false
	}
	hash := maphash.Bytes(s.seed, key)
	sh := &s.shards[hash%shardCount]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if one := find(&sh.small, hash, key); one != nil {
		one[0] |= slotUsed
		return append([]byte(nil), one.value()...), true
	}
	return nil, sh.cells[string(key)] == nil && s.table.Load() == nil
}

// helpAfter makes room for what was read, if anything was.
func (s *Cache) helpAfter(loads int) error {
	if loads == 0 {
		return nil
	}
	return s.help()
}

// loadTries is how often a cell is read from the table to be kept.
const loadTries = 2

// toLoad says that the cell should be read from the table as a whole. It may be nil.
func (c *cell) toLoad() bool { return c == nil || !c.hides && !c.large && !c.flying }

// outline is a cell before it is loaded.
type outline struct {
	cell    *cell
	version int
	// entries hide rows, and say up to which those count that they do not hide.
	entries layer
}

// outline returns that of a cell, which may be nil; few is false if it has many
// entries.
func (c *cell) outline() (o outline, few bool) {
	if c == nil {
		return outline{}, true
	}
	o = outline{cell: c, version: c.version, entries: c.look("", "")}
	for i := range o.entries.entries {
		o.entries.entries[i].chunks, o.entries.entries[i].tail = nil, nil
	}
	return o, !o.entries.ends
}

// tells says that the range [from, to) is one entry, and that the layer has all
// of it.
func (l *layer) tells(from, to string) bool {
	return len(l.entries) == 1 && l.entries[0].hides && l.entries[0].name == from && to == After(from)
}

func openRows(table Reader, key []byte, from, to string) (Rows, error) {
	key = key[:len(key):len(key)]
	upper := behind(key)
	if to != "" {
		upper = appendName(key, to)
	}
	return table.Rows(key, appendRow(key, from, 0), upper)
}

// load reads a cell, if it is small, and lays what is in memory over it. In
// memory it was as outlined: whoever evicts may have come in between.
func (s *Cache) load(sh *shard, hash uint64, table Reader, key []byte, before outline) error {
	loaded, whole, err := s.readCell(table, key, before.entries)
	if err != nil {
		return err
	}
	sh.mu.Lock()
	c := sh.cells[string(key)]
	switch {
	case c != before.cell || c != nil && c.version != before.version || find(&sh.small, hash, key) != nil:
		sh.mu.Unlock()
		return nil
	case c == nil && whole && s.keepSmall(sh, hash, string(key), &loaded):
		sh.mu.Unlock()
		return nil
	case c == nil:
		c = &cell{below: s.params.Lasting == nil && (!whole || !loaded.entries.empty()), size: cellBytes + len(key), used: true}
		sh.cells[string(key)] = c
		s.grow(int64(c.size))
	}
	c.large = !whole
	if whole {
		before := c.size
		c.fill(&loaded)
		s.grow(int64(c.size - before))
	}
	sh.mu.Unlock()
	return nil
}

// readCell reads a cell that is not too large, as far as what is above does not
// hide it; whole is false if it is.
func (s *Cache) readCell(table Reader, key []byte, above layer) (o overlay, whole bool, err error) {
	rows, err := openRows(table, key, "", "")
	if err != nil {
		return o, false, fmt.Errorf("open rows: %w", err)
	}
	defer func() {
		if closeErr := rows.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("close rows: %w", closeErr)
		}
	}()
	o.hides = true
	size, count := 0, 0
	sc := &scanner{key: key, rows: rows, mid: above}
	sc.f = func(p Piece) bool {
		e, _ := o.entries.put(p.Entry)
		e.hides = true
		e.rows, count = e.rows+int32(sc.count-count), sc.count
		e.many = e.many || p.Next.Row > 1
		e.chunks = append(e.chunks, p.Data)
		e.size += chunkBytes + cap(p.Data)
		size += len(p.Data) + len(p.Entry) + entryBytes
		return size <= s.params.LoadBytes
	}
	if err := sc.run(); err != nil {
		return o, false, fmt.Errorf("read rows: %w", err)
	}
	return o, size <= s.params.LoadBytes, nil
}

// fill puts what was read below what the cell has, which did not hide it.
func (c *cell) fill(read *overlay) {
	read.entries.ascend("", func(r *entry) bool {
		e, isNew := c.entries.put(r.name)
		if !isNew && e.hides {
			return true
		}
		e.chunks = append(r.chunks, e.chunks...)
		e.clean = len(r.chunks)
		e.rows, e.many = e.rows+r.rows, e.many || r.many
		e.size += r.size
		c.size += r.size
		if isNew {
			c.size += entryBytes + len(e.name)
		}
		return true
	})
	c.hides = true
	c.entries.ascend("", func(e *entry) bool {
		e.hides = true
		return true
	})
}

// apply lays the writes of a transaction over a cell.
func (s *Cache) apply(key string, w *overlay, seq uint64) {
	hash := s.hash(key)
	sh := &s.shards[hash%shardCount]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	// Where nothing of the cell is left, the table must not be asked for it.
	keep := s.lasts.keep.Load()
	if s.applySmall(sh, hash, key, w, seq, keep) {
		return
	}
	c := sh.cells[key]
	before := 0
	if c == nil {
		below := s.table.Load() != nil
		c = &cell{overlay: overlay{hides: !below}, below: below && s.params.Lasting == nil, size: cellBytes + len(key)}
		sh.cells[key] = c
	} else {
		before = c.size
	}
	c.used, c.seq = true, seq
	if w.hides {
		c.entries, c.hides, c.large = entries{}, true, false
		c.void = c.void || c.below
		c.size = cellBytes + len(key)
	}
	w.entries.ascend("", func(e *entry) bool {
		if c.lay(e, seq, keep) {
			s.bury(sh, grave{key: key, entry: e.name, seq: seq, inCell: true})
		}
		return true
	})
	switch {
	case c.spent() && keep && c.hides:
		s.bury(sh, grave{key: key, seq: seq})
	case c.spent():
		delete(sh.cells, key)
		s.grow(int64(-before))
		return
	}
	s.grow(int64(c.size - before))
}

// spent says that the cell has nothing to tell, but that it is empty.
func (c *cell) spent() bool { return c.entries.empty() && !c.void }

// lay lays the writes of a transaction over an entry. It says whether the entry
// is empty and kept.
func (c *cell) lay(w *entry, seq uint64, keep bool) (emptied bool) {
	e, isNew := c.entries.put(w.name)
	if isNew {
		e.hides = c.hides
	} else {
		c.size -= e.bytes()
	}
	if w.hides {
		e.clear()
		e.void = c.below && !c.void
	} else if e.row == 0 {
		e.row = w.row
	}
	e.seq, e.rows, e.many = seq, e.rows+w.rows, e.many || w.rows > 1 || w.row > 0
	for _, chunk := range w.chunks {
		e.append(chunk)
	}
	if len(w.tail) > 0 {
		e.append(w.tail)
	}
	emptied = e.blank()
	if emptied && c.hides && !e.void && !keep {
		c.entries.remove(w.name)
		return false
	}
	c.size += e.bytes()
	return emptied && keep
}
