package engine

import (
	"slices"
	"time"

	"github.com/gorunner/gorunner/internal/invariants"
	"github.com/gorunner/gorunner/plan"
)

// As many bundles that compute are executed at a time as there are cores: with
// more, each would only take longer. Those of stages with state and side inputs
// may wait for answers, so more of them are, and many more once they are seen to
// ask all the time: requests that are sent together cost less.
//
// What user code waits for besides, nobody knows. While a machine idles and there
// is more to do, an environment's width is doubled, and it is halved once the
// machine is busy. Idle cores do not prove that user code waits: it may be for
// want of a lock that bundles hold each other up. So a growth is on trial until
// bundles have been executed at the new width. If all of them together are not
// clearly faster than before, it is taken back, and not tried again for a while.
// While next to nothing computes, nobody holds a lock that he computes under: user
// code sleeps, or waits for others, perhaps for long, and no trial is waited for.

// demand is what stages want of a machine.
type demand int

const (
	computing demand = iota
	waiting
	asking
	demands
)

func (d demand) String() string {
	switch d {
	case computing:
		return "computing"
	case waiting:
		return "waiting"
	case asking:
		return "asking"
	case demands:
	}
	return "unknown"
}

const (
	// waitingSlots is how many bundles that may wait are executed at a time,
	// askingSlots how many that ask all the time: more than one request in
	// askingPace, and askingMin in all.
	waitingSlots = 8
	askingSlots  = 32
	askingPace   = 4 * time.Millisecond
	askingMin    = 50
	// staleIntervals is how many of config.idleInterval a measurement may have
	// taken.
	staleIntervals = 4
	// Beyond idleHigh a machine has cores to spare, below idleLow it has none.
	idleHigh, idleLow = 0.3, 0.05
	// asleepMax is how many cores are busy at most where nobody computes.
	asleepMax = 0.25
	// gainMin is how much faster a growth must make things.
	gainMin = 1.25
	// refusedIntervals is how many intervals a growth that has failed is not tried
	// again. They double each time, up to refusedDoublings.
	refusedIntervals = 120
	refusedDoublings = 6
)

func demandOf(s *plan.Stage) demand {
	if k, ok := s.Kind.(*plan.Executable); ok && len(k.States)+len(s.SideInputs) > 0 {
		return waiting
	}
	return computing
}

// width is how many bundles an environment executes at a time, beyond what all
// have by right.
type width struct {
	// grown is the number, 0 if it has not grown.
	grown int
	// short says that there was more to do since the last measurement.
	short bool
	trial trial
	// refused is until when it does not grow, failures how often that was of no
	// use, one time after the other.
	refused  time.Duration
	failures int
}

// trial compares the bundles that began since a growth with what they would have
// taken before.
type trial struct {
	// from is the number of bundles at a time before it; 0 if there is no trial.
	from           int
	since          time.Duration
	bundles        int
	took, expected time.Duration
}

// base is how many bundles an environment executes at a time in any case: every
// worker has one.
func (s *scheduler) base(env *environment) int {
	if env.id == native {
		return env.slots()
	}
	return max(s.config.slots, len(env.workers))
}

// most is how many bundles of stages with the demand the environment executes at
// a time.
func (s *scheduler) most(env *environment, d demand) int {
	n := max(s.base(env), env.width.grown)
	switch d {
	case computing, demands:
	case waiting:
		n = max(n, waitingSlots)
	case asking:
		n = max(n, askingSlots)
	}
	return min(n, env.slots())
}

// heard learns from how often a bundle that has ended has asked for state.
func (s *scheduler) heard(b *bundle, requests int64) {
	st := b.stage
	if st.demand != waiting || requests < askingMin || time.Duration(requests)*askingPace < s.now-b.began {
		return
	}
	st.env.running[waiting] -= st.running
	st.env.running[asking] += st.running
	st.demand = asking
}

// idle is how many more bundles of stages with the demand may be started.
func (s *scheduler) idle(env *environment, d demand) int {
	return max(0, min(s.most(env, d)-env.running[d], env.free()))
}

// watchIdle asks how busy the machine is, as long as something depends on it,
// and returns when to do so again.
func (s *scheduler) watchIdle() time.Duration {
	for _, env := range s.envs {
		w := &env.width
		if len(env.bundles) == 0 || w.grown == 0 && (!w.short || w.refused > s.now) {
			continue
		}
		if next := s.measured + s.config.idleInterval; next > s.now {
			return next
		}
		s.measured = s.now
		s.orders = append(s.orders, measureIdle{})
		return 0
	}
	return 0
}

// adapt draws conclusions from how busy the machine was.
func (s *scheduler) adapt(f idleMeasured) {
	if f.over <= 0 || f.over > staleIntervals*s.config.idleInterval {
		return
	}
	for _, env := range s.envs {
		if env.id == native {
			continue
		}
		w, now := &env.width, max(s.base(env), env.width.grown)
		switch {
		case f.idle < idleLow && w.grown > 0:
			s.shrink(env, now/2)
		case f.idle >= idleHigh && w.short && (f.busy < asleepMax || !s.undecided(env)) && now < env.slots() && w.refused <= s.now && s.pressure == relaxed:
			w.grown = min(2*now, env.slots())
			if w.trial.from == 0 {
				w.trial.from = now
			}
			w.trial.since = s.now
		}
		w.short = false
	}
}

// undecided says that the environment is not to grow before what is on trial is
// judged. Where nothing has ever ended there is nothing to compare with: then it
// goes on, but not as fast.
func (s *scheduler) undecided(env *environment) bool {
	t := &env.width.trial
	if t.from == 0 {
		return false
	}
	known := slices.ContainsFunc(env.bundles, func(b *bundle) bool { return b.stage.pace.measured })
	return known || t.bundles > 0 || s.now < t.since+s.config.bundleTime
}

// shrink sets a smaller width, which needs no trial.
func (s *scheduler) shrink(env *environment, to int) {
	env.width.trial = trial{}
	if env.width.grown = to; to <= s.base(env) {
		env.width.grown = 0
	}
}

// judge takes a bundle into account that has ended, and decides on the growth
// that is on trial once as many have as there are at a time.
func (s *scheduler) judge(env *environment, began, expected time.Duration) {
	t := &env.width.trial
	if t.from == 0 || began < t.since || expected <= 0 {
		return
	}
	t.bundles++
	t.took += s.now - began
	t.expected += expected
	if t.bundles < env.width.grown {
		return
	}
	invariants.Assert(env.width.grown > t.from, "a growth from %d to %d is on trial", t.from, env.width.grown)
	gain := float64(env.width.grown) / float64(t.from) * float64(t.expected) / float64(max(1, t.took))
	if gain >= gainMin {
		env.width.trial, env.width.failures = trial{}, 0
		return
	}
	s.shrink(env, t.from)
	env.width.refused = s.now + refusedIntervals*s.config.idleInterval<<min(env.width.failures, refusedDoublings)
	env.width.failures++
}
