package translate

import (
	"fmt"
	"maps"

	"google.golang.org/protobuf/proto"
)

// partTag is the local name of the input and output of transforms that
// translation makes: the Go SDK derives positions from such names.
const partTag = "i0"

// expandSDFs replaces each splittable DoFn by three transforms:
//
//	pair     element -> (element, restriction)
//	split    (element, restriction) -> ((element, restriction), size)...
//	process  the sized restrictions, in a stage of its own
//
// The restriction coder of the payload is that of the restriction together
// with the watermark estimator's state. All three parts keep payload and side
// inputs: SDKs set up the same DoFn in each; but only process has state and
// timers. Pipelines that were expanded by their SDK come in with these URNs,
// and with one for truncating when they are drained, and pass unchanged.
func (t *translator) expandSDFs() error {
	nodes := make([]*node, 0, len(t.nodes))
	for _, n := range t.nodes {
		if n.class != leafSDK || n.urn != urnParDo || n.pardo.GetRestrictionCoderId() == "" {
			nodes = append(nodes, n)
			continue
		}
		in := t.collections[n.main[0]]
		pairCoder := t.coders.kv(in.coder, n.pardo.GetRestrictionCoderId())
		sizedCoder := t.coders.kv(pairCoder, t.coders.add("double", urnCoderDouble))
		if err := t.coders.check(sizedCoder); err != nil {
			return fmt.Errorf("restrictions of %v: %w", n, err)
		}
		paired := t.derive(in, n.id+"/Paired", pairCoder)
		sized := t.derive(in, n.id+"/Sized", sizedCoder)
		process := n.sdfPart(urnProcessSized, sized.id, n.outputs)
		process.pardo, process.repack = n.pardo, false
		process.splittable, process.keyed = true, n.keyed
		pair := n.sdfPart(urnPairWithRestriction, in.id, map[string]string{partTag: paired.id})
		pair.id, pair.part = t.partID(n.id, "PairWithRestriction"), "/PairWithRestriction"
		split := n.sdfPart(urnSplitAndSize, paired.id, map[string]string{partTag: sized.id})
		split.id, split.part = t.partID(n.id, "SplitAndSize"), "/SplitAndSize"
		nodes = append(nodes, pair, split, process)
	}
	t.nodes = nodes
	return nil
}

// sdfPart is the node with another URN, main input and outputs, without state
// and timers.
func (n *node) sdfPart(urn, main string, outputs map[string]string) *node {
	p := *n
	p.urn = urn
	p.spec = withURN(n.spec, urn)
	if n.keyed {
		p.pardo = proto.CloneOf(n.pardo)
		p.pardo.StateSpecs, p.pardo.TimerFamilySpecs, p.pardo.OnWindowExpirationTimerFamilySpec = nil, nil, ""
		p.repack = true
	}
	p.inputs = maps.Clone(n.inputs)
	p.inputs[n.mainTag] = main
	p.main = []string{main}
	p.outputs = outputs
	p.keyed = false
	return &p
}

// partID makes the id of a part of a transform, different from all ids of the
// pipeline.
func (t *translator) partID(id, part string) string {
	unique := id + "/" + part
	for t.components.GetTransforms()[unique] != nil {
		unique += "'"
	}
	return unique
}
