package fnapi

import (
	"context"
	"errors"
	"fmt"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"github.com/gorunner/gorunner/execution/harness"
)

// stateService serves the state streams.
type stateService struct {
	fnpb.UnimplementedBeamFnStateServer
	server *Server
}

// State serves the requests of one stream in parallel and answers them as they
// get done; requests for the same cell of user state are served in order.
func (s stateService) State(stream fnpb.BeamFnState_StateServer) error {
	w, err := s.server.worker(stream.Context())
	if err != nil {
		return err
	}
	if err := w.openStream(stateStream); err != nil {
		return err
	}
	defer w.closeStream(stateStream)
	st := &stateServer{
		worker:  w,
		stream:  stream,
		slots:   make(chan struct{}, w.opts.MaxStateRequests),
		answers: make(chan *fnpb.StateResponse, w.opts.MaxStateRequests),
		waiting: make(map[cell][]stateRequest),
	}
	err = w.runStream(stream, st.receive, st.send)
	// The loss of a state stream is the harness' own affair: its requests fail,
	// and so will the bundles that made them.
	if err != nil {
		w.log.Debug("state stream ended", "reason", streamError(stateStream, err))
	}
	return w.farewell()
}

// stateServer serves one state stream.
type stateServer struct {
	worker *Worker
	stream fnpb.BeamFnState_StateServer
	// slots bounds the requests being served. answers has room for all their
	// answers, so that a client that does not read blocks nobody but itself.
	slots   chan struct{}
	answers chan *fnpb.StateResponse

	mu sync.Mutex
	// waiting holds the requests behind one that is being served, by cell;
	// guarded by mu.
	waiting map[cell][]stateRequest
}

// cell is a cell of user state, whichever part of it a request means.
type cell struct{ instruction, transform, state, window, key string }

type stateRequest struct {
	proto *fnpb.StateRequest
	key   harness.StateKey
}

func (s *stateServer) receive() error {
	ctx := s.stream.Context()
	for {
		req, err := s.stream.Recv()
		if err != nil {
			return err
		}
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		s.dispatch(req)
	}
}

func (s *stateServer) send() error {
	ctx := s.stream.Context()
	for {
		select {
		case resp := <-s.answers:
			if err := s.stream.Send(resp); err != nil {
				return err
			}
			<-s.slots
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// dispatch has the request served in a goroutine of its own, or by the one that
// serves its cell.
func (s *stateServer) dispatch(req *fnpb.StateRequest) {
	key, err := stateKey(req.GetStateKey())
	if err != nil {
		s.answers <- stateError(req, err)
		return
	}
	r := stateRequest{proto: req, key: key}
	user, ok := key.(harness.UserStateKey)
	if !ok {
		s.worker.streams.Go(func() { s.answers <- s.serve(r) })
		return
	}
	c := cell{
		instruction: req.GetInstructionId(),
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
}

// serveCell serves r and what comes to wait behind it.
func (s *stateServer) serveCell(c cell, r stateRequest) {
	for {
		s.answers <- s.serve(r)
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

// serve executes a request and makes an answer of whatever comes of it.
func (s *stateServer) serve(r stateRequest) (resp *fnpb.StateResponse) {
	err := s.worker.guarded(func() (err error) {
		resp, err = s.execute(r)
		return err
	})
	if err != nil {
		return stateError(r.proto, err)
	}
	return resp
}

func (s *stateServer) execute(r stateRequest) (*fnpb.StateResponse, error) {
	e := s.worker.lookup([]byte(r.proto.GetInstructionId()))
	if e == nil || e.bundle.State == nil {
		return nil, errNoBundle
	}
	resp := &fnpb.StateResponse{Id: r.proto.GetId()}
	state := e.bundle.State
	var err error
	switch req := r.proto.GetRequest().(type) {
	case *fnpb.StateRequest_Get:
		var page, next []byte
		page, next, err = state.Get(e.ctx, r.key, req.Get.GetContinuationToken())
		resp.Response = &fnpb.StateResponse_Get{Get: &fnpb.StateGetResponse{Data: page, ContinuationToken: next}}
	case *fnpb.StateRequest_Append:
		err = state.Append(e.ctx, r.key, req.Append.GetData())
		resp.Response = &fnpb.StateResponse_Append{Append: &fnpb.StateAppendResponse{}}
	case *fnpb.StateRequest_Clear:
		err = state.Clear(e.ctx, r.key)
		resp.Response = &fnpb.StateResponse_Clear{Clear: &fnpb.StateClearResponse{}}
	case nil:
		err = errors.New("the request is of no known kind")
	}
	return resp, err
}

func stateError(req *fnpb.StateRequest, err error) *fnpb.StateResponse {
	return &fnpb.StateResponse{
		Id:    req.GetId(),
		Error: fmt.Sprintf("state request %s of instruction %s: %v", req.GetId(), req.GetInstructionId(), err),
	}
}
