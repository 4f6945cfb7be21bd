// Package harness is the contract between the engine and whatever executes
// the bundles of a stage: an SDK harness behind the Fn API, or one of the
// runner's own operators.
//
// The engine starts bundles and commits their effects; a harness turns input
// into output and has no effect of its own. A bundle whose execution returns
// an error has had no effect, whatever it wrote before: the engine throws its
// output and state writes away and runs it again.
package harness

import (
	"context"
	"errors"
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/plan"
)

// BundleID numbers the attempts to execute a bundle within a job: a retry has
// a new id.
type BundleID int64

// WorkerID names a worker, unique in the process over all jobs.
type WorkerID string

// Bundle is one attempt to execute a run of elements.
type Bundle struct {
	ID    BundleID
	Stage *plan.Stage
	// Input holds the elements of the main input, in order. A harness hands
	// their bytes on as they stand.
	Input []element.Block
	// Timers are those that fire, in the order in which the harness is to fire
	// them.
	Timers []Timers
	// Output takes the results.
	Output Output
	// State answers the requests of the SDK for user state, side inputs and
	// paged values.
	State State
	// Time is what the clocks showed when the bundle was made.
	Time Time
	// StateCache lets the harness keep user state from bundle to bundle: what it
	// has read or written in bundles with an equal token is what the state is.
	// Empty forbids it.
	StateCache []byte
	// ViewCaches are the same for the stage's side inputs, in their order.
	ViewCaches [][]byte
}

// Time is what the clocks of a stage show.
type Time struct {
	// Watermark is the stage's input watermark: elements before it are late.
	Watermark element.EventTime
	// Reached is how far event time has come for windows, and Ahead how far it will
	// have once the elements of the bundle have been executed. Both may be beyond the
	// watermark, which is held back by what cannot be in windows that end before. They
	// are for the runner's own operators.
	Reached, Ahead element.EventTime
	// Processing is the processing time, in milliseconds since the Unix epoch.
	Processing element.EventTime
	// Synchronized is how far all stages upstream have come in processing time.
	Synchronized element.EventTime
}

// Timers are encoded timers of one family, back to back.
type Timers struct {
	// Family is the index of the family in the stage's plan.Executable.Timers.
	Family int
	Data   []byte
}

// Output collects what a bundle writes. It is safe for concurrent use by
// different outputs; writes to one output come one after the other.
type Output interface {
	// Write takes encoded windowed values for output number out of the stage.
	// The data may begin or end within an element: the pieces of one output,
	// put together, are whole elements. The callee copies what it keeps.
	Write(out int, data []byte) error
	// WriteTimers takes encoded timers that the bundle sets or clears, of the
	// family with that index in the stage's plan.Executable.Timers. Pieces are
	// put together as those of Write are.
	WriteTimers(family int, data []byte) error
}

// Worker executes bundles of the stages of one environment. Implementations
// are safe for concurrent use.
type Worker interface {
	ID() WorkerID
	// Slots is the most bundles that the worker executes at the same time, at
	// least 1.
	Slots() int
	// Start begins to execute the bundle and returns without waiting for it.
	// When ctx ends, the execution is abandoned: Wait returns and nothing is
	// written to the bundle's output any more.
	Start(ctx context.Context, b *Bundle) (Execution, error)
	// Done is closed when the worker can execute nothing any more.
	Done() <-chan struct{}
	// Err says why Done was closed; it wraps ErrWorkerLost unless the worker
	// was stopped on purpose.
	Err() error
	// Stop ends the worker and waits until it is gone, or ctx ends.
	Stop(ctx context.Context) error
}

// Execution is a bundle that is being executed.
type Execution interface {
	// Wait returns when the bundle is finished and all its output has been
	// written, or has failed. An error that wraps ErrWorkerLost means that the
	// worker, not the bundle, is to blame. Of the result that comes with an
	// error only the metrics count, as those of an attempt that failed.
	Wait() (Result, error)
	// Progress asks how far the bundle is.
	Progress(ctx context.Context) (Progress, error)
	// Split asks the harness to keep the given fraction (0 to 1) of the work
	// that remains, and to give the rest back. ok is false when it would not.
	Split(ctx context.Context, fraction float64) (s Split, ok bool, err error)
}

// ErrWorkerLost is wrapped by every error that is due to the death of a
// worker, so that a bundle is tried on another one.
var ErrWorkerLost = errors.New("worker lost")

// Result is the outcome of a finished bundle.
type Result struct {
	// Residuals are inputs of the stage that the bundle left for later.
	Residuals []Residual
	// Metrics are the bundle's final monitoring infos.
	Metrics []metrics.Info
	// Finalize is not nil when the SDK asked to be told once the bundle is
	// durable.
	Finalize func(ctx context.Context) error
}

// Residual is work that is left: an encoded windowed value for the stage's
// main input.
type Residual struct {
	Element []byte
	// Delay is how long to wait before it is executed; 0 is now.
	Delay time.Duration
	// Watermark is the lower bound on the timestamps of what the residual will
	// yield; nil stands for the element's own.
	Watermark *element.EventTime
}

// Split says how a running bundle was cut. Elements of the bundle's input are
// counted from 0: those up to LastPrimary stay with the bundle, those from
// FirstResidual on are given back, and the at most one element in between is
// replaced by Primaries, which stay, and Residuals, which are given back.
type Split struct {
	LastPrimary, FirstResidual int64
	// Primaries are encoded windowed values for the stage's main input.
	Primaries [][]byte
	Residuals []Residual
}

// Progress is how far a running bundle is.
type Progress struct {
	// ElementsRead counts the elements of the main input that the SDK has
	// taken up.
	ElementsRead int64
	// Metrics are the monitoring infos so far.
	Metrics []metrics.Info
}
