package watermark

import (
	"slices"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
)

// multiset counts timestamps and knows the smallest. The heap holds every
// timestamp once while its count is positive, and may hold some whose count
// has fallen to zero: those are dropped when they reach the top, or when they
// are most of the heap, for a hold that stays at the top keeps them from it.
type multiset struct {
	counts map[element.EventTime]int
	heap   minHeap[element.EventTime]
	zeros  int // timestamps in the heap whose count is zero
}

func (m *multiset) add(at element.EventTime) {
	if m.counts == nil {
		m.counts = make(map[element.EventTime]int)
	}
	n, known := m.counts[at]
	if !known {
		m.heap.push(at)
	} else if n == 0 {
		m.zeros--
	}
	m.counts[at] = n + 1
}

func (m *multiset) remove(at element.EventTime) bool {
	n := m.counts[at]
	if n == 0 {
		return false
	}
	m.counts[at] = n - 1
	if n > 1 {
		return true
	}
	m.zeros++
	for len(m.heap) > 0 && m.counts[m.heap[0]] == 0 {
		top, _ := m.heap.pop()
		delete(m.counts, top)
		m.zeros--
	}
	if m.zeros > zerosMin && 2*m.zeros > len(m.heap) {
		m.compact()
	}
	return true
}

// zerosMin is the number of timestamps without a count that are not worth
// removing.
const zerosMin = 64

// compact removes the timestamps whose count is zero. Its cost is paid for by
// the removals that made half of the heap useless.
func (m *multiset) compact() {
	live := m.heap[:0]
	for _, at := range m.heap {
		if m.counts[at] > 0 {
			live = append(live, at)
		} else {
			delete(m.counts, at)
		}
	}
	// A sorted slice is a heap.
	slices.Sort(live)
	m.heap, m.zeros = live, 0
}

// min returns the smallest timestamp, element.MaxTime when there is none.
func (m *multiset) min() element.EventTime {
	if len(m.heap) == 0 {
		return element.MaxTime
	}
	return m.heap[0]
}

type stageHeap = minHeap[plan.StageID]

// minHeap is a binary heap of ordered values, the smallest first.
type minHeap[T ~int | ~int64] []T

func (h *minHeap[T]) push(v T) {
	s := append(*h, v)
	for i := len(s) - 1; i > 0; {
		parent := (i - 1) / 2
		if s[parent] <= s[i] {
			break
		}
		s[parent], s[i] = s[i], s[parent]
		i = parent
	}
	*h = s
}

func (h *minHeap[T]) pop() (top T, ok bool) {
	s := *h
	if len(s) == 0 {
		return top, false
	}
	top = s[0]
	last := len(s) - 1
	s[0] = s[last]
	s = s[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(s) {
			break
		}
		if child+1 < len(s) && s[child+1] < s[child] {
			child++
		}
		if s[i] <= s[child] {
			break
		}
		s[i], s[child] = s[child], s[i]
		i = child
	}
	*h = s
	return top, true
}
