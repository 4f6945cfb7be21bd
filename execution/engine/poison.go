package engine

import (
	"fmt"
	"slices"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/watermark"
	"github.com/gorunner/gorunner/internal/invariants"
	"github.com/gorunner/gorunner/plan"
)

// Work that fails however often it is tried fails its job, or, where the user wants
// that, is examined until the elements that are to blame stand alone:
//
//	          more than one element            fails
//	examined ──────▶ halved ──▶ tried once ──────────▶ examined
//	    │                          │ committed
//	    │ one element              ▼
//	    └──▶ parked ──────▶ the next piece, or the end
//
// Where a worker was lost with such work, it is tried on a worker that executes nothing
// else, so that nobody is blamed for another's doing. These losses are not counted.
//
// The pieces of a work are tried one after the other, and its key groups stay locked
// until the last has ended. What is parked is given to DeadLetters first, and then
// consumed without any effect.

// portion is a part of the input of a work that is examined.
type portion struct {
	blocks []element.Block
	// groups are the key groups of the blocks, where the stage is keyed.
	groups []element.KeyGroup
}

// suspicion is what a work under examination is yet to try, besides its lease.
type suspicion struct {
	later []portion
	// lethal work has lost a worker: see quarantine.
	lethal bool
}

// examination is work that is in the driver's hands.
type examination struct {
	stage *stageState
	work  *work
}

// suspectAttempts is how often a piece is tried, aloneAttempts how often a single
// element.
const (
	suspectAttempts = 1
	aloneAttempts   = 2
)

// parkable says whether elements of the work may be parked. Those of a source are
// work, not data: a job that parks them would end without having read it. Timers
// have no element.
func (s *scheduler) parkable(st *stageState, w *work) bool {
	if _, user := st.Kind.(*plan.Executable); !user || !s.config.park || st.unbounded || w.fires() || w.function != 0 {
		return false
	}
	return len(w.lease.Blocks) > 0 && !readsImpulse(st)
}

func readsImpulse(st *stageState) bool {
	return slices.ContainsFunc(st.upstream, func(u *stageState) bool {
		_, impulse := u.Kind.(*plan.Impulse)
		return impulse
	})
}

// giveUp deals with work that has failed as often as it may.
func (s *scheduler) giveUp(b *bundle, f bundleFailed) {
	failure := &BundleError{
		Stage: b.stage.Stage, Bundle: f.id, Attempts: b.work.attempts, Err: f.err,
		timers: b.work.timers, disk: f.fatal,
	}
	if !readsImpulse(b.stage) { // which is nothing to look at
		failure.input = b.work.lease.Blocks
	}
	if f.fatal || !s.parkable(b.stage, b.work) {
		s.fail(failure)
		return
	}
	if countOf(b.work.lease.Blocks) > 1 {
		s.examine(b)
		s.orders = append(s.orders, halveWork{id: f.id, stage: b.stage.ID, input: b.work.lease.Blocks, lost: f.lost, err: f.err})
		return
	}
	if f.lost && !b.alone {
		s.suspect(b.stage, b.work)
		return
	}
	if b.stage.parked >= s.config.maxParked {
		s.fail(fmt.Errorf("%d parked already, which is the limit: %w", b.stage.parked, failure))
		return
	}
	s.examine(b)
	s.orders = append(s.orders, parkElement{id: f.id, failure: failure})
}

// suspect has a single element tried alone: so far, others may have killed its workers.
func (s *scheduler) suspect(st *stageState, w *work) {
	if !w.under() {
		w.suspicion = &suspicion{}
	}
	w.suspicion.lethal = true
	w.attempts = max(0, s.config.maxAttempts-aloneAttempts)
	s.again(st, w)
}

// examine puts the work of a bundle into the driver's hands.
func (s *scheduler) examine(b *bundle) {
	s.examined[b.id] = &examination{b.stage, b.work}
	b.stage.examined++
}

// under says whether the work is examined.
func (w *work) under() bool { return w.suspicion != nil }

// examinedBy takes an examination out of the driver's hands.
func (s *scheduler) examinedBy(id harness.BundleID) *examination {
	x := s.examined[id]
	if x == nil {
		invariants.Failf("work of bundle %d is not examined", id)
	}
	delete(s.examined, id)
	x.stage.examined--
	return x
}

// halved goes on with the first half of a work.
func (s *scheduler) halved(f workHalved) {
	x := s.examinedBy(f.id)
	if f.err != nil {
		s.fail(fmt.Errorf("stage %s bundle %d: halve: %w", x.stage.Name, f.id, f.err))
		return
	}
	whole := map[element.Number]bool{}
	for i := range f.halves {
		for j := range f.halves[i].blocks {
			s.reenter(x, &f.halves[i], j, whole)
		}
	}
	for i := range x.work.lease.Blocks {
		if b := &x.work.lease.Blocks[i]; b.Number == 0 || !whole[b.Number] {
			s.exit(x.stage, watermark.Running, b)
		}
	}
	if x.work.suspicion == nil {
		x.work.suspicion = &suspicion{lethal: f.lost}
	}
	x.work.suspicion.later = append(x.work.suspicion.later, f.halves[1], f.halves[0])
	s.nextPiece(x.stage, x.work)
}

// reenter takes in a block of a half, unless it is one that was not cut and has its
// number still: so what is parked has the same number in every process.
func (s *scheduler) reenter(x *examination, p *portion, i int, whole map[element.Number]bool) {
	b := &p.blocks[i]
	if b.Number != 0 {
		whole[b.Number] = true
		return
	}
	at := place{group: element.Unkeyed, truncated: s.draining && x.work.truncated}
	if len(p.groups) > 0 {
		at.group = p.groups[i]
	}
	s.enter(x.stage, watermark.Running, at, b)
}

// nextPiece lets a work go on with its next piece; it refuses if there is none.
func (s *scheduler) nextPiece(st *stageState, w *work) bool {
	if !w.under() || len(w.suspicion.later) == 0 {
		return false
	}
	last := len(w.suspicion.later) - 1
	w.lease.Blocks = w.suspicion.later[last].blocks
	w.suspicion.later = w.suspicion.later[:last]
	tries := suspectAttempts
	if countOf(w.lease.Blocks) == 1 {
		tries = aloneAttempts
	}
	w.attempts = max(0, s.config.maxAttempts-tries)
	s.again(st, w)
	return true
}

// parkedOne consumes an element that was parked.
func (s *scheduler) parkedOne(f elementParked) {
	x := s.examinedBy(f.id)
	if f.err != nil {
		s.fail(fmt.Errorf("stage %s bundle %d: park: %w", x.stage.Name, f.id, f.err))
		return
	}
	x.stage.parked++
	s.orders = append(s.orders, elementPutAside{ElementParked{Stage: x.stage.ID, Where: f.where, Parked: x.stage.parked, Err: f.failure.Err}})
	s.ledger.touch(x.stage)
	for i := range x.work.lease.Blocks {
		s.exit(x.stage, watermark.Running, &x.work.lease.Blocks[i])
	}
	s.conclude(x.stage, x.work)
}

// conclude ends a work whose lease is consumed, or goes on with its next piece.
func (s *scheduler) conclude(st *stageState, w *work) {
	if s.nextPiece(st, w) {
		return
	}
	s.tracker.Release(st.ID, watermark.Running, element.MaxTime)
	w.queue.Settle(w.lease)
	st.reached = max(st.reached, w.ahead)
	st.mark()
}
