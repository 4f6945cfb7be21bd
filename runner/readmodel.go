package runner

import (
	"context"
	"sync"
	"time"

	"github.com/gorunner/gorunner/blob/checkpoints"
	"github.com/gorunner/gorunner/execution/engine"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

// JobInfo is a picture of a job at one moment, for people and for monitoring.
type JobInfo struct {
	ID       JobID
	Name     string
	State    State
	Created  time.Time
	Workers  int
	Progress Progress
	// Executed is how long bundles have been executed: see engine.Status.
	Executed time.Duration
	Stages   []engine.StageStatus
	// Memory and Disk are what the data of the job takes while it runs, and Disk what
	// is kept of it afterwards.
	Memory, Disk Usage
	Durability   Durability
	// Checkpoints are those that this process has made of the job; nil if it makes
	// none.
	Checkpoints *checkpoints.Status
}

// Jobs returns pictures of the jobs that were run, oldest first.
func (s *Server) Jobs() []JobInfo {
	jobs := s.all()
	out := make([]JobInfo, len(jobs))
	for i, j := range jobs {
		state, _ := j.hub.current()
		status := j.status()
		out[i] = JobInfo{
			ID:       j.id,
			Name:     j.name,
			State:    state,
			Created:  j.created,
			Workers:  j.workers,
			Progress: j.progressOf(status),
			Executed: status.Executed,
			Stages:   status.Stages,

			Durability:  j.durability,
			Checkpoints: j.checkpointStatus(),
		}
		out[i].Memory, out[i].Disk = j.usage()
		if state.Terminal() && j.saved != nil {
			out[i].Disk.Used = dirBytes(j.dir)
		}
	}
	return out
}

// Running is the number of jobs that have not ended, and how many of them a server
// that is stopped leaves to the next one.
func (s *Server) Running() (jobs, kept int) {
	for _, j := range s.all() {
		if state, _ := j.hub.current(); state.Terminal() {
			continue
		}
		jobs++
		if j.saved != nil {
			kept++
		}
	}
	return jobs, kept
}

// WorkerInfo is a worker of a running job, with what its harness says of itself.
type WorkerInfo struct {
	Job         JobID
	Worker      harness.WorkerID
	Environment plan.EnvironmentID
	// Status is text for people: threads, bundles, caches, as the SDK has it.
	Status string
	// Err is why there is no status.
	Err error
}

// Workers asks the workers of all running jobs what they are doing, all at the
// same time, until ctx ends.
func (s *Server) Workers(ctx context.Context) []WorkerInfo {
	var out []WorkerInfo
	var workers []*hostedWorker
	for _, j := range s.all() {
		j.mu.Lock()
		h := j.host
		j.mu.Unlock()
		if h == nil {
			continue
		}
		for _, w := range h.alive() {
			workers = append(workers, w)
			out = append(out, WorkerInfo{Job: j.id, Worker: w.ID(), Environment: w.env})
		}
	}
	var wg sync.WaitGroup
	for i, w := range workers {
		wg.Go(func() { out[i].Status, out[i].Err = w.Status(ctx) })
	}
	wg.Wait()
	return out
}
