package fnapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
)

// discard counts output like an engine that has no use for it.
type discard struct{ bytes int }

func (d *discard) Write(_ int, data []byte) error {
	d.bytes += len(data)
	return nil
}

func (d *discard) WriteTimers(int, []byte) error { return nil }

const benchChunk = 1 << 20

// BenchmarkParse is the cost of one incoming message of 1 MiB, in the pieces
// that HTTP/2 makes of it.
func BenchmarkParse(b *testing.B) {
	wire, err := proto.Marshal(&fnpb.Elements{Data: []*fnpb.Elements_Data{
		{InstructionId: "i123", TransformId: "sink", Data: make([]byte, benchChunk)},
	}})
	if err != nil {
		b.Fatal(err)
	}
	var pieces [][]byte
	for len(wire) > 0 {
		n := min(len(wire), 16<<10)
		pieces = append(pieces, wire[:n])
		wire = wire[n:]
	}
	out := &discard{}
	b.SetBytes(benchChunk)
	b.ReportAllocs()
	for b.Loop() {
		err := parseElements(pieces, func(e *entry) error {
			return e.payload.each(func(p []byte) error { return out.Write(0, p) })
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFrame is the cost of framing one outgoing message of 1 MiB.
func BenchmarkFrame(b *testing.B) {
	bundle := &harness.Bundle{Input: []element.Block{{Data: make([]byte, benchChunk)}}}
	e := &execution{id: "i123", source: "source", bundle: bundle}
	b.SetBytes(benchChunk)
	b.ReportAllocs()
	for b.Loop() {
		e.input = input{}
		e.nextFrame(benchChunk)
	}
}

// BenchmarkReceive is the whole way from a harness to the output, over a network
// in memory; the sender's share is that of the generated client.
func BenchmarkReceive(b *testing.B) {
	e := newEnv(b, Options{})
	w := e.expect(nil)
	s := e.connect("w1")
	out := &discard{}
	x := start(b, w, testBundle(1, out))
	id := s.nextBundle()
	data := bytes.Repeat([]byte{1}, benchChunk)
	b.SetBytes(benchChunk)
	b.ReportAllocs()
	for b.Loop() {
		s.write(id, sinkPort0, data, false)
	}
	s.closeOutputs(id)
	s.answerBundle(id, &fnpb.ProcessBundleResponse{})
	if _, err := x.Wait(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSend is the whole way from a bundle's input to a harness that throws
// the bytes away unparsed.
func BenchmarkSend(b *testing.B) {
	e := newEnv(b, Options{})
	w := e.expect(nil)
	s := e.connectControl("w1")
	bundle := testBundle(1, &discard{})
	block := element.Block{Data: bytes.Repeat([]byte{1}, benchChunk), Count: 1}
	for range b.N {
		bundle.Input = append(bundle.Input, block)
	}
	ctx := metadata.AppendToOutgoingContext(b.Context(), workerIDKey, "w1")
	desc := &fnpb.BeamFnData_ServiceDesc
	stream, err := s.conn.NewStream(ctx, &desc.Streams[0], "/"+desc.ServiceName+"/Data", grpc.ForceCodecV2(newCodec()))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(benchChunk)
	b.ReportAllocs()
	b.ResetTimer()
	start(b, w, bundle)
	for received := 0; received < b.N*benchChunk; {
		var frame inFrame
		if err := stream.RecvMsg(&frame); err != nil {
			b.Fatal(err)
		}
		received += frame.bufs.Len()
		frame.free()
	}
}

// BenchmarkBundles is the cost of a bundle of one small element, with several
// in flight.
func BenchmarkBundles(b *testing.B) {
	for _, inFlight := range []int{1, 8} {
		b.Run(fmt.Sprintf("inFlight=%d", inFlight), func(b *testing.B) {
			e := newEnv(b, Options{})
			w := e.expect(nil)
			s := e.connect("w1")
			go s.runBundles()
			go s.drainControl()
			b.ReportAllocs()
			b.ResetTimer()
			slots := make(chan struct{}, inFlight)
			for range b.N {
				slots <- struct{}{}
				x := start(b, w, testBundle(1, &discard{}, "element"))
				go func() {
					if _, err := x.Wait(); err != nil {
						b.Error(err)
					}
					<-slots
				}()
			}
			for range inFlight {
				slots <- struct{}{}
			}
		})
	}
}

// requestStream is a state stream that has received requests, again and again,
// and throws the answers away.
type requestStream struct {
	grpc.ServerStream
	ctx      context.Context //nolint:containedctx // it stands for the stream's
	requests [][]byte
	next     int
}

var errRequestsEnd = errors.New("no more requests")

func (s *requestStream) Context() context.Context { return s.ctx }

func (s *requestStream) RecvMsg(m any) error {
	if s.next == len(s.requests) {
		return errRequestsEnd
	}
	frame, ok := m.(*inFrame)
	if !ok {
		return errRequestsEnd
	}
	frame.bufs = append(frame.bufs[:0], mem.SliceBuffer(s.requests[s.next]))
	s.next++
	return nil
}

func (s *requestStream) SendMsg(any) error { return nil }

// constant is a state that always says the same.
type constant struct{ harness.State }

func (constant) Prompt(harness.StateKey) bool { return true }

func (constant) Get(context.Context, harness.StateKey, []byte) (page, next []byte, err error) {
	return []byte("page"), nil, nil
}
func (constant) Append(context.Context, harness.StateKey, []byte) error { return nil }
func (constant) Clear(context.Context, harness.StateKey) error          { return nil }

// BenchmarkState is what is ours of the cost of a state request: what a DoFn asks
// for that reads a value and replaces it, many bundles in turn.
func BenchmarkState(b *testing.B) {
	const bundles, keys = 32, 100
	e := newEnv(b, Options{})
	w := e.expect(nil)
	s := &requestStream{ctx: b.Context()}
	for n := range keys {
		for _, request := range []any{&fnpb.StateGetRequest{}, &fnpb.StateClearRequest{}, &fnpb.StateAppendRequest{Data: []byte("value")}} {
			for i := range bundles {
				r := &fnpb.StateRequest{Id: fmt.Sprint("r", n), InstructionId: fmt.Sprint("i", i), StateKey: bagKey("state")}
				r.GetStateKey().GetBagUserState().Key = fmt.Append(nil, "key", n*bundles+i)
				setRequest(r, request)
				wire, err := proto.Marshal(r)
				if err != nil {
					b.Fatal(err)
				}
				s.requests = append(s.requests, wire)
			}
		}
	}
	for i := range bundles {
		id := fmt.Sprint("i", i)
		w.bundles[id] = &execution{worker: w, id: id, ctx: b.Context(), bundle: &harness.Bundle{State: constant{}}}
	}
	st := newStateServer(w, s)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += len(s.requests) {
		s.next = 0
		if err := st.receive(); !errors.Is(err, errRequestsEnd) {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	clear(w.bundles)
}
