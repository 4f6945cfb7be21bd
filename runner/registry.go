package runner

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// addPrepared keeps a prepared job until it is run or its time is over.
func (s *Server) addPrepared(j *job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return status.Error(codes.Unavailable, "runner: server is shutting down")
	}
	if len(s.prepared) >= s.opts.Limits.MaxPrepared {
		return status.Errorf(codes.ResourceExhausted,
			"runner: %d jobs are prepared and not yet run, which is the limit", len(s.prepared))
	}
	s.prepared[j.preparation] = j
	j.expire = time.AfterFunc(s.opts.Limits.PreparedTTL, func() { s.dropPrepared(j) })
	s.watchIdle()
	return nil
}

// dropPrepared forgets a prepared job, and says whether it was there.
func (s *Server) dropPrepared(j *job) bool {
	s.mu.Lock()
	there := s.prepared[j.preparation] == j
	if there {
		delete(s.prepared, j.preparation)
		j.expire.Stop()
		s.watchIdle()
	}
	s.mu.Unlock()
	if !there {
		return false
	}
	if err := s.free(j); err != nil {
		s.opts.Log.Warn("artifacts of an expired job could not be removed", "preparation", string(j.preparation), "error", err)
	}
	return true
}

func (s *Server) findPrepared(id PreparationID) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.prepared[id]
}

// find returns the job that was run under the id.
func (s *Server) find(id string) (*job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[JobID(id)]; j != nil {
		return j, nil
	}
	if s.prepared[PreparationID(id)] != nil {
		return nil, status.Errorf(codes.NotFound, "runner: job %s is prepared but has not been run", id)
	}
	return nil, status.Errorf(codes.NotFound, "runner: unknown job %q", id)
}

// all returns the jobs that were run, oldest first.
func (s *Server) all() []*job {
	s.mu.Lock()
	defer s.mu.Unlock()
	jobs := make([]*job, 0, len(s.jobs))
	for _, j := range s.jobs {
		jobs = append(jobs, j)
	}
	slices.SortFunc(jobs, func(a, b *job) int { return a.created.Compare(b.created) })
	return jobs
}

// run makes a prepared job a running one.
func (s *Server) run(j *job) error {
	if err := s.reserve(j); err != nil {
		return err
	}
	j.id = JobID(slug(j.name) + "-" + newID())
	j.dir = filepath.Join(s.jobsDir(), string(j.id))
	err := s.makeJob(j)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.closed {
		err = status.Error(codes.Unavailable, "runner: server is shutting down")
	}
	if err != nil {
		s.active--
		s.watchIdle()
		return joinStatus(err, errors.Join(s.artifacts.Release(j.token), os.RemoveAll(j.dir)))
	}
	s.jobs[j.id] = j
	s.begin(j)
	return nil
}

// reserve takes a prepared job away from those that are prepared, to be run.
func (s *Server) reserve(j *job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return status.Error(codes.Unavailable, "runner: server is shutting down")
	case s.prepared[j.preparation] != j:
		return status.Errorf(codes.NotFound, "runner: preparation %s has expired or been run already", j.preparation)
	case s.active >= s.opts.Limits.MaxRunning:
		return status.Errorf(codes.ResourceExhausted, "runner: %d jobs are running, which is the limit", s.active)
	}
	delete(s.prepared, j.preparation)
	j.expire.Stop()
	s.active++
	s.watchIdle()
	return nil
}

// makeJob makes the directory of a job, which is then STARTING.
func (s *Server) makeJob(j *job) error {
	var err error
	if j.durability == None {
		err = os.Mkdir(j.dir, 0o700)
	} else {
		err = s.save(j)
	}
	if err == nil {
		err = j.hub.to(Starting)
	}
	if err != nil {
		return status.Errorf(codes.Internal, "runner: job %s: make directory: %v", j.id, err)
	}
	return nil
}

// begin starts the goroutine of a job, which outlives the call that runs it. mu
// is held.
func (s *Server) begin(j *job) {
	ctx, cancel := context.WithCancelCause(context.Background())
	j.cancel = cancel
	s.running.Go(func() {
		s.execute(ctx, j)
		s.returnMemory()
	})
}

// retire keeps a finished job to be asked about, within the limits, without
// what only its execution needed.
func (s *Server) retire(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j.cancel(nil)
	j.translation, j.environments = nil, nil
	s.active--
	s.watchIdle()
	s.finished = append(s.finished, j)
	s.expireEnded(j)
}

// expireEnded drops a job that has just ended when its time is over, and others if
// there are too many. mu is held.
func (s *Server) expireEnded(j *job) {
	if !s.closed {
		j.expire = time.AfterFunc(s.opts.Limits.FinishedGrace, func() { s.settle(j) })
	}
	s.trimFinished()
}

// settle ends the time in which a finished job is kept for its own client.
func (s *Server) settle(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j.settled = true
	if !s.closed && s.jobs[j.id] == j {
		j.expire = time.AfterFunc(s.opts.Limits.FinishedTTL-s.opts.Limits.FinishedGrace, func() { s.forget(j) })
	}
	s.trimFinished()
}

// trimFinished drops the oldest of too many finished jobs, such as have just
// finished only when there are far too many. mu is held.
func (s *Server) trimFinished() {
	most := s.opts.Limits.MaxFinished
	for len(s.finished) > most {
		i := slices.IndexFunc(s.finished, func(j *job) bool { return j.settled })
		if i < 0 {
			if len(s.finished) <= freshFactor*most {
				return
			}
			i = 0
		}
		s.drop(s.finished[i])
	}
}

// freshFactor is how many times Limits.MaxFinished jobs may be kept that have
// just finished.
const freshFactor = 10

// forget drops a finished job whose time is over.
func (s *Server) forget(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(j)
}

// drop removes a finished job, and its directory unless it is stranded. mu is
// held.
func (s *Server) drop(j *job) {
	if s.unlist(j) && !j.stranded {
		s.removeDir(j)
	}
}

// unlist takes a finished job off the lists, and says whether it was on them. mu is
// held.
func (s *Server) unlist(j *job) bool {
	i := slices.Index(s.finished, j)
	if i < 0 {
		return false
	}
	s.finished = slices.Delete(s.finished, i, i+1)
	delete(s.jobs, j.id)
	if j.expire != nil {
		j.expire.Stop()
	}
	return true
}

// removeDir removes the directory of a job that is on no list any more.
func (s *Server) removeDir(j *job) {
	if j.dir == "" {
		return
	}
	if err := os.RemoveAll(j.dir); err != nil {
		s.opts.Log.Warn("directory of a finished job could not be removed", "job", string(j.id), "error", err)
	}
}

// expireFinished drops a job of an earlier process when its time is over. mu is
// held.
func (s *Server) expireFinished(j *job) {
	rest := s.opts.Limits.FinishedTTL - s.opts.Clock().Sub(j.final.ended)
	j.settled = true
	j.expire = time.AfterFunc(max(0, rest), func() { s.forget(j) })
}
