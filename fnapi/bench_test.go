package fnapi

import (
	"bytes"
	"fmt"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc"
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
