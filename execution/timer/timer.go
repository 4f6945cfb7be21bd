// Package timer keeps the timers that the keys of a stage have set.
//
// A timer is named by its family, key, tag and window: setting it again
// replaces it, clearing it leaves nothing behind. Timers wait in a heap for each
// time domain and key group, and the groups of a domain in a heap by their
// earliest timers, so that neither setting one nor asking what is
// due costs more with more keys and groups.
//
// Timers for which there is no memory are parked: somebody else keeps them, and
// the set knows of each domain and group how many there are, when the first one
// is due and how far they hold the watermark.
//
// A Set is pure and not safe for concurrent use; the scheduler of a job owns
// it.
package timer

import (
	"cmp"
	"container/heap"
	"iter"
	"maps"
	"slices"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
)

// Name says which timer of a stage is meant.
type Name struct {
	// Family is the index of the timer's family in the stage's specs.
	Family int
	// Key, Tag and Window are encoded.
	Key, Tag, Window string
}

// Timer is a timer that is set.
type Timer struct {
	Name
	Group  element.KeyGroup
	Domain plan.TimeDomain
	// Fire is when the timer is due, in milliseconds of its domain.
	Fire element.EventTime
	// Hold is the event time of what it will emit, which holds the watermark
	// until it has fired.
	Hold element.EventTime
	// Data is the timer as the harness is given it.
	Data []byte
	// Chain counts the timers that have fired one after the other until this one
	// was set, since nothing else goes on.
	Chain int

	order uint64 // of setting, among timers due at the same time
	index int    // in its heap
}

// domains is the number of time domains.
const domains = int(plan.SynchronizedDomain) + 1

// Set holds the timers of a stage.
type Set struct {
	byName map[Name]*Timer
	// queues are indexed by time domain and key group.
	queues [domains][]queue
	// heads are the queues with timers, of each time domain.
	heads [domains]heads
	// first is the time of the earliest timer of each domain that has any. It is
	// here because it is what everybody asks for.
	first [domains]element.EventTime
	last  uint64
	// parked is the number of timers that are kept elsewhere.
	parked int64
}

// NewSet makes an empty set for so many key groups.
func NewSet(groups int) *Set {
	s := &Set{byName: make(map[Name]*Timer)}
	for d := range s.queues {
		s.queues[d] = make([]queue, groups)
		for g := range s.queues[d] {
			s.queues[d][g] = queue{group: element.KeyGroup(g), index: -1}
		}
	}
	return s
}

// Len is the number of timers that are set, those that are parked among them.
func (s *Set) Len() int { return len(s.byName) + int(s.parked) }

// Put sets a timer and returns the one it replaces, nil if there was none.
func (s *Set) Put(t *Timer) (replaced *Timer) {
	replaced = s.Remove(t.Name)
	s.last++
	t.order = s.last
	s.byName[t.Name] = t
	q := &s.queues[t.Domain][t.Group]
	heap.Push(q, t)
	s.place(t.Domain, q)
	return replaced
}

// Remove clears a timer and returns it, nil if it was not set.
func (s *Set) Remove(n Name) *Timer {
	t := s.byName[n]
	if t == nil {
		return nil
	}
	delete(s.byName, n)
	q := &s.queues[t.Domain][t.Group]
	heap.Remove(q, t.index)
	s.place(t.Domain, q)
	return t
}

// place puts a queue where it belongs after its timers have changed.
func (s *Set) place(d plan.TimeDomain, q *queue) {
	h := &s.heads[d]
	h.place(q)
	if len(*h) > 0 {
		s.first[d] = (*h)[0].first()
	}
}

// RemoveAll clears all timers that are not parked and returns them, in the order
// in which they were set.
func (s *Set) RemoveAll() []*Timer {
	all := slices.SortedFunc(maps.Values(s.byName), func(a, b *Timer) int { return cmp.Compare(a.order, b.order) })
	for _, t := range all {
		s.Remove(t.Name)
	}
	return all
}

// Due yields the groups with a timer of the domain that is due by the limit,
// that with the earliest first and the others in no particular order, though
// always in the same.
func (s *Set) Due(d plan.TimeDomain, limit element.EventTime) iter.Seq[element.KeyGroup] {
	return func(yield func(element.KeyGroup) bool) {
		if len(s.heads[d]) > 0 && s.first[d] <= limit {
			s.heads[d].due(0, limit, yield)
		}
	}
}

// NextAfter returns when the first group is due that has no timer of the
// domain due by the limit; ok is false if there is none.
func (s *Set) NextAfter(d plan.TimeDomain, limit element.EventTime) (at element.EventTime, ok bool) {
	if len(s.heads[d]) > 0 && s.first[d] > limit {
		return s.first[d], true
	}
	return s.heads[d].after(0, limit)
}

// IsDue says whether the group has a timer of the domain that is due by the
// limit.
func (s *Set) IsDue(d plan.TimeDomain, g element.KeyGroup, limit element.EventTime) bool {
	q := &s.queues[d][g]
	return !q.empty() && q.first() <= limit
}

// Limit bounds what is taken at a time. The first timer is taken in any case.
type Limit struct {
	Timers int
	// Bytes ends the taking once the timers' data has that many.
	Bytes int64
}

// laterMax bounds how many more timers Take looks at than it takes.
const laterMax = 100

// Full says that no more is taken after so many timers with so many bytes, where
// so many are left for later.
func (l Limit) Full(taken, later int, bytes int64) bool {
	return taken > 0 && (taken >= l.Timers || bytes >= l.Bytes) || later >= taken+laterMax
}

// Take removes and returns timers of a group that are due by due, in order of
// time. Of each key it takes only those of the earliest time: what they set in
// turn may be due before the rest. It ends early rather than search far for
// more keys among such a rest, and before the first timer that is parked.
func (s *Set) Take(d plan.TimeDomain, g element.KeyGroup, due element.EventTime, limit Limit) []*Timer {
	q := &s.queues[d][g]
	if q.parked.Count > 0 {
		due = min(due, q.parked.First)
	}
	var taken, later []*Timer
	var bytes int64
	first := make(map[string]element.EventTime)
	for len(q.timers) > 0 && q.timers[0].Fire <= due && !limit.Full(len(taken), len(later), bytes) {
		t := heap.Pop(q).(*Timer) //nolint:errcheck // the heap holds nothing else
		if at, seen := first[t.Key]; seen && at < t.Fire {
			later = append(later, t)
			continue
		}
		first[t.Key] = t.Fire
		delete(s.byName, t.Name)
		taken = append(taken, t)
		bytes += int64(len(t.Data))
	}
	for _, t := range later {
		heap.Push(q, t)
	}
	s.place(d, q)
	return taken
}

// queue is a heap of the timers of a group, the earliest first.
type queue struct {
	timers []*Timer
	parked Parked
	group  element.KeyGroup
	index  int // in heads, -1 if it is empty
}

func (q *queue) empty() bool { return len(q.timers) == 0 && q.parked.Count == 0 }

// first is when the first timer is due, where there is one.
func (q *queue) first() element.EventTime {
	switch {
	case q.parked.Count == 0:
		return q.timers[0].Fire
	case len(q.timers) == 0:
		return q.parked.First
	}
	return min(q.timers[0].Fire, q.parked.First)
}

// order is that of the first timer, 0 if it is parked.
func (q *queue) order() uint64 {
	if q.parked.Count > 0 && (len(q.timers) == 0 || q.parked.First <= q.timers[0].Fire) {
		return 0
	}
	return q.timers[0].order
}

func (q *queue) Len() int { return len(q.timers) }

func (q *queue) Less(i, j int) bool {
	a, b := q.timers[i], q.timers[j]
	if a.Fire != b.Fire {
		return a.Fire < b.Fire
	}
	return a.order < b.order
}

func (q *queue) Swap(i, j int) {
	q.timers[i], q.timers[j] = q.timers[j], q.timers[i]
	q.timers[i].index, q.timers[j].index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	t := x.(*Timer) //nolint:errcheck // see Put
	t.index = len(q.timers)
	q.timers = append(q.timers, t)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	n := len(q.timers) - 1
	t := q.timers[n]
	q.timers[n] = nil
	q.timers = q.timers[:n]
	return t
}

// heads is a heap of queues that are not empty, that with the earliest timer
// first.
type heads []*queue

// place puts a queue where it belongs after its timers have changed.
func (h *heads) place(q *queue) {
	switch {
	case q.index < 0 && !q.empty():
		heap.Push(h, q)
	case q.index >= 0 && q.empty():
		heap.Remove(h, q.index)
	case q.index >= 0:
		heap.Fix(h, q.index)
	}
}

// due yields the groups at and below node i of the heap that are due; it goes
// no further down than they do.
func (h *heads) due(i int, limit element.EventTime, yield func(element.KeyGroup) bool) bool {
	if i >= len(*h) || (*h)[i].first() > limit {
		return true
	}
	return yield((*h)[i].group) && h.due(2*i+1, limit, yield) && h.due(2*i+2, limit, yield)
}

// after returns the earliest time at and below node i that is after the limit.
func (h *heads) after(i int, limit element.EventTime) (at element.EventTime, ok bool) {
	if i >= len(*h) {
		return 0, false
	}
	if at = (*h)[i].first(); at > limit {
		return at, true
	}
	at, ok = h.after(2*i+1, limit)
	if right, found := h.after(2*i+2, limit); found && (!ok || right < at) {
		return right, true
	}
	return at, ok
}

func (h *heads) Len() int { return len(*h) }

func (h *heads) Less(i, j int) bool {
	a, b := (*h)[i], (*h)[j]
	if first, other := a.first(), b.first(); first != other {
		return first < other
	}
	return a.order() < b.order()
}

func (h *heads) Swap(i, j int) {
	q := *h
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (h *heads) Push(x any) {
	q := x.(*queue) //nolint:errcheck // see place
	q.index = len(*h)
	*h = append(*h, q)
}

// Pop implements heap.Interface.
func (h *heads) Pop() any {
	old := *h
	q := old[len(old)-1]
	old[len(old)-1] = nil
	q.index = -1
	*h = old[:len(old)-1]
	return q
}
