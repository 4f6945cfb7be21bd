package fnapi

import (
	"fmt"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Fields of InstructionRequest and InstructionResponse, which agree where they
// have the same names, and of what they say about a bundle.
const (
	fieldInstructionID    = 1
	fieldInstructionError = 2
	fieldProcessBundle    = 1001

	fieldBundleDescriptor = 1
	fieldCacheTokens      = 2

	fieldResidualRoots  = 2
	fieldMonitoringInfo = 3
	fieldFinalization   = 4
	fieldMonitoringData = 5
	fieldElements       = 6

	fieldMapKey   = 1
	fieldMapValue = 2
)

// answer is an InstructionResponse as far as it is about a bundle. It aliases
// the message. What there is of it in every bundle, such as the many short ids,
// is not made into protos.
type answer struct {
	id []byte
	// failure is the SDK's text; empty if it did not fail.
	failure string
	// bundle is the answer to ProcessBundle, nil if it is one to something else.
	bundle  *bundleAnswer
	message []byte
}

// whole is all of the answer.
func (a *answer) whole() (*fnpb.InstructionResponse, error) {
	resp := &fnpb.InstructionResponse{}
	if err := proto.Unmarshal(a.message, resp); err != nil {
		return nil, fmt.Errorf("parse the answer to %s: %w", a.id, err)
	}
	return resp, nil
}

// bundleAnswer is a ProcessBundleResponse.
type bundleAnswer struct {
	residuals []*fnpb.DelayedBundleApplication
	infos     []*pipepb.MonitoringInfo
	short     []shortData
	finalize  bool
	elements  [][]byte
}

// shortData is the payload of a monitoring info under its short id.
type shortData struct{ id, payload []byte }

func parseAnswer(message []byte) (answer, error) {
	a := answer{message: message}
	err := eachField(message, func(f field) error {
		switch {
		case f.typ != protowire.BytesType:
		case f.num == fieldInstructionID:
			a.id = f.bytes
		case f.num == fieldInstructionError:
			a.failure = string(f.bytes)
		case f.num == fieldProcessBundle:
			if a.bundle == nil {
				a.bundle = &bundleAnswer{}
			}
			return a.bundle.parse(f.bytes)
		}
		return nil
	})
	return a, err
}

func (b *bundleAnswer) parse(message []byte) error {
	return eachField(message, func(f field) error {
		switch {
		case f.is(fieldFinalization, protowire.VarintType):
			b.finalize = f.number != 0
		case f.typ != protowire.BytesType:
		case f.num == fieldResidualRoots:
			d := &fnpb.DelayedBundleApplication{}
			b.residuals = append(b.residuals, d)
			return proto.Unmarshal(f.bytes, d)
		case f.num == fieldMonitoringInfo:
			m := &pipepb.MonitoringInfo{}
			b.infos = append(b.infos, m)
			return proto.Unmarshal(f.bytes, m)
		case f.num == fieldMonitoringData:
			s, err := parseShortData(f.bytes)
			b.short = append(b.short, s)
			return err
		case f.num == fieldElements:
			b.elements = append(b.elements, f.bytes)
		}
		return nil
	})
}

// parseShortData reads an entry of the map of monitoring data.
func parseShortData(entry []byte) (s shortData, err error) {
	err = eachField(entry, func(f field) error {
		switch {
		case f.is(fieldMapKey, protowire.BytesType):
			s.id = f.bytes
		case f.is(fieldMapValue, protowire.BytesType):
			s.payload = f.bytes
		}
		return nil
	})
	return s, err
}

// protoFrame encodes a message that is to be sent.
func protoFrame(m proto.Message) (*outFrame, error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	return frameOf(b), nil
}

// bundleRequest encodes the request to process a bundle.
func bundleRequest(instruction, descriptor string, tokens []*fnpb.ProcessBundleRequest_CacheToken) (*outFrame, error) {
	body := make([]byte, 0, 64+len(descriptor))
	body = appendString(body, fieldBundleDescriptor, descriptor)
	for _, t := range tokens {
		b, err := proto.Marshal(t)
		if err != nil {
			return nil, fmt.Errorf("encode a cache token: %w", err)
		}
		body = appendBytes(body, fieldCacheTokens, b)
	}
	b := appendString(make([]byte, 0, len(body)+len(instruction)+16), fieldInstructionID, instruction)
	return frameOf(appendBytes(b, fieldProcessBundle, body)), nil
}
