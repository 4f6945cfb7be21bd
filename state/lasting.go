package state

import (
	"context"
	"fmt"
	"sync/atomic"
)

// Lasting is what a store needs to outlive its process: a table whose rows others
// write, with the commits that the transactions are part of.
type Lasting struct {
	// Table has the rows of all commits up to Durable, or some more.
	Table Reader
	// Durable is the number of the last commit that is in the table to stay.
	Durable func() uint64
	// Wait returns when a commit is; an error says that it never will be. It must
	// not need the caller to get there.
	Wait func(ctx context.Context, seq uint64) error
	// Epoch counts the processes that have had the table, from 1.
	Epoch uint64
}

// epochRows is how many rows a process may number.
const epochRows = 1 << 40

// lasts is what a cache of a lasting store has besides.
type lasts struct {
	// applied is the last commit that was, or is being, laid over the cache; durable
	// one that is known to be in the table.
	applied, durable atomic.Uint64
	// keep says that what was emptied is kept until the table knows. It is read
	// under the lock of the shard.
	keep atomic.Bool
	// emptied is the last commit before that; guarded by evicting.
	emptied uint64
}

// open begins with what the table has.
func (s *Cache) open(l *Lasting) error {
	var err error
	if s.names, err = readNames(l.Table); err != nil {
		return fmt.Errorf("names of states: %w", err)
	}
	s.row.Store(l.Epoch * epochRows)
	s.lasts.applied.Store(l.Durable())
	s.lasts.durable.Store(l.Durable())
	if len(s.names.kinds) > 0 {
		s.lasts.keep.Store(true)
		s.table.Store(&l.Table)
	}
	return nil
}

// begin enters that a commit is being applied.
func (s *Cache) begin(seq uint64) {
	s.lasts.applied.Store(seq)
	s.lasts.durable.Store(s.params.Lasting.Durable())
}

// horizon says which commits are not in the table.
type horizon struct{ applied, durable uint64 }

// horizon is called under the lock of the shard whose cells it is used for: none
// of them is of a later commit.
func (s *Cache) horizon() horizon {
	h := horizon{durable: s.params.Lasting.Durable(), applied: s.lasts.applied.Load()}
	s.lasts.durable.Store(h.durable)
	return h
}

func (h horizon) pending(seq uint64) bool { return seq > h.durable }

// pendingSmall goes by the end of a number. It may take an old one for one that is
// pending.
func (h horizon) pendingSmall(seq uint64) bool {
	if h.applied <= h.durable {
		return false
	}
	between := h.applied - h.durable
	return between > slotSeqMask || (h.applied-seq)&slotSeqMask < between
}

// resort lets the table be asked for cells that are not in memory. Until then they
// are nowhere, and what is emptied is forgotten at once; so the table must have
// caught up before. Who calls it evicts.
func (s *Cache) resort() (done bool) {
	if s.table.Load() != nil {
		return true
	}
	l := s.params.Lasting
	if !s.lasts.keep.Swap(true) {
		for i := range s.shards { // whoever is applying writes there may not have seen it
			s.shards[i].mu.Lock()
			s.shards[i].mu.Unlock() //nolint:staticcheck // see above
		}
		s.lasts.emptied = s.lasts.applied.Load()
	}
	if l.Durable() < s.lasts.emptied {
		return false
	}
	s.table.Store(&l.Table)
	return true
}

// forget forgets cells of a shard that were not used and that the table has.
func (s *Cache) forget(f *flight) error {
	f.shard.mu.Lock()
	f.horizon = s.horizon()
	err := s.departSmall(f) // which writes nothing
	f.seen = 0
	for key, c := range f.shard.cells {
		if f.seen >= lookMax || f.freed >= int64(s.params.BatchBytes) {
			break
		}
		f.seen++
		switch {
		case c.used:
			c.used = false
		case !f.horizon.pending(c.seq):
			delete(f.shard.cells, key)
			f.freed += int64(c.size)
		default:
			c.forget(f)
		}
	}
	f.shard.mu.Unlock()
	s.grow(-f.freed)
	return err
}

// forget forgets entries of a cell that the table has.
func (c *cell) forget(f *flight) {
	var names []string
	looked := 0
	from := c.hand
	c.hand = ""
	c.entries.ascend(from, func(e *entry) bool {
		if looked == lookMax {
			c.hand = e.name
			return false
		}
		looked++
		if !f.horizon.pending(e.seq) {
			names = append(names, e.name)
			f.freed += int64(e.bytes())
			c.size -= e.bytes()
		}
		return true
	})
	f.seen += looked
	if len(names) == 0 {
		return
	}
	for _, name := range names {
		c.entries.remove(name)
	}
	c.hides = false
	c.version++
}

// grave is an empty cell, or an empty entry of a cell, that is kept because the
// table may still have it, or because it may be asked for again.
type grave struct {
	key, entry string
	inCell     bool
	seq        uint64
}

// graves are a queue.
type graves struct {
	list  []grave
	first int
}

// gravesMax is how many there are of a shard that need not be.
const gravesMax = 256

// bury enters a grave and levels others. It is called under the lock of the shard.
func (s *Cache) bury(sh *shard, g grave) {
	q := &sh.graves
	if q.first > len(q.list)/2 {
		n := copy(q.list, q.list[q.first:])
		clear(q.list[n:])
		q.list, q.first = q.list[:n], 0
	}
	q.list = append(q.list, g)
	durable := s.lasts.durable.Load()
	for range 2 {
		if len(q.list)-q.first <= gravesMax || q.list[q.first].seq > durable {
			return
		}
		s.level(sh, &q.list[q.first], durable)
		q.first++
	}
}

// level forgets what is empty and as empty in the table.
func (s *Cache) level(sh *shard, g *grave, durable uint64) {
	h := horizon{applied: s.lasts.applied.Load(), durable: durable}
	hash := s.hash(g.key)
	if one := find(&sh.small, hash, g.key); one != nil {
		if !g.inCell && len(one.value()) == 0 && !h.pendingSmall(one.seq()) {
			s.grow(-int64(sh.small.remove(hash)))
		}
		return
	}
	c := sh.cells[g.key]
	switch {
	case c == nil:
		return
	case g.inCell:
		if e := c.entries.get(g.entry); e != nil && e.hides && e.blank() && !h.pending(e.seq) {
			c.size -= e.bytes()
			s.grow(-int64(e.bytes()))
			c.entries.remove(g.entry)
		}
	}
	if c.hides && c.spent() && !h.pending(c.seq) {
		delete(sh.cells, g.key)
		s.grow(-int64(c.size))
	}
}
