package translate

import "slices"

// urnGoExpand is the Go SDK's transform from a grouped union to the values of
// each input of a CoGroupByKey.
const urnGoExpand = "beam:go:transform:expand:v1"

// mustStay says whether the node's output cannot leave its stage: the Go SDK
// has no encoding for what its expand yields. It costs next to nothing, so
// whoever reads it in another stage gets an expand of its own.
func (n *node) mustStay() bool {
	return n.class == leafSDK && n.pardo.GetDoFn().GetUrn() == urnGoExpand && len(n.views) == 0
}

// openWithClone makes a stage of the node and of a clone of the producer of
// its input, under the same ids.
func (f *fuser) openWithClone(n *node) {
	original := n.from[0]
	clone := *original.producer
	clone.order = n.order
	copied := *original
	copied.producer, copied.readers = &clone, nil
	clone.to = []*collection{&copied}
	n.from = []*collection{&copied}
	f.openReader(&clone)
	f.join(n, clone.stage)
	// Later readers of the original are tried on this stage, too, by way of
	// their input.
	original.producer.clones = append(original.producer.clones, &copied)
}

// joinClone puts the node into a stage that holds a clone, if one may take it.
func (f *fuser) joinClone(n *node) bool {
	i := slices.IndexFunc(n.from[0].producer.clones, func(c *collection) bool {
		return !c.producer.stage.waits && f.mayJoin(n, c.producer.stage)
	})
	if i < 0 || f.opts.DisableFusion || n.waits() {
		return false
	}
	copied := n.from[0].producer.clones[i]
	n.from = []*collection{copied}
	f.join(n, copied.producer.stage)
	return true
}
