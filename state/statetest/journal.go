package statetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"

	"github.com/gorunner/gorunner/state"
)

// Journal commits what a lasting store changes to a table, some time later.
type Journal struct {
	Table Table

	committing sync.Mutex // held by who commits, and taken before mu
	mu         sync.Mutex
	random     *rand.Rand       // guarded by mu
	pending    []*state.Changes // guarded by mu
	// last is the last commit that was handed over, written the last that is in the
	// table, durable that of which it is said; guarded by mu.
	last, written, durable uint64
	failed                 error // guarded by mu
}

// NewJournal makes a journal that has its own pace.
func NewJournal(seed uint64) *Journal { return &Journal{random: rand.New(rand.NewPCG(seed, 0))} }

// Lasting is what a store of the journal's table is opened with.
func (j *Journal) Lasting(epoch uint64) *state.Lasting {
	return &state.Lasting{Table: &j.Table, Epoch: epoch, Durable: j.Durable, Wait: j.Wait}
}

// Durable is the last commit that is said to be in the table.
func (j *Journal) Durable() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.durable
}

// Wait writes commits.
func (j *Journal) Wait(_ context.Context, seq uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.written < seq && j.failed == nil {
		j.write()
	}
	j.durable = j.written
	return j.failed
}

// Fail lets nothing be written any more.
func (j *Journal) Fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.failed = err
}

// Some writes some of the commits, and says so of some.
func (j *Journal) Some() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.pending) > 0 && j.random.IntN(3) > 0 && j.failed == nil {
		j.write()
	}
	if j.random.IntN(3) > 0 {
		j.durable = j.written
	}
}

// write writes a commit, under the lock.
func (j *Journal) write() {
	b := j.Table.Batch()
	if j.failed = errors.Join(j.pending[0].Apply(b), b.Commit()); j.failed != nil {
		return
	}
	j.pending = j.pending[1:]
	j.written++
}

// Crash forgets what is not in the table, and returns the last commit that is.
func (j *Journal) Crash() (last uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending, j.last, j.durable = nil, j.written, j.written
	return j.written
}

// Commit does with a transaction what the engine does at the end of a bundle, and
// returns the number of its commit.
func (j *Journal) Commit(txn state.Txn) (uint64, error) {
	if err := txn.Settle(); err != nil {
		return 0, err
	}
	j.committing.Lock()
	defer j.committing.Unlock()
	changes := txn.Changes()
	j.mu.Lock()
	j.last++
	seq := j.last
	j.pending = append(j.pending, changes)
	j.mu.Unlock()
	return seq, txn.Apply(seq)
}

// Store is a store whose transactions are committed by the journal, when they are
// applied.
func (j *Journal) Store(s state.Store) state.Store { return &journaled{s, j} }

type journaled struct {
	state.Store
	journal *Journal
}

func (s *journaled) Begin() state.Txn {
	s.journal.Some()
	return &committed{s.Store.Begin(), s.journal}
}

type committed struct {
	state.Txn
	journal *Journal
}

// Settle is part of the commit.
func (t *committed) Settle() error { return nil }

func (t *committed) Apply(uint64) error {
	_, err := t.journal.Commit(t.Txn)
	t.journal.Some()
	return err
}
