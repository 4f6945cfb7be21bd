package engine

import (
	"fmt"
	"slices"

	"github.com/gorunner/gorunner/plan"
)

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

// refuseWorker deals with a worker that could not be started. If it was to
// replace another, and some are left or on their way, the job goes on with them.
func (s *scheduler) refuseWorker(f workerRefused) {
	env := s.environment(f.env)
	env.starting--
	if env.restarts == 0 || len(env.workers)+env.starting <= 0 {
		s.fail(fmt.Errorf("environment %s: start worker: %w", f.env, f.err))
		return
	}
	s.orders = append(s.orders, workerMissing{WorkerMissing{Environment: env.id, Left: len(env.workers), Err: f.err}})
}
