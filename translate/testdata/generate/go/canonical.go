package main

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	v1pb "github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx/v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

var deterministic = proto.MarshalOptions{Deterministic: true}

// The SDK leaves two things to the iteration order of Go's maps: the order of
// unrelated siblings among roots and subtransforms, and the order of map
// entries in nested payloads. canonicalize fixes both, so that the files change
// only when a pipeline does. What it makes is one of the messages that the SDK
// might have made.
func canonicalize(p *pipepb.Pipeline) error {
	transforms := p.GetComponents().GetTransforms()
	p.RootTransformIds = order(transforms, p.GetRootTransformIds())
	for id, t := range transforms {
		t.Subtransforms = order(transforms, t.GetSubtransforms())
		if t.GetSpec().GetUrn() != graphx.URNParDo {
			continue
		}
		payload := new(pipepb.ParDoPayload)
		if err := proto.Unmarshal(t.GetSpec().GetPayload(), payload); err != nil {
			return fmt.Errorf("payload of %s: %w", id, err)
		}
		if err := canonicalizeReshuffle(payload.GetDoFn()); err != nil {
			return fmt.Errorf("reshuffle payload of %s: %w", id, err)
		}
		data, err := deterministic.Marshal(payload)
		if err != nil {
			return fmt.Errorf("payload of %s: %w", id, err)
		}
		t.Spec.Payload = data
	}
	return nil
}

// canonicalizeReshuffle re-encodes the map of coders in a Reshuffle's two DoFns.
func canonicalizeReshuffle(fn *pipepb.FunctionSpec) error {
	if fn.GetUrn() != graphx.URNReshuffleInput && fn.GetUrn() != graphx.URNReshuffleOutput {
		return nil
	}
	data, err := base64.StdEncoding.DecodeString(string(fn.GetPayload()))
	if err != nil {
		return err
	}
	payload := new(v1pb.TransformPayload)
	if err := proto.Unmarshal(data, payload); err != nil {
		return err
	}
	if data, err = deterministic.Marshal(payload); err != nil {
		return err
	}
	fn.Payload = []byte(base64.StdEncoding.EncodeToString(data))
	return nil
}

// order sorts siblings topologically, and by id where the topology leaves the
// choice. Composites that feed each other are a cycle: it is cut at the first id.
func order(transforms map[string]*pipepb.PTransform, ids []string) []string {
	rest := slices.SortedFunc(slices.Values(ids), compareIDs)
	var sorted []string
	for len(rest) > 0 {
		next := max(0, slices.IndexFunc(rest, func(id string) bool { return ready(transforms, id, rest) }))
		sorted = append(sorted, rest[next])
		rest = slices.Delete(rest, next, next+1)
	}
	return sorted
}

// ready reports whether no transform of rest but id itself produces an input of id.
func ready(transforms map[string]*pipepb.PTransform, id string, rest []string) bool {
	for _, in := range transforms[id].GetInputs() {
		for _, other := range rest {
			if other == id {
				continue
			}
			for _, out := range transforms[other].GetOutputs() {
				if in == out {
					return false
				}
			}
		}
	}
	return true
}

// compareIDs compares ids such as e9 and e10 by their number, then as text.
func compareIDs(a, b string) int {
	return cmp.Or(cmp.Compare(number(a), number(b)), cmp.Compare(a, b))
}

func number(id string) int {
	end := 1
	for end < len(id) && '0' <= id[end] && id[end] <= '9' {
		end++
	}
	n, _ := strconv.Atoi(id[1:end])
	return n
}
