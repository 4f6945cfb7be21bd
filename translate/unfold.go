package translate

import (
	"maps"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// unfold replaces stages that a client fused by their transforms: this runner
// fuses by its own rules. Such a stage brings components of its own. Its
// transforms' ids hold within the stage only; other components are those of
// the pipeline, or missing there.
func (t *translator) unfold() error {
	merged := false
	transforms := t.components.GetTransforms()
	for _, id := range slices.Sorted(maps.Keys(transforms)) {
		pt := transforms[id]
		if pt.GetSpec().GetUrn() != urnExecutableStage {
			continue
		}
		if !merged {
			t.components, merged = copyComponents(t.components), true
		}
		var stage pipepb.ExecutableStagePayload
		if err := proto.Unmarshal(pt.GetSpec().GetPayload(), &stage); err != nil {
			return invalid(inTransform(id), "payload: %w", err)
		}
		own := stage.GetComponents()
		addMissing(t.components.Pcollections, own.GetPcollections())
		addMissing(t.components.Coders, own.GetCoders())
		addMissing(t.components.WindowingStrategies, own.GetWindowingStrategies())
		addMissing(t.components.Environments, own.GetEnvironments())
		composite := &pipepb.PTransform{
			UniqueName: pt.GetUniqueName(),
			Inputs:     pt.GetInputs(),
			Outputs:    pt.GetOutputs(),
		}
		for _, sub := range stage.GetTransforms() {
			if inner := own.GetTransforms()[sub]; inner != nil && transforms[sub] == nil {
				sub = id + "/" + sub
				t.components.Transforms[sub] = inner
			}
			composite.Subtransforms = append(composite.Subtransforms, sub)
		}
		t.components.Transforms[id] = composite
	}
	t.coders = newCoderTable(t.components.GetCoders(), t.opts.MaxNesting)
	return nil
}

// copyComponents copies the maps, not what is in them: the pipeline is not
// ours to change.
func copyComponents(c *pipepb.Components) *pipepb.Components {
	fresh := &pipepb.Components{
		Transforms:          map[string]*pipepb.PTransform{},
		Pcollections:        map[string]*pipepb.PCollection{},
		WindowingStrategies: map[string]*pipepb.WindowingStrategy{},
		Coders:              map[string]*pipepb.Coder{},
		Environments:        map[string]*pipepb.Environment{},
	}
	maps.Copy(fresh.Transforms, c.GetTransforms())
	maps.Copy(fresh.Pcollections, c.GetPcollections())
	maps.Copy(fresh.WindowingStrategies, c.GetWindowingStrategies())
	maps.Copy(fresh.Coders, c.GetCoders())
	maps.Copy(fresh.Environments, c.GetEnvironments())
	return fresh
}

func addMissing[T any](to, from map[string]T) {
	for id, v := range from {
		if _, ok := to[id]; !ok {
			to[id] = v
		}
	}
}
