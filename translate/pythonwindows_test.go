package translate

import (
	"encoding/base64"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// lenient is what Python's base64.b64decode makes of bytes.
func lenient(b []byte) string {
	known := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z', r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '+', r == '/':
			return r
		}
		return -1
	}, string(b))
	s, err := base64.RawStdEncoding.DecodeString(known)
	if err != nil {
		return err.Error()
	}
	return string(s)
}

// TestMergeable holds that a pickle of any length can be read as the message
// it is, and as if the message were base64.
func TestMergeable(t *testing.T) {
	for _, n := range []int{1, 31, 36, 48, 87, 95, 96, 3000, 12288, 12_582_912} {
		value := strings.Repeat("p", n)
		pickle := wrapperspb.Bytes([]byte(base64.StdEncoding.EncodeToString([]byte(value))))
		payload, err := proto.Marshal(pickle)
		if err != nil {
			t.Fatal(err)
		}
		got := mergeable(&pipepb.FunctionSpec{Urn: urnPythonWindowFn, Payload: payload})
		var read wrapperspb.BytesValue
		if err := proto.Unmarshal(got.GetPayload(), &read); err != nil || !proto.Equal(&read, pickle) {
			t.Errorf("pickle of %d bytes is another message: %v", n, err)
		}
		if got.GetUrn() != urnPythonWindowFn || lenient(got.GetPayload()) != value {
			t.Errorf("pickle of %d bytes is not base64", n)
		}
	}
}

// TestMergeableLeavesOthers: what is no such message goes to the SDK as it is.
func TestMergeableLeavesOthers(t *testing.T) {
	for _, spec := range []*pipepb.FunctionSpec{
		nil,
		{Urn: "beam:window_fn:serialized_java:v1", Payload: []byte("\n\x01a")},
		{Urn: urnPythonWindowFn, Payload: []byte("QUJD")},
		{Urn: urnPythonWindowFn},
		{Urn: urnPythonWindowFn, Payload: []byte("\n\x01a\x10\x01")},
	} {
		if got := mergeable(spec); got != spec {
			t.Errorf("%v became %v", spec, got)
		}
	}
}
