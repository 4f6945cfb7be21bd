package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/execution/watermark"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// Memory is bounded by those who write: a block that is sealed while the budget
// is over goes to disk there and then, and stays there until a bundle loads it.
// What is in memory stays until it is consumed. So the scheduler has but to say
// what it holds, and to prefer what gives room back.
//
// What is read as it stands in the budget's accounts:
//
//	queues   blocks in the scheduler's hands: queued, at gates, delayed, leased
//	timers   timers that are set
//	output   what running bundles have written and not committed
//	running  input that running bundles have loaded from disk
//	group    what groupings work on: input that they have loaded, tables, pages
//	pool     what groupings have consumed, to be written to again
//	views    side inputs
//	state    user state and what operators keep
type accounts struct{ queues, timers, output, running *shuffle.Account }

func newAccounts(b *shuffle.Budget) accounts {
	return accounts{
		queues: b.Account("queues"), timers: b.Account("timers"), output: b.Account("output"), running: b.Account("running"),
	}
}

// What data takes besides its bytes, roughly: the descriptor of a block with
// its place in a queue, and a timer with its places in the set.
const (
	blockOverhead = 128
	timerOverhead = 384
)

// footprint is the memory that a block takes in the scheduler's hands. A block
// that several stages are to read counts for each.
func footprint(b *element.Block) int64 { return int64(b.Resident()) + blockOverhead }

func timerFootprint(t *timer.Timer) int64 {
	return int64(len(t.Data)+len(t.Name.Key)+len(t.Name.Tag)+len(t.Name.Window)) + timerOverhead
}

// pressure says how short of room a job is.
type pressure int

const (
	// relaxed: there is memory.
	relaxed pressure = iota
	// tight: there is none, and what is written goes to disk.
	tight
	// full: there is hardly any disk either.
	full
)

func (p pressure) String() string {
	switch p {
	case relaxed:
		return "relaxed"
	case tight:
		return "tight"
	case full:
		return "full"
	}
	return fmt.Sprintf("pressure %d", int(p))
}

// quotaShare of the disk's quota in use means that it is full: the rest is for
// those who may have to write before anything can be given back.
const quotaShare = 0.75

// memoryShare says into how many parts the budget of memory is cut, one of
// which is for a bundle's input, and one for the values of a key before they are
// paged.
const memoryShare = 32

// leasedShare is the part of the budget, one of so many, that the input of all
// bundles of an environment may take together.
const leasedShare = 4

// pressure is that of the moment.
func (d *driver) pressure() pressure {
	switch {
	case d.opts.Quota.OverShare(quotaShare):
		return full
	case !d.opts.Memory.Over():
		return relaxed
	case d.spill.Disk == nil:
		return full
	}
	return tight
}

// enter takes a block into the scheduler's hands. It holds the watermark of the
// stage from then on.
func (s *scheduler) enter(st *stageState, kind watermark.Kind, at place, b *element.Block) {
	s.ledger.queue(s, st, at, b)
	s.tracker.Hold(st.ID, kind, b.MinTime)
	s.resident += footprint(b)
}

// exit lets a block go.
func (s *scheduler) exit(st *stageState, kind watermark.Kind, b *element.Block) {
	s.ledger.consume(b)
	s.tracker.Release(st.ID, kind, b.MinTime)
	s.resident -= footprint(b)
}

// heldBackMax is how long sources are held back at a time, lest they starve:
// others may always have something to do, waiting for the watermark that a source
// holds.
const heldBackMax = 10 * time.Second

// isSource says whether the stage brings data into the job: others give back
// what they have read.
func isSource(st *stageState) bool {
	if st.splittable {
		return true
	}
	for _, u := range st.upstream {
		if _, impulse := u.Kind.(*plan.Impulse); !impulse {
			return false
		}
	}
	return len(st.upstream) > 0
}

// relieve chooses among the stages of an environment when there is no room: those
// that are not sources go first, however little there is for them to do. Once the
// disk is full, a source waits even for those that run elsewhere. held says that
// one may be waiting.
func (s *scheduler) relieve(env *environment) (chosen *stageState, held bool) {
	if s.heldBack == 0 {
		s.heldBack = s.now + heldBackMax
	}
	if s.now >= s.heldBack {
		if st := s.chooseOf(env, possible, (*stageState).isSource); st != nil {
			return st, false
		}
	}
	for _, u := range []urgency{worthwhile, possible} {
		if st := s.chooseOf(env, u, (*stageState).isNoSource); st != nil {
			return st, false
		}
	}
	return nil, s.pressure == full && s.relieving > 0
}

// began takes account of a bundle that begins.
func (s *scheduler) began(st *stageState) {
	if st.source {
		s.heldBack = 0
	} else {
		s.relieving++
	}
}

func (st *stageState) isSource() bool   { return st.source }
func (st *stageState) isNoSource() bool { return !st.source }

// consumes says whether nobody refers to the memory of the stage's input once a
// bundle has committed. A grouping of complete input copies all that it writes, is
// never split, and gets blocks that were made for key groups: each has memory of
// its own, and is in one queue if nobody else reads the edge. A journal that writes
// them later reads those that are not stored: see [shuffle.Spill.Give].
func consumes(p *plan.Plan, s *plan.Stage) bool {
	if k, grouping := s.Kind.(*plan.GroupByKey); !grouping || k.Streaming || !s.Input.Keyed {
		return false
	}
	readers := 0
	for _, other := range slices.Concat(p.Stages, p.Functions) {
		if other.Input != nil && other.Input.Edge == s.Input.Edge {
			readers++
		}
		for _, side := range other.SideInputs {
			if side.Edge == s.Input.Edge {
				readers++
			}
		}
	}
	return readers == 1
}

// loads says whether the stage needs all its input in memory. A grouping of
// complete input, of which there may be more than memory, loads it block by block.
func loads(s *plan.Stage) bool {
	k, grouping := s.Kind.(*plan.GroupByKey)
	return !grouping || k.Streaming
}

// load brings the blocks of a bundle's input into memory that are on disk.
func load(input []element.Block) (loaded []element.Block, bytes int64, err error) {
	for i := range input {
		if !input[i].OnDisk() {
			continue
		}
		if loaded == nil {
			loaded = append(loaded, input...) // retries begin with the input as it is
		}
		if loaded[i], err = input[i].InMemory(); err != nil {
			if !errors.Is(err, shuffle.ErrDisk) {
				err = fmt.Errorf("%w: %w", shuffle.ErrDisk, err)
			}
			return nil, bytes, fmt.Errorf("load block %d of %d: %w", i, len(input), err)
		}
		bytes += int64(len(loaded[i].Data))
	}
	if loaded == nil {
		return input, 0, nil
	}
	return loaded, bytes, nil
}
