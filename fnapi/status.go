package fnapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// statusService serves the worker status streams.
type statusService struct {
	fnpb.UnimplementedBeamFnWorkerStatusServer
	server *Server
}

// WorkerStatus carries requests for a worker's status to the harness.
func (s statusService) WorkerStatus(stream fnpb.BeamFnWorkerStatus_WorkerStatusServer) error {
	w, err := s.server.worker(stream.Context())
	if err != nil {
		return err
	}
	if err := w.openStream(statusStream); err != nil {
		return err
	}
	defer w.closeStream(statusStream)
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	ended := make(chan error, 2)
	go func() { ended <- w.receiveStatus(stream) }()
	go func() { ended <- w.sendStatus(stream) }()
	select {
	case err := <-ended:
		return plainEnd(err)
	case <-w.done:
	}
	linger := time.NewTimer(statusLinger)
	defer linger.Stop()
	select {
	case err := <-ended:
		return plainEnd(err)
	case <-linger.C:
		// Not a plain end: to some SDKs that is a reason to try again at once.
		return status.Error(codes.Aborted, "the worker has ended")
	}
}

// statusLinger is how long a harness whose worker has ended has to close its
// status stream by itself; some report an error if it ends before.
const statusLinger = 200 * time.Millisecond

func (w *Worker) receiveStatus(stream fnpb.BeamFnWorkerStatus_WorkerStatusServer) error {
	for {
		resp, err := stream.Recv()
		if err != nil {
			return err
		}
		w.mu.Lock()
		asked := w.asked[resp.GetId()]
		delete(w.asked, resp.GetId())
		w.mu.Unlock()
		if asked != nil {
			asked <- resp
		}
	}
}

func (w *Worker) sendStatus(stream fnpb.BeamFnWorkerStatus_WorkerStatusServer) error {
	for {
		req, err := w.statuses.pop(stream.Context())
		if err != nil {
			return err
		}
		if err := stream.Send(req); err != nil {
			return err
		}
	}
}

// ErrNoStatus is returned for a harness that does not report its status.
var ErrNoStatus = errors.New("the harness has no status stream")

// Status asks the harness for a description of what it is doing, for people.
func (w *Worker) Status(ctx context.Context) (string, error) {
	id := w.server.nextInstruction()
	answer := make(chan *fnpb.WorkerStatusResponse, 1)
	w.mu.Lock()
	err := w.err
	if err == nil && w.open[statusStream] == 0 {
		err = ErrNoStatus
	}
	if err == nil {
		w.asked[id] = answer
	}
	w.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("status of worker %s: %w", w.spec.ID, err)
	}
	defer func() {
		w.mu.Lock()
		delete(w.asked, id)
		w.mu.Unlock()
	}()
	if !w.statuses.push(&fnpb.WorkerStatusRequest{Id: id}) {
		return "", fmt.Errorf("status of worker %s: %d requests wait already", w.spec.ID, w.opts.MaxStreams)
	}
	select {
	case resp := <-answer:
		if text := resp.GetError(); text != "" {
			return "", fmt.Errorf("status of worker %s: %w", w.spec.ID, &SDKError{Text: text})
		}
		return resp.GetStatusInfo(), nil
	case <-ctx.Done():
		return "", fmt.Errorf("status of worker %s: %w", w.spec.ID, context.Cause(ctx))
	case <-w.done:
		return "", w.Err()
	}
}
