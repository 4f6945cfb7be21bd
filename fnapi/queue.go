package fnapi

import (
	"context"
	"sync"
)

// queue is a bounded first-in-first-out queue with any number of producers and
// consumers.
type queue[T any] struct {
	limit int
	// wake holds a token when items may have been added since the last look.
	wake chan struct{}

	mu    sync.Mutex
	items []T // guarded by mu
	head  int // guarded by mu; index of the first item
}

func newQueue[T any](limit int) *queue[T] {
	return &queue[T]{limit: limit, wake: make(chan struct{}, 1)}
}

// push adds v and says whether there was room.
func (q *queue[T]) push(v T) bool {
	q.mu.Lock()
	if len(q.items)-q.head >= q.limit {
		q.mu.Unlock()
		return false
	}
	q.items = append(q.items, v)
	q.mu.Unlock()
	q.signal()
	return true
}

// pop takes the first item; it waits for one until ctx ends.
func (q *queue[T]) pop(ctx context.Context) (T, error) {
	for {
		if v, ok := q.tryPop(); ok {
			return v, nil
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			var none T
			return none, context.Cause(ctx)
		}
	}
}

func (q *queue[T]) tryPop() (T, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var none T
	if q.head == len(q.items) {
		return none, false
	}
	v := q.items[q.head]
	q.items[q.head] = none
	q.head++
	switch {
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
	case q.head >= compactFrom && q.head >= len(q.items)/2:
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
		q.signal()
	default:
		q.signal() // another consumer may be waiting
	}
	return v, true
}

// compactFrom is the number of taken items from which on it is worthwhile to
// move the others to the front.
const compactFrom = 64

func (q *queue[T]) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
