package translate

import (
	"container/heap"
	"fmt"
	"slices"

	"github.com/gorunner/gorunner/plan"
)

// makeEdges finds the PCollections that are materialised, who writes them,
// and brings the stages into topological order.
func (t *translator) makeEdges() error {
	for _, s := range t.stages {
		if s.class == leafAlias {
			continue
		}
		if s.input != nil {
			t.materialise(s.input)
		}
		for _, n := range s.nodes {
			for _, c := range n.views {
				c.viewed = true
				t.materialise(c)
			}
		}
	}
	if err := t.connect(); err != nil {
		return err
	}
	t.addViews()
	if err := t.markKeys(); err != nil {
		return err
	}
	t.stages = slices.DeleteFunc(t.stages, func(s *stage) bool { return s.class == leafAlias })
	all := len(t.stages)
	t.sortStages()
	if len(t.stages) != all {
		return fmt.Errorf("translate: fusion made a cycle of stages: %d of %d in order", len(t.stages), all)
	}
	t.number()
	t.pageGroups()
	return nil
}

func (t *translator) materialise(c *collection) {
	if c.edge == nil {
		c.edge = &edge{collection: c, coder: t.coders.wire(c.coder).id}
		t.edges = append(t.edges, c.edge)
	}
}

// connect gives every edge its writers. Edges are added on the way, where the
// output of a runner's stage has another coder than the edge.
func (t *translator) connect() error {
	outputs := 0
	for i := 0; i < len(t.edges); i++ {
		e := t.edges[i]
		sources, err := t.sources(e, t.opts.MaxOutputs-outputs)
		if err != nil {
			return err
		}
		outputs += len(sources)
		for _, c := range sources {
			s := c.producer.stage
			if s.class != leafSDK && !t.coders.equal(t.coders.wire(c.coder).id, e.coder) {
				if s, err = t.identity(c, e); err != nil {
					return err
				}
			}
			s.outputs = append(s.outputs, output{from: c, to: e})
			e.writers = append(e.writers, s)
		}
	}
	return nil
}

// sources resolves aliases: it returns the PCollections whose producers write
// to the edge, as often as they do.
func (t *translator) sources(e *edge, most int) ([]*collection, error) {
	var sources []*collection
	steps := 0
	stack := []*collection{e.collection}
	for len(stack) > 0 {
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		// Aliases may repeat each other without a source at the end: they
		// count as well.
		if steps++; steps > most {
			return nil, &UnsupportedError{Causes: []string{"Flattens that repeat their inputs too often: more than " +
				"the stages may have outputs, at PCollection " + e.collection.name}}
		}
		if c.producer.stage.class != leafAlias {
			sources = append(sources, c)
			continue
		}
		for _, in := range slices.Backward(c.producer.from) {
			stack = append(stack, in)
		}
	}
	return sources, nil
}

// identity makes a stage that reads c and writes it to e with the edge's
// coder: the SDK decodes and encodes. Each PCollection that is encoded anew
// has one such stage in an environment.
func (t *translator) identity(c *collection, e *edge) (*stage, error) {
	env, err := t.identityEnvironment(e)
	if err != nil {
		return nil, err
	}
	t.materialise(c)
	for _, s := range c.readers {
		if len(s.nodes) == 0 && s.env == env {
			return s, nil
		}
	}
	s := &stage{class: leafSDK, env: env, input: c, order: c.producer.order}
	c.readers = append(c.readers, s)
	t.stages = append(t.stages, s)
	return s, nil
}

// identityEnvironment chooses who can decode both coders: where the edge is
// read, or written, or the pipeline's only environment.
func (t *translator) identityEnvironment(e *edge) (string, error) {
	for _, n := range slices.Concat(e.collection.consumers, e.collection.viewers) {
		if n.class == leafSDK {
			return n.env, nil
		}
	}
	for _, s := range e.writers {
		if s.env != "" {
			return s.env, nil
		}
	}
	for _, s := range t.stages {
		if s.env != "" {
			return s.env, nil
		}
	}
	return t.environment(e.collection.producer.id, "")
}

// addViews gives each unbounded side input the stage that materialises it, for
// all its readers.
func (t *translator) addViews() {
	for _, e := range t.edges {
		if e.collection.viewed && unbounded(e.collection) {
			e.view = &stage{class: leafView, input: e.collection, order: e.collection.producer.order}
			t.stages = append(t.stages, e.view)
		}
	}
}

// markKeys says of each edge that is read by key where the key is.
func (t *translator) markKeys() error {
	for _, s := range t.stages {
		if !s.keyed {
			continue
		}
		e, depth := s.input.edge, s.nodes[0].keyDepth()
		if e.keyDepth != 0 && e.keyDepth != depth {
			return &UnsupportedError{Causes: []string{fmt.Sprintf(
				"PCollection %q is read by different keys", e.collection.name)}}
		}
		e.keyDepth = depth
	}
	return nil
}

// sortStages orders the stages: each after those that write what it reads and
// those that materialise its side inputs, otherwise by the place of their
// first transform.
func (t *translator) sortStages() {
	waits := make(map[*stage]int, len(t.stages))
	for _, s := range t.stages {
		s.next = nil
	}
	wait := func(s, w *stage) {
		w.next = append(w.next, s)
		waits[s]++
	}
	for _, s := range t.stages {
		for _, c := range s.reads() {
			for _, w := range c.edge.writers {
				wait(s, w)
			}
		}
		for _, n := range s.nodes {
			for _, c := range n.views {
				if c.edge.view != nil {
					wait(s, c.edge.view)
				}
			}
		}
	}
	ready := &stageHeap{}
	for _, s := range t.stages {
		if waits[s] == 0 {
			heap.Push(ready, s)
		}
	}
	sorted := make([]*stage, 0, len(t.stages))
	for ready.Len() > 0 {
		s := ready.pop()
		sorted = append(sorted, s)
		for _, next := range s.next {
			if waits[next]--; waits[next] == 0 {
				heap.Push(ready, next)
			}
		}
	}
	t.stages = sorted
}

// reads lists the materialised PCollections a stage reads.
func (s *stage) reads() []*collection {
	var cs []*collection
	if s.input != nil {
		cs = append(cs, s.input)
	}
	for _, n := range s.nodes {
		cs = append(cs, n.views...)
	}
	return cs
}

// number gives stages and edges their ids, edges in the order in which the
// stages write them; those that nobody writes come last.
func (t *translator) number() {
	numbered := make(map[*edge]bool, len(t.edges))
	edges := make([]*edge, 0, len(t.edges))
	add := func(e *edge) {
		if !numbered[e] {
			numbered[e] = true
			e.id = plan.EdgeID(len(edges))
			edges = append(edges, e)
		}
	}
	for i, s := range t.stages {
		s.id = plan.StageID(i)
		for _, o := range s.outputs {
			add(o.to)
		}
	}
	for _, e := range t.edges {
		add(e)
	}
	t.edges = edges
}

// stageHeap orders stages by their first transform.
type stageHeap []*stage

func (h *stageHeap) Len() int           { return len(*h) }
func (h *stageHeap) Less(i, j int) bool { return (*h)[i].order < (*h)[j].order }
func (h *stageHeap) Swap(i, j int)      { (*h)[i], (*h)[j] = (*h)[j], (*h)[i] }

// Push is for package heap.
func (h *stageHeap) Push(x any) {
	if s, ok := x.(*stage); ok {
		*h = append(*h, s)
	}
}

// Pop is for package heap.
func (h *stageHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	*h = old[:len(old)-1]
	return s
}

func (h *stageHeap) pop() *stage {
	s, _ := heap.Pop(h).(*stage)
	return s
}
