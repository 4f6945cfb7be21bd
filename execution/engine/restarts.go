package engine

import (
	"fmt"
	"slices"
	"time"
)

// restarts are the lost workers of an environment that are replaced: at once if a
// bundle was committed since the one before, and else each after twice the time.
type restarts struct {
	// at is when those within the window were lost, due when those come that wait.
	at, due []time.Duration
	// barren counts them since the last commit, total since the start of the job;
	// unborn are those of total that have never connected, before any was lost that had.
	barren, total, unborn int
}

// startTries is how often the first worker of an environment is started whose process
// ends before it connects: somebody may have killed it.
const startTries = 3

// doublings bounds the delay where nothing else does.
const doublings = 20

// lose notes that a worker was lost, and says how many within the window were, and
// how long its replacement waits.
func (r *restarts) lose(now time.Duration, c *config) (lost int, wait time.Duration) {
	if c.restartWindow > 0 {
		r.at = slices.DeleteFunc(r.at, func(at time.Duration) bool { return at+c.restartWindow <= now })
	}
	r.at = append(r.at, now)
	r.total++
	if r.barren++; r.barren > 1 {
		wait = min(c.restartDelay<<min(r.barren-2, doublings), c.restartDelayMax)
	}
	return len(r.at), wait
}

// replace starts a worker in place of one that was lost, now or later, and tells of
// it. It refuses if too many were.
func (s *scheduler) replace(env *environment, event WorkerReplaced) (lost int, ok bool) {
	lost, event.After = env.restarts.lose(s.now, &s.config)
	if lost > s.config.maxWorkerRestarts {
		return lost, false
	}
	s.orders = append(s.orders, workerReplaced{event})
	s.startWorkerAfter(env, event.After)
	return lost, true
}

// startWorkerAfter lets the start of a worker wait.
func (s *scheduler) startWorkerAfter(env *environment, wait time.Duration) {
	if wait <= 0 {
		s.startWorker(env)
		return
	}
	env.starting++
	env.restarts.due = append(env.restarts.due, s.now+wait)
	slices.Sort(env.restarts.due)
}

// restart starts the workers whose time has come, and returns when the next one's
// has, 0 for none.
func (s *scheduler) restart() time.Duration {
	var next time.Duration
	for _, env := range s.envs {
		r := &env.restarts
		for len(r.due) > 0 && r.due[0] <= s.now {
			r.due = r.due[1:]
			env.starting-- // which counts it again
			s.startWorker(env)
		}
		if len(r.due) > 0 {
			next = earlier(next, r.due[0])
		}
	}
	return next
}

// tooMany is the error of an environment whose workers were lost too often.
func (s *scheduler) tooMany(env *environment, lost int, err error) error {
	within := ""
	if s.config.restartWindow > 0 {
		within = fmt.Sprintf(" within %v", s.config.restartWindow)
	}
	return fmt.Errorf("environment %s: %d workers were lost%s, the last one: %w", env.id, lost, within, err)
}

func (s *scheduler) dropWorker(f workerGone) {
	w := s.workers[f.id]
	if w == nil {
		return
	}
	delete(s.workers, f.id)
	env := w.env
	env.workers = slices.DeleteFunc(env.workers, func(o *worker) bool { return o == w })
	env.members++
	w.excused = w.excused || env.quarantine.worker == w && w.used > 0
	env.quarantine.release(w)
	if finished(env.stages) && finished(env.callers) {
		return
	}
	if w.excused {
		s.orders = append(s.orders, workerReplaced{WorkerReplaced{Worker: f.id, Environment: env.id, Err: f.err}})
		env.restarts.total++
		s.startWorker(env)
		return
	}
	if lost, ok := s.replace(env, WorkerReplaced{Worker: f.id, Environment: env.id, Err: f.err}); !ok {
		s.fail(s.tooMany(env, lost, f.err))
	}
}

// refuseWorker deals with a worker that could not be started. One that was to
// replace another is tried again, as if it had been lost, and so, but not as often, is
// one whose process has ended. If that has been tried too often, the job fails, or goes
// on for a while with those that are left.
func (s *scheduler) refuseWorker(f workerRefused) {
	env := s.environment(f.env)
	env.starting--
	if r := &env.restarts; r.total == r.unborn {
		if r.unborn++; !f.ended || r.unborn == startTries {
			s.fail(fmt.Errorf("environment %s: %w: %w", f.env, ErrNoWorker, f.err))
			return
		}
	}
	if finished(env.stages) && finished(env.callers) {
		return
	}
	if _, ok := s.replace(env, WorkerReplaced{Environment: env.id, Err: f.err}); ok {
		return
	}
	if len(env.workers)+env.starting-len(env.restarts.due) <= 0 {
		s.fail(fmt.Errorf("environment %s: %w: %w", f.env, ErrNoWorker, f.err))
		return
	}
	if s.config.restartWindow > 0 {
		s.startWorkerAfter(env, s.config.restartWindow) // until when this is forgotten
	}
	s.orders = append(s.orders, workerMissing{WorkerMissing{Environment: env.id, Left: len(env.workers), Err: f.err}})
}
