package fnapi

import (
	"context"
	"errors"
	"fmt"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc"

	"github.com/gorunner/gorunner/execution/harness"
)

// stateServiceDesc describes the state service with a handler that sees messages
// as frames.
func stateServiceDesc() *grpc.ServiceDesc {
	return frameServiceDesc(&fnpb.BeamFnState_ServiceDesc, (*Server).handleState)
}

// handleState serves the requests of one stream and answers them as they get
// done.
func (s *Server) handleState(stream grpc.ServerStream) error {
	w, err := s.worker(stream.Context())
	if err != nil {
		return err
	}
	if err := w.openStream(stateStream); err != nil {
		return err
	}
	defer w.closeStream(stateStream)
	err = w.runStream(stream, newStateServer(w, stream).receive)
	// The loss of a state stream is the harness' own affair: its requests fail,
	// and so will the bundles that made them.
	if err != nil {
		w.log.Debug("state stream ended", "reason", streamError(stateStream, err))
	}
	return w.farewell()
}

// stateServer serves one state stream. What can be answered at once is answered
// by the goroutine that receives: each hop from one goroutine to another costs
// more than the answer. What may have to wait gets a goroutine, or the one that
// serves its cell: requests for the same cell of user state are served in order.
type stateServer struct {
	worker *Worker
	stream grpc.ServerStream
	keys   *stateKeys // belongs to receive
	// slots bounds the requests that wait or are served by goroutines.
	slots chan struct{}
	// sending is held while an answer is sent. A client that does not read keeps
	// its own requests waiting, and nobody else's.
	sending sync.Mutex

	mu sync.Mutex
	// waiting holds the requests behind one that is being served, by cell;
	// guarded by mu.
	waiting map[cell][]stateRequest
}

// cell is a cell of user state, whichever part of it a request means.
type cell struct{ instruction, transform, state, window, key string }

func newStateServer(w *Worker, stream grpc.ServerStream) *stateServer {
	return &stateServer{
		worker: w, stream: stream, keys: newStateKeys(),
		slots: make(chan struct{}, w.opts.MaxStateRequests), waiting: make(map[cell][]stateRequest),
	}
}

func (s *stateServer) receive() error {
	var frame inFrame
	for {
		if err := s.stream.RecvMsg(&frame); err != nil {
			return err
		}
		message := frame.contiguous()
		r, err := parseStateRequest(message.ReadOnlyData(), s.keys)
		r.message = message
		switch {
		case err == nil:
			err = s.dispatch(&r)
		case len(r.id) > 0:
			err = s.answer(&r, errorAnswer(&r, err))
		default:
			message.Free()
			err = fmt.Errorf("parse state request: %w", err)
		}
		if err != nil {
			return err
		}
	}
}

// dispatch answers the request, or sees to it that it will be.
func (s *stateServer) dispatch(r *stateRequest) error {
	r.bundle = s.worker.lookup(r.instruction)
	prompt := r.bundle == nil || r.bundle.bundle.State == nil || r.bundle.bundle.State.Prompt(r.key)
	user, ordered := r.key.(harness.UserStateKey)
	if prompt && (!ordered || s.idle()) {
		return s.serve(r)
	}
	if !ordered {
		return s.start(*r)
	}
	return s.startCell(*r, user)
}

// slot waits until one more request may be served by goroutines.
func (s *stateServer) slot() error {
	ctx := s.stream.Context()
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// start has the request served by a goroutine.
func (s *stateServer) start(r stateRequest) error {
	if err := s.slot(); err != nil {
		return err
	}
	s.worker.streams.Go(func() { s.serveLater(&r) })
	return nil
}

// startCell has the request served by the goroutine that serves its cell.
func (s *stateServer) startCell(r stateRequest, user harness.UserStateKey) error {
	if err := s.slot(); err != nil {
		return err
	}
	c := cell{
		instruction: string(r.instruction),
		transform:   string(user.Transform), state: user.State,
		window: string(user.Window), key: string(user.Key),
	}
	s.mu.Lock()
	behind, busy := s.waiting[c]
	if busy {
		s.waiting[c] = append(behind, r)
	} else {
		s.waiting[c] = nil
	}
	s.mu.Unlock()
	if !busy {
		s.worker.streams.Go(func() { s.serveCell(c, r) })
	}
	return nil
}

// idle says that no cell is being served by a goroutine.
func (s *stateServer) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting) == 0
}

// serveLater serves a request in a goroutine of its own. When it cannot be
// answered, the stream has ended, which receive sees too.
func (s *stateServer) serveLater(r *stateRequest) {
	_ = s.serve(r)
	<-s.slots
}

// serveCell serves r and what comes to wait behind it.
func (s *stateServer) serveCell(c cell, r stateRequest) {
	for {
		s.serveLater(&r)
		s.mu.Lock()
		behind := s.waiting[c]
		if len(behind) == 0 {
			delete(s.waiting, c)
			s.mu.Unlock()
			return
		}
		r = behind[0]
		s.waiting[c] = behind[1:]
		s.mu.Unlock()
	}
}

var errNoBundle = errors.New("its bundle is not being executed")

// serve executes a request and sends what comes of it. An error says that the
// stream has ended.
func (s *stateServer) serve(r *stateRequest) error {
	var frame *outFrame
	err := s.worker.guarded(func() (err error) {
		frame, err = s.execute(r)
		return err
	})
	if err != nil {
		frame = errorAnswer(r, err)
	}
	return s.answer(r, frame)
}

// answer sends the answer to a request, of which nothing is used any more.
func (s *stateServer) answer(r *stateRequest, frame *outFrame) error {
	r.message.Free()
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.stream.SendMsg(frame)
}

func (s *stateServer) execute(r *stateRequest) (*outFrame, error) {
	if r.bundle == nil || r.bundle.bundle.State == nil {
		return nil, errNoBundle
	}
	ctx, state := r.bundle.ctx, r.bundle.bundle.State
	var err error
	switch r.op {
	case opGet:
		var page, next []byte
		if page, next, err = state.Get(ctx, r.key, r.data); err == nil {
			return getAnswer(r.id, page, next), nil
		}
	case opAppend:
		err = state.Append(ctx, r.key, r.data)
	case opClear:
		err = state.Clear(ctx, r.key)
	case opUnknown:
		err = errStateRequest
	}
	if err != nil {
		return nil, err
	}
	return doneAnswer(r.id, r.op), nil
}
