package fnapi

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// env is a server on an in-memory network.
type env struct {
	t      testing.TB
	server *Server
	lis    *bufconn.Listener
}

// inBubble runs f with virtual time, against a server with the options.
func inBubble(t *testing.T, opts Options, f func(e *env)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(newEnv(t, opts)) })
}

func newEnv(tb testing.TB, opts Options) *env {
	tb.Helper()
	e := &env{t: tb, server: NewServer(opts), lis: bufconn.Listen(1 << 20)}
	gs := grpc.NewServer(opts.ServerOptions()...)
	e.server.Register(gs)
	served := make(chan error, 1)
	go func() { served <- gs.Serve(e.lis) }()
	tb.Cleanup(func() {
		gs.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			tb.Errorf("serve: %v", err)
		}
	})
	return e
}

const (
	sourcePort = "source"
	sinkPort0  = "sink0"
	sinkPort1  = "sink1"
	userStep   = "user"
	jobStage   = plan.StageID(3)
)

// testStage reads one port and writes two.
func testStage() *plan.Stage {
	return &plan.Stage{
		ID: jobStage, Name: "s3", Kind: &plan.Executable{Environment: "go"},
		Input:   &plan.Input{Port: sourcePort},
		Outputs: []plan.Output{{Port: sinkPort0}, {Port: sinkPort1}},
	}
}

func testDescriptors(tb testing.TB) map[plan.StageID]*fnpb.ProcessBundleDescriptor {
	tb.Helper()
	port, err := proto.Marshal(&fnpb.RemoteGrpcPort{CoderId: "c"})
	if err != nil {
		tb.Fatal(err)
	}
	return map[plan.StageID]*fnpb.ProcessBundleDescriptor{jobStage: {
		Id: "stage",
		Transforms: map[string]*pipepb.PTransform{
			sourcePort: {
				Spec:    &pipepb.FunctionSpec{Urn: urnSource, Payload: port},
				Outputs: map[string]string{"out": "pc0"},
			},
			userStep: {
				Spec:    &pipepb.FunctionSpec{Urn: "beam:transform:pardo:v1"},
				Inputs:  map[string]string{"in": "pc0"},
				Outputs: map[string]string{"a": "pc1"},
			},
			sinkPort0: {
				Spec:   &pipepb.FunctionSpec{Urn: urnSink, Payload: port},
				Inputs: map[string]string{"in": "pc1"},
			},
		},
	}}
}

func (e *env) expect(edit func(*WorkerSpec)) *Worker {
	e.t.Helper()
	spec := WorkerSpec{
		ID: "w1", JobID: "job", JobName: "name", Environment: "go",
		Descriptors: testDescriptors(e.t), Endpoint: "runner:1",
	}
	if edit != nil {
		edit(&spec)
	}
	w, err := e.server.Expect(spec)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { stopWorker(e.t, w) })
	return w
}

func stopWorker(tb testing.TB, w *Worker) {
	tb.Helper()
	if err := w.Stop(context.Background()); err != nil { //nolint:usetesting // also called from cleanups
		tb.Errorf("stop: %v", err)
	}
}

func (e *env) dial() *grpc.ClientConn {
	e.t.Helper()
	conn, err := grpc.NewClient("passthrough:///runner",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return e.lis.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30)))
	if err != nil {
		e.t.Fatal(err)
	}
	return conn
}

// sdk is a harness that does what the test says, step by step. It uses the
// generated clients: the runner's own framing must be invisible to it.
type sdk struct {
	t       testing.TB
	ctx     context.Context //nolint:containedctx // of all the streams that it opens
	conn    *grpc.ClientConn
	control fnpb.BeamFnControl_ControlClient
	data    fnpb.BeamFnData_DataClient
	close   func()
}

// connect opens a harness' control stream, and its data stream.
func (e *env) connect(id harness.WorkerID) *sdk {
	e.t.Helper()
	s := e.connectControl(id)
	var err error
	if s.data, err = fnpb.NewBeamFnDataClient(s.conn).Data(s.ctx); err != nil {
		e.t.Fatal(err)
	}
	return s
}

func (e *env) connectControl(id harness.WorkerID) *sdk {
	e.t.Helper()
	s := &sdk{t: e.t, conn: e.dial()}
	ctx, cancel := context.WithCancel(context.Background()) // ended by close
	s.ctx = metadata.AppendToOutgoingContext(ctx, workerIDKey, string(id))
	s.close = sync.OnceFunc(func() {
		cancel()
		s.conn.Close()
	})
	e.t.Cleanup(s.close)
	var err error
	if s.control, err = fnpb.NewBeamFnControlClient(s.conn).Control(s.ctx); err != nil {
		e.t.Fatal(err)
	}
	return s
}

// next receives an instruction.
func (s *sdk) next() *fnpb.InstructionRequest {
	s.t.Helper()
	req, err := s.control.Recv()
	if err != nil {
		s.t.Fatalf("receive an instruction: %v", err)
	}
	return req
}

// nextBundle receives an instruction that must be a bundle, and returns its id.
func (s *sdk) nextBundle() string {
	s.t.Helper()
	req := s.next()
	if req.GetProcessBundle() == nil {
		s.t.Fatalf("got %v, want a bundle", req)
	}
	return req.GetInstructionId()
}

func (s *sdk) answer(resp *fnpb.InstructionResponse) {
	s.t.Helper()
	if err := s.control.Send(resp); err != nil {
		s.t.Fatalf("answer: %v", err)
	}
}

func (s *sdk) answerBundle(id string, r *fnpb.ProcessBundleResponse) {
	s.t.Helper()
	s.answer(&fnpb.InstructionResponse{InstructionId: id, Response: &fnpb.InstructionResponse_ProcessBundle{ProcessBundle: r}})
}

// readInput receives the whole input of one bundle, when no other is running.
func (s *sdk) readInput(id string) (data []byte, messages int) {
	s.t.Helper()
	for {
		m, err := s.data.Recv()
		if err != nil {
			s.t.Fatalf("receive data: %v", err)
		}
		messages++
		for _, d := range m.GetData() {
			if d.GetInstructionId() != id || d.GetTransformId() != sourcePort {
				s.t.Fatalf("data for %s of %s, want %s of %s", d.GetTransformId(), d.GetInstructionId(), sourcePort, id)
			}
			data = append(data, d.GetData()...)
			if d.GetIsLast() {
				return data, messages
			}
		}
	}
}

func (s *sdk) write(id, transform string, data []byte, last bool) {
	s.t.Helper()
	err := s.data.Send(&fnpb.Elements{Data: []*fnpb.Elements_Data{{
		InstructionId: id, TransformId: transform, Data: data, IsLast: last,
	}}})
	if err != nil {
		s.t.Fatalf("send data: %v", err)
	}
}

func (s *sdk) closeOutputs(id string) {
	s.t.Helper()
	s.write(id, sinkPort0, nil, true)
	s.write(id, sinkPort1, nil, true)
}

// runBundles copies the input of every bundle to its first output until the
// stream ends.
func (s *sdk) runBundles() {
	type state struct {
		data     []byte
		finished bool
	}
	bundles := make(map[string]*state)
	for {
		m, err := s.data.Recv()
		if err != nil {
			return
		}
		for _, d := range m.GetData() {
			b := bundles[d.GetInstructionId()]
			if b == nil {
				b = &state{}
				bundles[d.GetInstructionId()] = b
			}
			b.data = append(b.data, d.GetData()...)
			if !d.GetIsLast() || b.finished {
				continue
			}
			b.finished = true
			s.write(d.GetInstructionId(), sinkPort0, b.data, false)
			s.closeOutputs(d.GetInstructionId())
			s.answerBundle(d.GetInstructionId(), &fnpb.ProcessBundleResponse{})
		}
	}
}

// drainControl takes instructions without answering until the stream ends.
func (s *sdk) drainControl() {
	for {
		if _, err := s.control.Recv(); err != nil {
			return
		}
	}
}

// sink collects the output of a bundle.
type sink struct {
	mu     sync.Mutex
	data   map[int][]byte
	timers map[int][]byte
	writes int
	err    error
}

func (s *sink) Write(out int, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.data == nil {
		s.data = make(map[int][]byte)
	}
	s.data[out] = append(s.data[out], data...)
	s.writes++
	return s.err
}

func (s *sink) WriteTimers(family int, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timers == nil {
		s.timers = make(map[int][]byte)
	}
	s.timers[family] = append(s.timers[family], data...)
	return s.err
}

func (s *sink) get(out int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.data[out])
}

// testBundle has one block for each of the strings.
func testBundle(id harness.BundleID, out harness.Output, blocks ...string) *harness.Bundle {
	b := &harness.Bundle{ID: id, Stage: testStage(), Output: out}
	for _, data := range blocks {
		b.Input = append(b.Input, element.Block{Data: []byte(data), Count: len(data)})
	}
	return b
}

func start(tb testing.TB, w *Worker, b *harness.Bundle) harness.Execution {
	tb.Helper()
	e, err := w.Start(context.Background(), b) //nolint:usetesting // outlives some tests' contexts
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func wantLost(tb testing.TB, err error) {
	tb.Helper()
	if !errors.Is(err, harness.ErrWorkerLost) {
		tb.Errorf("error %v, want one that says that the worker is lost", err)
	}
}

// wantEnd checks that the stream ends, and how.
func wantEnd(tb testing.TB, err error, plain bool) {
	tb.Helper()
	if err == nil || errors.Is(err, io.EOF) != plain {
		tb.Errorf("stream ended with %v, want a plain end: %v", err, plain)
	}
}

// timerStage is the kind of a stage with one timer family.
func timerStage() plan.Kind {
	return &plan.Executable{Timers: []plan.TimerSpec{{Transform: userStep, Family: "f"}}}
}

func asExecution(tb testing.TB, x harness.Execution) *execution {
	tb.Helper()
	e, ok := x.(*execution)
	if !ok {
		tb.Fatalf("an execution of type %T", x)
	}
	return e
}
