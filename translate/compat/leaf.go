package compat

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// What of the model is looked at.
const (
	urnParDo         = "beam:transform:pardo:v1"
	urnGroupByKey    = "beam:transform:group_by_key:v1"
	urnCombinePerKey = "beam:transform:combine_per_key:v1"
)

// pipeline is one to be compared.
type pipeline struct {
	*pipepb.Components
	// leaves are the transforms that are executed, by their names.
	leaves map[string]*leaf
}

// leaf is a transform, with its payload if it is known.
type leaf struct {
	*pipepb.PTransform
	pardo   *pipepb.ParDoPayload
	combine *pipepb.CombinePayload
}

func read(p *pipepb.Pipeline) *pipeline {
	out := &pipeline{Components: p.GetComponents(), leaves: map[string]*leaf{}}
	within := map[string]bool{} // a transform that is a leaf for us
	for _, t := range out.GetTransforms() {
		if t.GetSpec().GetUrn() == urnCombinePerKey {
			for _, id := range t.GetSubtransforms() {
				within[id] = true
			}
		}
	}
	for id, t := range out.GetTransforms() {
		composite := len(t.GetSubtransforms()) > 0 && t.GetSpec().GetUrn() != urnCombinePerKey
		if composite || within[id] || len(t.GetInputs())+len(t.GetOutputs()) == 0 {
			continue
		}
		l := &leaf{PTransform: t, pardo: new(pipepb.ParDoPayload), combine: new(pipepb.CombinePayload)}
		var into proto.Message
		switch t.GetSpec().GetUrn() {
		case urnParDo:
			into = l.pardo
		case urnCombinePerKey:
			into = l.combine
		}
		if into != nil && proto.Unmarshal(t.GetSpec().GetPayload(), into) != nil {
			continue // such a pipeline is refused when it is prepared
		}
		out.leaves[t.GetUniqueName()] = l
	}
	return out
}

// has says whether a transform has the name.
func (p *pipeline) has(name string) bool {
	for _, t := range p.GetTransforms() {
		if t.GetUniqueName() == name {
			return true
		}
	}
	return false
}

// comparison is that of one transform.
type comparison struct {
	a, b  *pipeline
	name  string
	found []Difference
}

func (c *comparison) add(k Kind, format string, args ...any) {
	c.found = append(c.found, Difference{k, c.name, fmt.Sprintf(format, args...)})
}

// dropped tells what is lost with a transform.
func (c *comparison) dropped(was *leaf) {
	var holds []string
	for _, id := range slices.Sorted(maps.Keys(was.pardo.GetStateSpecs())) {
		holds = append(holds, "state "+id)
	}
	for _, id := range slices.Sorted(maps.Keys(was.pardo.GetTimerFamilySpecs())) {
		holds = append(holds, "timers "+id)
	}
	if urn := was.GetSpec().GetUrn(); urn == urnGroupByKey || urn == urnCombinePerKey {
		holds = append(holds, "the values that it has buffered")
	}
	if was.pardo.GetRestrictionCoderId() != "" {
		holds = append(holds, "the restrictions that it has yet to read")
	}
	holds = append(holds, "the elements on the way to it")
	c.add(Dropped, "it is no more, and with it go %s", strings.Join(holds, ", "))
}

// leaf compares a transform that both pipelines have.
func (c *comparison) leaf(was, is *leaf) {
	if a, b := was.GetSpec().GetUrn(), is.GetSpec().GetUrn(); a != b {
		c.add(Changed, "it was a %s, and is a %s", a, b)
		return
	}
	c.inputs(was, is)
	c.states(was.pardo, is.pardo)
	c.timers(was.pardo, is.pardo)
	if a, b := was.pardo.GetRestrictionCoderId(), is.pardo.GetRestrictionCoderId(); a != "" || b != "" {
		c.coder("its restriction coder", a, b)
	}
	if a, b := was.combine.GetAccumulatorCoderId(), is.combine.GetAccumulatorCoderId(); a != "" || b != "" {
		c.coder("its accumulator coder", a, b)
	}
}

// inputs compares what is on its way to a transform, and what it buffers. An input
// that alone remains of one is the same by whatever local name.
func (c *comparison) inputs(was, is *leaf) {
	for _, tag := range slices.Sorted(maps.Keys(was.GetInputs())) {
		from := was.GetInputs()[tag]
		to, there := is.GetInputs()[tag]
		if !there && len(was.GetInputs()) == 1 && len(is.GetInputs()) == 1 {
			for _, to = range is.GetInputs() {
				there = true
			}
		}
		what := "its input"
		if len(was.GetInputs()) > 1 {
			what += " " + tag
		}
		if !there {
			c.add(Dropped, "%s is no more, and with it go the elements on the way", what)
			continue
		}
		a, b := c.a.GetPcollections()[from], c.b.GetPcollections()[to]
		c.coder("the coder of "+what, a.GetCoderId(), b.GetCoderId())
		c.windowing(what, a.GetWindowingStrategyId(), b.GetWindowingStrategyId())
		if was, is := was.pardo.GetSideInputs()[tag].GetAccessPattern().GetUrn(), is.pardo.GetSideInputs()[tag].GetAccessPattern().GetUrn(); was != is {
			c.add(Changed, "%s was read as %q, and is read as %q", what, was, is)
		}
	}
	for _, tag := range slices.Sorted(maps.Keys(is.GetInputs())) {
		if _, there := was.GetInputs()[tag]; !there && len(is.GetInputs()) > 1 {
			c.add(Added, "its input %s is new", tag)
		}
	}
}

func (c *comparison) states(was, is *pipepb.ParDoPayload) {
	for _, id := range slices.Sorted(maps.Keys(was.GetStateSpecs())) {
		b, there := is.GetStateSpecs()[id]
		if !there {
			c.add(Dropped, "state %s is no more", id)
			continue
		}
		x, y := stateOf(was.GetStateSpecs()[id]), stateOf(b)
		if x.kind != y.kind {
			c.add(Changed, "state %s was a %s, and is a %s", id, x.kind, y.kind)
			continue
		}
		for i := range x.coders {
			c.coder(fmt.Sprintf("state %s: its %s", id, coderNames[len(x.coders)-1][i]), x.coders[i], y.coders[i])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(is.GetStateSpecs())) {
		if _, there := was.GetStateSpecs()[id]; !there {
			c.add(Added, "state %s is new, and begins empty", id)
		}
	}
}

func (c *comparison) timers(was, is *pipepb.ParDoPayload) {
	for _, id := range slices.Sorted(maps.Keys(was.GetTimerFamilySpecs())) {
		a := was.GetTimerFamilySpecs()[id]
		b, there := is.GetTimerFamilySpecs()[id]
		switch {
		case !there:
			c.add(Dropped, "timers %s are no more: those that are set will not fire", id)
		case a.GetTimeDomain() != b.GetTimeDomain():
			c.add(Changed, "timers %s were in %s, and are in %s", id, domain(a), domain(b))
		default:
			c.coder(fmt.Sprintf("timers %s: their coder", id), a.GetTimerFamilyCoderId(), b.GetTimerFamilyCoderId())
		}
	}
	for _, id := range slices.Sorted(maps.Keys(is.GetTimerFamilySpecs())) {
		if _, there := was.GetTimerFamilySpecs()[id]; !there {
			c.add(Added, "timers %s are new", id)
		}
	}
}

func domain(t *pipepb.TimerFamilySpec) string {
	return strings.ToLower(strings.ReplaceAll(t.GetTimeDomain().String(), "_", " "))
}
