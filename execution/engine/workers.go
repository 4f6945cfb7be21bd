package engine

import (
	"slices"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/internal/invariants"
	"github.com/gorunner/gorunner/plan"
)

// environment is the workers that execute a set of stages.
type environment struct {
	id      plan.EnvironmentID
	workers []*worker // in order of arrival
	stages  []*stageState
	ready   stageSet // those that may have work
	// bundles are those that are running, in the order in which they began;
	// running counts them by what their stages want.
	bundles    []*bundle
	running    [demands]int
	width      width
	callers    []*stageState // of its functions, in whatever environment
	starting   int           // workers on their way
	restarts   restarts
	quarantine quarantine
	// endless says that some of the stages are. served is the last bundle of
	// the others.
	endless bool
	served  harness.BundleID
	// members counts the workers that have come and gone.
	members int
	// failed counts the bundles that have failed. What harnesses kept of the
	// state they had written is not true then.
	failed int
}

type worker struct {
	id  harness.WorkerID
	env *environment
	// slots is the most bundles that it executes at a time, used how many it does.
	slots, used int
	// lost workers get no more bundles. The loss of an excused one is the fault of
	// what it was executing.
	lost, excused bool
}

// free is the number of idle slots.
func (w *worker) free() int {
	if w.lost || w.env.quarantine.worker == w {
		return 0
	}
	return w.slots - w.used
}

// freest is the worker with the most free slots, nil if there is none. The
// worker to avoid is taken only if no other is free.
func (e *environment) freest(avoid harness.WorkerID) *worker {
	var best *worker
	for _, w := range e.workers {
		if w.free() == 0 {
			continue
		}
		if best == nil || best.id == avoid || w.id != avoid && w.free() > best.free() {
			best = w
		}
	}
	return best
}

// free is the number of idle slots.
func (e *environment) free() int {
	n := 0
	for _, w := range e.workers {
		n += w.free()
	}
	return n
}

// slots is the number of bundles the environment can execute at a time.
func (e *environment) slots() int {
	n := 0
	for _, w := range e.workers {
		n += w.slots
	}
	return n
}

// workersOf is the number of workers that an environment has.
func (c *config) workersOf(id plan.EnvironmentID) int {
	if n, ok := c.environmentWorkers[id]; ok {
		return n
	}
	return c.workers
}

func (s *scheduler) addWorker(f workerReady) {
	env := s.environment(f.env)
	if env == nil {
		invariants.Failf("worker %s of unknown environment %q", f.id, f.env)
	}
	if env.id != native {
		env.starting--
	}
	w := &worker{id: f.id, env: env, slots: f.slots}
	env.workers = append(env.workers, w)
	env.members++
	s.workers[f.id] = w
}

// environment finds an environment of the plan; nil if it has none of that id.
func (s *scheduler) environment(id plan.EnvironmentID) *environment {
	i := slices.IndexFunc(s.envs, func(e *environment) bool { return e.id == id })
	if i < 0 {
		return nil
	}
	return s.envs[i]
}

// startWorker asks for one more worker of the environment.
func (s *scheduler) startWorker(env *environment) {
	env.starting++
	s.orders = append(s.orders, startWorker{env.id})
}
