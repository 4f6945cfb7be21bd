package environment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/gorunner/gorunner/execution/harness"
)

// pool is the connection to a worker pool, shared by its workers.
type pool struct {
	address string
	conn    *grpc.ClientConn
	client  fnpb.BeamFnExternalWorkerPoolClient
	// users counts the workers; guarded by Launcher.mu.
	users int
}

func (l *Launcher) acquirePool(address string) (*pool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pools[address]
	if p == nil {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
		if err != nil {
			return nil, fmt.Errorf("worker pool at %s: %w", address, err)
		}
		p = &pool{address: address, conn: conn, client: fnpb.NewBeamFnExternalWorkerPoolClient(conn)}
		l.pools[address] = p
	}
	p.users++
	return p, nil
}

func (l *Launcher) releasePool(p *pool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.users--
	if p.users == 0 {
		delete(l.pools, p.address)
		_ = p.conn.Close() // nothing is under way
	}
}

func (l *Launcher) startExternal(ctx context.Context, launch Launch, where external) (Process, error) {
	p, err := l.acquirePool(where.address)
	if err != nil {
		return nil, err
	}
	unrecord, err := writeRecord(launch, record{Pool: where.address})
	if err != nil {
		l.releasePool(p)
		return nil, err
	}
	w := &pooled{
		id:   launch.WorkerID,
		pool: p,
		release: func() error {
			l.releasePool(p)
			return unrecord()
		},
		timeout: l.options.StopGrace + l.options.KillWait,
		log:     launch.Log,
		done:    make(chan struct{}),
	}
	if err := w.start(ctx, launch, where.params, l.options.StartTimeout); err != nil {
		return nil, errors.Join(err, w.release())
	}
	return w, nil
}

// lastWord is how long a pool may take to answer when there is no time left.
const lastWord = time.Second

// pooled is a worker of a pool.
type pooled struct {
	id      harness.WorkerID
	pool    *pool
	release func() error
	// timeout bounds the pool's answer to a stop.
	timeout time.Duration
	log     *slog.Logger
	done    chan struct{}

	stop sync.Once
	// stopErr is set before done is closed.
	stopErr error
}

func (w *pooled) start(ctx context.Context, launch Launch, params map[string]string, timeout time.Duration) error {
	timeout = max(timeout, launch.Patience)
	late := fmt.Errorf("no answer within %v", timeout)
	if launch.Patience > 0 {
		late = fmt.Errorf("%w: is the program that runs it still there?", late)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, late)
	defer cancel()
	resp, err := w.pool.client.StartWorker(ctx, &fnpb.StartWorkerRequest{
		WorkerId:          string(launch.WorkerID),
		ControlEndpoint:   descriptor(launch.Endpoints.Control),
		LoggingEndpoint:   descriptor(launch.Endpoints.Logging),
		ArtifactEndpoint:  descriptor(launch.Endpoints.Artifact),
		ProvisionEndpoint: descriptor(launch.Endpoints.Provision),
		Params:            params,
	}, grpc.WaitForReady(launch.Patience > 0))
	switch {
	case timedOut(ctx, err):
		// The pool may have started the worker all the same.
		w.abandon(context.WithoutCancel(ctx))
		return fmt.Errorf("worker pool at %s: %w", w.pool.address, cause(ctx))
	case status.Code(err) == codes.Unavailable:
		return fmt.Errorf("worker pool at %s cannot be reached: is the program that runs it still there? %w", w.pool.address, err)
	case err != nil:
		return fmt.Errorf("worker pool at %s: %w", w.pool.address, err)
	case resp.GetError() != "":
		return fmt.Errorf("worker pool at %s: %s", w.pool.address, resp.GetError())
	}
	return nil
}

// abandon asks the pool once, and only shortly, to stop a worker that nobody
// waits for any more.
func (w *pooled) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastWord)
	defer cancel()
	if _, err := w.pool.client.StopWorker(ctx, &fnpb.StopWorkerRequest{WorkerId: string(w.id)}); err != nil {
		w.log.DebugContext(ctx, "the pool did not stop the worker", "worker", w.id, "pool", w.pool.address, "error", err)
	}
}

func (w *pooled) Done() <-chan struct{} { return w.done }

func (w *pooled) Err() error { return nil }

func (w *pooled) Tail() []string { return nil }

func (w *pooled) Stop(ctx context.Context) error {
	w.stop.Do(func() {
		w.stopErr = w.stopWorker(ctx)
		w.stopErr = errors.Join(w.stopErr, w.release())
		close(w.done)
	})
	<-w.done
	return w.stopErr
}

func (w *pooled) stopWorker(ctx context.Context) error {
	timeout := w.timeout
	if ctx.Err() != nil {
		// Too late for patience, not for telling the pool.
		ctx, timeout = context.WithoutCancel(ctx), min(timeout, lastWord)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	resp, err := w.pool.client.StopWorker(ctx, &fnpb.StopWorkerRequest{WorkerId: string(w.id)})
	switch {
	case timedOut(ctx, err):
		return fmt.Errorf("stop worker %s: worker pool at %s: %w", w.id, w.pool.address, cause(ctx))
	case status.Code(err) == codes.Unavailable || status.Code(err) == codes.Unimplemented:
		// The pool is gone, and its workers with it; or it leaves the workers
		// to notice that they are no longer wanted.
		w.log.DebugContext(ctx, "the pool did not stop the worker", "worker", w.id, "pool", w.pool.address, "error", err)
		return nil
	case err != nil:
		return fmt.Errorf("stop worker %s: worker pool at %s: %w", w.id, w.pool.address, err)
	case resp.GetError() != "":
		// Pools answer so when the worker has ended by itself.
		w.log.DebugContext(ctx, "the pool did not stop the worker", "worker", w.id, "pool", w.pool.address,
			"error", errors.New(resp.GetError()))
	}
	return nil
}

// timedOut says whether a call failed for want of time. The pool, which knows
// the deadline too, may be the first to say so.
func timedOut(ctx context.Context, err error) bool {
	return err != nil && (ctx.Err() != nil || status.Code(err) == codes.DeadlineExceeded)
}

// cause says in our own words why time was up.
func cause(ctx context.Context) error {
	<-ctx.Done() // it is up there as well, or about to be
	return context.Cause(ctx)
}

// descriptor is nil for an endpoint that is not offered.
func descriptor(address string) *pipepb.ApiServiceDescriptor {
	if address == "" {
		return nil
	}
	return &pipepb.ApiServiceDescriptor{Url: address}
}
