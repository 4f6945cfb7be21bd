package translate

// alignGroups makes the components of a GroupByKey's input and output coders
// the same, for the runner passes keys and values through without encoding
// them again. Where they differ, the input goes through an alias in the
// output's coders, as if it were flattened alone.
func (t *translator) alignGroups() error {
	nodes := make([]*node, 0, len(t.nodes))
	for _, n := range t.nodes {
		if n.class != leafGroup {
			nodes = append(nodes, n)
			continue
		}
		in, out := t.collections[n.main[0]], t.collections[only(n.outputs)]
		key, value, ok := t.grouped(out.coder)
		if !ok {
			t.unsupported("%v: output coder %s is not a KV of key and iterable", n, t.coders.describe(out.coder))
			nodes = append(nodes, n)
			continue
		}
		want := t.coders.kv(key, value)
		if err := t.coders.check(want); err != nil {
			return invalid(inTransform(n.id), "%w", err)
		}
		if !t.coders.equal(in.coder, want) {
			aligned := t.derive(in, in.id+"/Aligned", want)
			nodes = append(nodes, &node{
				id: t.partID(n.id, "Align"), name: n.name, part: "/Align",
				urn: urnFlatten, class: leafAlias,
				inputs:  map[string]string{partTag: in.id},
				main:    []string{in.id},
				outputs: map[string]string{partTag: aligned.id},
			})
			n.main = []string{aligned.id}
		}
		nodes = append(nodes, n)
	}
	t.nodes = nodes
	return nil
}

// grouped takes the coder of a grouped collection apart.
func (t *translator) grouped(id string) (key, value string, ok bool) {
	key, values, ok := t.coders.components2(id)
	if !ok {
		return "", "", false
	}
	value, ok = t.coders.element(values)
	return key, value, ok
}
