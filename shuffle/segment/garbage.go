package segment

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/gorunner/gorunner/shuffle"
)

// Space is scarce, and garbage worth looking for, from garbageShare of the quota
// on, each time that another garbageStep of it has been stored.
const (
	garbageShare = 0.7
	garbageStep  = 32
)

// collector lets the garbage collector find what nobody refers to any more.
type collector struct {
	mu    sync.Mutex    // held while garbage is collected
	begun atomic.Uint64 // collections
	// stored counts the bytes since the last.
	stored atomic.Int64
}

// due collects garbage if it is time, now that n bytes are to be stored.
func (c *collector) due(q *shuffle.Budget, n int64) {
	if c.stored.Add(n) > q.Limit()/garbageStep && q.OverShare(garbageShare) {
		c.collect()
	}
}

// collect returns when the space of all that was garbage before has been given
// back, or is about to be.
func (c *collector) collect() {
	asked := c.begun.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun.Load() > asked {
		return // another has begun and ended since
	}
	c.begun.Add(1)
	c.stored.Store(0)
	cleaned := make(chan struct{})
	plantLitter(cleaned)
	runtime.GC()
	<-cleaned
}

// plantLitter makes garbage that closes the channel once it is collected.
//
//go:noinline
func plantLitter(cleaned chan struct{}) {
	litter := &struct{ c chan struct{} }{cleaned}
	runtime.AddCleanup(litter, func(c chan struct{}) { close(c) }, cleaned)
}
