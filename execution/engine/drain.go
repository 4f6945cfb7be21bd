package engine

import (
	"maps"
	"slices"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// A job that is drained comes to its end by itself, with all that it has taken
// in: the scripts of test streams end; restrictions are truncated before they
// are executed, and what has begun is checkpointed and truncated then; nothing
// waits for a clock any more. Watermarks run to their end as in any job that has
// no more input, and so windows and timers fire.
//
//	                 incoming ──▶ function that truncates ──▶ queue ──▶ bundles
//	                    ▲                                       ▲          │
//	new, or begun before┘                                       └─residuals┘

// drain begins to drain the job.
func (s *scheduler) drain() {
	if s.draining {
		return
	}
	s.draining = true
	s.ledger.drain()
	for _, script := range s.tests.scripts {
		s.endScript(script)
	}
	s.tests.scripts = nil
	for _, st := range s.stages {
		if !st.splittable || st.truncate == 0 && !st.unbounded {
			continue
		}
		st.incoming = st.queue.Detach()
		if st.gate != nil {
			st.gate.queue = st.incoming
		}
		s.truncating = append(s.truncating, st)
	}
	for _, st := range s.stages {
		st.mark()
		for _, d := range st.delayed {
			st.incoming.Push(d.group, d.block)
		}
		s.delayed -= len(st.delayed)
		st.delayed = nil
	}
	for _, id := range slices.Sorted(maps.Keys(s.bundles)) {
		s.checkpointToTruncate(s.bundles[id])
	}
}

// truncates says whether what comes to the stage is truncated first.
func (st *stageState) truncates() bool { return st.incoming != st.queue }

// truncated says that what a bundle leaves need not be truncated any more.
func (b *bundle) truncated() bool { return b.work.truncated && b.stage.truncates() }

// checkpointToTruncate checkpoints a bundle whose work should be truncated and
// has not been.
func (s *scheduler) checkpointToTruncate(b *bundle) {
	if b.stage.truncates() && !b.work.truncated && b.work.function == 0 {
		s.checkpointFrom(b, s.now)
	}
}

// discard truncates restrictions without end to nothing where the SDK has no
// function for it, as by default it would. It says whether there were any.
func (s *scheduler) discard() (discarded bool) {
	for _, st := range s.truncating {
		for st.truncate == 0 && st.incoming.Available() {
			lease := st.incoming.Lease(shuffle.Limit{Bytes: s.config.bundleBytes})
			for i := range lease.Blocks {
				s.exit(st, st.hold, &lease.Blocks[i])
			}
			st.incoming.Settle(lease)
			st.mark()
			discarded = true
		}
	}
	return discarded
}

// commitTruncated queues truncated restrictions.
func (s *scheduler) commitTruncated(st *stageState, out *shuffle.Output) {
	push := func(g element.KeyGroup, blocks []element.Block) {
		for i := range blocks {
			s.enter(st, st.hold, place{group: g, truncated: true}, &blocks[i])
			st.queue.Push(g, blocks[i])
		}
	}
	if !st.Input.Keyed {
		push(element.Unkeyed, out.Plain)
		return
	}
	for g, blocks := range out.Keyed {
		push(element.KeyGroup(g), blocks)
	}
}

// ending says whether the timers of a user are all that is left to do in a
// stage of a job that is drained. They fire at once then, whatever their clock.
func (s *scheduler) ending(st *stageState) bool {
	if !s.draining || s.tracker.Input(st.ID) < element.MaxTime {
		return false
	}
	_, user := st.Kind.(*plan.Executable)
	return user // operators know when they have come to the end
}

// firingOrder is the order in which the domains of a stage's timers fire, where
// timers of several are due: event time first, unless all the others fire before
// their time: then they do so before windows expire, in which none would.
func (s *scheduler) firingOrder(st *stageState) [3]plan.TimeDomain {
	if s.ending(st) {
		return [3]plan.TimeDomain{plan.ProcessingTimeDomain, plan.SynchronizedDomain, plan.EventTimeDomain}
	}
	return [3]plan.TimeDomain{plan.EventTimeDomain, plan.ProcessingTimeDomain, plan.SynchronizedDomain}
}

// lastTimers takes the timers out of the changes of a bundle with timers that would keep a stage
// from its end for ever: those set by their own firing, and the last of a long
// chain of which each is set by the one before.
func (s *scheduler) lastTimers(b *bundle, timers []*timer.Timer, changes []timerChange) []timerChange {
	if len(timers) == 0 || !s.ending(b.stage) {
		return changes
	}
	const chainMax = 100
	chain := 0
	fired := make(map[timer.Name]bool)
	for _, t := range timers {
		fired[t.Name] = true
		chain = max(chain, t.Chain+1)
	}
	for i := range changes {
		changes[i].timer.Chain = chain
	}
	return slices.DeleteFunc(changes, func(c timerChange) bool {
		return c.timer.Data != nil && (fired[c.timer.Name] || chain > chainMax)
	})
}
