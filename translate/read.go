package translate

import (
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// read resolves a source that its SDK has not wrapped into a splittable DoFn.
// The Python SDK reads a bounded one whole, for an impulse. The others leave
// no way to execute it: what they send today is wrapped.
func (r *resolver) read(n *node, env string) error {
	var err error
	var payload pipepb.ReadPayload
	if err := proto.Unmarshal(n.spec.GetPayload(), &payload); err != nil {
		return invalid(inTransform(n.id), "payload: %w", err)
	}
	n.main = sortedValues(n.inputs)
	if n.env, err = r.environment(n.id, env); err != nil {
		return err
	}
	if payload.GetIsBounded() == pipepb.IsBounded_UNBOUNDED || len(n.inputs) > 0 || len(n.outputs) != 1 ||
		!everyChoice(r.components.GetEnvironments()[n.env], 0, isPython) {
		r.unsupported("%v: a source that is no splittable DoFn (%s)", n, n.urn)
		r.nodes = append(r.nodes, n)
		return nil
	}
	like := r.collections[only(n.outputs)]
	start := r.derive(like, n.id+"/Impulse", r.coders.add("bytes", urnCoderBytes))
	impulse := &node{
		id: r.partID(n.id, "Impulse"), name: n.name, part: "/Impulse",
		urn: urnImpulse, class: leafImpulse, outputs: map[string]string{partTag: start.id},
	}
	n.urn, n.class, n.spec = urnImpulseRead, leafSDK, withURN(n.spec, urnImpulseRead)
	n.mainTag, n.inputs, n.main = partTag, map[string]string{partTag: start.id}, []string{start.id}
	r.nodes = append(r.nodes, impulse, n)
	return nil
}

func isPython(env *pipepb.Environment) bool { return isSDK(env, "python") }
