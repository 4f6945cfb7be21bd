package translate

import (
	"maps"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// bound makes unbounded what is made of something unbounded, whatever the SDK
// says of it: a PCollection that grows for ever is never complete. The other
// way round, an SDK knows better.
func (t *translator) bound() error {
	for _, n := range t.nodes {
		if n.class != leafTest && !slices.ContainsFunc(n.from, unbounded) {
			continue
		}
		for _, c := range n.to {
			c.bounded = pipepb.IsBounded_UNBOUNDED
		}
	}
	return nil
}

// sortByTime puts a stage that sorts before what requires time-sorted input
// and has input that is never complete. What is complete is sorted when it is
// read.
func (t *translator) sortByTime() error {
	nodes := make([]*node, 0, len(t.nodes))
	for _, n := range t.nodes {
		if n.class == leafSDK && n.keyed && n.pardo.GetRequiresTimeSortedInput() && unbounded(n.from[0]) {
			sorter := t.sorter(n)
			sorter.order = len(nodes)
			nodes = append(nodes, sorter)
		}
		n.order = len(nodes)
		nodes = append(nodes, n)
	}
	t.nodes = nodes
	return nil
}

// sorter makes the node that sorts the input of n, and lets n read from it.
func (t *translator) sorter(n *node) *node {
	in := n.from[0]
	sorted := t.derive(in, n.id+"/Sorted", in.coder)
	sorter := &node{
		id: t.partID(n.id, "TimeSort"), name: n.name, part: "/TimeSort", class: leafTimeSort,
		keyed: true, splittable: n.splittable,
		main: []string{in.id}, from: []*collection{in}, to: []*collection{sorted},
	}
	sorted.producer, sorted.consumers = sorter, []*node{n}
	in.consumers[slices.Index(in.consumers, n)] = sorter
	n.from, n.sorted = []*collection{sorted}, true
	n.main = []string{sorted.id}
	n.inputs = maps.Clone(n.inputs)
	n.inputs[n.mainTag] = sorted.id
	return sorter
}
