package translate

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
		if s.class != leafSDK || s.keyed || !capable(env, urnCoderStateBackedIterable) {
			return false
		}
	}
	return true
}
