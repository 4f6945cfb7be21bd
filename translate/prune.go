package translate

import "slices"

// prune drops what the runner executes itself and whose output nobody reads.
// User code always runs: it may act on the outside world.
func (t *translator) prune() error {
	live := make(map[*node]bool, len(t.nodes))
	for _, n := range slices.Backward(t.nodes) {
		switch n.class {
		case leafSDK, leafUnknown, leafCombine, leafRefused:
			live[n] = true
			continue
		case leafImpulse, leafTest, leafGroup, leafTimeSort, leafAlias, leafView:
		}
		for _, c := range n.to {
			if slices.ContainsFunc(c.consumers, func(m *node) bool { return live[m] }) || len(c.viewers) > 0 {
				live[n] = true
			}
		}
	}
	dead := func(n *node) bool { return !live[n] }
	for _, n := range t.nodes {
		for _, c := range n.to {
			c.consumers = slices.DeleteFunc(c.consumers, dead)
		}
	}
	t.nodes = slices.DeleteFunc(t.nodes, dead)
	return nil
}
