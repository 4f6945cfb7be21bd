package environment

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// fakePool is a worker pool. Its functions may be nil.
type fakePool struct {
	fnpb.UnimplementedBeamFnExternalWorkerPoolServer
	start func(context.Context, *fnpb.StartWorkerRequest) (*fnpb.StartWorkerResponse, error)
	stop  func(context.Context, *fnpb.StopWorkerRequest) (*fnpb.StopWorkerResponse, error)

	mu sync.Mutex
	// started, stopped and peers note what came, and from where. Guarded by mu.
	started []*fnpb.StartWorkerRequest
	stopped []string
	peers   map[string]bool
}

func (p *fakePool) StartWorker(ctx context.Context, r *fnpb.StartWorkerRequest) (*fnpb.StartWorkerResponse, error) {
	p.mu.Lock()
	p.started = append(p.started, r)
	p.mu.Unlock()
	if p.start != nil {
		return p.start(ctx, r)
	}
	return &fnpb.StartWorkerResponse{}, nil
}

func (p *fakePool) StopWorker(ctx context.Context, r *fnpb.StopWorkerRequest) (*fnpb.StopWorkerResponse, error) {
	p.mu.Lock()
	p.stopped = append(p.stopped, r.GetWorkerId())
	p.mu.Unlock()
	if p.stop != nil {
		return p.stop(ctx, r)
	}
	return &fnpb.StopWorkerResponse{}, nil
}

// serve starts the pool and returns its address and what ends it.
func (p *fakePool) serve(t *testing.T) (address string, end func()) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.peers = map[string]bool{}
	server := grpc.NewServer(grpc.UnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if from, ok := peer.FromContext(ctx); ok {
				p.mu.Lock()
				p.peers[from.Addr.String()] = true
				p.mu.Unlock()
			}
			return next(ctx, req)
		}))
	fnpb.RegisterBeamFnExternalWorkerPoolServer(server, p)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(lis) })
	end = sync.OnceFunc(func() {
		server.Stop()
		serving.Wait()
	})
	t.Cleanup(end)
	return lis.Addr().String(), end
}

func TestExternal(t *testing.T) {
	ctx := testContext(t)
	var fake fakePool
	address, _ := fake.serve(t)
	l := New(Options{})
	launch := Launch{WorkerID: "w1", Endpoints: testEndpoints(), Environment: externalEnv(t, address)}
	first, err := l.Start(ctx, launch)
	if err != nil {
		t.Fatal(err)
	}
	launch.WorkerID = "w2"
	launch.Endpoints.Artifact = ""
	second, err := l.Start(ctx, launch)
	if err != nil {
		t.Fatal(err)
	}
	got := fake.started[0]
	if got.GetWorkerId() != "w1" || got.GetControlEndpoint().GetUrl() != "h:1" || got.GetLoggingEndpoint().GetUrl() != "h:2" ||
		got.GetArtifactEndpoint().GetUrl() != "h:3" || got.GetProvisionEndpoint().GetUrl() != "h:4" || got.GetParams()["k"] != "v" {
		t.Errorf("StartWorker was asked for %v", got)
	}
	if fake.started[1].GetArtifactEndpoint() != nil {
		t.Error("an endpoint that is not offered was announced")
	}
	if len(fake.peers) != 1 {
		t.Errorf("the workers of a pool used %d connections, want 1", len(fake.peers))
	}
	if err := first.Stop(ctx); err != nil {
		t.Error(err)
	}
	awaitDone(t, first)
	select {
	case <-second.Done():
		t.Error("a worker is done that was not stopped")
	default:
	}
	if len(l.pools) != 1 {
		t.Error("the connection was closed under the second worker")
	}
	for range 2 {
		if err := second.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	if got := strings.Join(fake.stopped, " "); got != "w1 w2" {
		t.Errorf("stopped were %q, each worker once", got)
	}
	if len(l.pools) != 0 {
		t.Error("the connection stays open without workers")
	}
	if err := errorsOf(first, second); err != nil {
		t.Errorf("stopped workers have an error: %v", err)
	}
}

func errorsOf(processes ...Process) error {
	for _, p := range processes {
		if err := p.Err(); err != nil {
			return err
		}
	}
	return nil
}

func TestExternalRefuses(t *testing.T) {
	fake := fakePool{start: func(context.Context, *fnpb.StartWorkerRequest) (*fnpb.StartWorkerResponse, error) {
		return &fnpb.StartWorkerResponse{Error: "no room left"}, nil
	}}
	address, end := fake.serve(t)
	l := New(Options{})
	launch := Launch{WorkerID: "w1", Environment: externalEnv(t, address)}
	_, err := l.Start(testContext(t), launch)
	wantError(t, err, "w1", address, "no room left")
	end()
	_, err = l.Start(testContext(t), launch)
	wantError(t, err, "w1", address, "cannot be reached")
	if len(l.pools) != 0 {
		t.Error("a connection is left")
	}
}

// TestExternalSilent has a pool that does not answer: it may have started the
// worker, and is asked to stop it.
func TestExternalSilent(t *testing.T) {
	fake := fakePool{start: func(ctx context.Context, _ *fnpb.StartWorkerRequest) (*fnpb.StartWorkerResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	address, _ := fake.serve(t)
	l := New(Options{StartTimeout: 50 * time.Millisecond})
	_, err := l.Start(testContext(t), Launch{WorkerID: "w1", Environment: externalEnv(t, address)})
	wantError(t, err, "w1", address, "no answer within 50ms")
	if got := strings.Join(fake.stopped, " "); got != "w1" {
		t.Errorf("stopped were %q, want w1", got)
	}
	if len(l.pools) != 0 {
		t.Error("a connection is left")
	}
}

func TestExternalStop(t *testing.T) {
	for _, test := range []struct {
		name string
		stop func(context.Context, *fnpb.StopWorkerRequest) (*fnpb.StopWorkerResponse, error)
		want string
	}{
		{
			name: "ended by itself",
			stop: func(context.Context, *fnpb.StopWorkerRequest) (*fnpb.StopWorkerResponse, error) {
				return &fnpb.StopWorkerResponse{Error: "no such worker"}, nil
			},
		},
		{
			name: "does not stop workers",
			stop: func(context.Context, *fnpb.StopWorkerRequest) (*fnpb.StopWorkerResponse, error) {
				return nil, status.Error(codes.Unimplemented, "no")
			},
		},
		{
			name: "fails",
			stop: func(context.Context, *fnpb.StopWorkerRequest) (*fnpb.StopWorkerResponse, error) {
				return nil, status.Error(codes.Internal, "lost my mind")
			},
			want: "lost my mind",
		},
		{
			name: "silent",
			stop: func(ctx context.Context, _ *fnpb.StopWorkerRequest) (*fnpb.StopWorkerResponse, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
			want: "no answer within 40ms",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			fake := fakePool{stop: test.stop}
			address, _ := fake.serve(t)
			l := New(Options{StopGrace: 20 * time.Millisecond, KillWait: 20 * time.Millisecond})
			p, err := l.Start(testContext(t), Launch{WorkerID: "w1", Environment: externalEnv(t, address)})
			if err != nil {
				t.Fatal(err)
			}
			err = p.Stop(testContext(t))
			if test.want == "" && err != nil {
				t.Errorf("Stop: %v", err)
			} else if test.want != "" {
				wantError(t, err, "w1", address, test.want)
			}
			awaitDone(t, p)
			if len(l.pools) != 0 {
				t.Error("a connection is left")
			}
		})
	}
}

// TestExternalStopTooLate tells the pool even when the caller's time is up.
func TestExternalStopTooLate(t *testing.T) {
	var fake fakePool
	address, _ := fake.serve(t)
	p, err := New(Options{}).Start(testContext(t), Launch{WorkerID: "w1", Environment: externalEnv(t, address)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	if got := strings.Join(fake.stopped, " "); got != "w1" {
		t.Errorf("stopped were %q, want w1", got)
	}
}

func TestExternalStopAfterPoolDied(t *testing.T) {
	var fake fakePool
	address, end := fake.serve(t)
	p, err := New(Options{}).Start(testContext(t), Launch{WorkerID: "w1", Environment: externalEnv(t, address)})
	if err != nil {
		t.Fatal(err)
	}
	end()
	if err := p.Stop(testContext(t)); err != nil {
		t.Errorf("Stop: %v, though the worker went with its pool", err)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

// TestExternalPatience: a pool that is not there yet is waited for, if there is time.
func TestExternalPatience(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := lis.Addr().String()
	if err := lis.Close(); err != nil {
		t.Fatal(err)
	}
	launch := Launch{WorkerID: "w1", Endpoints: testEndpoints(), Environment: externalEnv(t, address)}
	if _, err := New(Options{}).Start(testContext(t), launch); err == nil {
		t.Fatal("a pool that is not there has started a worker")
	}
	launch.Patience = 10 * time.Millisecond
	_, err = New(Options{StartTimeout: time.Millisecond}).Start(testContext(t), launch)
	wantError(t, err, "no answer within 10ms", "still there")

	launch.Patience = testLimit
	started := make(chan error, 1)
	go func() {
		p, err := New(Options{}).Start(testContext(t), launch)
		if err == nil {
			err = p.Stop(testContext(t))
		}
		started <- err
	}()
	lis, err = net.Listen("tcp", address)
	if err != nil {
		t.Skip("somebody else has taken the port: ", err)
	}
	server := grpc.NewServer()
	fnpb.RegisterBeamFnExternalWorkerPoolServer(server, &fakePool{})
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(lis) })
	if err := <-started; err != nil {
		t.Error(err)
	}
	server.Stop()
	serving.Wait()
}
