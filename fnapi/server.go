package fnapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

// Server hosts the Fn API for all workers of the process.
type Server struct {
	opts Options
	log  *slog.Logger
	// instructions is the number of instruction ids given out so far.
	instructions atomic.Int64

	mu          sync.Mutex
	workers     map[harness.WorkerID]*Worker // guarded by mu
	descriptors map[string]*descriptor       // guarded by mu; by id
}

// NewServer makes a server without workers.
func NewServer(o Options) *Server {
	o = o.withDefaults()
	return &Server{
		opts:        o,
		log:         o.Log,
		workers:     make(map[harness.WorkerID]*Worker),
		descriptors: make(map[string]*descriptor),
	}
}

// Register adds the services to gs, which must have been made with
// [Options.ServerOptions].
func (s *Server) Register(gs *grpc.Server) {
	fnpb.RegisterBeamFnControlServer(gs, controlService{server: s})
	fnpb.RegisterBeamFnLoggingServer(gs, loggingService{server: s})
	fnpb.RegisterBeamFnWorkerStatusServer(gs, statusService{server: s})
	fnpb.RegisterProvisionServiceServer(gs, provisionService{server: s})
	gs.RegisterService(dataServiceDesc(), s)
	gs.RegisterService(stateServiceDesc(), s)
}

// WorkerSpec describes a worker that is about to be started.
type WorkerSpec struct {
	// ID is unique in the process.
	ID             harness.WorkerID
	JobID, JobName string
	Environment    plan.EnvironmentID
	// Descriptors of the stages that the worker may be asked to execute. They
	// are not changed, and the same ones must be given with each worker of a job:
	// the copies that harnesses see are made once and shared.
	Descriptors map[plan.StageID]*fnpb.ProcessBundleDescriptor
	// Capabilities of the environment.
	Capabilities []string
	// Slots is the most bundles to execute at a time, if the harness can execute
	// more than one.
	Slots int
	// Provision is what the harness is to know; endpoints and runner
	// capabilities are filled in by the server. It is not changed.
	Provision *fnpb.ProvisionInfo
	// Logs receives the harness' log; nil drops it.
	Logs LogSink
	// Endpoint is the host:port under which the harness reaches all services.
	Endpoint string
}

// Expect announces a worker. It is to be called before the worker's process is
// started; from then on its harness may connect.
func (s *Server) Expect(spec WorkerSpec) (*Worker, error) {
	if spec.ID == "" || spec.Endpoint == "" {
		return nil, fmt.Errorf("fnapi: expect worker %q at endpoint %q: both must be given", spec.ID, spec.Endpoint)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.workers[spec.ID]; ok {
		return nil, fmt.Errorf("fnapi: expect worker %s: there is one with this id", spec.ID)
	}
	if len(s.workers) >= s.opts.MaxWorkers {
		return nil, fmt.Errorf("fnapi: expect worker %s: there are %d workers already", spec.ID, len(s.workers))
	}
	w := newWorker(s, spec)
	elsewhere := countedElsewhere(spec.Descriptors)
	for _, stage := range slices.Sorted(maps.Keys(spec.Descriptors)) {
		d, err := s.acquireDescriptor(spec, stage, elsewhere[stage])
		if err != nil {
			s.releaseDescriptors(w)
			return nil, fmt.Errorf("fnapi: expect worker %s: %w", spec.ID, err)
		}
		w.stages[stage] = d
	}
	s.workers[spec.ID] = w
	return w, nil
}

// remove forgets a worker that has ended.
func (s *Server) remove(w *Worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.workers[w.spec.ID] != w {
		return
	}
	delete(s.workers, w.spec.ID)
	s.releaseDescriptors(w)
}

// Capabilities are what the runner announces to harnesses.
func Capabilities() []string { return []string{capShortIDs, capResponseElements, capMultimapEntries} }

// The capabilities that this package deals with.
const (
	capShortIDs         = "beam:protocol:monitoring_info_short_ids:v1"
	capResponseElements = "beam:protocol:control_response_elements_embedding:v1"
	capMultimapEntries  = "beam:protocol:multimap_keys_values_side_input:v1"
	capMultiCore        = "beam:protocol:multi_core_bundle_processing:v1"
	capStateCaching     = "beam:protocol:state_caching:v1"
	capGoBase           = "beam:version:sdk_base:go"
)

// workerIDKey is the metadata under which harnesses say who they are.
const workerIDKey = "worker_id"

// worker finds the worker that a call is made by.
func (s *Server) worker(ctx context.Context) (*Worker, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	ids := md.Get(workerIDKey)
	if len(ids) != 1 || ids[0] == "" {
		return nil, status.Errorf(codes.InvalidArgument, "the call must carry one %s in its metadata, not %q", workerIDKey, ids)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.workers[harness.WorkerID(ids[0])]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no worker %q is expected here: it was never announced, or it has been stopped, or it is of an earlier process of the runner", ids[0])
	}
	return w, nil
}

// instructionPrefix begins every instruction id; a decimal number follows.
const instructionPrefix = "i"

func (s *Server) nextInstruction() string {
	return instructionPrefix + strconv.FormatInt(s.instructions.Add(1), 10)
}

// issued says whether the id was ever given out. What carries such an id and
// belongs to nothing any more is late; any other id is made up.
func (s *Server) issued(instruction string) bool {
	digits, ok := strings.CutPrefix(instruction, instructionPrefix)
	if !ok {
		return false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return err == nil && n > 0 && n <= s.instructions.Load()
}

// descriptor is a bundle descriptor as harnesses see it.
type descriptor struct {
	proto *fnpb.ProcessBundleDescriptor
	// origin is what proto was made from.
	origin *fnpb.ProcessBundleDescriptor
	// readers are the transforms that read what a data source yields, by the id
	// of the source.
	readers map[string]map[string]bool
	// elsewhere is the PCollection that other stages count; see countedElsewhere.
	elsewhere string
	// refs is the number of workers that use the descriptor; guarded by the
	// server's mu.
	refs int
}

var errOtherDescriptor = errors.New("the job has another descriptor for the stage")

// acquireDescriptor finds or makes the descriptor of a stage. The caller holds
// the server's mu.
func (s *Server) acquireDescriptor(spec WorkerSpec, stage plan.StageID, elsewhere string) (*descriptor, error) {
	// Harnesses ask for descriptors by id alone, and cache them by it.
	id := fmt.Sprintf("%s/%d@%s", spec.JobID, stage, spec.Endpoint)
	origin := spec.Descriptors[stage]
	d, ok := s.descriptors[id]
	if !ok {
		p, err := completeDescriptor(origin, id, spec.Endpoint)
		if err != nil {
			return nil, fmt.Errorf("descriptor of stage %d: %w", stage, err)
		}
		d = &descriptor{proto: p, origin: origin, readers: sourceReaders(p), elsewhere: elsewhere}
		s.descriptors[id] = d
	}
	if d.origin != origin {
		return nil, fmt.Errorf("descriptor %s: %w", id, errOtherDescriptor)
	}
	d.refs++
	return d, nil
}

// releaseDescriptors drops the references of w. The caller holds the server's mu.
func (s *Server) releaseDescriptors(w *Worker) {
	for _, d := range w.stages {
		d.refs--
		if d.refs == 0 {
			delete(s.descriptors, d.proto.GetId())
		}
	}
}

func (s *Server) descriptor(id string) (*fnpb.ProcessBundleDescriptor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.descriptors[id]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no bundle descriptor %q", id)
	}
	return d.proto, nil
}
