package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/fnapi"
	"github.com/gorunner/gorunner/fnapi/environment"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/runner/artifact"
)

// host starts the workers of one job; it implements engine.Host.
type host struct {
	server *Server
	job    *job
	log    *slog.Logger
	// epoch counts the processes that have had the job, from 1, so that no worker is
	// taken for one of another; 0 for a job that has one process only.
	epoch uint64

	mu      sync.Mutex
	started int // guarded by mu; workers so far
	// startedOf is started for each environment; guarded by mu.
	startedOf map[plan.EnvironmentID]int
	workers   []*hostedWorker // guarded by mu
}

func newHost(s *Server, j *job, log *slog.Logger) *host {
	return &host{server: s, job: j, log: log, startedOf: make(map[plan.EnvironmentID]int)}
}

// StartWorker announces, launches and awaits a worker.
func (h *host) StartWorker(ctx context.Context, env plan.EnvironmentID) (harness.Worker, error) {
	w, err := h.start(ctx, env)
	if err != nil {
		return nil, fmt.Errorf("start worker of environment %s: %w", env, err)
	}
	return w, nil
}

func (h *host) start(ctx context.Context, env plan.EnvironmentID) (*hostedWorker, error) {
	h.mu.Lock()
	h.started++
	h.startedOf[env]++
	nth := h.startedOf[env]
	id := harness.WorkerID(fmt.Sprintf("%s-%s-%d", h.job.id, slug(string(env)), h.started))
	if h.epoch > 1 {
		id += harness.WorkerID(fmt.Sprintf("-of-%d", h.epoch))
	}
	h.mu.Unlock()
	where, err := h.environment(env, nth)
	if err != nil {
		return nil, err
	}
	lines := newTail(workerTailLines)
	worker, err := h.announce(id, env, lines)
	if err != nil {
		return nil, err
	}
	process, err := h.server.deps.Launch(ctx, environment.Launch{
		WorkerID:     id,
		Endpoints:    endpoints(h.server.endpoint),
		Environment:  where,
		Options:      h.job.options,
		Capabilities: fnapi.Capabilities(),
		Dir:          h.job.dir,
		Patience:     h.patience(),
		Log:          h.log,
	})
	if err != nil {
		worker.Kill(err)
		ctx, cancel := h.server.stopContext(ctx)
		defer cancel()
		return nil, errors.Join(err, worker.Stop(ctx))
	}
	w := &hostedWorker{
		Worker:  worker,
		env:     env,
		process: process,
		server:  h.server,
		watched: make(chan struct{}),
	}
	if err := h.await(ctx, w, lines); err != nil {
		worker.Kill(err)
		close(w.watched)
		ctx, cancel := h.server.stopContext(ctx)
		defer cancel()
		return nil, errors.Join(err, w.Stop(ctx))
	}
	go w.watch(ctx)
	h.mu.Lock()
	h.workers = append(h.workers, w)
	h.mu.Unlock()
	h.log.Info("worker connected", "worker", string(id), "environment", string(env), "slots", w.Slots())
	return w, nil
}

// endpoints says that one server offers all services.
func endpoints(address string) environment.Endpoints {
	return environment.Endpoints{
		Control: address, Logging: address, Artifact: address, Provision: address, Status: address,
	}
}

func (h *host) announce(id harness.WorkerID, env plan.EnvironmentID, lines *tail) (Worker, error) {
	j := h.job
	deps, err := h.server.artifacts.Dependencies(j.token, artifact.Set(env))
	if err != nil {
		return nil, err
	}
	retrieval := string(j.token)
	if len(deps) == 0 {
		retrieval = artifact.NoneStaged
	}
	return h.server.deps.Expect(fnapi.WorkerSpec{
		ID:           id,
		JobID:        string(j.id),
		JobName:      j.name,
		Environment:  env,
		Descriptors:  j.translation.Descriptors,
		Capabilities: j.environments[env].GetCapabilities(),
		Slots:        h.server.opts.MaxSlots,
		Provision: &fnpb.ProvisionInfo{
			PipelineOptions: j.options,
			Dependencies:    deps,
			RetrievalToken:  retrieval,
		},
		Logs:     workerLog{job: j, log: h.log, tail: lines}.take,
		Endpoint: h.server.endpoint,
	})
}

// timeout is how long a worker may take to connect.
func (h *host) timeout() time.Duration {
	if t := h.job.settings.workerTimeout; t > 0 {
		return t
	}
	return h.server.opts.WorkerTimeout
}

// patience is how long a worker pool may take to be there: that of a job which is
// gone on with may be starting again itself.
func (h *host) patience() time.Duration {
	if h.job.resumed {
		return h.timeout()
	}
	return 0
}

// await returns when the worker has connected, or says why it has not.
func (h *host) await(ctx context.Context, w *hostedWorker, lines *tail) error {
	limit := h.timeout()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var err error
	select {
	case <-w.Connected():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-w.process.Done():
		err = fmt.Errorf("worker %s ended before it connected: %w", w.ID(), orUnknown(w.process.Err()))
	case <-w.Done():
		err = fmt.Errorf("worker %s was lost before it was ready: %w", w.ID(), orUnknown(w.Err()))
	case <-timer.C:
		err = fmt.Errorf("worker %s did not connect within %v", w.ID(), limit)
	}
	return withTail(err, append(w.process.Tail(), lines.lines()...))
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("no reason given")
	}
	return err
}

// withTail adds the last log lines to an error that does not hold them yet.
func withTail(err error, lines []string) error {
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1] // any error holds an empty line
	}
	if len(lines) == 0 || strings.Contains(err.Error(), lines[len(lines)-1]) {
		return err
	}
	return fmt.Errorf("%w; its last log lines:\n%s", err, strings.Join(lines, "\n"))
}

// alive returns the workers that have not ended.
func (h *host) alive() []*hostedWorker {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.workers), func(w *hostedWorker) bool {
		select {
		case <-w.Done():
			return true
		default:
			return false
		}
	})
}

// close stops the workers that the engine has not stopped.
func (h *host) close(ctx context.Context) error {
	h.mu.Lock()
	workers := h.workers
	h.workers = nil
	h.mu.Unlock()
	ctx, cancel := h.server.stopContext(ctx)
	defer cancel()
	errs := make([]error, len(workers))
	var wg sync.WaitGroup
	for i, w := range workers {
		wg.Go(func() { errs[i] = w.Stop(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// hostedWorker is a worker together with what it runs in.
type hostedWorker struct {
	Worker
	env     plan.EnvironmentID
	process environment.Process
	server  *Server
	watched chan struct{} // closed when watch is over

	stop    sync.Once
	stopErr error // set by stop
	// watchErr is what watch could not stop; read when watched is closed.
	watchErr error
}

// watch ends worker and process with each other.
func (w *hostedWorker) watch(ctx context.Context) {
	defer close(w.watched)
	select {
	case <-w.process.Done():
		w.Kill(fmt.Errorf("worker %s: process ended: %w", w.ID(), orUnknown(w.process.Err())))
	case <-w.Done():
		// It may have been lost without its process: nobody needs that any more.
		ctx, cancel := w.server.stopContext(ctx)
		defer cancel()
		w.watchErr = w.process.Stop(ctx)
	}
}

// Stop ends the worker and its process; every call waits for the same end.
func (w *hostedWorker) Stop(ctx context.Context) error {
	w.stop.Do(func() {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer w.server.onHurry(cancel)()
		w.stopErr = errors.Join(w.Worker.Stop(ctx), w.process.Stop(ctx))
		<-w.watched
		w.stopErr = errors.Join(w.stopErr, w.watchErr)
	})
	return w.stopErr
}
