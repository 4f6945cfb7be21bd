package translate

import (
	"cmp"
	"maps"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/plan"
)

// resolver walks the tree of transforms.
type resolver struct {
	*translator
	// seen holds the transforms met so far: each has one place in the tree.
	seen map[string]bool
}

// resolve makes nodes of the leaves and of the composites the runner executes
// natively, in the pipeline's order.
func (t *translator) resolve() error {
	r := &resolver{translator: t, seen: map[string]bool{}}
	return r.walkAll(t.pipeline.GetRootTransformIds(), "", 0)
}

func (r *resolver) walkAll(ids []string, env string, depth int) error {
	for _, id := range ids {
		if err := r.walk(id, env, depth); err != nil {
			return err
		}
	}
	return nil
}

// walk resolves a transform; env is that of the composite around it.
func (r *resolver) walk(id, env string, depth int) error {
	if r.seen[id] {
		return invalid(inTransform(id), "is in more than one composite, or in itself")
	}
	if depth > r.opts.MaxNesting {
		return invalid(inTransform(id), "composites nested more than %d deep", r.opts.MaxNesting)
	}
	r.seen[id] = true
	pt := r.components.GetTransforms()[id]
	if pt.GetEnvironmentId() != "" {
		env = pt.GetEnvironmentId()
	}
	if len(pt.GetSubtransforms()) == 0 {
		return r.leaf(id, pt, env)
	}
	native, err := r.native(id, pt, env)
	if native || err != nil {
		return err
	}
	return r.walkAll(pt.GetSubtransforms(), env, depth+1)
}

// native makes a node of a composite that the runner executes itself, if it
// is one.
func (r *resolver) native(id string, pt *pipepb.PTransform, env string) (bool, error) {
	switch pt.GetSpec().GetUrn() {
	case urnReshuffle, urnRedistributeByKey, urnRedistributeArbitrarily:
		if !r.handsOn(pt) {
			return false, nil
		}
		n := newNode(id, pt, leafAlias)
		n.barrier = true
		n.main = slices.Collect(maps.Values(pt.GetInputs()))
		r.nodes = append(r.nodes, n)
		return true, nil
	case urnCombinePerKey:
		if r.opts.DisableLifting || !r.liftable(pt) {
			return false, nil
		}
		n := newNode(id, pt, leafCombine)
		n.lifted = true
		r.nodes = append(r.nodes, n)
		return true, r.fillCombine(n, env)
	}
	return false, nil
}

// handsOn says whether a reshuffle gives its input on unchanged but for the
// coder. Python's may have different coders at its ends: then the producer
// writes with the coder of the output, as for a Flatten.
func (r *resolver) handsOn(pt *pipepb.PTransform) bool {
	return len(pt.GetInputs()) == 1 && len(pt.GetOutputs()) == 1 &&
		r.sameWindows(r.collections[only(pt.GetInputs())], r.collections[only(pt.GetOutputs())])
}

func (t *translator) sameWindows(a, b *collection) bool {
	x, y := t.windowings[a.windowing], t.windowings[b.windowing]
	return t.coders.equal(x.window.id, y.window.id)
}

// leaf makes a node of a transform without subtransforms.
func (r *resolver) leaf(id string, pt *pipepb.PTransform, env string) error {
	n := newNode(id, pt, classOf(pt.GetSpec().GetUrn()))
	if r.windowsStay(n) {
		n.class = leafAlias
	}
	var err error
	switch n.class {
	case leafSDK:
		err = r.fillSDK(n, env)
	case leafCombine:
		n.lifted = !r.opts.DisableLifting && r.liftable(pt)
		err = r.fillCombine(n, env)
	case leafImpulse:
		if len(n.inputs) > 0 || len(n.outputs) != 1 {
			err = invalid(inTransform(id), "an Impulse has no input and 1 output")
		}
	case leafTest:
		return r.testStream(n)
	case leafGroup:
		if len(n.inputs) != 1 || len(n.outputs) != 1 {
			err = invalid(inTransform(id), "a GroupByKey has 1 input and 1 output")
		}
		n.main = slices.Collect(maps.Values(n.inputs))
		n.keyed = true
	case leafAlias:
		err = r.fillAlias(n)
	case leafRefused:
		return r.read(n, env)
	case leafTimeSort, leafView:
		panic("translate: " + n.String() + " is no transform of a pipeline")
	case leafUnknown:
		if passesThrough(pt) {
			return nil
		}
		r.unsupported("%v: unknown URN %q and no subtransforms", n, n.urn)
		n.main = sortedValues(n.inputs)
	}
	r.nodes = append(r.nodes, n)
	return err
}

func (r *resolver) fillAlias(n *node) error {
	if len(n.outputs) != 1 {
		return invalid(inTransform(n.id), "%s has %d outputs, not 1", n.urn, len(n.outputs))
	}
	n.main = sortedValues(n.inputs)
	if n.urn == urnFlatten {
		return nil
	}
	if len(n.inputs) != 1 {
		return invalid(inTransform(n.id), "%s has %d inputs, not 1", n.urn, len(n.inputs))
	}
	n.barrier = n.urn != urnCreateView && n.urn != urnIdentity && n.urn != urnWindowInto
	return nil
}

// windowsStay says whether a node assigns the global window to elements that are
// in it: then only the trigger is another, and that is the runner's. To assign it
// is a call of a WindowFn for each element, in Python several. With another coder
// the node does something, even if only that.
func (r *resolver) windowsStay(n *node) bool {
	if n.urn != urnWindowInto || len(n.inputs) != 1 || len(n.outputs) != 1 {
		return false
	}
	in, out := r.collections[only(n.inputs)], r.collections[only(n.outputs)]
	return r.global(in) && r.global(out) && r.sameWindows(in, out) && r.coders.equal(in.coder, out.coder)
}

func (r *resolver) global(c *collection) bool {
	_, ok := r.windowings[c.windowing].plan.Fn.(plan.GlobalWindows)
	return ok
}

// passesThrough says whether a transform without subtransforms is an empty
// composite: nothing comes out that did not go in.
func passesThrough(pt *pipepb.PTransform) bool {
	in := map[string]bool{}
	for _, pc := range pt.GetInputs() {
		in[pc] = true
	}
	for _, pc := range pt.GetOutputs() {
		if !in[pc] {
			return false
		}
	}
	return pt.GetSpec().GetUrn() == "" || len(pt.GetOutputs()) > 0
}

func newNode(id string, pt *pipepb.PTransform, class leafClass) *node {
	return &node{
		id:      id,
		name:    cmp.Or(pt.GetUniqueName(), id, "transform"),
		urn:     pt.GetSpec().GetUrn(),
		class:   class,
		spec:    pt.GetSpec(),
		inputs:  pt.GetInputs(),
		outputs: pt.GetOutputs(),
	}
}

// environment decides where an SDK transform runs.
func (t *translator) environment(id, env string) (string, error) {
	if env != "" {
		return env, nil
	}
	envs := t.components.GetEnvironments()
	if len(envs) != 1 {
		return "", invalid(inTransform(id), "names no environment, and the pipeline has %d", len(envs))
	}
	for only := range envs {
		env = only
	}
	if envs[env] == nil {
		return "", invalid(inEnvironment(env), "is empty")
	}
	return env, nil
}

// fillSDK decodes what the runner has to know of a transform that an SDK
// executes.
func (r *resolver) fillSDK(n *node, env string) error {
	var err error
	if n.env, err = r.environment(n.id, env); err != nil {
		return err
	}
	switch n.urn {
	case urnParDo, urnPairWithRestriction, urnSplitAndSize, urnProcessSized, urnTruncateSized:
		return r.fillParDo(n)
	case urnCombineGrouped, urnCombinePrecombine, urnCombineMerge, urnCombineExtract, urnCombineConvert:
		n.combine = new(pipepb.CombinePayload)
		if err := proto.Unmarshal(n.spec.GetPayload(), n.combine); err != nil {
			return invalid(inTransform(n.id), "payload: %w", err)
		}
		if id := n.combine.GetAccumulatorCoderId(); id != "" {
			if err := r.coders.check(id); err != nil {
				return invalid(inTransform(n.id), "accumulator coder: %w", err)
			}
		}
	}
	if len(n.inputs) != 1 || len(n.outputs) != 1 {
		return invalid(inTransform(n.id), "%s has %d inputs and %d outputs, not 1 and 1",
			n.urn, len(n.inputs), len(n.outputs))
	}
	n.mainTag = onlyKey(n.inputs)
	n.main = []string{n.inputs[n.mainTag]}
	return nil
}

func (r *resolver) fillParDo(n *node) error {
	n.pardo = new(pipepb.ParDoPayload)
	if err := proto.Unmarshal(n.spec.GetPayload(), n.pardo); err != nil {
		return invalid(inTransform(n.id), "payload: %w", err)
	}
	for _, tag := range slices.Sorted(maps.Keys(n.pardo.GetSideInputs())) {
		pc, ok := n.inputs[tag]
		if !ok {
			return invalid(inTransform(n.id), "side input %q is none of the inputs", tag)
		}
		access, known := accessOf(n.pardo.GetSideInputs()[tag].GetAccessPattern().GetUrn())
		if !known {
			r.unsupported("%v: side input %q with access pattern %q", n, tag,
				n.pardo.GetSideInputs()[tag].GetAccessPattern().GetUrn())
		}
		n.sides = append(n.sides, sideInput{tag: tag, collection: pc, access: access})
	}
	for _, tag := range slices.Sorted(maps.Keys(n.inputs)) {
		if _, side := n.pardo.GetSideInputs()[tag]; side {
			continue
		}
		n.mainTag = tag
		n.main = append(n.main, n.inputs[tag])
	}
	if len(n.main) != 1 {
		return invalid(inTransform(n.id), "%d main inputs, not 1", len(n.main))
	}
	n.splittable = n.urn == urnProcessSized
	n.keyed = (n.urn == urnParDo || n.splittable) && (len(n.pardo.GetStateSpecs()) > 0 ||
		len(n.pardo.GetTimerFamilySpecs()) > 0 || n.pardo.GetRequiresTimeSortedInput())
	return r.checkParDoCoders(n)
}

func accessOf(urn string) (plan.Access, bool) {
	switch urn {
	case urnSideIterable:
		return plan.AccessIterable, true
	case urnSideMultimap:
		return plan.AccessMultimap, true
	}
	return 0, false
}

func (r *resolver) checkParDoCoders(n *node) error {
	for _, id := range parDoCoders(n.pardo) {
		if err := r.coders.check(id); err != nil {
			return invalid(inTransform(n.id), "%w", err)
		}
	}
	for name, s := range n.pardo.GetStateSpecs() {
		if list := s.GetOrderedListSpec(); list != nil && list.GetElementCoderId() == "" {
			return invalid(inTransform(n.id), "ordered list %q has no element coder", name)
		}
	}
	return nil
}

// parDoCoders lists the coders a payload refers to.
func parDoCoders(p *pipepb.ParDoPayload) []string {
	var ids []string
	add := func(more ...string) {
		for _, id := range more {
			if id != "" {
				ids = append(ids, id)
			}
		}
	}
	add(p.GetRestrictionCoderId())
	for _, name := range slices.Sorted(maps.Keys(p.GetStateSpecs())) {
		s := p.GetStateSpecs()[name]
		add(s.GetReadModifyWriteSpec().GetCoderId(), s.GetBagSpec().GetElementCoderId(),
			s.GetCombiningSpec().GetAccumulatorCoderId(),
			s.GetMapSpec().GetKeyCoderId(), s.GetMapSpec().GetValueCoderId(),
			s.GetMultimapSpec().GetKeyCoderId(), s.GetMultimapSpec().GetValueCoderId(),
			s.GetSetSpec().GetElementCoderId(), s.GetOrderedListSpec().GetElementCoderId())
	}
	for _, name := range slices.Sorted(maps.Keys(p.GetTimerFamilySpecs())) {
		add(p.GetTimerFamilySpecs()[name].GetTimerFamilyCoderId())
	}
	return ids
}

func only(m map[string]string) string { return m[onlyKey(m)] }

func onlyKey(m map[string]string) string {
	for k := range m {
		return k
	}
	return ""
}

func sortedValues(m map[string]string) []string {
	vs := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		vs = append(vs, m[k])
	}
	return vs
}
