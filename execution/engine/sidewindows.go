package engine

import (
	"container/heap"

	"github.com/gorunner/gorunner/element"
)

// sideWindows is a set of windows of a view that knows the one that ends first.
type sideWindows struct {
	byKey map[sideKey]*sideWindow
	byEnd endHeap
	last  uint64
}

// sideKey names a window of a view, by its encoding if that is known, else by
// its end.
type sideKey struct {
	known  bool
	window string
	end    element.EventTime
}

type sideWindow struct {
	key sideKey
	end element.EventTime
	// held waits for the window; to is where it is mapped to.
	held  []*heldWindow
	to    string
	order uint64 // of coming, among windows with the same end
	index int    // in the heap
}

func newSideWindows() sideWindows { return sideWindows{byKey: make(map[sideKey]*sideWindow)} }

func (s *sideWindows) has(key sideKey) bool {
	_, ok := s.byKey[key]
	return ok
}

// put returns the window of the key, which it adds if it is new.
func (s *sideWindows) put(key sideKey, end element.EventTime) *sideWindow {
	if w := s.byKey[key]; w != nil {
		return w
	}
	s.last++
	w := &sideWindow{key: key, end: end, order: s.last}
	s.byKey[key] = w
	heap.Push(&s.byEnd, w)
	return w
}

func (s *sideWindows) remove(w *sideWindow) {
	delete(s.byKey, w.key)
	heap.Remove(&s.byEnd, w.index)
}

// first is the window that ends first, nil if there is none.
func (s *sideWindows) first() *sideWindow {
	if len(s.byEnd) == 0 {
		return nil
	}
	return s.byEnd[0]
}

// add lets a window of the main input wait.
func (w *sideWindow) add(h *heldWindow) {
	w.held = append(w.held, h)
	h.missing++
}

// open lets go on what waited for the window alone.
func (w *sideWindow) open() {
	for _, h := range w.held {
		h.settle()
	}
}

// endHeap is a heap of windows, the one that ends first on top.
type endHeap []*sideWindow

func (h *endHeap) Len() int { return len(*h) }

func (h *endHeap) Less(i, j int) bool {
	a, b := (*h)[i], (*h)[j]
	if a.end != b.end {
		return a.end < b.end
	}
	return a.order < b.order
}

func (h *endHeap) Swap(i, j int) {
	q := *h
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (h *endHeap) Push(x any) {
	w := x.(*sideWindow) //nolint:errcheck // see put
	w.index = len(*h)
	*h = append(*h, w)
}

// Pop implements heap.Interface.
func (h *endHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return w
}
