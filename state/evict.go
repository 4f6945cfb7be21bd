package state

import (
	"context"
	"fmt"
)

// flight is what is written in one batch, of one shard.
type flight struct {
	shard *shard
	cells []flyingCell
	small []string // the keys of small cells that are written
	batch Batch
	freed int64 // the memory that is
	seen  int   // entries that were looked at
	// horizon says what is not in the table, where commits write it.
	horizon horizon
}

// full says that the batch has so many bytes; a flight that writes nothing has
// none.
func (f *flight) full(bytes int) bool { return f.batch != nil && f.batch.Len() >= bytes }

// flyingCell is a cell that is written and forgotten, with the names of the
// entries of which that is true.
type flyingCell struct {
	key   string
	cell  *cell
	names []string
}

// lookMax is how many entries are looked at under the lock of a shard.
const lookMax = 4096

func (s *Cache) over() bool {
	used := s.used.Load()
	return (s.params.Open != nil || s.params.Lasting != nil) && s.params.Over != nil && used > 0 && s.params.Over(used)
}

// relieve evicts cells as long as there are too many, after those who are at it.
// If all are of commits that are not in the table, it waits for these once.
func (s *Cache) relieve() error {
	waited := s.params.Lasting == nil
	for s.over() {
		s.evicting.Lock()
		progress, err := s.evict()
		s.evicting.Unlock()
		if err != nil || !progress && waited {
			return err
		}
		if !progress {
			waited = true
			// Nobody needs to end this: commits get to the disk or fail.
			if err := s.params.Lasting.Wait(context.Background(), s.lasts.applied.Load()); err != nil {
				return fmt.Errorf("make room for state: %w", err)
			}
		}
	}
	return nil
}

// help evicts cells as long as there are too many and nobody else does.
func (s *Cache) help() error {
	for s.over() && s.evicting.TryLock() {
		progress, err := s.evict()
		s.evicting.Unlock()
		if err != nil || !progress {
			return err
		}
	}
	return nil
}

// evict evicts what fits a batch. It makes no progress if there is nothing that
// could be. It is called under the lock of who evicts.
func (s *Cache) evict() (progress bool, err error) {
	if !s.over() {
		return true, nil
	}
	if err := s.failed.Load(); err != nil {
		return false, *err
	}
	if s.params.Lasting != nil && !s.resort() {
		return false, nil
	}
	if err := s.openTable(); err != nil {
		s.failed.Store(&err)
		return false, err
	}
	// The first look at a cell that was used only notes that. So two are enough for
	// each cell that there may be.
	for range 2*shardCount + 1 + 2*s.used.Load()/(slotBytes*lookMax) {
		f := &flight{shard: &s.shards[s.hand]}
		s.hand = (s.hand + 1) % shardCount
		if err := s.fly(f); err != nil {
			err = fmt.Errorf("write back state: %w", err)
			s.failed.Store(&err)
			return false, err
		}
		if f.freed > 0 {
			return true, nil
		}
	}
	return false, nil
}

// openTable opens the table, if it was not yet.
func (s *Cache) openTable() error {
	if s.table.Load() != nil {
		return nil
	}
	t, err := s.params.Open()
	if err != nil {
		return fmt.Errorf("open table of state: %w", err)
	}
	s.spill = t
	var below Reader = t
	s.table.Store(&below)
	return nil
}

// fly writes a batch from a shard and forgets what is in it.
func (s *Cache) fly(f *flight) (err error) {
	if s.params.Lasting != nil {
		return s.forget(f)
	}
	f.batch = s.spill.Batch()
	defer func() {
		if closeErr := f.batch.Close(); err == nil {
			err = closeErr
		}
	}()
	f.shard.mu.Lock()
	if err = s.departSmall(f); err == nil {
		err = s.depart(f)
	}
	f.shard.mu.Unlock()
	if err != nil {
		return err
	}
	if f.batch.Len() > 0 {
		if err := f.batch.Commit(); err != nil {
			return err
		}
	}
	f.shard.mu.Lock()
	s.arriveSmall(f)
	for i := range f.cells {
		f.freed += f.arrive(&f.cells[i])
	}
	f.shard.mu.Unlock()
	s.grow(-f.freed)
	return nil
}

// depart picks cells and puts what is not on disk into the batch. It is called
// under the lock of the shard.
func (s *Cache) depart(f *flight) error {
	left := int64(s.params.BatchBytes)
	for key, c := range f.shard.cells {
		if c.used {
			f.seen++
			c.used = false
		} else if err := s.departCell(f, key, c); err != nil {
			return err
		} else {
			left -= int64(c.size)
		}
		if f.seen >= lookMax || f.batch.Len() >= s.params.BatchBytes || left < 0 {
			return nil
		}
	}
	return nil
}

// departCell puts what is not on disk of a cell into the batch, as far as that
// has room.
func (s *Cache) departCell(f *flight, key string, c *cell) (err error) {
	kind := s.names.at(cellNumber(key))
	k := []byte(key)
	if c.void {
		if err := kind.deleteCell(f.batch, k, c); err != nil {
			return err
		}
		c.void = false
	}
	one := flyingCell{key: key, cell: c}
	c.version, c.flying = c.version+1, true
	before := f.batch.Len()
	c.entries.ascend("", func(e *entry) bool {
		f.seen++
		one.names = append(one.names, e.name)
		size := e.size
		err = s.departEntry(f.batch, kind, k, e)
		c.size += e.size - size
		f.freed -= int64(e.size - size)
		return err == nil && f.seen < lookMax && f.batch.Len() < s.params.BatchBytes
	})
	c.below = c.below || f.batch.Len() > before
	f.cells = append(f.cells, one)
	return err
}

func (k *kind) deleteCell(b Batch, key []byte, c *cell) error {
	if k.multiple() {
		return b.DeleteRange(key, behind(key))
	}
	if e := c.entries.get(""); e != nil && !e.blank() {
		return nil // it is overwritten
	}
	return b.Delete(appendRow(key, "", 0))
}

func (s *Cache) departEntry(b Batch, kind *kind, key []byte, e *entry) error {
	key = key[:len(key):len(key)]
	if e.void {
		e.void = false
		var err error
		switch {
		case kind.has.Load()&(1<<traitMany) != 0:
			err = b.DeleteRange(appendRow(key, e.name, 0), appendBehind(key, e.name))
		case e.blank():
			err = b.Delete(appendRow(key, e.name, 0))
		}
		if err != nil {
			return err
		}
	}
	e.seal()
	if len(e.chunks) == e.clean {
		return nil
	}
	row := uint64(0)
	if !e.hides || e.clean > 0 {
		row = s.row.Add(1)
	}
	e.row, e.flying = row, len(e.chunks)-e.clean
	for left := e.chunks[e.clean:]; len(left) > 0; {
		n, size := 1, len(left[0])
		for n < len(left) && size+len(left[n]) <= rowBytesMax {
			size += len(left[n])
			n++
		}
		value := left[0]
		if n > 1 {
			value = make([]byte, 0, size)
			for _, c := range left[:n] {
				value = append(value, c...)
			}
		}
		kind.has.Or(traitsOf(e.name, row))
		if err := b.Set(appendRow(key, e.name, row), value); err != nil {
			return err
		}
		left = left[n:]
		row = s.row.Add(1)
	}
	return nil
}

// arrive notes that the batch is written, and forgets what is on disk, unless the
// cell was emptied meanwhile. It returns the memory that is free now. It is
// called under the lock of the shard.
func (f *flight) arrive(one *flyingCell) (freed int64) {
	c := one.cell
	if f.shard.cells[one.key] != c {
		return 0 // emptied meanwhile
	}
	c.version, c.flying = c.version+1, false
	before := c.size
	for _, name := range one.names {
		e := c.entries.get(name)
		if e == nil {
			continue
		}
		e.clean += e.flying
		e.flying, e.row = 0, 0
		if c.void {
			continue
		}
		c.size -= e.bytes()
		c.hides = false
		e.drop()
		if e.blank() && !e.void {
			c.entries.remove(name)
			continue
		}
		c.size += e.bytes()
	}
	if c.spent() {
		delete(f.shard.cells, one.key)
		return int64(before)
	}
	return int64(before - c.size)
}
