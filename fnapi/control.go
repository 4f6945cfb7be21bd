package fnapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// controlService serves the control stream and bundle descriptors.
type controlService struct {
	fnpb.UnimplementedBeamFnControlServer
	server *Server
}

// GetProcessBundleDescriptor answers by id alone: not every SDK says which
// worker it is.
func (s controlService) GetProcessBundleDescriptor(_ context.Context, req *fnpb.GetProcessBundleDescriptorRequest) (*fnpb.ProcessBundleDescriptor, error) {
	return s.server.descriptor(req.GetProcessBundleDescriptorId())
}

// Control is the stream on which a worker lives: it is lost when it ends.
func (s controlService) Control(stream fnpb.BeamFnControl_ControlServer) error {
	w, err := s.server.worker(stream.Context())
	if err != nil {
		return err
	}
	if err := w.openControl(); err != nil {
		return err
	}
	defer w.closeStream(controlStream)
	err = w.runStream(stream,
		func() error { return w.receiveControl(stream) },
		func() error { return w.sendControl(stream) })
	return w.loseBy(controlStream, err)
}

// openControl admits the one control stream of the worker's life.
func (w *Worker) openControl() error {
	if err := w.openStream(controlStream); err != nil {
		return err
	}
	close(w.connected) // once: a worker whose control stream has ended is lost
	w.log.Debug("worker connected")
	return nil
}

// The usual ways in which a harness leaves.
var (
	errHungUp   = errors.New("the harness closed it")
	errCutShort = errors.New("the harness cancelled it, or its connection broke")
)

// streamError says why a stream ended.
func streamError(kind streamKind, err error) error {
	switch {
	case err == nil || errors.Is(err, io.EOF):
		err = errHungUp
	case errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled:
		err = errCutShort
	}
	return fmt.Errorf("%s stream: %w", kind, err)
}

// plainEnd is the status of a stream that the harness may close when it likes.
func plainEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// deathNoticeWait is how long after a broken connection word is awaited of how
// the process behind it died, which tells more.
const deathNoticeWait = 250 * time.Millisecond

// loseBy ends the worker because a stream that it cannot do without has ended,
// and returns the stream's status.
func (w *Worker) loseBy(kind streamKind, err error) error {
	err = streamError(kind, err)
	if errors.Is(err, errCutShort) {
		wait := time.NewTimer(deathNoticeWait)
		defer wait.Stop()
		select {
		case <-w.done:
		case <-wait.C:
		}
	}
	w.lose(err)
	return w.farewell()
}

func (w *Worker) receiveControl(stream grpc.ServerStream) error {
	for {
		var frame inFrame
		if err := stream.RecvMsg(&frame); err != nil {
			return err
		}
		// Small, and parts of it live longer than gRPC's buffers should.
		message := frame.bufs.Materialize()
		frame.free()
		if err := w.answer(message); err != nil {
			return err
		}
	}
}

func (w *Worker) sendControl(stream grpc.ServerStream) error {
	for {
		frame, err := w.control.pop(stream.Context())
		if err != nil {
			return err
		}
		if err := stream.SendMsg(frame); err != nil {
			return err
		}
	}
}

// answer hands a response to whoever waits for it.
func (w *Worker) answer(message []byte) error {
	a, err := parseAnswer(message)
	if err != nil {
		return fmt.Errorf("parse an answer: %w", err)
	}
	w.mu.Lock()
	e := w.bundles[string(a.id)]
	if e != nil {
		e.answered = true
	} else if delete(w.unanswered, string(a.id)); len(w.unanswered) == 0 && w.answered != nil {
		close(w.answered)
		w.answered = nil
	}
	call := w.calls[string(a.id)]
	delete(w.calls, string(a.id))
	w.mu.Unlock()
	switch {
	case e != nil:
		e.respond(&a)
	case call != nil:
		resp, err := a.whole()
		if err != nil {
			return err
		}
		call <- resp
	case !w.server.issued(string(a.id)):
		return fmt.Errorf("an answer to instruction %q, which was never given", a.id)
	}
	return nil
}

// call gives the harness an instruction and waits for its answer, for ctx to end
// or for the worker to. An answer that is an error is returned as *[SDKError].
func (w *Worker) call(ctx context.Context, req *fnpb.InstructionRequest) (*fnpb.InstructionResponse, error) {
	id := w.server.nextInstruction()
	req.InstructionId = id
	frame, err := protoFrame(req)
	if err != nil {
		return nil, err
	}
	answer := make(chan *fnpb.InstructionResponse, 1)
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		return nil, w.err
	}
	w.calls[id] = answer
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.calls, id)
		w.mu.Unlock()
	}()
	if !w.control.push(frame) {
		return nil, fmt.Errorf("worker %s: %d instructions wait to be sent", w.spec.ID, w.opts.MaxInstructions)
	}
	select {
	case resp := <-answer:
		if text := resp.GetError(); text != "" {
			return nil, &SDKError{Text: text}
		}
		return resp, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-w.done:
		return nil, w.Err()
	}
}

// SDKError is what an SDK answered instead of a result.
type SDKError struct {
	// Text is the SDK's own, whole; usually it has a stack trace.
	Text string
}

// Error returns the SDK's text.
func (e *SDKError) Error() string { return e.Text }
