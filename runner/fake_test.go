package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/gorunner/gorunner/execution/engine"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/fnapi"
	"github.com/gorunner/gorunner/fnapi/environment"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/translate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeEngine executes jobs by a function.
type fakeEngine struct {
	run func(ctx context.Context, x *fakeExecution) error
}

// fakeExecution is one job in a fakeEngine.
type fakeExecution struct {
	plan *plan.Plan
	opts engine.Options
	run  func(ctx context.Context, x *fakeExecution) error

	drained chan struct{} // closed by Drain
	drain   sync.Once

	mu      sync.Mutex
	written int64
}

func (x *fakeExecution) Drain() { x.drain.Do(func() { close(x.drained) }) }

func (x *fakeExecution) Run(ctx context.Context) error {
	err := x.run(ctx, x)
	if errors.Is(context.Cause(ctx), engine.ErrSuspended) {
		return fmt.Errorf("%w: %w", context.Cause(ctx), errors.Join(ctx.Err(), err))
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", engine.ErrCancelled, errors.Join(ctx.Err(), err))
	}
	return err
}

func (x *fakeExecution) write(n int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.written += n
}

func (x *fakeExecution) Status() engine.Status {
	x.mu.Lock()
	defer x.mu.Unlock()
	return engine.Status{Stages: []engine.StageStatus{{Name: "s", ElementsOut: x.written, BytesOut: 10 * x.written}}}
}

func (x *fakeExecution) Metrics() (attempted, committed []metrics.Info) {
	one := []metrics.Info{{
		URN: "beam:metric:user:sum_int64:v1", Type: "beam:metrics:sum_int64:v1",
		Labels: map[string]string{"PTRANSFORM": "t1", "NAME": "n"}, Payload: []byte{7},
	}}
	return append(one, metrics.Info{URN: "beam:metric:x", Type: "t", Payload: []byte{1}}), one
}

// fakeWorker is a worker that connects at once unless told not to.
type fakeWorker struct {
	spec      fnapi.WorkerSpec
	connected chan struct{}
	done      chan struct{}
	once      sync.Once
	mu        sync.Mutex
	err       error
}

func (w *fakeWorker) ID() harness.WorkerID       { return w.spec.ID }
func (w *fakeWorker) Slots() int                 { return w.spec.Slots }
func (w *fakeWorker) Connected() <-chan struct{} { return w.connected }
func (w *fakeWorker) Done() <-chan struct{}      { return w.done }
func (w *fakeWorker) Stop(context.Context) error { w.end(errors.New("stopped")); return nil }
func (w *fakeWorker) Kill(err error)             { w.end(err) }
func (w *fakeWorker) Start(context.Context, *harness.Bundle) (harness.Execution, error) {
	return nil, errors.New("fake worker executes nothing")
}

// Status tells nothing to somebody who cannot wait.
func (w *fakeWorker) Status(ctx context.Context) (string, error) {
	return "busy with " + w.spec.JobName, ctx.Err()
}

func (w *fakeWorker) end(err error) {
	w.once.Do(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.err = err
		close(w.done)
	})
}

func (w *fakeWorker) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// fakeProcess is what a fakeWorker runs in.
type fakeProcess struct {
	launch  environment.Launch
	done    chan struct{}
	once    sync.Once
	err     error
	tail    []string
	stopped func()
}

func (p *fakeProcess) Done() <-chan struct{} { return p.done }
func (p *fakeProcess) Err() error            { return p.err }
func (p *fakeProcess) Tail() []string        { return p.tail }

func (p *fakeProcess) exit(err error) {
	p.once.Do(func() {
		p.err = err
		close(p.done)
	})
}

func (p *fakeProcess) Stop(context.Context) error {
	p.exit(nil)
	p.stopped()
	return nil
}

// world is a server with fake parts, and a client of it.
type world struct {
	t      *testing.T
	server *Server
	dir    string
	conn   *grpc.ClientConn
	jobs   jobpb.JobServiceClient
	logs   *strings.Builder // read only after close
	served sync.WaitGroup

	engine fakeEngine
	// onExpect and onLaunch change what workers do; default they connect.
	onExpect func(*fakeWorker)
	onLaunch func(*fakeProcess) error
	// translateErr is the answer to every pipeline.
	translateErr   error
	translatePanic bool
	// lasting says that the directory outlives the server; journal is what keeps the
	// commits of jobs then.
	lasting bool
	journal func(jobdb.Params) (Journal, error)

	mu sync.Mutex
	// translated are the options of the last translation.
	translated translate.Options
	workers    []*fakeWorker
	processes  []*fakeProcess
	stopped    int // processes
}

func newWorld(t *testing.T, opts Options, edit func(*world)) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "data"), logs: new(strings.Builder)}
	w.engine.run = func(context.Context, *fakeExecution) error { return nil }
	w.onExpect = func(f *fakeWorker) { close(f.connected) }
	w.onLaunch = func(*fakeProcess) error { return nil }
	if edit != nil {
		edit(w)
	}
	opts.DataDir = w.dir
	if w.engine.run == nil {
		w.engine.run = func(context.Context, *fakeExecution) error { return nil }
	}
	opts.Log = slog.New(slog.NewTextHandler(&lockedWriter{w: w.logs}, nil))
	server, err := New(w.deps(), opts)
	if err != nil {
		t.Fatal(err)
	}
	w.server = server
	l := bufconn.Listen(1 << 20)
	w.served.Go(func() {
		if err := server.Serve(l); err != nil {
			t.Error(err)
		}
	})
	w.conn, err = grpc.NewClient("passthrough:///bufconn",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	w.jobs = jobpb.NewJobServiceClient(w.conn)
	return w
}

// lockedWriter serializes writes of the server's goroutines.
type lockedWriter struct {
	mu sync.Mutex
	w  *strings.Builder
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (w *world) deps() Deps {
	return Deps{
		Translate:   w.translate,
		OpenJournal: w.journal,
		Execute: func(p *plan.Plan, o engine.Options) Execution {
			return &fakeExecution{plan: p, opts: o, run: w.engine.run, drained: make(chan struct{})}
		},
		Resolve: func(env *pipepb.Environment) (*pipepb.Environment, error) { return environment.Resolve(env, nil) },
		Expect: func(spec fnapi.WorkerSpec) (Worker, error) {
			f := &fakeWorker{spec: spec, connected: make(chan struct{}), done: make(chan struct{})}
			w.mu.Lock()
			w.workers = append(w.workers, f)
			w.mu.Unlock()
			return f, nil
		},
		Launch: func(_ context.Context, l environment.Launch) (environment.Process, error) {
			p := &fakeProcess{launch: l, done: make(chan struct{})}
			p.stopped = func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.stopped++
			}
			if err := w.onLaunch(p); err != nil {
				return nil, err
			}
			w.mu.Lock()
			w.processes = append(w.processes, p)
			i := slices.IndexFunc(w.workers, func(f *fakeWorker) bool { return f.ID() == l.WorkerID })
			worker := w.workers[i]
			w.mu.Unlock()
			w.onExpect(worker)
			return p, nil
		},
	}
}

// stage is the executable stage of every fake plan.
func fakeStage() *plan.Stage {
	return &plan.Stage{Name: "Count + Format", Kind: &plan.Executable{
		Environment: "env",
		Transforms:  []plan.Transform{{ID: "t1", Name: "Count"}, {ID: "t2", Name: "Count/Format"}},
	}}
}

func (w *world) translate(p *pipepb.Pipeline, o translate.Options) (*translate.Translation, error) {
	if w.translatePanic {
		panic("broken translator")
	}
	if w.translateErr != nil {
		return nil, w.translateErr
	}
	w.mu.Lock()
	w.translated = o
	w.mu.Unlock()
	return &translate.Translation{
		Plan:         &plan.Plan{Stages: []*plan.Stage{fakeStage()}, Environments: []plan.EnvironmentID{"env"}},
		Descriptors:  map[plan.StageID]*fnpb.ProcessBundleDescriptor{0: {}},
		Environments: map[plan.EnvironmentID]*pipepb.Environment{"env": p.GetComponents().GetEnvironments()["env"]},
	}, nil
}

// close shuts the server down and checks that nothing is left.
func (w *world) close() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := w.server.Shutdown(ctx); err != nil {
		w.t.Errorf("shutdown: %v", err)
	}
	w.conn.Close()
	w.served.Wait()
	for _, dir := range []string{"jobs", "artifacts"} {
		if w.lasting {
			break
		}
		entries, err := os.ReadDir(filepath.Join(w.dir, dir))
		if err != nil || len(entries) > 0 {
			w.t.Errorf("%s: %d entries are left, %v", dir, len(entries), err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped < len(w.processes) {
		w.t.Errorf("%d of %d processes were stopped", w.stopped, len(w.processes))
	}
	for _, f := range w.workers {
		select {
		case <-f.done:
		default:
			w.t.Errorf("worker %s was not ended", f.ID())
		}
	}
}

// job finds a job in the server.
func (w *world) job(id string) *job {
	w.t.Helper()
	j, err := w.server.find(id)
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

// pipeline is one whose workers an external pool starts.
func pipeline() *pipepb.Pipeline {
	return &pipepb.Pipeline{
		RootTransformIds: []string{"t1"},
		Components: &pipepb.Components{
			Transforms: map[string]*pipepb.PTransform{
				"t1": {UniqueName: "Count"}, "t2": {UniqueName: "Count/Format"},
			},
			Environments: map[string]*pipepb.Environment{"env": processEnvironment()},
		},
	}
}

func processEnvironment(deps ...*pipepb.ArtifactInformation) *pipepb.Environment {
	return &pipepb.Environment{
		Urn:          environment.URNProcess,
		Payload:      mustMarshal(&pipepb.ProcessPayload{Command: "boot"}),
		Capabilities: []string{"cap"},
		Dependencies: deps,
	}
}

// prepare submits a pipeline and returns its preparation.
func (w *world) prepare(p *pipepb.Pipeline, options map[string]any) *jobpb.PrepareJobResponse {
	w.t.Helper()
	resp, err := w.tryPrepare(p, options)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp
}

func (w *world) tryPrepare(p *pipepb.Pipeline, options map[string]any) (*jobpb.PrepareJobResponse, error) {
	w.t.Helper()
	o, err := structpb.NewStruct(options)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.jobs.Prepare(w.t.Context(), &jobpb.PrepareJobRequest{Pipeline: p, PipelineOptions: o, JobName: "job"})
}

// start prepares and runs a pipeline.
func (w *world) start(p *pipepb.Pipeline, options map[string]any) string {
	w.t.Helper()
	prep := w.prepare(p, options)
	resp, err := w.jobs.Run(w.t.Context(), &jobpb.RunJobRequest{PreparationId: prep.GetPreparationId()})
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.GetJobId() == prep.GetPreparationId() {
		w.t.Error("job id and preparation id are the same")
	}
	return resp.GetJobId()
}

// follow reads a job's messages to their end: states by name, errors and
// warnings with a mark.
func (w *world) follow(id string) []string {
	w.t.Helper()
	stream, err := w.jobs.GetMessageStream(w.t.Context(), &jobpb.JobMessagesRequest{JobId: id})
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for {
		m, err := stream.Recv()
		if err != nil {
			if err.Error() != "EOF" {
				out = append(out, err.Error())
			}
			return out
		}
		if m.GetStateResponse() != nil {
			out = append(out, m.GetStateResponse().GetState().String())
			continue
		}
		msg := m.GetMessageResponse()
		out = append(out, strings.TrimPrefix(msg.GetImportance().String(), "JOB_MESSAGE_")+": "+msg.GetMessageText())
	}
}

// states reads a job's states to their end.
func (w *world) states(id string) []string {
	w.t.Helper()
	stream, err := w.jobs.GetStateStream(w.t.Context(), &jobpb.GetJobStateRequest{JobId: id})
	if err != nil {
		w.t.Fatal(err)
	}
	return states(stream)
}

// states reads a stream to its end.
func states(stream jobpb.JobService_GetStateStreamClient) (out []string) {
	for {
		e, err := stream.Recv()
		if err != nil {
			return out
		}
		out = append(out, e.GetState().String())
	}
}
