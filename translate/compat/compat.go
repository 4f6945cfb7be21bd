// Package compat says whether what one pipeline has left, its state, timers and
// elements under way, can be gone on with by another: by the names that users have
// given to transforms, states and timers, never by ids, which change from one
// submission to the next.
//
// It compares what is encoded, and so must be decoded by whoever goes on: coders, the
// windowing of what is buffered, the protocols of states and the domains of timers.
// What user code does with them is the user's affair. It is pure, and takes pipelines
// from outside: a malformed one has differences, and never more.
package compat

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// Kind says what a difference means for what was left.
type Kind int

const (
	// Added is new: it begins empty.
	Added Kind = iota
	// Dropped is no more: what was left of it is lost.
	Dropped
	// Changed is there and cannot be gone on with.
	Changed
)

// String is the kind as people read it.
func (k Kind) String() string {
	switch k {
	case Added:
		return "added"
	case Dropped:
		return "dropped"
	case Changed:
		return "changed"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Difference is one between two pipelines.
type Difference struct {
	Kind Kind
	// Transform is the name in the old pipeline, or, of what is added, in the new one.
	Transform string
	// What is different: "state count: its value coder was …, and is …".
	What string
}

// String is the difference in a line.
func (d Difference) String() string { return fmt.Sprintf("%v: %s: %s", d.Kind, d.Transform, d.What) }

// Mapping gives the new names of transforms by their old ones. The name of a
// composite stands for all within it; what is mapped to "" is dropped.
type Mapping map[string]string

// name is the new name of a transform: by the longest entry that is it, or encloses
// it.
func (m Mapping) name(old string) string {
	best, to := "", old
	for from, name := range m {
		inside := old == from || strings.HasPrefix(old, from+"/")
		if !inside || len(from) < len(best) {
			continue
		}
		best, to = from, name
		if name != "" {
			to += old[len(from):]
		}
	}
	return to
}

// Compare lists what is different, sorted by transform. An error says that the mapping
// names what neither pipeline has.
func Compare(old, now *pipepb.Pipeline, m Mapping) ([]Difference, error) {
	a, b := read(old), read(now)
	if err := m.check(a, b); err != nil {
		return nil, err
	}
	var all []Difference
	kept := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(a.leaves)) {
		to := m.name(name)
		kept[to] = true
		c := comparison{a: a, b: b, name: name}
		if is := b.leaves[to]; is != nil {
			c.leaf(a.leaves[name], is)
		} else {
			c.dropped(a.leaves[name])
		}
		all = append(all, c.found...)
	}
	for name := range b.leaves {
		if !kept[name] {
			all = append(all, Difference{Added, name, "it is new, and begins empty"})
		}
	}
	slices.SortStableFunc(all, func(x, y Difference) int {
		return cmp.Or(cmp.Compare(x.Transform, y.Transform), cmp.Compare(y.Kind, x.Kind))
	})
	return all, nil
}

func (m Mapping) check(a, b *pipeline) error {
	for _, from := range slices.Sorted(maps.Keys(m)) {
		if !a.has(from) {
			return fmt.Errorf("mapping: the old pipeline has no transform %q", from)
		}
		if to := m[from]; to != "" && !b.has(to) {
			return fmt.Errorf("mapping of %q: the new pipeline has no transform %q", from, to)
		}
	}
	return nil
}

// Refusal is the error of a pipeline that must not go on with what another has left.
// What is dropped is allowed on request; nil if nothing else speaks against it.
func Refusal(found []Difference, allowDropped bool) error {
	var against []string
	for _, d := range found {
		if d.Kind == Changed || d.Kind == Dropped && !allowDropped {
			against = append(against, d.String())
		}
	}
	if len(against) == 0 {
		return nil
	}
	return fmt.Errorf("the pipelines are not compatible:\n%s", strings.Join(against, "\n"))
}
