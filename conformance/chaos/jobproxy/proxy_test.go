package jobproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeRunner keeps one job, through its lives.
type fakeRunner struct {
	jobpb.UnimplementedJobServiceServer
	jobpb.UnimplementedArtifactStagingServiceServer
	address string
	server  *grpc.Server
	served  chan struct{} // closed when the life is over

	mu      sync.Mutex
	history []string // guarded by mu; a message each, but for "DONE"
	// more is closed, and made anew, when the history grows; guarded by mu.
	more     chan struct{}
	prepared int // guarded by mu
}

func newFakeRunner(t *testing.T) *fakeRunner {
	t.Helper()
	r := &fakeRunner{more: make(chan struct{})}
	r.live(t, "127.0.0.1:0")
	t.Cleanup(r.kill)
	return r
}

// live begins a life.
func (r *fakeRunner) live(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r.address = l.Addr().String()
	r.server = grpc.NewServer()
	jobpb.RegisterJobServiceServer(r.server, r)
	jobpb.RegisterArtifactStagingServiceServer(r.server, r)
	r.served = make(chan struct{})
	go func(server *grpc.Server, served chan struct{}) {
		defer close(served)
		_ = server.Serve(l)
	}(r.server, r.served)
}

// kill ends a life, and the connections with it.
func (r *fakeRunner) kill() {
	r.server.Stop()
	<-r.served
}

func (r *fakeRunner) say(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, text)
	close(r.more)
	r.more = make(chan struct{})
}

// Prepare refuses pipelines without components.
func (r *fakeRunner) Prepare(_ context.Context, req *jobpb.PrepareJobRequest) (*jobpb.PrepareJobResponse, error) {
	if req.GetJobName() == "bad" {
		return nil, status.Error(codes.InvalidArgument, "a bad job")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.prepared++
	return &jobpb.PrepareJobResponse{
		PreparationId: fmt.Sprint("p", r.prepared), ArtifactStagingEndpoint: &pipepb.ApiServiceDescriptor{Url: r.address},
	}, nil
}

func (r *fakeRunner) Run(_ context.Context, req *jobpb.RunJobRequest) (*jobpb.RunJobResponse, error) {
	return &jobpb.RunJobResponse{JobId: "job of " + req.GetPreparationId()}, nil
}

func (r *fakeRunner) GetState(context.Context, *jobpb.GetJobStateRequest) (*jobpb.JobStateEvent, error) {
	return &jobpb.JobStateEvent{State: jobpb.JobState_RUNNING}, nil
}

func (r *fakeRunner) GetMessageStream(_ *jobpb.JobMessagesRequest, s jobpb.JobService_GetMessageStreamServer) error {
	for at := 0; ; at++ {
		r.mu.Lock()
		for at == len(r.history) {
			more := r.more
			r.mu.Unlock()
			select {
			case <-more:
			case <-s.Context().Done():
				return s.Context().Err()
			}
			r.mu.Lock()
		}
		text := r.history[at]
		r.mu.Unlock()
		m := &jobpb.JobMessagesResponse{Response: &jobpb.JobMessagesResponse_MessageResponse{
			MessageResponse: &jobpb.JobMessage{MessageId: fmt.Sprint(at), MessageText: text},
		}}
		if text == "DONE" {
			m = &jobpb.JobMessagesResponse{Response: &jobpb.JobMessagesResponse_StateResponse{
				StateResponse: &jobpb.JobStateEvent{State: jobpb.JobState_DONE},
			}}
		}
		if err := s.Send(m); err != nil || text == "DONE" {
			return err
		}
	}
}

// ReverseArtifactRetrievalService asks for two artifacts.
func (r *fakeRunner) ReverseArtifactRetrievalService(s jobpb.ArtifactStagingService_ReverseArtifactRetrievalServiceServer) error {
	for range 2 {
		if err := s.Send(&jobpb.ArtifactRequestWrapper{Request: &jobpb.ArtifactRequestWrapper_GetArtifact{}}); err != nil {
			return err
		}
		if _, err := s.Recv(); err != nil {
			return err
		}
	}
	return nil
}

// client is connected to the runner by a proxy.
type client struct {
	jobs    jobpb.JobServiceClient
	staging jobpb.ArtifactStagingServiceClient
	proxy   *Proxy
	address string
}

func newClient(t *testing.T, r *fakeRunner, opts Options) *client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opts.Runner, opts.Address = r.address, l.Addr().String()
	p, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///"+opts.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(conn.Close(), p.Stop()); err != nil {
			t.Error(err)
		}
	})
	return &client{jobs: jobpb.NewJobServiceClient(conn), staging: jobpb.NewArtifactStagingServiceClient(conn), proxy: p, address: opts.Address}
}

func TestStreamsGoOnInTheNextLife(t *testing.T) {
	r := newFakeRunner(t)
	c := newClient(t, r, Options{})
	r.say("one")
	s, err := c.jobs.GetMessageStream(t.Context(), &jobpb.JobMessagesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	next := func() string {
		t.Helper()
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return m.GetMessageResponse().GetMessageText() + m.GetStateResponse().GetState().String()
	}
	got := []string{next()}
	r.kill()
	r.say("two")
	r.live(t, r.address)
	got = append(got, next())
	r.kill()
	r.live(t, r.address)
	r.say("three")
	r.say("DONE")
	got = append(got, next(), next())
	want := []string{"oneUNSPECIFIED", "twoUNSPECIFIED", "threeUNSPECIFIED", "DONE"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream of a job that is done ends with %v", err)
	}
}

func TestCallsWaitForTheNextLife(t *testing.T) {
	r := newFakeRunner(t)
	c := newClient(t, r, Options{})
	r.kill()
	answered := make(chan error)
	go func() {
		_, err := c.jobs.GetState(t.Context(), &jobpb.GetJobStateRequest{})
		answered <- err
	}()
	r.live(t, r.address)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestPatienceEnds(t *testing.T) {
	r := newFakeRunner(t)
	c := newClient(t, r, Options{Patience: 10 * time.Millisecond})
	r.kill()
	if _, err := c.jobs.GetState(t.Context(), &jobpb.GetJobStateRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a call without a runner ends with %v", err)
	}
	s, err := c.jobs.GetMessageStream(t.Context(), &jobpb.JobMessagesRequest{})
	if err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a stream without a runner ends with %v", err)
	}
}

func TestSubmission(t *testing.T) {
	r := newFakeRunner(t)
	c := newClient(t, r, Options{})
	ctx := t.Context()
	if _, err := c.jobs.Prepare(ctx, &jobpb.PrepareJobRequest{JobName: "bad"}); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "a bad job") {
		t.Errorf("the refusal arrives as %v", err)
	}
	c.proxy.Hold(ctx)() // nothing is being submitted
	prepared, err := c.jobs.Prepare(ctx, &jobpb.PrepareJobRequest{})
	if err != nil || prepared.GetArtifactStagingEndpoint().GetUrl() != c.address {
		t.Fatalf("artifacts are to be staged at %v, not at the proxy %s; %v", prepared.GetArtifactStagingEndpoint(), c.address, err)
	}
	c.stage(t)
	held := make(chan func())
	go func() { held <- c.proxy.Hold(ctx) }()
	select {
	case <-held:
		t.Error("the runner may be killed while a job is being submitted")
	case <-time.After(10 * time.Millisecond):
	}
	run, err := c.jobs.Run(ctx, &jobpb.RunJobRequest{PreparationId: prepared.GetPreparationId()})
	if err != nil || run.GetJobId() != "job of p1" {
		t.Errorf("Run: %v, %v", run, err)
	}
	release := <-held
	next := make(chan error)
	go func() {
		_, err := c.jobs.Prepare(ctx, &jobpb.PrepareJobRequest{})
		next <- err
	}()
	select {
	case err := <-next:
		t.Errorf("a job is prepared that must wait; %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	release()
	if err := <-next; err != nil {
		t.Error(err)
	}
	// Its client runs it never: who waits for that gives it up.
	given, cancel := context.WithCancel(ctx)
	cancel()
	c.proxy.Hold(given)()
	c.proxy.Hold(ctx)()
}

// stage stages what the runner asks for.
func (c *client) stage(t *testing.T) {
	t.Helper()
	s, err := c.staging.ReverseArtifactRetrievalService(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for asked := 0; ; asked++ {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) && asked == 2 {
			return
		}
		if err != nil {
			t.Fatalf("request %d: %v, %v", asked, m, err)
		}
		if err := s.Send(&jobpb.ArtifactResponseWrapper{}); err != nil {
			t.Fatal(err)
		}
	}
}
