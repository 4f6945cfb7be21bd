package runner

import (
	"fmt"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/gorunner/gorunner/fnapi/environment"
	"github.com/gorunner/gorunner/plan"
)

// A client in Python has one interpreter, and so one core, for all workers that
// it runs in its own process. The others that a job wants are processes of the
// runner: the first ones of an environment are the client's, so that it is at
// work while they start.

// pythonWorkers returns the number of workers of the environments that are helped
// by processes.
func (s *Server) pythonWorkers(j *job) (map[plan.EnvironmentID]int, error) {
	want := j.settings.workerProcesses
	if want == 0 {
		want = s.opts.WorkerProcesses
	}
	want = min(want, s.opts.Limits.MaxWorkers)
	helped := make(map[plan.EnvironmentID]int)
	for id, env := range j.environments {
		if _, ok := environment.Python(env); ok && want > j.workers {
			helped[id] = want
		}
	}
	if j.settings.workerProcesses > j.workers && len(helped) == 0 {
		return nil, fmt.Errorf("runner: prepare: option gorunner_worker_processes: none of the environments is a client in Python on this machine (LOOPBACK)")
	}
	return helped, nil
}

// environment returns the environment of the nth worker of env, counted from 1.
func (h *host) environment(env plan.EnvironmentID, n int) (*pipepb.Environment, error) {
	own := h.job.environments[env]
	if h.job.environmentWorkers[env] == 0 || n <= h.job.workers {
		return own, nil
	}
	pool, ok := environment.Python(own)
	if !ok {
		return own, nil
	}
	return pool.Process(h.job.settings.workerPython)
}
