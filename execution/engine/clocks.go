package engine

import (
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

// processing is the processing time as of this step.
func (s *scheduler) processing() element.EventTime {
	return s.config.epoch + element.EventTime(s.now/time.Millisecond)
}

// time is what the clocks of a stage show.
func (s *scheduler) time(st *stageState) harness.Time {
	return harness.Time{
		Watermark:    s.tracker.Input(st.ID),
		Processing:   s.processing(),
		Synchronized: s.dueBy(st, plan.SynchronizedDomain),
	}
}

// dueBy is how far the timers of a domain may fire. Event time has passed only
// what is before the watermark: elements at it may still come, until nothing
// comes any more. It is the same with synchronized processing time, which the
// timers upstream hold back; besides, it never runs ahead of the clock.
func (s *scheduler) dueBy(st *stageState, d plan.TimeDomain) element.EventTime {
	switch d {
	case plan.EventTimeDomain:
		if at := s.tracker.Input(st.ID); at < element.MaxTime {
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
		if ok && (d == plan.ProcessingTimeDomain || at > s.processing() && at < s.synchronized.Input(st.ID)) {
			next = earlier(next, s.sinceStart(at))
		}
	}
	return next
}

// sinceStart converts a processing time, which is after the start of the job.
func (s *scheduler) sinceStart(at element.EventTime) time.Duration {
	return time.Duration(min(at-s.config.epoch, element.EventTime(delayMax/time.Millisecond))) * time.Millisecond
}
