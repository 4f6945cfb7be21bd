package translate

import (
	"maps"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/plan"
)

// liftable says whether values may be combined before they are grouped.
//
// Combining is per key and window, so any WindowFn will do; windows that
// merge later have their accumulators merged. The trigger must not count
// elements, or it would count accumulators in their place. There must be no
// empty panes: an SDK's CombineFn may be unable to merge no accumulators at
// all, as Python's mean is, where it can well combine no values. And since an
// SDK gives an accumulator the timestamp of some of its values only, the
// result's timestamp must not depend on theirs.
func (t *translator) liftable(pt *pipepb.PTransform) bool {
	if len(pt.GetInputs()) != 1 || len(pt.GetOutputs()) != 1 {
		return false
	}
	w := t.windowings[t.collections[only(pt.GetInputs())].windowing]
	return w.triggerErr == nil && !countsElements(w.plan.Trigger) && !emptyPanes(w.plan) &&
		w.plan.OutputTime == plan.EndOfWindow
}

// fillCombine decodes the payload of a combine_per_key.
func (t *translator) fillCombine(n *node, env string) error {
	var err error
	if n.env, err = t.environment(n.id, env); err != nil {
		return err
	}
	if len(n.inputs) != 1 || len(n.outputs) != 1 {
		return invalid(inTransform(n.id), "%s has %d inputs and %d outputs, not 1 and 1",
			n.urn, len(n.inputs), len(n.outputs))
	}
	n.combine = new(pipepb.CombinePayload)
	if err := proto.Unmarshal(n.spec.GetPayload(), n.combine); err != nil {
		return invalid(inTransform(n.id), "payload: %w", err)
	}
	if err := t.coders.check(n.combine.GetAccumulatorCoderId()); err != nil {
		return invalid(inTransform(n.id), "accumulator coder: %w", err)
	}
	in := t.collections[only(n.inputs)]
	if _, _, ok := t.coders.components2(in.coder); !ok {
		return invalid(inTransform(n.id), "input coder is %s, not a KV", t.coders.describe(in.coder))
	}
	n.mainTag = onlyKey(n.inputs)
	n.main = []string{in.id}
	return nil
}

// expandCombines replaces each combine_per_key by
//
//	precombine -> group -> merge -> extract    when lifted
//	group -> combine grouped values            otherwise
//
// A combine with subtransforms that is not lifted has been replaced by them.
// Pipelines that were lifted by their SDK come in with the four parts.
func (t *translator) expandCombines() error {
	nodes := make([]*node, 0, len(t.nodes))
	for _, n := range t.nodes {
		if n.class != leafCombine {
			nodes = append(nodes, n)
			continue
		}
		expand := t.groupAndCombine
		if n.lifted {
			expand = t.liftCombine
		}
		parts := expand(n)
		for _, p := range parts {
			for _, pc := range slices.Sorted(maps.Values(p.outputs)) {
				if err := t.coders.check(t.collections[pc].coder); err != nil {
					return invalid(inTransform(n.id), "%w", err)
				}
			}
		}
		nodes = append(nodes, parts...)
	}
	t.nodes = nodes
	return nil
}

func (t *translator) liftCombine(n *node) []*node {
	in := t.collections[n.main[0]]
	key, _, _ := t.coders.components2(in.coder)
	acc := n.combine.GetAccumulatorCoderId()
	accs := t.coders.add(acc+"/iterable", urnCoderIterable, acc)
	pre := t.derive(in, n.id+"/Precombined", t.coders.kv(key, acc))
	grouped := t.derive(in, n.id+"/Grouped", t.coders.kv(key, accs))
	merged := t.derive(in, n.id+"/Merged", t.coders.kv(key, acc))
	return []*node{
		t.combinePart(n, "Precombine", urnCombinePrecombine, in.id, pre.id),
		t.combinePart(n, "Group", urnGroupByKey, pre.id, grouped.id),
		t.combinePart(n, "Merge", urnCombineMerge, grouped.id, merged.id),
		t.combinePart(n, "Extract", urnCombineExtract, merged.id, only(n.outputs)),
	}
}

func (t *translator) groupAndCombine(n *node) []*node {
	in := t.collections[n.main[0]]
	key, value, _ := t.coders.components2(in.coder)
	values := t.coders.add(value+"/iterable", urnCoderIterable, value)
	grouped := t.derive(in, n.id+"/Grouped", t.coders.kv(key, values))
	return []*node{
		t.combinePart(n, "Group", urnGroupByKey, in.id, grouped.id),
		t.combinePart(n, "Combine", urnCombineGrouped, grouped.id, only(n.outputs)),
	}
}

// combinePart makes a node of a part of the combine.
func (t *translator) combinePart(n *node, part, urn, in, out string) *node {
	p := *n
	p.id, p.part = t.partID(n.id, part), "/"+part
	p.urn, p.class = urn, classOf(urn)
	p.spec = withURN(n.spec, urn)
	p.keyed = p.class == leafGroup
	p.mainTag = partTag
	p.inputs = map[string]string{partTag: in}
	p.main = []string{in}
	p.outputs = map[string]string{partTag: out}
	return &p
}

func withURN(spec *pipepb.FunctionSpec, urn string) *pipepb.FunctionSpec {
	return &pipepb.FunctionSpec{Urn: urn, Payload: spec.GetPayload()}
}
