package engine

import (
	"math/bits"
	"time"

	"github.com/gorunner/gorunner/internal/invariants"
)

// Most stages of a large job have nothing to do most of the time. So that a step
// does not cost what the job is large, each environment has a set of its stages
// that may have work. A stage comes into it with whatever may give it some, and
// leaves it when it is looked at and has none.

// stageSet is a set of the stages of an environment, by their places there.
type stageSet []uint64

func (s stageSet) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s stageSet) remove(i int)   { s[i/64] &^= 1 << (i % 64) }
func (s stageSet) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

// below returns the largest place in the set that is less than i, -1 if there is
// none.
func (s stageSet) below(i int) int {
	if i <= 0 {
		return -1
	}
	i--
	word := s[i/64] & (^uint64(0) >> (63 - i%64))
	for w := i / 64; ; word = s[w] {
		if word != 0 {
			return w*64 + 63 - bits.LeadingZeros64(word)
		}
		if w--; w < 0 {
			return -1
		}
	}
}

// mark notes that a stage may have work from now on, and another time to wake
// for.
func (st *stageState) mark() {
	st.env.ready.add(st.place)
	st.alarmStale = true
}

// hasWork says whether there is anything for a bundle of the stage.
func (s *scheduler) hasWork(st *stageState) bool {
	if len(st.retries) > 0 || st.queue.Available() || st.incoming.Available() {
		return true
	}
	_, _, firing := s.due(st, nil)
	return firing
}

// nextReady returns the stage of an environment before place i that may have work
// and comes last, nil if there is none.
func (s *scheduler) nextReady(env *environment, i int) *stageState {
	for {
		if i = env.ready.below(i); i < 0 {
			return nil
		}
		if st := env.stages[i]; s.hasWork(st) {
			return st
		}
		env.ready.remove(i)
	}
}

// wakeTimers marks the stages that have timers due by the clock, and those that
// gates may have given something.
func (s *scheduler) wakeTimers() {
	for _, st := range s.timed {
		if st.alarmStale || st.alarm != 0 && st.alarm <= s.clock {
			st.mark()
		}
	}
	for _, st := range s.gated {
		st.mark()
	}
}

// alarmOf is [scheduler.nextTimer], computed when something has changed.
func (s *scheduler) alarmOf(st *stageState) time.Duration {
	if st.alarmStale {
		st.alarm, st.alarmStale = s.nextTimer(st), false
	}
	return st.alarm
}

// checkReady finds work that the sets have lost.
func (s *scheduler) checkReady() {
	for _, st := range s.stages {
		if !st.env.ready.has(st.place) && s.hasWork(st) {
			invariants.Failf("stage %s has work that nobody looks at", st.Name)
		}
		if st.timers != nil && !st.alarmStale && st.alarm != s.nextTimer(st) {
			invariants.Failf("stage %s is woken for timers at %v, not %v", st.Name, st.alarm, s.nextTimer(st))
		}
	}
}
