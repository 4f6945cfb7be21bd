package jobclient

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeJobs has the job "j", which can be cancelled but not drained, and "slow",
// of which nothing is ever heard.
type fakeJobs struct {
	jobpb.UnimplementedJobServiceServer
}

func (fakeJobs) GetJobs(context.Context, *jobpb.GetJobsRequest) (*jobpb.GetJobsResponse, error) {
	return &jobpb.GetJobsResponse{JobInfo: []*jobpb.JobInfo{
		{JobId: "j", JobName: "J", State: jobpb.JobState_RUNNING},
	}}, nil
}

func (fakeJobs) Cancel(ctx context.Context, req *jobpb.CancelJobRequest) (*jobpb.CancelJobResponse, error) {
	switch req.GetJobId() {
	case "j":
		return &jobpb.CancelJobResponse{State: jobpb.JobState_CANCELLING}, nil
	case "slow":
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	return nil, status.Error(codes.NotFound, "who?")
}

func (fakeJobs) Drain(_ context.Context, req *jobpb.DrainJobRequest) (*jobpb.DrainJobResponse, error) {
	if req.GetJobId() == "ended" {
		return nil, status.Error(codes.FailedPrecondition, "it has ended")
	}
	return nil, status.Error(codes.Unimplemented, "no such method")
}

func (fakeJobs) GetStateStream(req *jobpb.GetJobStateRequest, stream jobpb.JobService_GetStateStreamServer) error {
	for _, s := range []jobpb.JobState_Enum{jobpb.JobState_RUNNING, jobpb.JobState_CANCELLED} {
		if err := stream.Send(&jobpb.JobStateEvent{State: s}); err != nil {
			return err
		}
	}
	if req.GetJobId() != "j" {
		return status.Error(codes.Internal, "broken")
	}
	return nil
}

func serve(t *testing.T) *Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gs := grpc.NewServer()
	jobpb.RegisterJobServiceServer(gs, fakeJobs{})
	served := make(chan error, 1)
	go func() { served <- gs.Serve(l) }()
	c, err := New(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		gs.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestClient(t *testing.T) {
	c := serve(t)
	ctx := t.Context()
	if details, err := c.Details(ctx); err != nil || len(details) != 1 || details[0].ID != "j" || details[0].State != "RUNNING" {
		t.Errorf("details of a server that is not ours: %+v, %v", details, err)
	}
	jobs, err := c.List(ctx)
	if err != nil || !slices.Equal(jobs, []Job{{ID: "j", Name: "J", State: "RUNNING"}}) {
		t.Errorf("%v, %v", jobs, err)
	}
	if s, err := c.State(ctx, "j"); s != "RUNNING" || err != nil {
		t.Errorf("%v, %v", s, err)
	}
	if s, err := c.Cancel(ctx, "j"); s != "CANCELLING" || err != nil {
		t.Errorf("%v, %v", s, err)
	}
	var seen []State
	if s, err := c.Wait(ctx, "j", func(s State) { seen = append(seen, s) }); s != Cancelled || err != nil || len(seen) != 2 {
		t.Errorf("%v, %v, %v", s, err, seen)
	}
}

func TestErrorsAreForPeople(t *testing.T) {
	c := serve(t)
	dead, err := New("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	tests := []struct {
		name string
		call func(ctx context.Context) error
		want string
	}{
		{"unknown", func(ctx context.Context) error { _, err := c.State(ctx, "x"); return err }, `job "x": no such job at 127`},
		{"not found", func(ctx context.Context) error { _, err := c.Cancel(ctx, "x"); return err }, "no such job: who?"},
		{"refused", func(ctx context.Context) error { _, err := c.Drain(ctx, "ended"); return err }, "drain job ended at 127"},
		{"unimplemented", func(ctx context.Context) error { _, err := c.Drain(ctx, "x"); return err }, "does not know how"},
		{"slow", func(ctx context.Context) error { _, err := c.Cancel(ctx, "slow"); return err }, "no answer from 127"},
		{"broken stream", func(ctx context.Context) error { _, err := c.Wait(ctx, "x", nil); return err }, "follow job x at 127"},
		{"dead", func(ctx context.Context) error { _, err := dead.List(ctx); return err }, "no server answers at 127.0.0.1:1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := tt.call(ctx)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "rpc error") {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if want := tt.name == "unknown" || tt.name == "not found"; errors.Is(err, ErrUnknown) != want {
				t.Errorf("%v: unknown %v", err, want)
			}
		})
	}
}
