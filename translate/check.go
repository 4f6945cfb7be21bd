package translate

import (
	"errors"
	"maps"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// check holds the references between the components against each other.
// PCollections, coders and windowing strategies that nothing refers to may be
// broken: they do no harm.
func (t *translator) check() error {
	if t.pipeline == nil {
		return &InvalidError{Err: errors.New("no pipeline")}
	}
	if len(t.pipeline.GetRootTransformIds()) == 0 && len(t.components.GetTransforms()) > 0 {
		return &InvalidError{Err: errors.New("no root transforms")}
	}
	for _, id := range t.pipeline.GetRootTransformIds() {
		if t.components.GetTransforms()[id] == nil {
			return invalid("", "root %s does not exist", inTransform(id))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(t.components.GetTransforms())) {
		if err := t.checkTransform(id, t.components.GetTransforms()[id]); err != nil {
			return err
		}
	}
	return nil
}

func (t *translator) checkTransform(id string, pt *pipepb.PTransform) error {
	if pt == nil {
		return invalid(inTransform(id), "is empty")
	}
	for _, sub := range pt.GetSubtransforms() {
		if t.components.GetTransforms()[sub] == nil {
			return invalid(inTransform(id), "sub%s does not exist", inTransform(sub))
		}
	}
	if env := pt.GetEnvironmentId(); env != "" && t.components.GetEnvironments()[env] == nil {
		return invalid(inTransform(id), "%s does not exist", inEnvironment(env))
	}
	for _, m := range []map[string]string{pt.GetInputs(), pt.GetOutputs()} {
		for _, tag := range slices.Sorted(maps.Keys(m)) {
			if _, err := t.collection(m[tag]); err != nil {
				return invalid(inTransform(id), "%q: %w", tag, err)
			}
		}
	}
	return nil
}

// collection returns the PCollection with its coder and windowing checked.
func (t *translator) collection(id string) (*collection, error) {
	if c, ok := t.collections[id]; ok {
		return c, nil
	}
	pc := t.components.GetPcollections()[id]
	if pc == nil {
		return nil, invalid(inCollection(id), "does not exist")
	}
	if err := t.coders.check(pc.GetCoderId()); err != nil {
		return nil, invalid(inCollection(id), "%w", err)
	}
	if _, err := t.windowingOf(pc.GetWindowingStrategyId()); err != nil {
		return nil, invalid(inCollection(id), "%w", err)
	}
	c := &collection{
		id:        id,
		name:      pc.GetUniqueName(),
		coder:     pc.GetCoderId(),
		windowing: pc.GetWindowingStrategyId(),
		bounded:   pc.GetIsBounded(),
	}
	t.collections[id] = c
	return c, nil
}

// derive adds a PCollection between the parts of an expanded transform: like
// another one, of another coder.
func (t *translator) derive(like *collection, id, coder string) *collection {
	unique := id
	for t.collections[unique] != nil || t.components.GetPcollections()[unique] != nil {
		unique += "'"
	}
	c := &collection{id: unique, name: unique, coder: coder, windowing: like.windowing, bounded: like.bounded}
	t.collections[unique] = c
	return c
}
