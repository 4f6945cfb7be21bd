package engine

import (
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

// processing is the processing time as of this step.
func (s *scheduler) processing() element.EventTime {
	return s.config.epoch + element.EventTime(s.clock/time.Millisecond)
}

// time is what the clocks of a stage show.
func (s *scheduler) time(st *stageState) harness.Time {
	return harness.Time{
		Watermark:    s.tracker.Input(st.ID),
		Processing:   s.processing(),
		Synchronized: s.passed(st, plan.SynchronizedDomain),
	}
}

// timeOf is what they show a bundle.
func (s *scheduler) timeOf(st *stageState, w *work) harness.Time {
	t := s.time(st)
	t.Reached = s.eventTime(st)
	t.Ahead = max(t.Reached, w.ahead)
	return t
}

// eventTime is how far event time has come for windows of a stage.
func (s *scheduler) eventTime(st *stageState) element.EventTime {
	return max(s.tracker.Input(st.ID), st.reached)
}

// dueBy is how far the timers of a domain may fire.
func (s *scheduler) dueBy(st *stageState, d plan.TimeDomain) element.EventTime {
	if s.ending(st) {
		return element.MaxTime
	}
	return s.passed(st, d)
}

// passed is how far a domain's time has passed. Event time has passed only
// what is before the watermark: elements at it may still come, until nothing
// comes any more. It is the same with synchronized processing time, which the
// timers upstream hold back; besides, it never runs ahead of the clock.
func (s *scheduler) passed(st *stageState, d plan.TimeDomain) element.EventTime {
	switch d {
	case plan.EventTimeDomain:
		if at := s.eventTime(st); at < element.MaxTime {
			return at - 1
		}
		return element.MaxTime
	case plan.ProcessingTimeDomain:
	case plan.SynchronizedDomain:
		return min(s.processing(), s.synchronized.Input(st.ID)-1)
	}
	return s.processing()
}

// nextTimer returns when a key group of the stage will be due by the clock that
// is not due yet, 0 if there is none. Timers that wait for others upstream have
// no such time: they are due when those have fired.
func (s *scheduler) nextTimer(st *stageState) time.Duration {
	var next time.Duration
	for _, d := range []plan.TimeDomain{plan.ProcessingTimeDomain, plan.SynchronizedDomain} {
		at, ok := st.timers.NextAfter(d, s.dueBy(st, d))
		if ok && !s.never(at) && (d == plan.ProcessingTimeDomain || at > s.processing() && at < s.synchronized.Input(st.ID)) {
			next = earlier(next, s.sinceStart(at))
		}
	}
	return next
}

// sinceStart converts a processing time that comes after the start of the job.
func (s *scheduler) sinceStart(at element.EventTime) time.Duration {
	return time.Duration(at-s.config.epoch) * time.Millisecond
}

// never says that the clock does not get to a processing time.
func (s *scheduler) never(at element.EventTime) bool { return at > s.lastTick() }

// lastTick is how far the clock goes.
func (s *scheduler) lastTick() element.EventTime {
	return s.config.epoch + element.EventTime(delayMax/time.Millisecond)
}

// dropUnreachable drops the timers of stages that have nothing else left to
// do than to wait for times that never come, and says whether there were any.
func (s *scheduler) dropUnreachable() bool {
	dropped := false
	for _, st := range s.timed {
		if st.timers.Len() == 0 || s.tracker.Input(st.ID) < element.MaxTime || st.busy() || s.reachable(st) {
			continue
		}
		for _, t := range st.timers.RemoveAll() {
			s.ledger.clear(st, t)
			s.letGo(st, t)
		}
		s.unpark(st)
		st.mark()
		dropped = true
	}
	return dropped
}

// reachable says whether a timer of the stage, whose input is complete, fires
// one day.
func (s *scheduler) reachable(st *stageState) bool {
	for d := plan.EventTimeDomain; d <= plan.SynchronizedDomain; d++ {
		if at, ok := st.timers.NextAfter(d, element.MinTime-1); ok && (d == plan.EventTimeDomain || !s.never(at) || s.ending(st)) {
			return true
		}
	}
	return false
}
