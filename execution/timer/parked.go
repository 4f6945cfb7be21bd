package timer

import (
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
)

// Parked is what a set knows of the timers of a domain and key group that are
// kept elsewhere.
type Parked struct {
	Count int64
	// First is when the first of them is due, Hold the least of their holds.
	First, Hold element.EventTime
}

// Park says what is parked of a group now, and returns what was before.
func (s *Set) Park(d plan.TimeDomain, g element.KeyGroup, p Parked) (before Parked) {
	q := &s.queues[d][g]
	before, q.parked = q.parked, p
	s.parked += p.Count - before.Count
	s.place(d, q)
	return before
}

// Parked is what is parked of a group.
func (s *Set) Parked(d plan.TimeDomain, g element.KeyGroup) Parked { return s.queues[d][g].parked }

// Parks says whether timers of the group are parked, in any domain.
func (s *Set) Parks(g element.KeyGroup) bool {
	if s.parked == 0 {
		return false
	}
	for d := range s.queues {
		if s.queues[d][g].parked.Count > 0 {
			return true
		}
	}
	return false
}

// ParkedDue says whether parked timers are the next of a group that are due by
// due, and until when they are.
func (s *Set) ParkedDue(d plan.TimeDomain, g element.KeyGroup, due element.EventTime) (until element.EventTime, ok bool) {
	q := &s.queues[d][g]
	if q.parked.Count == 0 {
		return 0, false
	}
	if len(q.timers) > 0 {
		due = min(due, q.timers[0].Fire)
	}
	return due, q.parked.First <= due
}

// Groups is the number of key groups.
func (s *Set) Groups() int { return len(s.queues[0]) }
