package runner

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"

	"github.com/gorunner/gorunner/blob"
	"github.com/gorunner/gorunner/execution/engine"
	"github.com/gorunner/gorunner/runner/artifact"
)

// Server runs jobs. Create it with [NewServer], give it a listener with
// [Server.Serve], and end it with [Server.Shutdown].
type Server struct {
	opts      Options
	deps      Deps
	dir       string // of jobs and artifacts
	temporary bool   // dir is ours to remove
	endpoint  string // set by Serve, before any call arrives
	artifacts *artifact.Service
	grpc      *grpc.Server
	// hurry ends when Shutdown has no more patience with workers.
	hurry   context.Context //nolint:containedctx // the server's life, not a call's
	hurryUp context.CancelFunc
	running sync.WaitGroup // of jobs' goroutines
	// room is what all jobs have together.
	room room
	// checkpoints is where those of jobs are; nil if there are none.
	checkpoints *blob.Store

	mu       sync.Mutex
	closed   bool                   // guarded by mu
	prepared map[PreparationID]*job // guarded by mu
	jobs     map[JobID]*job         // guarded by mu; running and finished
	finished []*job                 // guarded by mu; in order of their end
	active   int                    // guarded by mu; running jobs
	// resumable are the jobs of earlier processes that are to be gone on with,
	// leftover the directories of those that are not; guarded by mu.
	resumable []*job
	leftover  []string
	// unswept are the directories of jobs that are not gone on with, but may have
	// workers; guarded by mu.
	unswept  []string
	claim    *os.File      // the lock of the data directory
	idle     chan struct{} // closed by idleTimer
	idleTime *time.Timer   // guarded by mu; nil without an idle timeout
	isIdle   bool          // guarded by mu; idle is closed
}

// New makes a server of the given parts.
func New(deps Deps, opts Options) (*Server, error) {
	s := &Server{
		opts:     opts.withDefaults(),
		deps:     deps,
		dir:      opts.DataDir,
		prepared: make(map[PreparationID]*job),
		jobs:     make(map[JobID]*job),
		idle:     make(chan struct{}),
	}
	var err error
	if s.opts.Durability == Remote && s.opts.Checkpoints.URI == "" && s.opts.Checkpoints.Store == nil {
		return nil, errors.New("runner: durability remote needs a place for checkpoints")
	}
	if s.dir == "" {
		if s.opts.Durability != None {
			return nil, fmt.Errorf("runner: durability %v needs a data directory", s.opts.Durability)
		}
		parent := temporaryParent()
		for _, dir := range sweepTemporary(parent, s.opts.Clock()) {
			s.opts.Log.Info("removed what a killed server had left", "dir", dir)
		}
		s.temporary = true
		s.dir, s.claim, err = makeTemporary(parent)
	} else {
		s.claim, err = claimDataDir(s.dir)
	}
	if err != nil {
		return nil, err
	}
	s.room = newServerRoom(s.opts, s.dir)
	s.hurry, s.hurryUp = context.WithCancel(context.Background())
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.claim.Close(), s.removeTemporary())
	}
	s.grpc = grpc.NewServer(slices.Concat([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(math.MaxInt32),
		grpc.MaxSendMsgSize(math.MaxInt32),
	}, recovery(s.opts.Log), deps.ServerOptions)...)
	jobpb.RegisterJobServiceServer(s.grpc, &jobService{server: s})
	s.grpc.RegisterService(adminDesc(), adminService{server: s})
	jobpb.RegisterArtifactStagingServiceServer(s.grpc, s.artifacts.Staging())
	jobpb.RegisterArtifactRetrievalServiceServer(s.grpc, s.artifacts.Retrieval())
	if deps.Register != nil {
		deps.Register(s.grpc)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchIdle()
	return s, nil
}

// open makes the directories, and finds what earlier processes have left there.
func (s *Server) open() error {
	var err error
	if s.checkpoints, err = s.opts.Checkpoints.openStore(s.hurry); err != nil {
		return err
	}
	store, err := artifact.OpenStore(s.artifactsDir(), s.opts.Durability != None)
	if err != nil {
		return err
	}
	s.artifacts = artifact.NewService(store, s.opts.Artifacts)
	if err := os.MkdirAll(s.jobsDir(), 0o700); err != nil {
		return fmt.Errorf("runner: create directory of jobs: %w", err)
	}
	if err := s.findJobs(); err != nil {
		return err
	}
	if slices.ContainsFunc(s.finished, func(j *job) bool { return j.stranded }) {
		return nil // nobody knows which artifacts are theirs
	}
	return store.Sweep()
}

// The directories of a data directory.
const (
	jobsName      = "jobs"
	artifactsName = "artifacts"
)

func (s *Server) jobsDir() string { return filepath.Join(s.dir, jobsName) }

func (s *Server) artifactsDir() string { return filepath.Join(s.dir, artifactsName) }

func (s *Server) removeTemporary() error {
	if !s.temporary {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// Serve accepts connections until Shutdown. It closes the listener.
func (s *Server) Serve(l net.Listener) error {
	s.endpoint = s.opts.Endpoint
	if s.endpoint == "" {
		s.endpoint = reachable(l.Addr())
	}
	s.resumeJobs()
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("runner: serve %v: %w", l.Addr(), err)
	}
	return nil
}

// reachable is the address by which processes of this machine reach the
// listener.
func reachable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return a.String()
	}
	return fmt.Sprintf("localhost:%d", tcp.Port)
}

// Idle is closed when the server has had no job for Options.IdleTimeout.
func (s *Server) Idle() <-chan struct{} { return s.idle }

// watchIdle starts or stops the idle timer. mu is held.
func (s *Server) watchIdle() {
	if s.opts.IdleTimeout <= 0 || s.isIdle {
		return
	}
	if s.active > 0 || len(s.prepared) > 0 || s.closed {
		if s.idleTime != nil {
			s.idleTime.Stop()
			s.idleTime = nil
		}
		return
	}
	if s.idleTime != nil {
		s.idleTime.Stop()
	}
	var timer *time.Timer
	timer = time.AfterFunc(s.opts.IdleTimeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.idleTime == timer && !s.isIdle { // not overtaken by a job
			s.isIdle = true
			close(s.idle)
		}
	})
	s.idleTime = timer
}

// Shutdown suspends the jobs that outlive the process and cancels all others,
// stops their workers, and ends all connections. Workers that are still there when
// ctx ends are killed.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.watchIdle()
	for _, j := range s.jobs {
		switch {
		case j.saved == nil:
			j.requestCancel("the server was stopped")
		case j.cancel != nil:
			j.cancel(engine.ErrSuspended)
		}
	}
	all := make([]*job, 0, len(s.jobs)+len(s.prepared))
	for _, j := range s.jobs {
		all = append(all, j)
	}
	for _, j := range s.prepared {
		all = append(all, j)
	}
	for _, j := range all {
		if j.expire != nil {
			j.expire.Stop()
		}
	}
	s.mu.Unlock()
	defer context.AfterFunc(ctx, s.hurryUp)()
	s.running.Wait()
	s.hurryUp()
	s.stopGRPC(ctx)
	var errs []error
	for _, j := range all {
		if j.saved == nil {
			errs = append(errs, s.free(j))
		}
		j.hub.suspend(errSuspended) // unless it has ended
	}
	return errors.Join(append(errs, s.claim.Close(), s.removeTemporary())...)
}

// lastWords is how long clients have to read the final states.
const lastWords = 200 * time.Millisecond

// stopGRPC ends all connections, after a moment for what is on its way.
func (s *Server) stopGRPC(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
	}
}

// stopContext is for stopping workers: it outlives ctx, whose end is usually the
// reason, but neither Options.StopTimeout nor the patience of Shutdown.
func (s *Server) stopContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.StopTimeout)
	forget := s.onHurry(cancel)
	return ctx, func() {
		forget()
		cancel()
	}
}

// onHurry calls f when Shutdown has no more patience, unless forget is called
// before.
func (s *Server) onHurry(f func()) (forget func() bool) { return context.AfterFunc(s.hurry, f) }

// newID makes a unique suffix of ids.
func newID() string {
	var b [6]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
