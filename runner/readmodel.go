package runner

import (
	"time"

	"github.com/gorunner/gorunner/execution/engine"
)

// JobInfo is a picture of a job at one moment, for people and for monitoring.
type JobInfo struct {
	ID       JobID
	Name     string
	State    State
	Created  time.Time
	Workers  int
	Progress Progress
	Stages   []engine.StageStatus
}

// Jobs returns pictures of the jobs that were run, oldest first.
func (s *Server) Jobs() []JobInfo {
	jobs := s.all()
	out := make([]JobInfo, len(jobs))
	for i, j := range jobs {
		state, _, _ := j.hub.current()
		status := j.status()
		out[i] = JobInfo{
			ID:       j.id,
			Name:     j.name,
			State:    state,
			Created:  j.created,
			Workers:  j.workers,
			Progress: progressOf(status),
			Stages:   status.Stages,
		}
	}
	return out
}
