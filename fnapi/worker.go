package fnapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

// Worker is an SDK harness, as the engine sees it. It implements
// [harness.Worker] and is safe for concurrent use.
type Worker struct {
	server *Server
	opts   *Options
	log    *slog.Logger
	spec   WorkerSpec
	slots  int
	caches bool // the harness announces that it caches state
	// isGo says that the harness is Go's. It takes the input of a bundle for
	// complete after as many ends as it has transforms with timers, whatever
	// families those have: one more end, if it comes before the harness has begun
	// with the bundle, and that never ends. For its splits see goharness.go.
	isGo bool
	// stages are the descriptors the worker may be asked for; set up by Expect.
	stages map[plan.StageID]*descriptor

	metrics *shortIDs
	// control holds the requests to be sent, data the bundles that have input to
	// be sent, statuses the status requests.
	control  *queue[*outFrame]
	data     *queue[*execution]
	statuses *queue[*fnpb.WorkerStatusRequest]

	connected chan struct{}
	done      chan struct{}
	// logsDone is closed when the log is not to be read any more.
	logsDone chan struct{}
	// streams counts what runs for the worker's vital streams. It is added to only
	// while the worker has not ended, or by what it counts.
	streams sync.WaitGroup
	// gone is closed when the worker has ended and streams is back to zero.
	gone chan struct{}

	mu      sync.Mutex
	err     error                 // guarded by mu; why the worker ended
	stopped bool                  // guarded by mu; Stop has been called
	open    [streamKinds]int      // guarded by mu
	bundles map[string]*execution // guarded by mu; by instruction
	// unanswered are the instructions whose bundles have ended before the harness
	// has answered; guarded by mu. answered is closed when there are none, if
	// somebody waits for that; guarded by mu.
	unanswered map[string]struct{}
	answered   chan struct{}
	calls      map[string]chan *fnpb.InstructionResponse  // guarded by mu; by instruction
	asked      map[string]chan *fnpb.WorkerStatusResponse // guarded by mu; by status request
}

var _ harness.Worker = (*Worker)(nil)

// streamKind is one of the Fn API's streams.
type streamKind int

const (
	controlStream streamKind = iota
	dataStream
	stateStream
	statusStream
	loggingStream
	streamKinds
)

func (k streamKind) String() string {
	switch k {
	case controlStream:
		return "control"
	case dataStream:
		return "data"
	case stateStream:
		return "state"
	case statusStream:
		return "status"
	case loggingStream:
		return "logging"
	case streamKinds:
	}
	return fmt.Sprintf("stream(%d)", int(k))
}

// vital says whether Stop waits for the streams of the kind. The others end soon
// after.
func (k streamKind) vital() bool { return k == controlStream || k == dataStream || k == stateStream }

func newWorker(s *Server, spec WorkerSpec) *Worker {
	w := &Worker{
		server:     s,
		opts:       &s.opts,
		log:        s.log.With("worker", string(spec.ID)),
		spec:       spec,
		slots:      1,
		stages:     make(map[plan.StageID]*descriptor),
		metrics:    newShortIDs(s.opts.MaxShortIDs),
		control:    newQueue[*outFrame](s.opts.MaxInstructions),
		data:       newQueue[*execution](2 * s.opts.MaxBundles),
		statuses:   newQueue[*fnpb.WorkerStatusRequest](s.opts.MaxStreams),
		connected:  make(chan struct{}),
		done:       make(chan struct{}),
		logsDone:   make(chan struct{}),
		gone:       make(chan struct{}),
		bundles:    make(map[string]*execution),
		unanswered: make(map[string]struct{}),
		calls:      make(map[string]chan *fnpb.InstructionResponse),
		asked:      make(map[string]chan *fnpb.WorkerStatusResponse),
	}
	if slices.Contains(spec.Capabilities, capMultiCore) {
		w.slots = max(spec.Slots, 1)
	}
	w.caches = slices.Contains(spec.Capabilities, capStateCaching)
	w.isGo = slices.ContainsFunc(spec.Capabilities, func(c string) bool { return strings.HasPrefix(c, capGoBase) })
	return w
}

// ID implements [harness.Worker].
func (w *Worker) ID() harness.WorkerID { return w.spec.ID }

// Slots implements [harness.Worker]: more than one only where the environment
// says that its harness executes bundles in parallel.
func (w *Worker) Slots() int { return w.slots }

// Connected is closed when the harness has opened its control stream.
func (w *Worker) Connected() <-chan struct{} { return w.connected }

// Done implements [harness.Worker].
func (w *Worker) Done() <-chan struct{} { return w.done }

// Err implements [harness.Worker]. It is nil until Done is closed.
func (w *Worker) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Kill says that the process behind the worker is dead, and why.
func (w *Worker) Kill(err error) { w.lose(err) }

// Stop implements [harness.Worker]. The harness sees its streams end, once it is
// done with its bundles or Options.StopGrace is over. It must be called for a lost worker too. What the harness still logs may reach the
// worker's LogSink for Options.LogLinger after Stop has returned.
func (w *Worker) Stop(ctx context.Context) error {
	w.awaitAnswers(ctx)
	w.server.remove(w)
	w.end(fmt.Errorf("worker %s: stopped", w.spec.ID))
	w.mu.Lock()
	first := !w.stopped
	w.stopped = true
	w.mu.Unlock()
	if first {
		w.lingerLogs()
		go func() {
			w.streams.Wait()
			close(w.gone)
		}()
	}
	select {
	case <-w.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("worker %s: wait for its streams to end: %w", w.spec.ID, context.Cause(ctx))
	}
}

// awaitAnswers waits until the harness is done with bundles that have ended without
// it, but not for long.
func (w *Worker) awaitAnswers(ctx context.Context) {
	answered := make(chan struct{})
	w.mu.Lock()
	none := len(w.unanswered) == 0 || w.err != nil || w.stopped
	if !none {
		w.answered = answered
	}
	w.mu.Unlock()
	if none {
		return
	}
	grace := time.NewTimer(w.opts.StopGrace)
	defer grace.Stop()
	select {
	case <-answered:
	case <-w.done:
	case <-grace.C:
	case <-ctx.Done():
	}
}

// lose ends the worker through no wish of ours.
func (w *Worker) lose(err error) {
	if errors.Is(err, harness.ErrWorkerLost) {
		w.end(err)
		return
	}
	w.end(fmt.Errorf("worker %s: %w: %w", w.spec.ID, harness.ErrWorkerLost, err))
}

// end ends the worker with the error, unless it has ended already.
func (w *Worker) end(err error) {
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		return
	}
	w.err = err
	bundles := w.bundles
	w.bundles = make(map[string]*execution)
	w.mu.Unlock()
	close(w.done)
	for _, e := range bundles {
		e.finish(err)
	}
	w.log.Debug("worker ended", "reason", err)
}

// openStream admits a stream of the worker. A nil error is to be answered with
// closeStream.
func (w *Worker) openStream(kind streamKind) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil && kind != loggingStream {
		return status.Errorf(codes.Aborted, "%s stream refused: %v", kind, w.err)
	}
	limit := w.opts.MaxStreams
	if kind == controlStream || kind == dataStream {
		limit = 1
	}
	if w.open[kind] >= limit {
		return status.Errorf(codes.AlreadyExists, "worker %s has %d open %s streams; no more are allowed", w.spec.ID, w.open[kind], kind)
	}
	w.open[kind]++
	if kind.vital() {
		w.streams.Add(1)
	}
	return nil
}

func (w *Worker) closeStream(kind streamKind) {
	w.mu.Lock()
	w.open[kind]--
	w.mu.Unlock()
	if kind.vital() {
		w.streams.Done()
	}
}

// runStream runs the halves of an open stream, of which a stream may have only
// one, until one of them returns or the worker ends. The halves are unblocked by the end of the handler, which is what
// ends a stream on the server's side, and so may outlive it for a moment.
func (w *Worker) runStream(stream grpc.ServerStream, halves ...func() error) error {
	// Some clients wait for headers before they believe in the stream.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	ended := make(chan error, len(halves))
	for _, half := range halves {
		w.streams.Go(func() { ended <- w.guarded(half) })
	}
	select {
	case err := <-ended:
		return err
	case <-w.done:
		return nil
	}
}

// errPanic means that the fault is ours.
var errPanic = errors.New("internal error")

// guarded runs f and makes an error of a panic: f deals with what a harness sent,
// and must at most cost the job of that harness. What recovers panics of the
// server's handlers does not see the goroutines that they start.
func (w *Worker) guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("panic while serving a worker", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	return f()
}

// farewell is the status with which a stream of an ended worker ends.
func (w *Worker) farewell() error {
	err := w.Err()
	if err == nil || !errors.Is(err, harness.ErrWorkerLost) {
		return nil
	}
	return status.Error(codes.Aborted, err.Error())
}

// track runs f if the worker has not ended, and lets Stop wait for it.
func (w *Worker) track(f func()) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.streams.Go(f)
	return nil
}
