package engine

import (
	"fmt"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
)

// Harnesses keep user state from bundle to bundle, under a name that the
// scheduler gives it: a cache token. What one of them has kept is true as long as
// nobody else has changed the state. So where an environment has several workers,
// each key group of a stage with user state belongs to one of them, and all share
// the groups evenly. Whenever that changes, so does the token; and it does when a
// bundle fails, after which a harness may have kept what was never committed, and
// with the process, which a harness may outlive.
//
// A bundle that is tried again may have groups of several owners, and is executed
// by any worker, which keeps nothing. The owners have nothing of these groups
// under the present token, since it is new since the failure and the groups have
// been locked.

// sticky says whether the key groups of the stage belong to workers.
func (s *scheduler) sticky(st *stageState) bool {
	return s.config.workersOf(st.env.id) > 1 && keepsUserState(st.Stage) && st.Input.Keyed
}

func keepsUserState(s *plan.Stage) bool {
	k, ok := s.Kind.(*plan.Executable)
	return ok && len(k.States) > 0
}

// stateCache says under which token a harness may keep the user state of a
// bundle of the stage; empty if it may not.
func (s *scheduler) stateCache(st *stageState, w *work) string {
	switch {
	case !keepsUserState(st.Stage):
		return ""
	case s.config.workersOf(st.env.id) == 1:
		return fmt.Sprintf("s%d.%d.%d", s.config.life, st.env.restarts.total, st.env.failed)
	case !s.sticky(st) || w.attempts > 0:
		return ""
	}
	return fmt.Sprintf("s%d.%d.%d", s.config.life, st.env.members, st.env.failed)
}

// owner is the worker that a key group belongs to, nil if there is no worker.
func (e *environment) owner(g element.KeyGroup) *worker {
	if len(e.workers) == 0 {
		return nil
	}
	return e.workers[int(g)%len(e.workers)]
}

// placed says whether there is a worker that can execute a key group of the
// stage now.
func (s *scheduler) placed(st *stageState, g element.KeyGroup) bool {
	if !s.sticky(st) {
		return true
	}
	o := st.env.owner(g)
	return o != nil && o.free() > 0
}

// ownerOfNext is the owner of the groups that a lease of the stage gets: that
// with most free slots of those who own one with elements. It is nil if none
// is free.
func (s *scheduler) ownerOfNext(st *stageState) (best *worker) {
	for _, g := range st.queue.Ready() {
		if o := st.env.owner(g); o != nil && o.free() > 0 && (best == nil || o.free() > best.free()) {
			best = o
		}
	}
	return best
}

// leasable says whether the queue has something that a worker can execute now.
func (s *scheduler) leasable(st *stageState) bool {
	return st.queue.Available() && (!s.sticky(st) || s.ownerOfNext(st) != nil)
}

// executable says whether a worker can execute some of the work of the stage
// now, of which there is some.
func (s *scheduler) executable(st *stageState) bool {
	if !s.sticky(st) || len(st.retries) > 0 || st.truncates() && st.incoming.Available() || s.leasable(st) {
		return true
	}
	_, _, firing := s.due(st, s.placed)
	return firing
}

// workerFor chooses the worker of a bundle.
func (s *scheduler) workerFor(st *stageState, w *work) *worker {
	if s.sticky(st) && w.attempts == 0 && w.function == 0 {
		return st.env.owner(w.lease.Groups[0])
	}
	return st.env.freest(w.avoid)
}
