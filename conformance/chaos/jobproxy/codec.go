package jobproxy

import (
	"fmt"

	"google.golang.org/grpc/mem"
)

// bytesCodec leaves messages, which are of type *[]byte, as they are.
type bytesCodec struct{}

// Marshal implements encoding.CodecV2.
func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("message is a %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*m)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("message is a %T", v)
	}
	*m = data.Materialize()
	return nil
}

// Name implements encoding.CodecV2: on the wire all is as with protos.
func (bytesCodec) Name() string { return "proto" }
