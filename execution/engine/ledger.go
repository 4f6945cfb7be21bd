package engine

import (
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
)

// ledger notes, for the journal of a job, what the steps of the scheduler change
// of that which outlives the process. A block is noted when the scheduler takes it
// into its hands and when it lets it go; where it is in between follows from the
// rest. A nil ledger notes nothing.
type ledger struct {
	commit journal.Commit
	// last is the number given last. Each process has its own: what was queued before
	// may be gone from the journal, and still have a dead letter of its number.
	last element.Number
	// stages are as they were committed last, touched those that may be different
	// now.
	stages  []journal.Stage
	touched map[plan.StageID]bool
	// resuming says that what is taken in has its number already.
	resuming bool
}

// numbersBits is of how many bits the numbers are that a process gives: more than it
// can use up.
const numbersBits = 40

// newLedger is that of a process, by its place among those that have had the job,
// from 1.
func newLedger(p *plan.Plan, life uint64) *ledger {
	r := &ledger{
		stages: make([]journal.Stage, len(p.Stages)), touched: make(map[plan.StageID]bool),
		last: element.Number(max(life, 1)-1) << numbersBits,
	}
	for i := range r.stages {
		r.stages[i] = journal.Stage{ID: plan.StageID(i), Input: element.MinTime, Output: element.MinTime, Reached: element.MinTime}
	}
	return r
}

// place is where a block belongs.
type place struct {
	// group is the key group, element.Unkeyed where the stage is not keyed.
	group element.KeyGroup
	// due is when it may be executed, since the start of the job; 0 for at once.
	due time.Duration
	// truncated says that a job which is drained need not truncate it.
	truncated bool
}

// queue gives a block its number.
func (r *ledger) queue(s *scheduler, st *stageState, at place, b *element.Block) {
	if r == nil || r.resuming {
		return
	}
	r.last++
	b.Number = r.last
	due := element.MinTime
	if at.due > 0 {
		due = s.config.epoch + element.EventTime(at.due/time.Millisecond)
	}
	r.commit.Queued = append(r.commit.Queued, journal.Block{Stage: st.ID, Group: at.group, Due: due, Truncated: at.truncated, Block: onDiskOrNot(*b)})
}

func (r *ledger) consume(b *element.Block) {
	if r != nil {
		r.commit.Consumed = append(r.commit.Consumed, b.Number)
	}
}

func (r *ledger) set(st *stageState, t *timer.Timer) {
	if r != nil {
		r.commit.Timers = append(r.commit.Timers, journal.Timer{Stage: st.ID, Timer: *t})
	}
}

func (r *ledger) clear(st *stageState, t *timer.Timer) {
	if r != nil {
		r.commit.Timers = append(r.commit.Timers, journal.Timer{Stage: st.ID, Timer: timer.Timer{Name: t.Name}})
	}
}

func (r *ledger) park(st *stageState, d plan.TimeDomain, g element.KeyGroup, p timer.Parked) {
	if r != nil {
		r.commit.Parked = append(r.commit.Parked, journal.Parked{Stage: st.ID, Domain: d, Group: g, Parked: p})
	}
}

func (r *ledger) play(s *scheduler, t *testScript) {
	if r != nil {
		r.commit.Scripts = append(r.commit.Scripts, journal.Script{Index: t.index, Played: t.played, Epoch: s.config.epoch, Clock: s.clock})
	}
}

// leap notes where the clock is of a job whose scripts have all been played.
func (r *ledger) leap(s *scheduler) {
	if r != nil {
		r.commit.Scripts = append(r.commit.Scripts, journal.Script{Played: len(s.plan.Tests[0].Events) + 1, Epoch: s.config.epoch, Clock: s.clock})
	}
}

func (r *ledger) drain() {
	if r != nil {
		r.commit.Draining = true
	}
}

// touch says that something about the stage itself may be different.
func (r *ledger) touch(st *stageState) {
	if r != nil {
		r.touched[st.ID] = true
	}
}

// changes returns what has changed since it was asked last; nil if nothing has.
func (s *scheduler) changes() *journal.Commit {
	r := s.ledger
	if r == nil {
		return nil
	}
	for id := range r.touched {
		st := s.stages[id]
		now := journal.Stage{
			ID: id, Input: s.tracker.Input(id), Output: s.tracker.Output(id), Reached: st.reached, Finished: st.finished,
			ElementsIn: st.elementsIn, BytesIn: st.bytesIn, ElementsOut: st.elementsOut, BytesOut: st.bytesOut,
		}
		if now != r.stages[id] {
			r.stages[id] = now
			r.commit.Stages = append(r.commit.Stages, now)
		}
	}
	clear(r.touched)
	if r.commit.Empty() {
		return nil
	}
	c := r.commit
	r.commit = journal.Commit{}
	return &c
}

// resume begins where a process before has ended, instead of at the beginning.
func (s *scheduler) resume(m *journal.Image) []order {
	s.ledger.resuming = true
	for _, saved := range m.Stages {
		st := s.stages[saved.ID]
		s.ledger.stages[saved.ID] = saved
		st.reached, st.elementsIn, st.bytesIn = saved.Reached, saved.ElementsIn, saved.BytesIn
		st.elementsOut, st.bytesOut = saved.ElementsOut, saved.BytesOut
		if !saved.Finished { // which those are that nothing holds
			s.tracker.Resume(saved.ID, saved.Input, saved.Output)
		}
	}
	s.startTests()
	s.resumeTests(m.Scripts)
	for i := range m.Timers {
		t := &m.Timers[i]
		s.hold(s.stages[t.Stage], &t.Timer)
		s.stages[t.Stage].timers.Put(&t.Timer)
	}
	for _, p := range m.Parked {
		s.holdParked(s.stages[p.Stage], p.Domain, p.Parked)
		s.stages[p.Stage].timers.Park(p.Domain, p.Group, p.Parked)
	}
	for _, w := range m.Shown {
		s.show(s.stages[w.View], [][]byte{[]byte(w.Window)})
	}
	for i := range m.Queued {
		s.ledger.last = max(s.ledger.last, m.Queued[i].Number)
		if !m.Queued[i].Truncated {
			s.found(&m.Queued[i])
		}
	}
	if m.Draining {
		s.drain()
	}
	for i := range m.Queued {
		if b := &m.Queued[i]; b.Truncated {
			st := s.stages[b.Stage]
			s.enter(st, st.hold, place{}, &b.Block)
			st.queue.Push(b.Group, b.Block)
		}
	}
	s.ledger.commit, s.ledger.resuming = journal.Commit{}, false // it is there already
	for _, st := range s.stages {
		st.mark()
	}
	s.startWorkers()
	s.tracker.Advance()
	for _, st := range s.stages {
		s.openGates(st)
		if s.tracker.Output(st.ID) == element.MaxTime {
			s.finish(st)
		}
	}
	return s.finishStep()
}

// found queues a block that a process before has left.
func (s *scheduler) found(b *journal.Block) {
	st := s.stages[b.Stage]
	if due := s.sinceStart(b.Due); b.Due > element.MinTime && due > s.clock {
		s.enter(st, st.hold, place{}, &b.Block)
		s.delay(st, due, b.Group, b.Block)
		return
	}
	s.arrive(st, b.Group, b.Block)
}

// resumeTests brings scripts to where they were.
func (s *scheduler) resumeTests(saved []journal.Script) {
	for _, script := range saved {
		s.clock = max(s.clock, script.Clock)
		t := s.tests.scripts[script.Index]
		for _, event := range t.events[:min(script.Played, len(t.events))] {
			t.events = t.events[1:]
			if w, ok := event.(plan.TestWatermark); ok {
				s.play(t, w)
			}
		}
		if t.played = script.Played; t.over() {
			s.endScript(t)
		}
	}
	left := s.tests.scripts[:0]
	for _, t := range s.tests.scripts {
		if !t.over() {
			left = append(left, t)
		}
	}
	s.tests.scripts = left
}
