package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/fnapi/environment"
)

// The tests of this file run the whole server, made of its own parts, against
// harnesses and clients that misbehave. Each wants a clear error for the one job,
// nothing left of it, and a server that goes on.

// harnessCall is what a fake harness gets to work with.
type harnessCall struct {
	conn    *grpc.ClientConn
	control fnpb.BeamFnControl_ControlClient
	data    fnpb.BeamFnData_DataClient
	// ctx carries the worker's id and ends when the pool is told to stop the worker.
	ctx context.Context //nolint:containedctx // the worker's life
	// bundle is the instruction to process the bundle that it got.
	bundle string
}

func (h *harnessCall) answer(r *fnpb.InstructionResponse) error {
	r.InstructionId = h.bundle
	return h.control.Send(r)
}

// raw sends bytes as a message: as the unknown fields of an empty one.
func raw(stream grpc.ClientStream, b []byte) error {
	m := &fnpb.RegisterResponse{}
	m.ProtoReflect().SetUnknown(b)
	return stream.SendMsg(m)
}

// harnessPool is a worker pool whose workers connect and then do what act says.
type harnessPool struct {
	fnpb.UnimplementedBeamFnExternalWorkerPoolServer
	act func(*harnessCall) error
	// silent is set for workers that are never heard of.
	silent bool

	ctx  context.Context //nolint:containedctx // the pool's life
	mu   sync.Mutex
	stop map[string]context.CancelFunc // guarded by mu; by worker
	wg   sync.WaitGroup
}

// StartWorker starts a worker, which outlives the call.
//
//nolint:contextcheck // see above
func (p *harnessPool) StartWorker(_ context.Context, req *fnpb.StartWorkerRequest) (*fnpb.StartWorkerResponse, error) {
	if p.silent {
		return &fnpb.StartWorkerResponse{}, nil
	}
	ctx, cancel := context.WithCancel(p.ctx)
	p.mu.Lock()
	p.stop[req.GetWorkerId()] = cancel
	p.mu.Unlock()
	p.wg.Go(func() { _ = p.run(ctx, req) }) // its error is the server's to notice
	return &fnpb.StartWorkerResponse{}, nil
}

// StopWorker ends a worker.
func (p *harnessPool) StopWorker(_ context.Context, req *fnpb.StopWorkerRequest) (*fnpb.StopWorkerResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cancel := p.stop[req.GetWorkerId()]; cancel != nil {
		cancel()
	}
	return &fnpb.StopWorkerResponse{}, nil
}

func (p *harnessPool) run(ctx context.Context, req *fnpb.StartWorkerRequest) error {
	conn, err := grpc.NewClient(req.GetControlEndpoint().GetUrl(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	h := &harnessCall{conn: conn, ctx: metadata.AppendToOutgoingContext(ctx, "worker_id", req.GetWorkerId())}
	if h.control, err = fnpb.NewBeamFnControlClient(conn).Control(h.ctx); err != nil { //nolint:contextcheck // made of ctx
		return err
	}
	if h.data, err = fnpb.NewBeamFnDataClient(conn).Data(h.ctx); err != nil { //nolint:contextcheck // made of ctx
		return err
	}
	for { // until the server ends it
		req, err := h.control.Recv()
		if err != nil {
			return err
		}
		if h.bundle = req.GetInstructionId(); req.GetProcessBundle() == nil {
			continue
		}
		if err := p.act(h); err != nil {
			return err
		}
	}
}

// serveOn serves gs on a port of its own until the test ends, and returns its
// address.
func serveOn(t *testing.T, serve func(net.Listener) error, stop func()) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- serve(l) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

// startPool serves the pool and returns its address.
func startPool(t *testing.T, p *harnessPool) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // ended by the cleanup
	p.ctx, p.stop = ctx, make(map[string]context.CancelFunc)
	gs := grpc.NewServer()
	fnpb.RegisterBeamFnExternalWorkerPoolServer(gs, p)
	return serveOn(t, gs.Serve, func() {
		gs.Stop()
		cancel()
		p.wg.Wait()
	})
}

// newWhole returns a client of a server that is made of gorunner's own parts,
// and that must be without jobs' files when the test ends.
func newWhole(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "data")}
	server, err := NewServer(Options{DataDir: w.dir, WorkerTimeout: 5 * time.Second, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	w.server = server
	address := serveOn(t, server.Serve, func() {
		if err := server.Shutdown(context.Background()); err != nil { //nolint:usetesting // in a cleanup
			t.Errorf("shutdown: %v", err)
		}
	})
	w.conn, err = grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.conn.Close() })
	w.jobs = jobpb.NewJobServiceClient(w.conn)
	return w
}

// nothingLeft checks that finished jobs have left no file.
func (w *world) nothingLeft() {
	w.t.Helper()
	for _, j := range w.server.all() {
		<-j.done
	}
	for _, dir := range []string{"jobs", "artifacts"} {
		entries, err := os.ReadDir(filepath.Join(w.dir, dir))
		if err != nil || len(entries) > 0 {
			w.t.Errorf("%s: %d entries are left, %v", dir, len(entries), err)
		}
	}
}

// wholePipeline is an impulse that user code reads, in the environment.
func wholePipeline(env *pipepb.Environment) *pipepb.Pipeline {
	return &pipepb.Pipeline{
		RootTransformIds: []string{"impulse", "read"},
		Components: &pipepb.Components{
			Transforms: map[string]*pipepb.PTransform{
				"impulse": {
					UniqueName: "Impulse", Spec: &pipepb.FunctionSpec{Urn: "beam:transform:impulse:v1"},
					Outputs: map[string]string{"o": "pc"},
				},
				"read": {
					UniqueName: "Outer/Read", Spec: &pipepb.FunctionSpec{Urn: "beam:transform:pardo:v1", Payload: mustMarshal(&pipepb.ParDoPayload{})},
					Inputs: map[string]string{"i": "pc"}, EnvironmentId: "env",
				},
			},
			Pcollections: map[string]*pipepb.PCollection{
				"pc": {CoderId: "bytes", WindowingStrategyId: "global", IsBounded: pipepb.IsBounded_BOUNDED},
			},
			Coders: map[string]*pipepb.Coder{
				"bytes":  {Spec: &pipepb.FunctionSpec{Urn: "beam:coder:bytes:v1"}},
				"window": {Spec: &pipepb.FunctionSpec{Urn: "beam:coder:global_window:v1"}},
			},
			WindowingStrategies: map[string]*pipepb.WindowingStrategy{
				"global": {WindowFn: &pipepb.FunctionSpec{Urn: "beam:window_fn:global_windows:v1"}, WindowCoderId: "window"},
			},
			Environments: map[string]*pipepb.Environment{"env": env},
		},
	}
}

func poolEnvironment(address string) *pipepb.Environment {
	return &pipepb.Environment{
		Urn:     environment.URNExternal,
		Payload: mustMarshal(&pipepb.ExternalPayload{Endpoint: &pipepb.ApiServiceDescriptor{Url: address}}),
	}
}

func wellBehaved(h *harnessCall) error {
	return h.answer(&fnpb.InstructionResponse{Response: &fnpb.InstructionResponse_ProcessBundle{ProcessBundle: &fnpb.ProcessBundleResponse{}}})
}

// goesOn runs a job that does well.
func (w *world) goesOn(t *testing.T) {
	t.Helper()
	env := poolEnvironment(startPool(t, &harnessPool{act: wellBehaved}))
	if got := w.states(w.start(wholePipeline(env), nil)); len(got) == 0 || got[len(got)-1] != "DONE" {
		t.Errorf("the job after: %v", got)
	}
}

// TestHarnessFaults: each ends its job with an error that tells what happened.
func TestHarnessFaults(t *testing.T) {
	const trace = "Traceback (most recent call last):\n  File \"x.py\"\nValueError: boom [while running 'Outer/Read']"
	tests := []struct {
		name string
		pool *harnessPool
		want []string
	}{
		{
			"user code fails", &harnessPool{act: func(h *harnessCall) error {
				return h.answer(&fnpb.InstructionResponse{Error: trace})
			}},
			[]string{"transform Outer/Read failed", trace},
		},
		{
			"dies in a bundle", &harnessPool{act: func(h *harnessCall) error { return h.conn.Close() }},
			[]string{"worker lost", "connection broke"},
		},
		{
			"hangs up in a bundle", &harnessPool{act: func(h *harnessCall) error { return h.control.CloseSend() }},
			[]string{"worker lost", "control stream: the harness closed it"},
		},
		{
			"hangs up its data", &harnessPool{act: func(h *harnessCall) error { return h.data.CloseSend() }},
			[]string{"worker lost", "data stream: the harness closed it"},
		},
		{
			"garbage for an answer", &harnessPool{act: func(h *harnessCall) error { return raw(h.control, []byte{0x0a, 0x7f, 1}) }},
			[]string{"worker lost", "control stream"},
		},
		{
			"garbage for data", &harnessPool{act: func(h *harnessCall) error { return raw(h.data, []byte{0x0a, 0x7f, 1}) }},
			[]string{"worker lost", "parse elements: message cut short"},
		},
		{
			"data for no output", &harnessPool{act: func(h *harnessCall) error {
				return h.data.Send(&fnpb.Elements{Data: []*fnpb.Elements_Data{{InstructionId: h.bundle, TransformId: "no-port", Data: []byte{1}}}})
			}},
			[]string{`data of transform "no-port", which is not an output`},
		},
		{"never registers", &harnessPool{silent: true}, []string{"did not connect within 1s"}},
	}
	w := newWhole(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			env := poolEnvironment(startPool(t, tt.pool))
			got := w.follow(w.start(wholePipeline(env), map[string]any{
				"beam:option:gorunner_worker_timeout_s:v1": 1, "beam:option:gorunner_bundle_attempts:v1": 2,
			}))
			if len(got) < 2 || got[len(got)-2] != "FAILED" || !strings.HasPrefix(got[len(got)-1], "ERROR: ") {
				t.Fatalf("%q, want an error right after FAILED at the end", got)
			}
			for _, want := range tt.want {
				if last := got[len(got)-1]; !strings.Contains(last, want) {
					t.Errorf("the error lacks %q:\n%s", want, last)
				}
			}
			w.nothingLeft()
			w.goesOn(t)
		})
	}
}

// TestClientFaults: each is refused when it is prepared, by name.
func TestClientFaults(t *testing.T) {
	tests := []struct {
		name   string
		breaks func(*pipepb.Components)
		code   codes.Code
		want   string
	}{
		{"dangling PCollection", func(c *pipepb.Components) { c.Transforms["read"].Inputs["i"] = "gone" }, codes.InvalidArgument, `PCollection "gone"`},
		{"dangling coder", func(c *pipepb.Components) { c.Pcollections["pc"].CoderId = "gone" }, codes.InvalidArgument, `coder "gone"`},
		{"dangling environment", func(c *pipepb.Components) { c.Transforms["read"].EnvironmentId = "gone" }, codes.InvalidArgument, `environment "gone"`},
		{"cycle", func(c *pipepb.Components) {
			c.Transforms["impulse"].Spec = c.Transforms["read"].Spec
			c.Transforms["impulse"].Inputs = map[string]string{"i": "back"}
			c.Transforms["read"].Outputs = map[string]string{"o": "back"}
			c.Pcollections["back"] = c.Pcollections["pc"]
		}, codes.InvalidArgument, "cycle through"},
		{"unknown transform URN", func(c *pipepb.Components) {
			c.Transforms["read"].Spec = &pipepb.FunctionSpec{Urn: "example:transform:v1"}
			c.Transforms["read"].Outputs = map[string]string{"o": "more"}
			c.Pcollections["more"] = c.Pcollections["pc"]
		}, codes.Unimplemented, `unknown URN "example:transform:v1"`},
		{"unknown window coder", func(c *pipepb.Components) {
			c.Coders["window"] = &pipepb.Coder{Spec: &pipepb.FunctionSpec{Urn: "example:coder:v1"}}
		}, codes.InvalidArgument, "global with window coder"},
		{"unknown environment URN", func(c *pipepb.Components) {
			c.Environments["env"] = &pipepb.Environment{Urn: "example:env:v1"}
		}, codes.InvalidArgument, `environment "example:env:v1" is not supported`},
		{"truncated payload", func(c *pipepb.Components) {
			c.Transforms["read"].Spec = &pipepb.FunctionSpec{Urn: "beam:transform:pardo:v1", Payload: []byte{0x0a, 0x7f}}
		}, codes.InvalidArgument, `transform "read": payload`},
	}
	w := newWhole(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := wholePipeline(poolEnvironment("127.0.0.1:1"))
			tt.breaks(p.Components)
			_, err := w.tryPrepare(p, nil)
			if status.Code(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %v with %q", err, tt.code, tt.want)
			}
		})
	}
	w.nothingLeft()
	w.goesOn(t)
}

// TestArtifactFaults: without its artifacts a job does not run.
func TestArtifactFaults(t *testing.T) {
	w := newWhole(t)
	env := processEnvironment(&pipepb.ArtifactInformation{
		TypeUrn:     "beam:artifact:type:file:v1",
		TypePayload: mustMarshal(&pipepb.ArtifactFilePayload{Path: "/client/lib.jar", Sha256: strings.Repeat("ab", 32)}),
	})
	prep := w.prepare(wholePipeline(env), nil)
	run := func(want string) {
		t.Helper()
		_, err := w.jobs.Run(t.Context(), &jobpb.RunJobRequest{PreparationId: prep.GetPreparationId()})
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), want) {
			t.Errorf("run: %v, want %q", err, want)
		}
	}
	run("not staged: /client/lib.jar")
	stream, err := jobpb.NewArtifactStagingServiceClient(w.conn).ReverseArtifactRetrievalService(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*jobpb.ArtifactResponseWrapper{
		{StagingToken: prep.GetStagingSessionToken()},
		{IsLast: true, Response: &jobpb.ArtifactResponseWrapper_GetArtifactResponse{
			GetArtifactResponse: &jobpb.GetArtifactResponse{Data: []byte("something else")},
		}},
	} {
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	if _, err = stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if _, err = stream.Recv(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "/client/lib.jar: artifact: content of 14 bytes has SHA-256") {
		t.Errorf("staging: %v, want the wrong hash", err)
	}
	run("not staged: /client/lib.jar")
	w.nothingLeft()
	w.goesOn(t)
}

// TestManyCausesFitAStatus: a status travels in a header, which some clients
// refuse to read if it is long.
func TestManyCausesFitAStatus(t *testing.T) {
	p := wholePipeline(poolEnvironment("127.0.0.1:1"))
	for i := range 500 {
		id := fmt.Sprintf("tränsform-%d", i)
		out := &pipepb.PCollection{CoderId: "bytes", WindowingStrategyId: "global", IsBounded: pipepb.IsBounded_BOUNDED}
		p.Components.Pcollections[id] = out
		p.Components.Transforms[id] = &pipepb.PTransform{
			Spec: &pipepb.FunctionSpec{Urn: "example:transform:v1"}, Outputs: map[string]string{"o": id},
		}
		p.RootTransformIds = append(p.RootTransformIds, id)
	}
	w := newWhole(t)
	_, err := w.tryPrepare(proto.CloneOf(p), nil)
	text := status.Convert(err).Message()
	if status.Code(err) != codes.Unimplemented || !strings.Contains(text, "tränsform-10") || !strings.HasSuffix(text, "(cut; the server's log has all of it)") ||
		len(text) > statusBytesMax {
		t.Errorf("%d bytes: %v", len(text), err)
	}
	if short := "a cause\nanother"; statusText(short) != short {
		t.Errorf("%q", statusText(short))
	}
}
