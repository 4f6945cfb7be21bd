package fnapi

import (
	"fmt"
	"sync"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// frameServiceDesc describes a service of one stream with a handler that sees
// messages as frames; the generated one would have them parsed by protobuf.
func frameServiceDesc(generated *grpc.ServiceDesc, handle func(*Server, grpc.ServerStream) error) *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: generated.ServiceName,
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: generated.Streams[0].StreamName,
			Handler: func(srv any, stream grpc.ServerStream) error {
				s, ok := srv.(*Server)
				if !ok {
					return fmt.Errorf("service %s registered with %T", generated.ServiceName, srv)
				}
				return handle(s, stream)
			},
			ServerStreams: true,
			ClientStreams: true,
		}},
		Metadata: generated.Metadata,
	}
}

func dataServiceDesc() *grpc.ServiceDesc {
	return frameServiceDesc(&fnpb.BeamFnData_ServiceDesc, (*Server).handleData)
}

// handleData is the stream that carries the elements of all bundles of a worker,
// which is lost when it ends.
func (s *Server) handleData(stream grpc.ServerStream) error {
	w, err := s.worker(stream.Context())
	if err != nil {
		return err
	}
	if err := w.openStream(dataStream); err != nil {
		return err
	}
	defer w.closeStream(dataStream)
	err = w.runStream(stream,
		func() error { return w.receiveData(stream) },
		func() error { return w.sendData(stream) })
	return w.loseBy(dataStream, err)
}

// receiveData hands what comes to the bundles. That is work, not waiting, so one
// bundle does not hold up the others.
func (w *Worker) receiveData(stream grpc.ServerStream) error {
	var frame inFrame
	var pieces [][]byte
	for {
		if err := stream.RecvMsg(&frame); err != nil {
			return err
		}
		pieces = pieces[:0]
		for _, b := range frame.bufs {
			pieces = append(pieces, b.ReadOnlyData())
		}
		err := parseElements(pieces, w.deliver)
		clear(pieces)
		frame.free()
		if err != nil {
			return fmt.Errorf("parse elements: %w", err)
		}
	}
}

// deliver hands an entry to its bundle. Entries for bundles that have ended are
// dropped.
func (w *Worker) deliver(en *entry) error {
	if e := w.lookup(en.instruction); e != nil {
		e.deliver(en)
		return nil
	}
	if !w.server.issued(string(en.instruction)) {
		return fmt.Errorf("data for instruction %q, which was never given", en.instruction)
	}
	return nil
}

// sendData sends the input of the bundles, a message of each in turn.
func (w *Worker) sendData(stream grpc.ServerStream) error {
	for {
		e, err := w.data.pop(stream.Context())
		if err != nil {
			return err
		}
		frame, more := e.nextFrame(w.opts.DataChunkBytes)
		if frame != nil {
			if err := stream.SendMsg(frame); err != nil {
				return err
			}
		}
		if more && !w.data.push(e) {
			e.fail(fmt.Errorf("too many bundles wait to send their input"))
		}
	}
}

// input is how far the input of a bundle has been sent.
type input struct {
	mu    sync.Mutex
	next  int        // guarded by mu; the next block
	state inputState // guarded by mu
}

type inputState int

const (
	inputFlowing inputState = iota
	// inputAbandoned: nothing more is sent but the end.
	inputAbandoned
	// inputClosed: nothing more is sent.
	inputClosed
)

// stop says that the harness takes no more input.
func (in *input) stop() {
	in.mu.Lock()
	in.state = inputClosed
	in.mu.Unlock()
}

// abandon says that the rest of the input need not be sent; it returns whether
// the end still has to be, for a harness that would wait for it for ever.
func (in *input) abandon() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.state == inputClosed {
		return false
	}
	in.state = inputAbandoned
	return true
}

// frameOverheadMax bounds the bytes of a message that are not payload, with
// room for long transform ids.
const frameOverheadMax = 1 << 20

// nextFrame makes the next message of a bundle's input, nil if there is nothing
// to send, and says whether there is more. It is called by the sender alone.
func (e *execution) nextFrame(chunkBytes int) (frame *outFrame, more bool) {
	e.input.mu.Lock()
	defer e.input.mu.Unlock()
	blocks, timers := e.bundle.Input, e.bundle.Timers
	switch e.input.state {
	case inputClosed:
		return nil, false
	case inputAbandoned:
		e.input.next, timers = len(blocks), nil
	case inputFlowing:
	}
	first, size := e.input.next, 0
	for e.input.next < len(blocks) {
		n := len(blocks[e.input.next].Data)
		if size > 0 && size+n > chunkBytes {
			break
		}
		size += n
		e.input.next++
	}
	frame = &outFrame{bufs: make(mem.BufferSlice, 0, e.input.next-first+2)}
	if size > 0 {
		header := appendDataHeader(make([]byte, 0, 64+len(e.source)), e.id, e.source, size)
		frame.bufs = append(frame.bufs, mem.SliceBuffer(header))
		for _, b := range blocks[first:e.input.next] {
			if len(b.Data) > 0 {
				frame.bufs = append(frame.bufs, mem.SliceBuffer(b.Data))
			}
		}
	}
	if e.input.next < len(blocks) {
		return frame, true
	}
	e.input.state = inputClosed
	end := appendDataLast(make([]byte, 0, 64+len(e.source)), e.id, e.source)
	for _, t := range timers {
		spec := e.families[t.Family]
		end = appendTimers(end, e.id, string(spec.Transform), spec.Family, t.Data)
	}
	for i, t := range e.families {
		if e.worker.isGo && i+1 < len(e.families) && e.families[i+1].Transform == t.Transform {
			end = appendTimers(end, e.id, string(t.Transform), t.Family, nil)
			continue
		}
		end = appendTimersLast(end, e.id, string(t.Transform), t.Family)
	}
	frame.bufs = append(frame.bufs, mem.SliceBuffer(end))
	return frame, false
}
