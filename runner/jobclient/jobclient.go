// Package jobclient asks a server about its jobs, and ends them, over Beam's Job
// API. It knows nothing of the server but that API, and what a server of gorunner
// may offer besides: see [AdminService].
//
//	c, err := jobclient.New("127.0.0.1:8073")
//	jobs, err := c.List(ctx)
//	state, err := c.Drain(ctx, jobs[0].ID)
//	state, err = c.Wait(ctx, jobs[0].ID, nil)
//
// A Client is safe for concurrent use.
package jobclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// State is the name of a job's state in the Job API.
type State string

// The states that callers look for.
const (
	Cancelled State = "CANCELLED"
	Drained   State = "DRAINED"
)

// Job is a job as the server lists it.
type Job struct {
	ID, Name string
	State    State
}

// Client talks to one server.
type Client struct {
	endpoint string
	conn     *grpc.ClientConn
	jobs     jobpb.JobServiceClient
}

// New makes a client of the server at host:port. It does not connect yet.
func New(endpoint string) (*Client, error) {
	conn, err := grpc.NewClient(endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// A list has the options of every job.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	if err != nil {
		return nil, fmt.Errorf("server %s: %w", endpoint, err)
	}
	return Of(conn, endpoint), nil
}

// Of makes a client of a connection, which it closes, to the endpoint.
func Of(conn *grpc.ClientConn, endpoint string) *Client {
	return &Client{endpoint: endpoint, conn: conn, jobs: jobpb.NewJobServiceClient(conn)}
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// List returns the jobs that the server knows, in its order.
func (c *Client) List(ctx context.Context) ([]Job, error) {
	resp, err := c.jobs.GetJobs(ctx, &jobpb.GetJobsRequest{})
	if err != nil {
		return nil, c.plain("list jobs", err)
	}
	jobs := make([]Job, len(resp.GetJobInfo()))
	for i, j := range resp.GetJobInfo() {
		jobs[i] = Job{ID: j.GetJobId(), Name: j.GetJobName(), State: stateOf(j.GetState())}
	}
	return jobs, nil
}

// ErrUnknown means that the server has no such job.
var ErrUnknown = errors.New("no such job")

// State returns the state of a job, without waiting for a change as GetState
// of a server may.
func (c *Client) State(ctx context.Context, id string) (State, error) {
	jobs, err := c.List(ctx)
	if err != nil {
		return "", err
	}
	for _, j := range jobs {
		if j.ID == id {
			return j.State, nil
		}
	}
	return "", fmt.Errorf("job %q: %w at %s", id, ErrUnknown, c.endpoint)
}

// Cancel stops a job at once, and returns its state then.
func (c *Client) Cancel(ctx context.Context, id string) (State, error) {
	resp, err := c.jobs.Cancel(ctx, &jobpb.CancelJobRequest{JobId: id})
	if err != nil {
		return "", c.plain("cancel job "+id, err)
	}
	return stateOf(resp.GetState()), nil
}

// Drain stops the sources of a job, which then processes what they have read,
// and returns its state.
func (c *Client) Drain(ctx context.Context, id string) (State, error) {
	resp, err := c.jobs.Drain(ctx, &jobpb.DrainJobRequest{JobId: id})
	if err != nil {
		return "", c.plain("drain job "+id, err)
	}
	return stateOf(resp.GetState()), nil
}

// Wait follows a job to its end and returns its last state. The function, if
// there is one, is told of each state, the past ones first.
func (c *Client) Wait(ctx context.Context, id string, each func(State)) (State, error) {
	stream, err := c.jobs.GetStateStream(ctx, &jobpb.GetJobStateRequest{JobId: id})
	if err != nil {
		return "", c.plain("follow job "+id, err)
	}
	var last State
	for {
		e, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err != nil {
			return last, c.plain("follow job "+id, err)
		}
		last = stateOf(e.GetState())
		if each != nil {
			each(last)
		}
	}
}

func stateOf(s jobpb.JobState_Enum) State { return State(s.String()) }

// plain is the error of a call as people read it.
func (c *Client) plain(what string, err error) error {
	s := status.Convert(err)
	text := s.Message()
	switch s.Code() {
	case codes.Unavailable:
		return fmt.Errorf("%s: no server answers at %s: %s", what, c.endpoint, text)
	case codes.DeadlineExceeded:
		return fmt.Errorf("%s: no answer from %s in time", what, c.endpoint)
	case codes.NotFound:
		return fmt.Errorf("%s at %s: %w: %s", what, c.endpoint, ErrUnknown, text)
	case codes.Unimplemented:
		return fmt.Errorf("%s: %s does not know how: %s", what, c.endpoint, text)
	}
	return fmt.Errorf("%s at %s: %s", what, c.endpoint, text)
}
