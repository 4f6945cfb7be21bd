package translate

import (
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// pageGroups decides which GroupByKeys may leave values to be read through
// the State API. All that read the elements must understand the coder, and
// the runner must not look into them: so neither a stage that partitions by
// key nor a side input may read them, and no other stage may write them.
func (t *translator) pageGroups() {
	readers := map[*edge][]*stage{}
	for _, s := range t.stages {
		if s.input != nil {
			readers[s.input.edge] = append(readers[s.input.edge], s)
		}
	}
	for _, e := range t.edges {
		if len(e.writers) != 1 || e.writers[0].class != leafGroup || len(e.writers[0].outputs) != 1 ||
			e.collection.viewed || !t.readPages(readers[e]) {
			continue
		}
		if w, ok := t.coders.paged(e.collection.coder); ok {
			e.coder, e.paged = w.id, true
		}
	}
}

func (t *translator) readPages(readers []*stage) bool {
	for _, s := range readers {
		env := t.components.GetEnvironments()[s.env]
		if s.class != leafSDK || s.keyed || !capable(env, urnCoderStateBackedIterable, 0) {
			return false
		}
	}
	return true
}

// capable says whether the environment has a capability, and where it is a
// choice, each of the alternatives: the choice falls later, and the outer
// environment says nothing of it.
func capable(env *pipepb.Environment, urn string, depth int) bool {
	if env.GetUrn() == urnEnvAnyOf {
		const deepest = 8
		var choice pipepb.AnyOfEnvironmentPayload
		if err := proto.Unmarshal(env.GetPayload(), &choice); err != nil ||
			len(choice.GetEnvironments()) == 0 || depth > deepest {
			return false
		}
		for _, alternative := range choice.GetEnvironments() {
			if !capable(alternative, urn, depth+1) {
				return false
			}
		}
		return true
	}
	return slices.Contains(env.GetCapabilities(), urn)
}
