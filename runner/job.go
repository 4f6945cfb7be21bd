package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/gorunner/gorunner/blob/checkpoints"
	"github.com/gorunner/gorunner/execution/engine"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/runner/artifact"
	"github.com/gorunner/gorunner/runner/deadletter"
	"github.com/gorunner/gorunner/runner/jobdir"
	"github.com/gorunner/gorunner/translate"
)

// JobID names a job that was run.
type JobID string

// PreparationID names a job before it is run.
type PreparationID string

// job is a job from Prepare until it is forgotten. What is not guarded by mu is
// set before the job is run and not changed after.
type job struct {
	preparation PreparationID
	id          JobID // set by Run
	name        string
	pipeline    []byte // as it was submitted; a parsed one takes ten times the room
	options     *structpb.Struct
	settings    jobOptions
	workers     int // of each environment, where environmentWorkers has no other
	token       artifact.Token
	created     time.Time
	hub         *hub
	names       map[plan.TransformID]string // see transformNames
	streaming   bool                        // see isStreaming
	// environmentWorkers: see pythonWorkers.
	environmentWorkers map[plan.EnvironmentID]int

	// environments with their alternatives resolved; nil once the job ended.
	environments map[plan.EnvironmentID]*pipepb.Environment
	// translation is nil once the job has ended.
	translation *translate.Translation

	durability Durability
	// resumed says that another process has begun the job.
	resumed bool
	dir     string // the job's directory
	// saved is what outlives the process in it; nil for a job that does not.
	saved  *jobdir.Dir
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when the job's goroutine is at its end
	expire *time.Timer   // forgets the job; guarded by Server.mu
	// settled says that the job finished a while ago; guarded by Server.mu.
	settled bool
	// stranded says that the job has ended here alone: its directory is not touched.
	// Guarded by Server.mu.
	stranded bool

	mu        sync.Mutex
	execution Execution // guarded by mu; nil before and after execution
	host      *host     // guarded by mu; nil before execution
	room      room      // guarded by mu; empty before and after execution
	// keeper makes checkpoints while the job runs, if it makes any; checkpoints is how
	// that was when it ended. Guarded by mu.
	keeper      *checkpoints.Keeper
	checkpoints *checkpoints.Status
	cancelled   string // guarded by mu; why the job was asked to stop
	final       finalReport
}

// finalReport is what remains of an execution; guarded by job.mu.
type finalReport struct {
	status               engine.Status
	attempted, committed []metrics.Info
	ended                time.Time
}

// status returns a picture of the job's stages; empty before it runs.
func (j *job) status() engine.Status {
	x, final := j.executed()
	if x == nil {
		return final.status
	}
	return x.Status()
}

// metrics returns the job's monitoring infos. Those of a running job are asked
// for, which may take a moment.
func (j *job) metrics() (attempted, committed []metrics.Info) {
	x, final := j.executed()
	if x == nil {
		return final.attempted, final.committed
	}
	return x.Metrics()
}

// executed returns the execution, or what remains of it.
func (j *job) executed() (Execution, finalReport) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.execution, j.final
}

// transformName is the name that the user gave a transform, or the id if there is
// none.
func (j *job) transformName(id plan.TransformID) string {
	if name := j.names[id]; name != "" {
		return name
	}
	return string(id)
}

// requestCancel asks the job to stop, and says why. Finished jobs have nothing
// to stop.
func (j *job) requestCancel(why string) {
	j.mu.Lock()
	if j.cancelled == "" {
		j.cancelled = why
	}
	j.mu.Unlock()
	if j.hub.to(Cancelling) == nil {
		j.hub.say(Basic, "cancelling")
	}
	if j.cancel != nil { // else it has ended in an earlier process
		j.cancel(nil)
	}
}

// drain asks a running job to end as if its sources had. Its state is then
// Draining, or Drained if it was drained before; an error says why it cannot be
// drained, and changes nothing.
func (j *job) drain(ctx context.Context, why string) (State, error) {
	state := j.hub.wait(ctx, func(s State) bool { return s != Starting })
	if state == Draining || state == Drained {
		return state, nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.hub.to(Draining); err != nil {
		state, _ = j.hub.current()
		return state, err
	}
	j.hub.say(Basic, "draining, because "+why)
	if j.execution != nil { // else the job is about to end by itself
		j.execution.Drain()
	}
	return Draining, nil
}

// execute is the job's goroutine.
func (s *Server) execute(ctx context.Context, j *job) {
	defer close(j.done)
	log := s.opts.Log.With("job", string(j.id))
	log.Info("job started", "name", j.name, "stages", len(j.translation.Plan.Stages), "workers", j.workers)
	h := newHost(s, j, log)
	j.mu.Lock()
	j.host = h
	j.mu.Unlock()
	err := s.runEngine(ctx, j, h)
	if stopErr := h.close(ctx); stopErr != nil {
		log.Warn("workers of the job did not stop cleanly", "error", stopErr)
	}
	if j.saved != nil && errors.Is(err, engine.ErrSuspended) {
		s.suspend(j, log)
		return
	}
	if s.isStranded(j, err) {
		s.strand(j, err, log)
		return
	}
	text := j.describeFailure(err)
	if unwritten := s.end(j, log, func() error { return j.finish(err, text) }); unwritten != nil {
		s.strand(j, fmt.Errorf("%w\nIt was to end because: %s", unwritten, text), log)
		return
	}
	state, _ := j.hub.current()
	s.retire(j)
	status := j.status()
	args := append([]any{
		"state", state.String(), "duration", s.opts.Clock().Sub(j.created).Round(time.Millisecond).String(),
		"executed", status.Executed.Round(time.Millisecond).String(),
	}, j.progressOf(status).attrs()...)
	if state == Failed {
		log.Error("job ended", append(args, "error", text)...)
		return
	}
	log.Info("job ended", args...)
}

// runEngine executes the plan. It is the boundary at which a panic of the
// job's goroutine becomes the failure of this job alone.
func (s *Server) runEngine(ctx context.Context, j *job, h *host) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("runner: %w: %v\n%s", engine.ErrInternal, p, debug.Stack())
		}
	}()
	if state, _ := j.hub.current(); state == Cancelling {
		return fmt.Errorf("%w before it ran", engine.ErrCancelled)
	}
	if j.resumed {
		s.sweep(ctx, j.dir, h.log)
	}
	r := s.room.forJob(j.settings)
	defer r.close()
	stored, err := s.openStorage(j, r, h.log)
	if err != nil {
		return err
	}
	defer func() {
		if err := stored.close(); err != nil {
			h.log.Warn("what the job had on disk could not be put away", "error", err)
		}
	}()
	h.epoch = stored.epoch
	x := s.deps.Execute(j.translation.Plan, engine.Options{
		Host:               h,
		Memory:             r.memory,
		Disk:               stored.disk,
		Quota:              r.disk,
		OpenState:          stored.openState,
		Journal:            stored.journal,
		Workers:            j.workers,
		EnvironmentWorkers: j.environmentWorkers,
		Slots:              s.opts.Slots,
		MaxAttempts:        j.settings.bundleAttempts,
		MaxWorkerRestarts:  j.settings.workerRestarts,
		RestartWindow:      j.settings.restartWindow,
		ParkPoison:         j.settings.park,
		MaxParked:          j.settings.maxParked,
		DeadLetters:        deadletter.New(deadletter.Params{Dir: jobdir.Dead(j.dir), Job: string(j.id), Clock: s.opts.Clock}),
		BundleBytes:        j.settings.bundleBytes,
		CheckpointInterval: j.settings.checkpoint,
		Drain:              j.settings.drain,
		Listener:           newListener(j),
		Log:                h.log,
	})
	j.mu.Lock()
	j.execution, j.room = x, r
	j.mu.Unlock()
	defer func() {
		attempted, committed := x.Metrics()
		report := finalReport{status: x.Status(), attempted: attempted, committed: committed, ended: s.opts.Clock()}
		j.mu.Lock()
		j.execution, j.room, j.final = nil, room{}, report
		j.mu.Unlock()
	}()
	switch state, _ := j.hub.current(); state {
	case Running, Updating: // for an earlier process
	case Draining:
		x.Drain()
	case Stopped, Starting, Done, Failed, Cancelling, Cancelled, Drained, Updated:
		if err := j.hub.to(Running); err != nil {
			return j.notRun(err)
		}
	}
	stop := s.startProgress(j, h.log)
	defer stop()
	return s.keep(ctx, j, stored.journal, h.log, x.Run)
}

// notRun is the error of a job that could not become a running one, for err.
func (j *job) notRun(err error) error {
	if state, _ := j.hub.current(); state == Cancelling {
		return fmt.Errorf("%w before it ran: %w", engine.ErrCancelled, err)
	}
	return fmt.Errorf("runner: job %s: %w", j.id, err)
}

// end brings the job to its final state and removes what only its execution
// needed. A job that outlives the process has ended when that is written down:
// until then, everything is needed. The error says why it could not be.
func (s *Server) end(j *job, log *slog.Logger, finish func() error) error {
	if j.saved != nil {
		if err := j.saved.SetReport(j.report()); err != nil {
			log.Warn("metrics of the job are not kept", "error", err)
		}
		if err := finish(); err != nil {
			return err
		}
	}
	if err := s.free(j); err != nil {
		log.Warn("what the job held could not be removed", "error", err)
	}
	if j.saved == nil {
		return finish()
	}
	return nil
}

// free removes what the job holds outside memory, and what it needs no more.
func (s *Server) free(j *job) error {
	err := s.artifacts.Release(j.token)
	switch {
	case j.saved != nil:
		err = errors.Join(err, j.saved.Clear())
	case j.dir != "":
		err = errors.Join(err, jobdir.RemoveButDead(j.dir))
	}
	return err
}

// finish puts the job into its final state. The error says why that could not be
// written down.
func (j *job) finish(err error, text string) error {
	switch {
	case err == nil:
		// Python's client takes every end but DONE for a failure: its user is to
		// read what happened.
		err = j.hub.succeed("the job was drained: its sources were stopped, and what they had read was processed")
	case errors.Is(err, engine.ErrCancelled):
		if state, _ := j.hub.current(); state != Cancelling {
			if err := j.hub.to(Cancelling); err != nil {
				j.hub.say(Debug, err.Error())
			}
		}
		j.mu.Lock()
		why := j.cancelled
		j.mu.Unlock()
		err = j.hub.to(Cancelled, "the job was cancelled: "+why)
	default:
		err = j.hub.to(Failed, text)
	}
	var unwritten *unwrittenError
	if errors.As(err, &unwritten) {
		return err
	}
	if err != nil { // the table forbids it
		j.hub.say(Warning, err.Error())
	}
	return nil
}
