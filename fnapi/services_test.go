package fnapi

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gorunner/gorunner/execution/harness"
)

func TestDescriptors(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		shared := testDescriptors(t)
		before := proto.CloneOf(shared[jobStage])
		spec := func(id harness.WorkerID) func(*WorkerSpec) {
			return func(s *WorkerSpec) { s.ID, s.Descriptors = id, shared }
		}
		w := e.expect(spec("w1"))
		e.expect(spec("w2"))
		conn := e.dial()
		defer conn.Close()
		client := fnpb.NewBeamFnControlClient(conn)
		// Without a worker id, as some SDKs ask.
		id := w.stages[jobStage].proto.GetId()
		d, err := client.GetProcessBundleDescriptor(t.Context(), &fnpb.GetProcessBundleDescriptorRequest{ProcessBundleDescriptorId: id})
		if err != nil {
			t.Fatal(err)
		}
		if d.GetStateApiServiceDescriptor().GetUrl() != "runner:1" {
			t.Errorf("state at %v", d.GetStateApiServiceDescriptor())
		}
		for _, port := range []string{sourcePort, sinkPort0} {
			var p fnpb.RemoteGrpcPort
			if err := proto.Unmarshal(d.GetTransforms()[port].GetSpec().GetPayload(), &p); err != nil {
				t.Fatal(err)
			}
			if p.GetApiServiceDescriptor().GetUrl() != "runner:1" || p.GetCoderId() != "c" {
				t.Errorf("port %s: %v", port, &p)
			}
		}
		if diff := cmp.Diff(before, shared[jobStage], protocmp.Transform()); diff != "" {
			t.Errorf("the caller's descriptor was changed: %s", diff)
		}
		if n := len(e.server.descriptors); n != 1 {
			t.Errorf("%d copies of one descriptor", n)
		}
		// The same stage of the same job cannot have another descriptor.
		_, err = e.server.Expect(WorkerSpec{ID: "w3", JobID: "job", Endpoint: "runner:1", Descriptors: testDescriptors(t)})
		if !errors.Is(err, errOtherDescriptor) {
			t.Errorf("error %v, want %v", err, errOtherDescriptor)
		}
		stopWorker(t, w)
		if n := len(e.server.descriptors); n != 1 {
			t.Errorf("%d descriptors while a worker needs one", n)
		}
		_, err = client.GetProcessBundleDescriptor(t.Context(), &fnpb.GetProcessBundleDescriptorRequest{ProcessBundleDescriptorId: "x"})
		if status.Code(err) != codes.NotFound {
			t.Errorf("unknown descriptor: %v", err)
		}
	})
}

func TestBrokenDescriptor(t *testing.T) {
	s := NewServer(Options{})
	broken := testDescriptors(t)
	broken[jobStage].Transforms[sourcePort].Spec.Payload = []byte{0x0a, 99}
	if _, err := s.Expect(WorkerSpec{ID: "w", Endpoint: "x:1", Descriptors: broken}); err == nil || !strings.Contains(err.Error(), sourcePort) {
		t.Errorf("error %v, want one that names the port", err)
	}
	if len(s.workers)+len(s.descriptors) != 0 {
		t.Error("a worker that was refused left something behind")
	}
}

func TestSlots(t *testing.T) {
	s := NewServer(Options{})
	for i, tt := range []struct {
		slots int
		caps  []string
		want  int
	}{
		{8, nil, 1}, {8, []string{capMultiCore}, 8}, {0, []string{capMultiCore}, 1},
	} {
		w, err := s.Expect(WorkerSpec{ID: harness.WorkerID(fmt.Sprint(i)), Endpoint: "x:1", Slots: tt.slots, Capabilities: tt.caps})
		if err != nil {
			t.Fatal(err)
		}
		if w.Slots() != tt.want || w.ID() != harness.WorkerID(fmt.Sprint(i)) {
			t.Errorf("worker %s has %d slots, want %d", w.ID(), w.Slots(), tt.want)
		}
	}
}

func TestProvision(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		given := &fnpb.ProvisionInfo{RetrievalToken: "token", Metadata: map[string]string{"job_name": "mine"}}
		e.expect(func(s *WorkerSpec) { s.Provision = given })
		conn := e.dial()
		defer conn.Close()
		ctx := metadata.AppendToOutgoingContext(t.Context(), workerIDKey, "w1")
		resp, err := fnpb.NewProvisionServiceClient(conn).GetProvisionInfo(ctx, &fnpb.GetProvisionInfoRequest{})
		if err != nil {
			t.Fatal(err)
		}
		want := &fnpb.ProvisionInfo{
			RetrievalToken: "token", Metadata: map[string]string{"job_name": "mine", "job_id": "job"},
			ControlEndpoint: service("runner:1"), LoggingEndpoint: service("runner:1"),
			ArtifactEndpoint: service("runner:1"), StatusEndpoint: service("runner:1"),
			RunnerCapabilities: Capabilities(),
		}
		if diff := cmp.Diff(want, resp.GetInfo(), protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
		if len(given.GetMetadata()) != 1 || given.GetControlEndpoint() != nil {
			t.Errorf("the caller's info was changed: %v", given)
		}
	})
}

// logs collects log entries.
type logs struct {
	mu      sync.Mutex
	entries []LogEntry
}

func (l *logs) add(e LogEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
}

func (l *logs) messages() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var m []string
	for _, e := range l.entries {
		m = append(m, e.Message)
	}
	return strings.Join(m, " ")
}

func (s *sdk) openLog() func(entries ...*fnpb.LogEntry) {
	s.t.Helper()
	stream, err := fnpb.NewBeamFnLoggingClient(s.conn).Logging(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return func(entries ...*fnpb.LogEntry) {
		s.t.Helper()
		if err := stream.Send(&fnpb.LogEntry_List{LogEntries: entries}); err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestLogging(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		var got logs
		w := e.expect(func(s *WorkerSpec) { s.Logs = got.add })
		s := e.connect("w1")
		log := s.openLog()
		at := time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)
		log(&fnpb.LogEntry{
			Severity: fnpb.LogEntry_Severity_ERROR, Timestamp: timestamppb.New(at), Message: "a", Trace: "trace",
			InstructionId: "i1", TransformId: "t", LogLocation: "f.go:1", Thread: "main",
		}, &fnpb.LogEntry{Message: "b"})
		log(&fnpb.LogEntry{Message: "c"})
		synctest.Wait()
		want := LogEntry{
			Worker: "w1", Instruction: "i1", Transform: "t", Severity: slog.LevelError, Message: "a",
			Time: at, Trace: "trace", Location: "f.go:1", Thread: "main",
		}
		if diff := cmp.Diff(want, got.entries[0]); diff != "" {
			t.Error(diff)
		}
		if m := got.messages(); m != "a b c" {
			t.Errorf("logged %s", m)
		}
		if !got.entries[1].Time.IsZero() {
			t.Errorf("time %v of an entry that has none", got.entries[1].Time)
		}
		// The end of a log is not the end of a worker, and the last words of a
		// stopped one are still heard.
		w.Kill(errors.New("x"))
		stopWorker(t, w)
		log(&fnpb.LogEntry{Message: "d"})
		synctest.Wait()
		if m := got.messages(); m != "a b c d" {
			t.Errorf("logged %s", m)
		}
	})
}

func TestLogAloneDoesNotEndTheWorker(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connect("w1")
		stream, err := fnpb.NewBeamFnLoggingClient(s.conn).Logging(s.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		wantEnd(t, err, true)
		if w.Err() != nil {
			t.Error(w.Err())
		}
	})
}

func TestSeverities(t *testing.T) {
	last := slog.Level(-100)
	for s := fnpb.LogEntry_Severity_TRACE; s <= fnpb.LogEntry_Severity_CRITICAL; s++ {
		if severity(s) <= last {
			t.Errorf("%v is not above the one before", s)
		}
		last = severity(s)
	}
	if severity(fnpb.LogEntry_Severity_UNSPECIFIED) != slog.LevelInfo {
		t.Error("an unspecified severity is not information")
	}
}

func TestStatus(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		if _, err := w.Status(t.Context()); !errors.Is(err, ErrNoStatus) {
			t.Errorf("error %v, want %v", err, ErrNoStatus)
		}
		s := e.connect("w1")
		stream, err := fnpb.NewBeamFnWorkerStatusClient(s.conn).WorkerStatus(s.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Header(); err != nil {
			t.Fatal(err)
		}
		ask := func() func() (string, error) {
			return async(func() (string, error) { return w.Status(t.Context()) })
		}
		first, second := ask(), ask()
		reqs := []*fnpb.WorkerStatusRequest{}
		for range 2 {
			req, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			reqs = append(reqs, req)
		}
		for _, r := range []*fnpb.WorkerStatusResponse{
			{Id: "unknown"}, {Id: reqs[1].GetId(), StatusInfo: "busy"}, {Id: reqs[0].GetId(), StatusInfo: "busy"},
		} {
			if err := stream.Send(r); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range []func() (string, error){first, second} {
			if got, err := f(); got != "busy" || err != nil {
				t.Errorf("status %q, error %v", got, err)
			}
		}
		third := ask()
		req, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&fnpb.WorkerStatusResponse{Id: req.GetId(), Error: "cannot"}); err != nil {
			t.Fatal(err)
		}
		if _, err := third(); err == nil || !strings.Contains(err.Error(), "cannot") {
			t.Errorf("error %v", err)
		}
		fourth := ask()
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		w.Kill(errors.New("x"))
		_, err = fourth()
		wantLost(t, err)
		_, err = stream.Recv()
		wantEnd(t, err, false)
	})
}
