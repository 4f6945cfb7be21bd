package metrics

import (
	"fmt"
	"maps"
	"slices"
)

// trie is a bounded trie: a set of paths that is cut at its bushiest prefixes
// once it has more than bound of them.
type trie struct {
	bound int
	// root is nil in an empty trie. A singleton is a root like any other.
	root *node
}

// node stands for the paths through it. A node without children is the end of
// a path; a cut one stands for everything below it.
type node struct {
	cut      bool
	children map[string]*node
	size     int // number of paths, at least 1
}

const (
	// trieBoundDefault is the bound where the payload has none.
	trieBoundDefault = 100
	// trieDepthMax bounds the depth of a trie that is read.
	trieDepthMax = 1000
)

// The fields of the protos BoundedTrie, BoundedTrieNode, and of a map's entry.
const (
	trieBound, trieRoot, trieSingleton = 1, 2, 3
	nodeCut, nodeChildren              = 1, 2
	entryKey, entryValue               = 1, 2
)

func decodeTrie(payload []byte) (cell, error) {
	t := &trie{}
	var path []string
	err := fields(payload, func(f field) error {
		switch {
		case f.number == trieBound && f.wire == wireVarint:
			t.bound = int(int32(f.num))
		case f.number == trieRoot && f.wire == wireBytes:
			root, err := decodeNode(f.data, 0)
			t.root = root
			return err
		case f.number == trieSingleton && f.wire == wireBytes:
			path = append(path, string(f.data))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if t.bound <= 0 {
		t.bound = trieBoundDefault
	}
	if t.root == nil && len(path) > 0 {
		if len(path) > trieDepthMax {
			return nil, fmt.Errorf("%w: trie of depth %d", ErrMalformed, len(path))
		}
		t.root = &node{size: 1}
		for _, part := range slices.Backward(path) {
			t.root = &node{size: 1, children: map[string]*node{part: t.root}}
		}
	}
	return t, nil
}

func decodeNode(b []byte, depth int) (*node, error) {
	if depth > trieDepthMax {
		return nil, fmt.Errorf("%w: trie deeper than %d", ErrMalformed, trieDepthMax)
	}
	n := &node{}
	err := fields(b, func(f field) error {
		switch {
		case f.number == nodeCut && f.wire == wireVarint:
			n.cut = f.num != 0
		case f.number == nodeChildren && f.wire == wireBytes:
			key, child, err := decodeChild(f.data, depth)
			if err != nil {
				return err
			}
			if n.children == nil {
				n.children = make(map[string]*node)
			}
			n.children[key] = child
		}
		return nil
	})
	if n.cut {
		n.children = nil
	}
	n.resize()
	return n, err
}

func decodeChild(b []byte, depth int) (key string, child *node, err error) {
	child = &node{size: 1}
	err = fields(b, func(f field) error {
		switch {
		case f.number == entryKey && f.wire == wireBytes:
			key = string(f.data)
		case f.number == entryValue && f.wire == wireBytes:
			var err error
			child, err = decodeNode(f.data, depth+1)
			return err
		}
		return nil
	})
	return key, child, err
}

func (n *node) resize() {
	n.size = 0
	for _, c := range n.children {
		n.size += c.size
	}
	n.size = max(n.size, 1)
}

func (t *trie) merge(o cell) error {
	other, ok := o.(*trie)
	if !ok {
		return wrongKind(t, o)
	}
	t.bound = min(t.bound, other.bound)
	switch {
	case other.root == nil:
	case t.root == nil:
		t.root = other.root.clone()
	default:
		t.root.merge(other.root)
	}
	for t.root != nil && t.root.size > t.bound {
		t.root.trim()
	}
	return nil
}

func (n *node) clone() *node {
	c := &node{cut: n.cut, size: n.size}
	if n.children != nil {
		c.children = make(map[string]*node, len(n.children))
		for k, child := range n.children {
			c.children[k] = child.clone()
		}
	}
	return c
}

func (n *node) merge(o *node) {
	if n.cut {
		return
	}
	if o.cut {
		n.cut, n.children, n.size = true, nil, 1
		return
	}
	for k, child := range o.children {
		if mine := n.children[k]; mine != nil {
			mine.merge(child)
			continue
		}
		if n.children == nil {
			n.children = make(map[string]*node)
		}
		n.children[k] = child.clone()
	}
	n.resize()
}

// trim cuts the node with the most paths whose children are all single paths.
// Of equal ones the first by name is cut, so that the order of merging does not
// show.
func (n *node) trim() {
	var biggest *node
	for _, k := range slices.Sorted(maps.Keys(n.children)) {
		if c := n.children[k]; biggest == nil || c.size > biggest.size {
			biggest = c
		}
	}
	if biggest == nil || biggest.size == 1 {
		n.cut, n.children = true, nil
	} else {
		biggest.trim()
	}
	n.resize()
}

func (t *trie) encode() []byte {
	b := firstField(uint64(t.bound))
	if t.root != nil {
		b = appendBytesField(b, trieRoot, t.root.encode())
	}
	return b
}

func (n *node) encode() []byte {
	if n.cut {
		return firstField(1)
	}
	var b []byte
	for _, k := range slices.Sorted(maps.Keys(n.children)) {
		e := appendBytesField(nil, entryKey, k)
		e = appendBytesField(e, entryValue, n.children[k].encode())
		b = appendBytesField(b, nodeChildren, e)
	}
	return b
}
