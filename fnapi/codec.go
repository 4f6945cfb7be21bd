package fnapi

import (
	"google.golang.org/grpc/encoding"
	protoencoding "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// inFrame is a received message as it stands on the wire.
type inFrame struct{ bufs mem.BufferSlice }

// free gives the buffers back to gRPC. Nothing that aliases them may be used
// afterwards.
func (f *inFrame) free() {
	f.bufs.Free()
	f.bufs = nil
}

// contiguous takes the message out of the frame, in one piece. It is to be freed
// like the frame.
func (f *inFrame) contiguous() mem.Buffer {
	bufs := f.bufs
	f.bufs = nil
	if len(bufs) == 1 {
		return bufs[0]
	}
	defer bufs.Free()
	return mem.SliceBuffer(bufs.Materialize())
}

// outFrame is a message to be sent, already encoded. Its buffers are not copied
// and must not change.
type outFrame struct{ bufs mem.BufferSlice }

// wholeFrame is a message in one piece, with all that it is wrapped in: there are
// many small ones.
type wholeFrame struct {
	outFrame
	bufs [1]mem.Buffer
	data mem.SliceBuffer
}

// frameOf is a message in one piece.
func frameOf(b []byte) *outFrame {
	f := &wholeFrame{data: b}
	f.bufs[0] = &f.data
	f.outFrame.bufs = f.bufs[:]
	return &f.outFrame
}

// codec is gRPC's codec for protos, except that it passes frames through.
type codec struct{ protos encoding.CodecV2 }

func newCodec() codec { return codec{protos: encoding.GetCodecV2(protoencoding.Name)} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*outFrame); ok {
		return f.bufs, nil
	}
	return c.protos.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*inFrame)
	if !ok {
		return c.protos.Unmarshal(data, v)
	}
	data.Ref()
	f.bufs = data
	return nil
}

// Name implements encoding.CodecV2. It is that of the proto codec, because on
// the wire there is no difference.
func (c codec) Name() string { return c.protos.Name() }
