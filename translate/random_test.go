package translate_test

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/translate"
)

// TestRandomPipelines translates random graphs and executes both the pipeline
// and the plan over numbers: a PCollection is a number, a user transform a
// function of its main input that no other transform has, a Flatten a sum.
// Every user transform must see the same main and side inputs in both.
func TestRandomPipelines(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := randomPipeline(rt)
		o := translate.Options{
			DisableFusion:  rapid.Bool().Draw(rt, "no fusion"),
			IsolateSources: rapid.Bool().Draw(rt, "isolate sources"),
			DisableLifting: rapid.Bool().Draw(rt, "no lifting"),
			MaxOutputs:     2000,
		}
		if rapid.IntRange(0, 3).Draw(rt, "few steps") == 0 {
			o.MaxFusionSteps = 5
		}
		tr, err := translate.Translate(b.Pipeline, o)
		if err != nil {
			rt.Fatal(err)
		}
		checkDescriptors(t, tr)
		if t.Failed() {
			rt.Fatalf("plan:\n%s", tr.Plan.Text())
		}
		times := executed(tr)
		checkWaiting(rt, tr.Plan)
		for _, id := range userLeaves(b.Pipeline) {
			if times[id] != 1 {
				rt.Errorf("transform %s runs in %d stages", id, times[id])
			}
		}
		want, got := interpretPipeline(b.Pipeline), interpretPlan(tr)
		if !maps.Equal(want, got) {
			rt.Fatalf("user transforms saw\n%v\nwant\n%v\nin plan\n%s", got, want, tr.Plan.Text())
		}
	})
}

// checkWaiting holds that what waits for side inputs reads what lies between
// stages, where it can wait.
func checkWaiting(rt *rapid.T, p *plan.Plan) {
	for _, s := range p.Stages {
		for _, side := range s.SideInputs {
			x, ok := s.Kind.(*plan.Executable)
			if side.View == 0 || !ok {
				continue
			}
			first := x.Transforms[0].ID == side.Transform
			split := len(x.Transforms) > 1 && x.Transforms[1].ID == side.Transform &&
				x.Transforms[1].URN == "beam:transform:sdf_split_and_size_restrictions:v1"
			if !first && !split {
				rt.Errorf("stage %d: %s waits for edge %d behind others", s.ID, side.Transform, side.Edge)
			}
		}
	}
}

// randomPipeline adds transforms one by one, each reading what is there.
func randomPipeline(rt *rapid.T) builder {
	b := newBuilder()
	b.Components.Environments["other"] = &pipepb.Environment{
		Urn: "beam:env:external:v1", Capabilities: []string{"beam:coder:state_backed_iterable:v1"},
	}
	b.impulse("t0")
	pcs := map[string][]string{"bytes": {"t0"}}
	pick := func(coder string) string { return rapid.SampledFrom(pcs[coder]).Draw(rt, "input") }
	for i := range rapid.IntRange(1, 60).Draw(rt, "transforms") {
		id := fmt.Sprintf("t%d", i+1)
		coder := rapid.SampledFrom(slices.Sorted(maps.Keys(pcs))).Draw(rt, "input coder")
		kind := rapid.SampledFrom([]string{"impulse", "pardo", "pardo", "sided", "flatten", "reshuffle", "keyed", "sdf", "test"}).Draw(rt, "kind")
		if coder == "kv" {
			kind = rapid.SampledFrom([]string{kind, "group", "combine", "stateful", "sorted"}).Draw(rt, "keyed kind")
		}
		out := rapid.SampledFrom([]string{"bytes", "own", "varint"}).Draw(rt, "output coder")
		var pt *pipepb.PTransform
		switch kind {
		case "impulse":
			b.impulse(id)
			out = "bytes"
		case "test":
			out = rapid.SampledFrom([]string{"kv", "varint", "own"}).Draw(rt, "test coder")
			b.testStream(id, out, emit("", 0, "\x01"))
		case "sorted":
			pt = b.parDo(id, out, sortedPayload(), pick(coder))
		case "pardo":
			pt = b.parDo(id, out, nil, pick(coder))
		case "keyed":
			out = "kv"
			pt = b.parDo(id, out, nil, pick(coder))
		case "stateful":
			pt = b.parDo(id, out, statePayload(), pick(coder))
		case "sided":
			side := rapid.SampledFrom(slices.Sorted(maps.Keys(pcs))).Draw(rt, "side coder")
			p := sidePayload("i1")
			if rapid.IntRange(0, 4).Draw(rt, "sided sdf") == 0 {
				p.RestrictionCoderId = "own"
			}
			pt = b.parDo(id, out, p, pick(coder), pick(side))
		case "sdf":
			pt = b.parDo(id, out, &pipepb.ParDoPayload{RestrictionCoderId: "own"}, pick(coder))
			if rapid.Bool().Draw(rt, "unbounded") {
				b.Components.Pcollections[id].IsBounded = pipepb.IsBounded_UNBOUNDED
			}
		case "flatten":
			in := []string{pick(coder)}
			for range rapid.IntRange(0, 2).Draw(rt, "more inputs") {
				in = append(in, pick(rapid.SampledFrom(slices.Sorted(maps.Keys(pcs))).Draw(rt, "flattened")))
			}
			b.add(id, "beam:transform:flatten:v1", nil, out, in...)
		case "reshuffle":
			b.add(id, "beam:transform:reshuffle:v1", nil, coder, pick(coder))
			out = coder
		case "group":
			b.add(id, "beam:transform:group_by_key:v1", nil, "grouped", pick(coder))
			out = "grouped"
		case "combine":
			pt = b.add(id, "beam:transform:combine_per_key:v1", &pipepb.CombinePayload{AccumulatorCoderId: "own"}, "kv", pick(coder))
			out = "kv"
		}
		if pt != nil && rapid.IntRange(0, 3).Draw(rt, "environment") == 0 {
			pt.EnvironmentId = "other"
		}
		pcs[out] = append(pcs[out], id)
	}
	return b
}

// apply is what a user transform makes of its main input.
func apply(name string, in uint64) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return in*31 + h.Sum64()
}

func userCode(urn string) bool {
	switch urn {
	case "beam:transform:pardo:v1", "beam:transform:combine_per_key:v1",
		"beam:transform:sdf_process_sized_element_and_restrictions:v1",
		"beam:transform:combine_per_key_extract_outputs:v1", "beam:transform:combine_grouped_values:v1":
		return true
	}
	return false
}

// interpretPipeline returns what each user transform, by name, reads.
func interpretPipeline(p *pipepb.Pipeline) map[string]uint64 {
	values, reads := map[string]uint64{}, map[string]uint64{}
	for i := range p.GetRootTransformIds() {
		id := fmt.Sprintf("t%d", i)
		pt := p.GetComponents().GetTransforms()[id]
		switch urn := pt.GetSpec().GetUrn(); {
		case urn == "beam:transform:impulse:v1":
			values[id] = apply("impulse", 0)
		case urn == "beam:transform:teststream:v1":
			values[id] = apply("test", 0)
		case userCode(urn):
			values[id] = apply(pt.GetUniqueName(), values[pt.GetInputs()["i0"]])
			reads[pt.GetUniqueName()] = values[pt.GetInputs()["i0"]] ^ 7*values[pt.GetInputs()["i1"]]
		default:
			for _, in := range pt.GetInputs() {
				values[id] += values[in]
			}
		}
	}
	return reads
}

// interpretPlan does the same with the plan and its descriptors.
func interpretPlan(tr *translate.Translation) map[string]uint64 {
	edges, reads := map[plan.EdgeID]uint64{}, map[string]uint64{}
	for _, s := range tr.Plan.Stages {
		switch k := s.Kind.(type) {
		case *plan.Impulse:
			for _, o := range s.Outputs {
				edges[o.Edge] += apply("impulse", 0)
			}
		case *plan.View:
			// Readers see the edge itself.
		case *plan.TestSource:
			for _, o := range s.Outputs {
				edges[o.Edge] += apply("test", 0)
			}
		case *plan.GroupByKey, *plan.TimeSort:
			for _, o := range s.Outputs {
				edges[o.Edge] += edges[s.Input.Edge]
			}
		case *plan.Executable:
			d := tr.Descriptors[s.ID]
			values := map[string]uint64{}
			for _, pc := range d.GetTransforms()[string(s.Input.Port)].GetOutputs() {
				values[pc] = edges[s.Input.Edge]
			}
			for _, tf := range k.Transforms {
				pt := d.GetTransforms()[string(tf.ID)]
				var side, in uint64
				for tag, pc := range pt.GetInputs() {
					if i := slices.IndexFunc(s.SideInputs, func(si plan.SideInput) bool {
						return si.Transform == tf.ID && si.Tag == tag
					}); i >= 0 {
						side = edges[s.SideInputs[i].Edge]
					} else {
						in += values[pc]
					}
				}
				out := in
				if userCode(pt.GetSpec().GetUrn()) {
					out = apply(tf.Name, in)
				}
				if userCode(pt.GetSpec().GetUrn()) || pt.GetSpec().GetUrn() == "beam:transform:combine_per_key_precombine:v1" {
					reads[tf.Name] = in ^ 7*side
				}
				for _, pc := range pt.GetOutputs() {
					values[pc] = out
				}
			}
			for _, o := range s.Outputs {
				for _, pc := range d.GetTransforms()[string(o.Port)].GetInputs() {
					edges[o.Edge] += values[pc]
				}
			}
		}
	}
	return reads
}
