package translate

import (
	"bytes"
	"errors"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Load reads a serialized pipeline: a binary proto, or JSON where the first
// byte that is not white space is a brace (which begins no binary pipeline).
// JSON loses fields that this build's protos do not know. The error is an
// *[InvalidError].
func Load(data []byte) (*pipepb.Pipeline, error) {
	if len(data) == 0 {
		return nil, &InvalidError{Err: errors.New("no pipeline: there are no bytes")}
	}
	p := new(pipepb.Pipeline)
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		opts := protojson.UnmarshalOptions{DiscardUnknown: true}
		if err := opts.Unmarshal(trimmed, p); err != nil {
			return nil, &InvalidError{Where: "JSON", Err: err}
		}
		return p, nil
	}
	if err := proto.Unmarshal(data, p); err != nil {
		return nil, &InvalidError{Where: "proto", Err: err}
	}
	return p, nil
}
