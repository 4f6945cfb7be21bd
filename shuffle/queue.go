package shuffle

import (
	"slices"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/internal/invariants"
)

// Queue holds the committed input of one stage: in order of commit, and per
// key group where the stage is keyed. A group that is leased is locked: it is
// not leased again before its lease is settled, so that a key is never in two
// bundles at once.
//
// Each element is at any time in exactly one place: in the queue or in one
// lease.
type Queue struct {
	keyed  bool
	groups []group
	// ready lists the groups with blocks that are not locked, in the order in
	// which they became so.
	ready []element.KeyGroup
	count int64
	bytes int64
}

type group struct {
	blocks []element.Block
	locked bool
	listed bool
}

// NewQueue makes an empty queue; groups is 0 for a stage that is not keyed.
func NewQueue(groups int) *Queue {
	if groups == 0 {
		return &Queue{groups: make([]group, 1)}
	}
	return &Queue{keyed: true, groups: make([]group, groups)}
}

// Lease is input that was handed to a bundle.
type Lease struct {
	// Blocks in order; those of a keyed queue come group by group.
	Blocks []element.Block
	// Groups are the locked groups, none for a queue that is not keyed.
	Groups []element.KeyGroup
}

// Limit bounds a lease. A lease always holds at least one block.
type Limit struct {
	// Bytes ends the lease once it holds that many.
	Bytes int64
	// Elements ends the lease once it holds that many; 0 is no bound.
	Elements int64
}

// allows says whether a lease of n blocks, or groups, may get another one.
func (l Limit) allows(n int, bytes, count int64) bool {
	return n == 0 || bytes < l.Bytes && (l.Elements == 0 || count < l.Elements)
}

// Count is the number of elements in the queue, without those leased.
func (q *Queue) Count() int64 { return q.count }

// Bytes is the size of the elements in the queue, without those leased.
func (q *Queue) Bytes() int64 { return q.bytes }

// Available says whether a lease would get anything.
func (q *Queue) Available() bool { return len(q.ready) > 0 }

// Push appends a block; g is of no account where there is but one group, as in
// a queue that is not keyed.
func (q *Queue) Push(g element.KeyGroup, b element.Block) {
	i := q.index(g)
	q.groups[i].blocks = append(q.groups[i].blocks, b)
	q.count += int64(b.Count)
	q.bytes += int64(b.Bytes())
	q.list(i)
}

// Detach takes all that is not leased out of the queue, into one of its own.
func (q *Queue) Detach() *Queue {
	all := &Queue{keyed: q.keyed, groups: make([]group, len(q.groups)), count: q.count, bytes: q.bytes}
	for i := range q.groups {
		g := &q.groups[i]
		all.groups[i].blocks = g.blocks
		all.list(i)
		g.blocks, g.listed = nil, false
	}
	q.ready, q.count, q.bytes = nil, 0, 0
	return all
}

// Return puts blocks that were leased back to the front of their group.
func (q *Queue) Return(g element.KeyGroup, blocks []element.Block) {
	i := q.index(g)
	q.groups[i].blocks = slices.Insert(q.groups[i].blocks, 0, blocks...)
	for j := range blocks {
		q.count += int64(blocks[j].Count)
		q.bytes += int64(blocks[j].Bytes())
	}
	q.list(i)
}

func (q *Queue) index(g element.KeyGroup) int {
	if len(q.groups) == 1 {
		return 0
	}
	return int(g)
}

// list notes that group i can be leased, if it can.
func (q *Queue) list(i int) {
	g := &q.groups[i]
	if !g.locked && !g.listed && len(g.blocks) > 0 {
		g.listed = true
		q.ready = append(q.ready, element.KeyGroup(i))
	}
}

// Lease takes blocks from the front, at least one if any is available. The
// groups of a keyed queue are leased whole.
func (q *Queue) Lease(limit Limit) Lease {
	if q.keyed {
		return q.leaseGroups(limit)
	}
	var l Lease
	var bytes, count int64
	blocks := q.groups[0].blocks
	n := 0
	for n < len(blocks) && limit.allows(n, bytes, count) {
		bytes += int64(blocks[n].Bytes())
		count += int64(blocks[n].Count)
		n++
	}
	l.Blocks = slices.Clone(blocks[:n])
	clear(blocks[:n])
	q.groups[0].blocks = blocks[n:]
	q.count -= count
	q.bytes -= bytes
	if len(q.groups[0].blocks) == 0 {
		q.groups[0] = group{}
		q.ready = q.ready[:0]
	}
	return l
}

func (q *Queue) leaseGroups(limit Limit) Lease {
	var l Lease
	var bytes, count int64
	n := 0
	for n < len(q.ready) && limit.allows(n, bytes, count) {
		g := &q.groups[q.ready[n]]
		for i := range g.blocks {
			bytes += int64(g.blocks[i].Bytes())
			count += int64(g.blocks[i].Count)
		}
		l.Blocks = append(l.Blocks, g.blocks...)
		l.Groups = append(l.Groups, q.ready[n])
		*g = group{locked: true}
		n++
	}
	q.ready = append(q.ready[:0], q.ready[n:]...)
	q.count -= count
	q.bytes -= bytes
	return l
}

// Locked says whether a group is leased.
func (q *Queue) Locked(g element.KeyGroup) bool { return q.groups[g].locked }

// Has says whether a group has blocks that are not leased.
func (q *Queue) Has(g element.KeyGroup) bool { return len(q.groups[g].blocks) > 0 }

// Lock leases a group without its blocks; it fails if the group is locked.
func (q *Queue) Lock(g element.KeyGroup) (Lease, bool) {
	if q.groups[g].locked {
		return Lease{}, false
	}
	q.groups[g].locked = true
	if q.groups[g].listed {
		q.groups[g].listed = false
		q.ready = slices.DeleteFunc(q.ready, func(r element.KeyGroup) bool { return r == g })
	}
	return Lease{Groups: []element.KeyGroup{g}}, true
}

// LeaseGroup leases one group with its blocks; it fails if the group is locked
// or has none.
func (q *Queue) LeaseGroup(g element.KeyGroup) (Lease, bool) {
	blocks := q.groups[g].blocks
	if len(blocks) == 0 {
		return Lease{}, false
	}
	l, ok := q.Lock(g)
	if !ok {
		return Lease{}, false
	}
	for i := range blocks {
		q.bytes -= int64(blocks[i].Bytes())
		q.count -= int64(blocks[i].Count)
	}
	l.Blocks, q.groups[g].blocks = blocks, nil
	return l, true
}

// Settle ends a lease: its groups are unlocked. What the bundle has not
// consumed was pushed again before.
func (q *Queue) Settle(l Lease) {
	for _, g := range l.Groups {
		invariants.Assert(q.groups[g].locked, "key group %d is settled but was not leased", g)
		q.groups[g].locked = false
		q.list(int(g))
	}
}
