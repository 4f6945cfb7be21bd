package translate

import "slices"

// fuser puts nodes into stages, in topological order, each into the first
// stage that may take it:
//
//   - that of the producer of its main input, when both run in the same
//     environment and the node takes elements in any order (no state, no
//     timers, no restrictions to be spread), at any time (no side inputs that
//     are still to come), and need not see the same ones when it is tried
//     again (stable input): what is committed stays as it is;
//   - one that reads the same materialised PCollection in the same way, so
//     that it is read once;
//   - a new one.
//
// Stages wait for their side inputs, so a node with side inputs may only join
// a stage that none of them depends on. Everything else cannot make a cycle:
// what a node reads is in a stage by then, and nothing reads the node yet.
//
// An alias is in a stage only if all its inputs are; then it is a Flatten
// transform of the SDK. Otherwise it is a stage of its own here, to carry
// dependencies, and becomes edges later.
type fuser struct {
	*translator
	// epoch marks the stages a search has seen.
	epoch int
	steps int
}

func (t *translator) fuse() error {
	f := &fuser{translator: t, steps: t.opts.MaxFusionSteps}
	for _, n := range t.nodes {
		f.place(n)
	}
	return nil
}

func (f *fuser) place(n *node) {
	switch n.class {
	case leafSDK:
		f.placeSDK(n)
	case leafAlias:
		if s := f.commonStage(n); s != nil {
			f.join(n, s)
			return
		}
		f.open(n)
	case leafImpulse, leafTest:
		f.open(n)
	case leafGroup, leafTimeSort:
		s := f.open(n)
		s.input, s.keyed = n.from[0], true
	case leafCombine, leafUnknown, leafRefused, leafView:
		panic("translate: " + n.String() + " reached fusion")
	}
}

func (f *fuser) placeSDK(n *node) {
	in := n.from[0]
	if s := in.producer.stage; f.fusable(n) && s.class == leafSDK && s.env == n.env && f.mayJoin(n, s) {
		f.join(n, s)
		return
	}
	for _, s := range in.readers {
		if f.alike(n, s) && f.mayJoin(n, s) {
			f.join(n, s)
			return
		}
	}
	if in.producer.mustStay() && in.producer.env == n.env && !n.keyed && !n.splittable {
		if !f.joinClone(n) {
			f.openWithClone(n)
		}
		return
	}
	f.openReader(n)
}

// openReader makes a stage of the node that reads its input.
func (f *fuser) openReader(n *node) {
	in := n.from[0]
	s := f.open(n)
	s.env, s.input, s.keyed, s.splittable = n.env, in, n.keyed, n.splittable
	in.readers = append(in.readers, s)
}

func (f *fuser) fusable(n *node) bool {
	return !f.opts.DisableFusion && !f.isolated(n) && !n.keyed && !n.splittable && !n.pardo.GetRequiresStableInput() &&
		(!n.waits() || n.splits(n.from[0].producer))
}

// isolated says that the node would join a source and must not: what is to be put
// aside, should it fail, has to be an element of its own.
func (f *fuser) isolated(n *node) bool {
	s := n.from[0].producer.stage
	return f.opts.IsolateSources && n.urn != urnSplitAndSize &&
		(s.splittable || s.input != nil && s.input.producer.class == leafImpulse)
}

// waits says whether elements of some windows have to wait for side inputs.
// They wait between stages, each window for itself.
func (n *node) waits() bool { return slices.ContainsFunc(n.views, unbounded) }

// splits says whether the nodes are of one splittable DoFn: what one of them
// may take up, the other may.
func (n *node) splits(pair *node) bool {
	return n.urn == urnSplitAndSize && pair.urn == urnPairWithRestriction && slices.Equal(n.views, pair.views)
}

// alike says whether the stage reads its input the way n wants it. Sized
// restrictions are never shared: a split of one reader must not concern
// another. Nor is what waits for side inputs: the other need not.
func (f *fuser) alike(n *node, s *stage) bool {
	return !f.opts.DisableFusion && s.class == leafSDK && s.env == n.env &&
		s.keyed == n.keyed && !s.splittable && !n.splittable && !s.waits && !n.waits()
}

// commonStage returns the SDK stage that makes all inputs of an alias, if
// there is one. Inputs that repeat are left to the runner: SDKs do not agree
// on how often a transform sees a PCollection it names twice.
func (f *fuser) commonStage(n *node) *stage {
	if f.opts.DisableFusion || n.barrier || len(n.from) == 0 {
		return nil
	}
	s := n.from[0].producer.stage
	if s.class != leafSDK {
		return nil
	}
	seen := make(map[*collection]bool, len(n.from))
	for _, c := range n.from {
		if c.producer.stage != s || seen[c] {
			return nil
		}
		seen[c] = true
	}
	return s
}

// open makes a stage of the node.
func (f *fuser) open(n *node) *stage {
	s := &stage{class: n.class, order: n.order}
	f.stages = append(f.stages, s)
	f.join(n, s)
	return s
}

// join puts the node into the stage and lets the stage wait for what the node
// reads.
func (f *fuser) join(n *node, s *stage) {
	n.stage = s
	s.nodes = append(s.nodes, n)
	s.waits = s.waits || n.waits()
	for _, c := range slices.Concat(n.from, n.views) {
		if p := c.producer.stage; p != s {
			p.next = append(p.next, s)
		}
	}
}

// mayJoin says whether no side input of n depends on the stage.
func (f *fuser) mayJoin(n *node, s *stage) bool {
	if len(n.views) == 0 {
		return true
	}
	f.epoch++
	for _, c := range n.views {
		if c.producer.stage == s {
			return false
		}
		c.producer.stage.seen = -f.epoch
	}
	stack := []*stage{s}
	for len(stack) > 0 {
		top := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, next := range top.next {
			if f.steps--; f.steps < 0 || next.seen == -f.epoch {
				return false
			}
			if next.seen != f.epoch {
				next.seen = f.epoch
				stack = append(stack, next)
			}
		}
	}
	return true
}
