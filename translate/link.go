package translate

import (
	"maps"
	"slices"
)

// link connects nodes and PCollections and brings the nodes into topological
// order: that of the pipeline, but each after what it reads.
func (t *translator) link() error {
	for _, n := range t.nodes {
		for _, tag := range slices.Sorted(maps.Keys(n.outputs)) {
			c := t.collections[n.outputs[tag]]
			if c.producer != nil {
				return invalid(inCollection(c.id), "is written by %v and by %v", c.producer, n)
			}
			c.producer = n
			n.to = append(n.to, c)
		}
	}
	for _, n := range t.nodes {
		for _, id := range n.main {
			n.from = append(n.from, t.collections[id])
		}
		for _, s := range n.sides {
			n.views = append(n.views, t.collections[s.collection])
		}
		for _, c := range slices.Concat(n.from, n.views) {
			if c.producer == nil {
				return invalid(inCollection(c.id), "is read by %v and written by nobody", n)
			}
		}
	}
	if err := t.sort(); err != nil {
		return err
	}
	for i, n := range t.nodes {
		n.order = i
		for _, c := range n.from {
			c.consumers = append(c.consumers, n)
		}
		for _, c := range n.views {
			c.viewers = append(c.viewers, n)
		}
	}
	return nil
}

// sort orders the nodes by depth-first search, without recursion: chains may
// be long.
func (t *translator) sort() error {
	const (
		fresh = iota
		open
		done
	)
	type frame struct {
		n    *node
		deps []*collection
	}
	state := make(map[*node]int, len(t.nodes))
	sorted := make([]*node, 0, len(t.nodes))
	for _, root := range t.nodes {
		if state[root] != fresh {
			continue
		}
		state[root] = open
		stack := []frame{{root, slices.Concat(root.from, root.views)}}
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			if len(top.deps) == 0 {
				state[top.n] = done
				sorted = append(sorted, top.n)
				stack = stack[:len(stack)-1]
				continue
			}
			dep := top.deps[0].producer
			top.deps = top.deps[1:]
			switch state[dep] {
			case open:
				return invalid("", "cycle through %v", dep)
			case fresh:
				state[dep] = open
				stack = append(stack, frame{dep, slices.Concat(dep.from, dep.views)})
			}
		}
	}
	t.nodes = sorted
	return nil
}
