package shuffle

import (
	"math/bits"
	"sync"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/internal/invariants"
)

// Pool keeps the memory of blocks that nobody reads any more for those to come.
// Memory that is fresh costs the system a fault for every page, which is more than
// it costs to write it, and memory that the garbage collector has found is cleared
// before it is used again.
//
// Nothing here can tell that a block is read no more: who gives its memory must be
// able to prove it. A nil pool keeps nothing. It is safe for concurrent use.
type Pool struct {
	memory  *Budget
	account *Account // nil if nobody counts
	max     int

	mu    sync.Mutex
	bytes int // guarded by mu
	// free are buffers by the powers of two that they have room for, from
	// pooledMin on.
	free [pooledSizes][][]byte // guarded by mu
}

// Smaller buffers are not worth it; larger ones are kept with those of the
// largest size.
const (
	pooledMin   = 8 << 10
	pooledSizes = 8
)

// The bounds of what a pool keeps: some bytes, and a part of the budget.
const (
	pooledMax   = 64 << 20
	pooledShare = 16
)

// NewPool makes a pool whose memory counts for the budget, which may be nil. Once
// half of the budget is in use, it keeps nothing.
func NewPool(memory *Budget) *Pool {
	p := &Pool{memory: memory, max: pooledMax}
	if memory != nil {
		p.account = memory.Account("pool")
		if limit := memory.Limit(); limit > 0 {
			p.max = min(p.max, int(limit/pooledShare))
		}
	}
	return p
}

// sizeOf is the size under which a buffer with room for that many bytes is kept,
// below 0 if it is not.
func sizeOf(room int) int {
	return min(bits.Len(uint(room/pooledMin))-1, pooledSizes-1)
}

// take returns an empty buffer with room for least bytes: a small one that is free,
// because of a large one the end may never have been written, and not much larger
// than most; or else a new one with room for most.
func (p *Pool) take(least, most int) []byte {
	if p != nil {
		if b := p.find(least, sizeOf(most)); b != nil {
			return b
		}
	}
	return make([]byte, 0, max(least, most))
}

// find takes a buffer with room for least bytes out of the pool, if there is one
// of those that are kept under size or below.
func (p *Pool) find(least, size int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := max(sizeOf(least), 0); i <= size; i++ {
		n := len(p.free[i]) - 1
		if n < 0 || cap(p.free[i][n]) < least {
			continue
		}
		b := p.free[i][n]
		p.free[i][n] = nil
		p.free[i] = p.free[i][:n]
		p.add(-cap(b))
		return b
	}
	return nil
}

// add counts bytes more, or less.
func (p *Pool) add(bytes int) {
	p.bytes += bytes
	if p.account != nil {
		p.account.Add(int64(bytes))
	}
}

// Take is take for memory that others fill.
func (s *Spill) Take(least, most int) []byte {
	if s == nil {
		return make([]byte, 0, max(least, most))
	}
	return s.Free.take(least, most)
}

// poison stands in memory that was given back, where invariants are checked.
const poison = 0xdb

// Give gives back the memory of blocks. The caller has proved that nobody else
// refers to any of it, and does not do so himself any more; what the blocks have
// on disk, and their pages, are not concerned.
func (p *Pool) Give(blocks []element.Block) {
	if p == nil {
		return
	}
	if invariants.Enabled {
		for i := range blocks {
			whole := blocks[i].Data[:cap(blocks[i].Data)]
			for j := range whole {
				whole[j] = poison
			}
		}
	}
	near := p.memory.OverShare(nearShare)
	p.mu.Lock()
	defer p.mu.Unlock()
	if near {
		p.add(-p.bytes)
		clear(p.free[:])
		return
	}
	for i := range blocks {
		b := blocks[i].Data[:0]
		size := sizeOf(cap(b))
		if size < 0 || p.bytes+cap(b) > p.max {
			continue
		}
		p.free[size] = append(p.free[size], b)
		p.add(cap(b))
	}
}
