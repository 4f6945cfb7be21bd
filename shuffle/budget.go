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
// It is safe for concurrent use.
type Budget struct {
	parent *Budget
	limit  int64
	used   atomic.Int64

	mu       sync.Mutex
	accounts map[string]*Account // guarded by mu; by use
}

// NewBudget makes a budget of limit bytes; 0 is no limit. parent may be nil.
func NewBudget(parent *Budget, limit int64) *Budget {
	return &Budget{parent: parent, limit: limit, accounts: make(map[string]*Account)}
}

// Limit is the bytes that should not be exceeded, 0 if there is no limit.
func (b *Budget) Limit() int64 { return b.limit }

// Used is the bytes in use, those of budgets below included.
func (b *Budget) Used() int64 { return b.used.Load() }

// Over says that the budget, or one above it, is exceeded.
func (b *Budget) Over() bool { return b.OverShare(1) }

// OverShare says that more than the share, from 0 to 1, of the budget or of
// one above it is in use.
func (b *Budget) OverShare(share float64) bool {
	for ; b != nil; b = b.parent {
		if b.limit > 0 && float64(b.used.Load()) > share*float64(b.limit) {
			return true
		}
	}
	return false
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

// Add enters n bytes more, or less.
func (a *Account) Add(n int64) {
	a.used.Add(n)
	a.enter(n)
}

// Set enters that n bytes are in use now.
func (a *Account) Set(n int64) { a.enter(n - a.used.Swap(n)) }

func (a *Account) enter(n int64) {
	for b := a.budget; b != nil; b = b.parent {
		b.used.Add(n)
	}
}
