package shuffle

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Budget bounds the memory, or the disk space, that a job or a server uses.
// Budgets form a tree: what a job uses counts for its server too. A budget
// stops nobody; those who could do with less ask it.
//
// It is safe for concurrent use. The lock of a budget is taken before that of
// the one above it.
type Budget struct {
	parent *Budget
	limit  int64
	used   atomic.Int64
	// below is the number of budgets under this one.
	below atomic.Int64

	mu       sync.Mutex
	accounts map[string]*Account // guarded by mu; by use
	closed   bool                // guarded by mu
}

// NewBudget makes a budget of limit bytes; 0 is no limit. parent may be nil.
func NewBudget(parent *Budget, limit int64) *Budget {
	if parent != nil {
		parent.below.Add(1)
	}
	return &Budget{parent: parent, limit: limit, accounts: make(map[string]*Account)}
}

// Close takes the budget from under the one above it, with all that it has in
// use. What its accounts enter afterwards is its own affair.
func (b *Budget) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.closed = true
	if b.parent != nil {
		b.parent.enter(-b.used.Load())
		b.parent.below.Add(-1)
	}
}

// Limit is the bytes that should not be exceeded, 0 if there is no limit.
func (b *Budget) Limit() int64 { return b.limit }

// Used is the bytes in use, those of budgets below included.
func (b *Budget) Used() int64 { return b.used.Load() }

// Over says that the budget is exceeded, or that it has to make room for others
// under the one above it, which is.
func (b *Budget) Over() bool { return b.OverShare(1) }

// crowded is by how much a budget is exceeded when even those under it have to
// make room that have no more than their fair share.
const crowded = 1.25

// OverShare is Over with a share, from 0 to 1, of each limit.
//
// Once a budget is exceeded, of those under it those make room that have more
// than an even part of it, and all of them if that does not help: what they have
// in memory stays there for a while.
func (b *Budget) OverShare(share float64) bool {
	if b == nil {
		return false
	}
	if b.limit > 0 && float64(b.used.Load()) > share*float64(b.limit) {
		return true
	}
	for p := b.parent; p != nil; b, p = p, p.parent {
		limit, used := share*float64(p.limit), float64(p.used.Load())
		if limit <= 0 || used <= limit {
			continue
		}
		if fair := limit / float64(max(1, p.below.Load())); float64(b.used.Load()) > fair || used > crowded*limit {
			return true
		}
	}
	return false
}

// Fits says that n bytes more would not exceed the budget, or one above it.
func (b *Budget) Fits(n int64) bool {
	for ; b != nil; b = b.parent {
		if b.limit > 0 && b.used.Load()+n > b.limit {
			return false
		}
	}
	return true
}

// Usage returns the bytes in use by this budget's own accounts.
func (b *Budget) Usage() map[string]int64 {
	b.mu.Lock()
	accounts := maps.Clone(b.accounts)
	b.mu.Unlock()
	usage := make(map[string]int64, len(accounts))
	for use, a := range accounts {
		usage[use] = a.used.Load()
	}
	return usage
}

// Account returns the account of a use, such as "queues": always the same one.
func (b *Budget) Account(use string) *Account {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.accounts[use]
	if a == nil {
		a = &Account{budget: b}
		b.accounts[use] = a
	}
	return a
}

// Account is what one use has of a budget. It is safe for concurrent use.
type Account struct {
	budget *Budget
	used   atomic.Int64
}

// Over says that the budget is exceeded.
func (a *Account) Over() bool { return a.budget.Over() }

// Add enters n bytes more, or less.
func (a *Account) Add(n int64) {
	if n != 0 {
		a.used.Add(n)
		a.budget.enter(n)
	}
}

// Set enters that n bytes are in use now.
func (a *Account) Set(n int64) {
	if more := n - a.used.Swap(n); more != 0 {
		a.budget.enter(more)
	}
}

func (b *Budget) enter(n int64) {
	if b.parent == nil {
		b.used.Add(n)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used.Add(n)
	if !b.closed {
		b.parent.enter(n)
	}
}
