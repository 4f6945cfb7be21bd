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
	ready    []element.KeyGroup
	count    int64
	bytes    int64
	resident int64
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
	// bytes and count measure what was leased.
	bytes, count int64
}

func (l *Lease) add(b *element.Block) {
	l.Blocks = append(l.Blocks, *b)
	l.bytes += int64(b.Bytes())
	l.count += int64(b.Count)
}

// Limit bounds a lease. A lease always holds at least one block.
type Limit struct {
	// Bytes ends the lease once it holds that many.
	Bytes int64
	// Elements ends the lease once it holds that many; 0 is no bound.
	Elements int64
	// Parts lets the lease end within a key group. The rest of the group waits,
	// locked, until the lease is settled.
	Parts bool
	// Only says which key groups may be leased; nil for all.
	Only func(element.KeyGroup) bool
	// Leave says which blocks of a keyed queue stay in it; nil for none. Then a lease
	// may be empty.
	Leave func(*element.Block) bool
}

// allows says whether the lease may get another block, or group.
func (l Limit) allows(lease *Lease) bool {
	return len(lease.Blocks) == 0 || lease.bytes < l.Bytes && (l.Elements == 0 || lease.count < l.Elements)
}

// Count is the number of elements in the queue, without those leased.
func (q *Queue) Count() int64 { return q.count }

// Bytes is the size of the elements in the queue, without those leased.
func (q *Queue) Bytes() int64 { return q.bytes }

// Resident is what of the bytes is in memory.
func (q *Queue) Resident() int64 { return q.resident }

// enter counts a block that comes, by 1, or goes, by -1.
func (q *Queue) enter(b *element.Block, sign int64) {
	q.count += sign * int64(b.Count)
	q.bytes += sign * int64(b.Bytes())
	q.resident += sign * int64(b.Resident())
}

// Available says whether a lease would get anything.
func (q *Queue) Available() bool { return len(q.ready) > 0 }

// Push appends a block; g is of no account where there is but one group, as in
// a queue that is not keyed.
func (q *Queue) Push(g element.KeyGroup, b element.Block) {
	i := q.index(g)
	q.groups[i].blocks = append(q.groups[i].blocks, b)
	q.enter(&b, 1)
	q.list(i)
}

// Detach takes all that is not leased out of the queue, into one of its own.
func (q *Queue) Detach() *Queue {
	all := &Queue{
		keyed: q.keyed, groups: make([]group, len(q.groups)),
		count: q.count, bytes: q.bytes, resident: q.resident,
	}
	for i := range q.groups {
		g := &q.groups[i]
		all.groups[i].blocks = g.blocks
		all.list(i)
		g.blocks, g.listed = nil, false
	}
	q.ready, q.count, q.bytes, q.resident = nil, 0, 0, 0
	return all
}

// Return puts blocks that were leased back to the front of their group.
func (q *Queue) Return(g element.KeyGroup, blocks []element.Block) {
	i := q.index(g)
	q.groups[i].blocks = slices.Insert(q.groups[i].blocks, 0, blocks...)
	for j := range blocks {
		q.enter(&blocks[j], 1)
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

// Ready lists the key groups of which something can be leased, in order. It is
// good until the queue is used next.
func (q *Queue) Ready() []element.KeyGroup { return q.ready }

// Lease takes blocks from the front, at least one if any is available. The
// groups of a keyed queue are leased whole, unless the limit says otherwise.
func (q *Queue) Lease(limit Limit) Lease {
	var l Lease
	left := q.ready[:0]
	for i, g := range q.ready {
		if !limit.allows(&l) {
			left = append(left, q.ready[i:]...)
			break
		}
		if limit.Only != nil && !limit.Only(g) || limit.Leave != nil && !q.some(g, limit) {
			left = append(left, g)
			continue
		}
		q.take(g, limit, &l)
		switch {
		case q.keyed:
			l.Groups = append(l.Groups, g)
			q.groups[g].locked, q.groups[g].listed = true, false
		case q.Blocks(g) > 0:
			left = append(left, g) // it can be leased still
		default:
			q.groups[g].listed = false
		}
	}
	q.ready = left
	return l
}

// some says whether a group has a block that the limit does not leave there.
func (q *Queue) some(g element.KeyGroup, limit Limit) bool {
	blocks := q.groups[g].blocks
	for i := range blocks {
		if !limit.Leave(&blocks[i]) {
			return true
		}
	}
	return false
}

// Each calls f with the blocks in the queue, without those leased.
func (q *Queue) Each(f func(*element.Block)) {
	for g := range q.groups {
		for i := range q.groups[g].blocks {
			f(&q.groups[g].blocks[i])
		}
	}
}

// take moves blocks from the front of a group to a lease.
func (q *Queue) take(i element.KeyGroup, limit Limit, l *Lease) {
	g := &q.groups[i]
	whole := q.keyed && !limit.Parts
	n, stay := 0, 0
	for n < len(g.blocks) && (whole || limit.allows(l)) {
		b := &g.blocks[n]
		n++
		if limit.Leave != nil && limit.Leave(b) {
			g.blocks[stay] = *b
			stay++
			continue
		}
		l.add(b)
		q.enter(b, -1)
	}
	copy(g.blocks[n-stay:], g.blocks[:stay])
	clear(g.blocks[:n-stay])
	if g.blocks = g.blocks[n-stay:]; len(g.blocks) == 0 {
		g.blocks = nil
	}
}

// Locked says whether a group is leased.
func (q *Queue) Locked(g element.KeyGroup) bool { return q.groups[g].locked }

// Blocks is the number of blocks of a group that are not leased.
func (q *Queue) Blocks(g element.KeyGroup) int { return len(q.groups[g].blocks) }

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
func (q *Queue) LeaseGroup(g element.KeyGroup, limit Limit) (Lease, bool) {
	if q.Blocks(g) == 0 {
		return Lease{}, false
	}
	l, ok := q.Lock(g)
	if ok {
		q.take(g, limit, &l)
	}
	return l, ok
}

// Trim takes groups out of a lease of which it has nothing more: they are unlocked.
func (q *Queue) Trim(l *Lease, groups []element.KeyGroup) {
	l.Groups = slices.DeleteFunc(l.Groups, func(g element.KeyGroup) bool { return slices.Contains(groups, g) })
	q.Settle(Lease{Groups: groups})
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
