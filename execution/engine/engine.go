// Package engine runs a plan: it decides which bundle to execute next and
// where, hands bundles to harnesses and commits what they return.
package engine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// Host provides the workers of a job.
type Host interface {
	// StartWorker starts one more worker of the environment and returns when
	// it is ready to execute bundles, has failed, or ctx ends.
	StartWorker(ctx context.Context, env plan.EnvironmentID) (harness.Worker, error)
}

// Options are the settings of a job's execution; zero values stand for the
// defaults said with each.
type Options struct {
	Host Host
	// Workers is the number of workers of each environment; default 1. Those in
	// EnvironmentWorkers have another.
	Workers            int
	EnvironmentWorkers map[plan.EnvironmentID]int
	// Slots is how many bundles each environment executes at a time, as far as its
	// workers can; default the number of cores, at least 2. There are more where
	// user code waits instead of computing.
	Slots int
	// MaxAttempts is how often a bundle is tried before its job fails; default 4.
	MaxAttempts int
	// MaxWorkerRestarts is how many lost workers of an environment are
	// replaced within RestartWindow before the job fails; default 8 in 10 min. One that
	// cannot be started counts as lost again, and costs the job only if no other is
	// left.
	MaxWorkerRestarts int
	RestartWindow     time.Duration
	// RestartDelay is how long a replacement waits if nothing was committed since the
	// one before, each further one twice as long, up to RestartDelayMax; default
	// 500 ms and 30 s.
	RestartDelay, RestartDelayMax time.Duration
	// BundleBytes is the size of input that a bundle aims at; default 32 MiB.
	BundleBytes int
	// BundleTime is how long a bundle of input that has an end may take, as far as
	// that can be told from what others have taken; default 2 s.
	BundleTime time.Duration
	// PagedBytes is the size beyond which the values of one key are read page
	// by page instead of standing in the element; default 4 MiB.
	PagedBytes int
	// SplitInterval is how long a bundle runs before the engine considers to
	// split it for idle slots; default 500 ms.
	SplitInterval time.Duration
	// CheckpointInterval is how long a bundle of endless elements runs before
	// the engine checkpoints it; default 100 ms.
	CheckpointInterval time.Duration
	// Patience is how long elements may wait for a GroupByKey of which nothing comes
	// before their window ends; default 100 ms.
	Patience time.Duration
	// CheckpointElements and CheckpointBytes are how much a bundle of a
	// splittable DoFn writes before the engine checkpoints it; default 1 million
	// elements and 32 MiB.
	CheckpointElements, CheckpointBytes int
	// Memory bounds what the job holds in memory, and Disk takes what is beyond
	// it; default no bound, and all in memory.
	Memory *shuffle.Budget
	Disk   shuffle.Disk
	// Quota bounds what the job has on Disk, which enters that there; default no
	// bound.
	Quota *shuffle.Budget
	// ParkPoison puts elements aside that keep failing, up to MaxParked of each stage,
	// instead of failing the job; default it fails, and 1,000. Not those of sources,
	// nor timers.
	ParkPoison bool
	MaxParked  int
	// DeadLetters get the elements that are parked, and the input of the bundle that
	// the job fails with; default nobody does.
	DeadLetters DeadLetters
	// OpenState opens a table for the state that memory has no room for; default
	// all of it stays there. It is called when that is first the case.
	OpenState func() (state.Table, error)
	// Journal keeps what the job commits; default nobody does, and the job ends with
	// the process. With one, Disk is the journal's, and if the journal has commits of an
	// earlier process the job goes on from them. It is for whoever opened it to close,
	// after Run.
	Journal Journal
	// Drain drains the job from its very start, or goes on to: see [Job.Drain].
	Drain bool
	// FinalizeTimeout is how long a harness may take to finalize a bundle, which
	// the end of the job waits for; default 1 min.
	FinalizeTimeout time.Duration
	// ProgressTimeout is how long running bundles may take to tell their metrics
	// when they are asked for; default 1 s.
	ProgressTimeout time.Duration
	// StopTimeout is how long workers may take to stop; default 30 s.
	StopTimeout time.Duration
	// Listener is told what happens; default nobody. It is called from the
	// job's own goroutine and must return at once.
	Listener Listener
	Log      *slog.Logger
}

// Listener receives the events of a job.
type Listener interface{ Event(Event) }

// Event is something that happened to a job. The set is closed:
// [StageFinished], [BundleRetried], [ElementParked], [WorkerReplaced], [WorkerMissing].
//
//sumtype:decl
type Event interface{ event() }

// StageFinished says that a stage has seen all its input and committed all
// its output.
type StageFinished struct{ Stage plan.StageID }

// BundleRetried says that a bundle failed and will be executed again.
type BundleRetried struct {
	Stage   plan.StageID
	Bundle  harness.BundleID
	Attempt int
	Err     error
}

// ElementParked says that an element kept failing, and the job goes on without it.
type ElementParked struct {
	Stage plan.StageID
	// Where it is kept.
	Where string
	// Parked is how many of the stage are, since the start of the process.
	Parked int
	Err    error
}

// WorkerReplaced says that a worker was lost, or could not be started, and that
// another one is started in its place.
type WorkerReplaced struct {
	// Worker is empty if it never was one.
	Worker      harness.WorkerID
	Environment plan.EnvironmentID
	// After is how long the other one waits.
	After time.Duration
	Err   error
}

// WorkerMissing says that a lost worker could not be replaced, and the job goes
// on with fewer.
type WorkerMissing struct {
	Environment plan.EnvironmentID
	// Left is the number of workers that the environment has yet.
	Left int
	Err  error
}

func (StageFinished) event()  {}
func (BundleRetried) event()  {}
func (ElementParked) event()  {}
func (WorkerReplaced) event() {}
func (WorkerMissing) event()  {}

// BundleError is why a job failed when a bundle kept failing.
type BundleError struct {
	Stage    *plan.Stage
	Bundle   harness.BundleID
	Attempts int
	// Err is what the harness said last, with the SDK's own text.
	Err error
	// Kept says where its input is kept; empty if it is not.
	Kept string

	input  []element.Block
	timers []*timer.Timer
	disk   bool // is to blame
}

// ErrCancelled is wrapped by the error of a job whose context ended.
var ErrCancelled = errors.New("job cancelled")

// ErrSuspended is the cause with which a context ends that is to end this
// process's part in the job only: what runs is given up, workers are stopped, and
// another process goes on from what the journal has. Run returns an error that wraps
// it, and not [ErrCancelled]. All commits were handed to the journal then, which
// writes them when it is closed.
var ErrSuspended = errors.New("job suspended")

// ErrJournal is wrapped by the error of a job whose journal does not take its
// commits any more. The job can be gone on with from those that it took.
var ErrJournal = errors.New("the job's journal failed")

// ErrNoWorker is wrapped by the error of a job that got none for an environment.
var ErrNoWorker = errors.New("start worker")

// ErrInternal is wrapped by the error of a job that has met a mistake of the runner.
// A job with a journal can be gone on with, by a runner without the mistake.
var ErrInternal = errors.New("internal error")

// Status is a picture of a job at one moment, for people.
type Status struct {
	Stages []StageStatus
	// Executed is the time from the start of the first bundle of user code to the
	// last commit: without what it takes to start workers and to stop them.
	Executed time.Duration
}

// StageStatus is a picture of a stage.
type StageStatus struct {
	Stage plan.StageID
	Name  string
	// Done says that the stage has nothing left to do.
	Done bool
	// Running is the number of bundles being executed, Pending the number of
	// elements that wait.
	Running, Pending int
	// ElementsIn, BytesIn, ElementsOut and BytesOut count what was committed.
	ElementsIn, BytesIn, ElementsOut, BytesOut int64
	// Watermark is the stage's output watermark.
	Watermark element.EventTime
	// Why names what holds the watermark; empty when the stage is done.
	Why string
}

// Job is the execution of one plan. Status and Metrics may be called from any
// goroutine at any time; Run once.
type Job struct{ impl *driver }

// New prepares the execution of p.
func New(p *plan.Plan, opts Options) *Job { return &Job{impl: newDriver(p, opts)} }

// Run executes the plan until all stages are done. It returns nil then, a
// *[BundleError] or another error that says why the job failed, or an error
// that wraps [ErrCancelled] once ctx has ended, or [ErrSuspended] if that is the
// cause. All workers are stopped when it returns. With a journal, a job that is done
// stays so whatever happens to the machine.
func (j *Job) Run(ctx context.Context) error { return j.impl.run(ctx) }

// Drain lets the job come to its end by itself: sources and test streams end,
// what has been taken in is worked off, and windows and timers fire. Run returns
// nil then. It may be called at any time, from any goroutine and more than
// once, and returns at once: whoever has another process go on with the job asks
// it again.
func (j *Job) Drain() { j.impl.askToDrain() }

// Status returns a picture of the job as it is now.
func (j *Job) Status() Status { return j.impl.status() }

// Metrics returns the monitoring infos of all executions, and of those that
// were committed. An execution that is under way, or has failed, counts among
// the former with what its harness told of it, which may be nothing.
func (j *Job) Metrics() (attempted, committed []metrics.Info) { return j.impl.metrics() }
