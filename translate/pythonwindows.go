package translate

import (
	"encoding/binary"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// urnPythonWindowFn marks a pickled WindowFn of the Python SDK.
const urnPythonWindowFn = "beam:window_fn:pickled_python:v1"

// mergeable is the WindowFn as its SDK's harness reads it in order to merge.
//
// A pickled WindowFn of Python is base64 within a BytesValue, and everything in
// that SDK knows it, but for the harness when it is asked to merge: that reads
// the message itself as base64. It skips bytes that base64 has not, which the
// message's tag is, and, depending on the chance of its value, the length.
// Here the length is written with a zero more than it needs, in bytes that base64 has
// in no case: that is the same message, and it can be read either way.
func mergeable(fn *pipepb.FunctionSpec) *pipepb.FunctionSpec {
	var pickle wrapperspb.BytesValue
	if fn.GetUrn() != urnPythonWindowFn || proto.Unmarshal(fn.GetPayload(), &pickle) != nil ||
		len(pickle.GetValue()) == 0 || len(pickle.ProtoReflect().GetUnknown()) > 0 {
		return fn
	}
	const tag = 1<<3 | 2
	payload := binary.AppendUvarint([]byte{tag}, uint64(len(pickle.GetValue())))
	payload[len(payload)-1] |= 0x80
	payload = append(append(payload, 0), pickle.GetValue()...)
	return &pipepb.FunctionSpec{Urn: fn.GetUrn(), Payload: payload}
}
