package trigger

import "github.com/gorunner/gorunner/element"

// run is a machine at work on a state.
type run struct {
	m *Machine
	s *State
	c *Context
}

// cell returns the first cell of node i.
func (r *run) cell(i int) *cell { return &r.s.cells[r.m.nodes[i].firstCell] }

// parts yields the parts of node i until yield says no.
func (r *run) parts(i int, yield func(part int) bool) {
	end := r.m.nodes[i].end
	for part := i + 1; part < end && yield(part); {
		part = r.m.nodes[part].end
	}
}

// current returns the part of an each that is its turn, or its end.
func (r *run) current(i int) int {
	end := r.m.nodes[i].end
	part := i + 1
	for part < end && r.finished(part) {
		part = r.m.nodes[part].end
	}
	return part
}

// some says whether ok is true of a part of node i.
func (r *run) some(i int, ok func(part int) bool) bool {
	found := false
	r.parts(i, func(part int) bool {
		found = ok(part)
		return !found
	})
	return found
}

// elements enters n elements into node i and its parts.
func (r *run) elements(i int, n uint64) {
	node := &r.m.nodes[i]
	switch node.kind {
	case never, always, afterEnd:
	case count:
		if c := r.cell(i); !c.done {
			limit := uint64(r.m.cells[node.firstCell])
			c.value += min(n, limit-c.value)
		}
	case delay, synchronized:
		if c := r.cell(i); !c.done && c.value == 0 {
			c.setTime(r.deadline(node))
		}
	case endOfWindow:
		if part := r.active(i); part > 0 {
			r.elements(part, n)
		}
	case each:
		// Parts whose turn has not come count too: should windows merge, it may
		// have come, and the pane holds what they have counted.
		for part := r.current(i); part < node.end; part = r.m.nodes[part].end {
			r.elements(part, n)
		}
	case all, anyOf, orFinally, repeat:
		r.parts(i, func(part int) bool {
			r.elements(part, n)
			return true
		})
	}
}

// deadline returns when a pane that begins now is due.
func (r *run) deadline(n *node) element.EventTime {
	if n.kind == synchronized {
		// Upstream has caught up with now when it has come beyond it.
		return min(r.c.Processing+1, element.MaxTime)
	}
	t := r.c.Processing
	for _, s := range n.shifts {
		t = s.move(t)
	}
	return t
}

// clock returns what the clock shows that a node with a deadline goes by.
func (r *run) clock(n *node) element.EventTime {
	if n.kind == synchronized {
		return r.c.Synchronized
	}
	return r.c.Processing
}

// active returns the part of an endOfWindow that stands for it now, if any.
func (r *run) active(i int) int {
	if r.cell(i).done {
		return r.m.nodes[i].late
	}
	return r.m.nodes[i].early
}

// ready says whether node i would fire.
func (r *run) ready(i int) bool {
	node := &r.m.nodes[i]
	switch node.kind {
	case never:
		return false
	case always:
		return r.s.pending
	case afterEnd:
		return r.ended()
	case count:
		return r.cell(i).value == uint64(r.m.cells[node.firstCell])
	case delay, synchronized:
		c := r.cell(i)
		return c.value > 0 && c.time() <= r.clock(node)
	case endOfWindow:
		if !r.cell(i).done && r.c.over() {
			return r.ended()
		}
		part := r.active(i)
		return part > 0 && r.ready(part)
	case each:
		part := r.current(i)
		return part < node.end && r.ready(part)
	case all:
		return !r.finished(i) && !r.some(i, func(part int) bool { return !r.finished(part) && !r.ready(part) })
	case anyOf, orFinally:
		return !r.finished(i) && r.some(i, r.ready)
	case repeat:
		return r.ready(i + 1)
	}
	return false
}

// ended says whether the end of the window is a reason to fire: once, and then
// for whatever comes late.
func (r *run) ended() bool { return r.c.over() && (r.s.pending || !r.s.over) }

// finished says whether node i has fired for the last time.
func (r *run) finished(i int) bool {
	node := &r.m.nodes[i]
	switch node.kind {
	case never, always, afterEnd, repeat:
		return false
	case count, delay, synchronized:
		return r.cell(i).done
	case endOfWindow:
		return r.cell(i).done && node.late == 0
	case each:
		return r.current(i) == node.end
	case all:
		return !r.some(i, func(part int) bool { return !r.finished(part) })
	case anyOf:
		return r.some(i, r.finished)
	case orFinally:
		return r.cell(i).done || r.some(i, r.finished)
	}
	return false
}

// fire fires node i, which is ready.
func (r *run) fire(i int) {
	node := &r.m.nodes[i]
	switch node.kind {
	case never, always, afterEnd:
	case count, delay, synchronized:
		*r.cell(i) = cell{done: true}
	case endOfWindow:
		if c := r.cell(i); !c.done && r.c.over() {
			r.reset(i)
			c.done = true
		} else {
			r.fire(r.active(i))
		}
	case each:
		part := r.current(i)
		r.fire(part)
		for next := r.m.nodes[part].end; next < node.end; next = r.m.nodes[next].end {
			r.clear(next)
		}
	case all, anyOf:
		r.fireParts(i)
	case orFinally:
		r.fireOrFinally(i)
	case repeat:
		r.fire(i + 1)
		if r.finished(i + 1) {
			r.reset(i)
		}
	}
}

// fireParts fires all parts that are ready. What the others have counted goes
// with the pane.
func (r *run) fireParts(i int) {
	r.parts(i, func(part int) bool {
		switch {
		case r.finished(part):
		case r.ready(part):
			r.fire(part)
		default:
			r.clear(part)
		}
		return true
	})
}

// fireOrFinally fires the part behind finally if it is ready. If not, that part
// keeps what it has counted: it looks at all panes together.
func (r *run) fireOrFinally(i int) {
	main := i + 1
	finally := r.m.nodes[main].end
	if !r.ready(finally) {
		r.fire(main)
		return
	}
	r.reset(i)
	r.cell(i).done = true
}

// reset lets node i start anew.
func (r *run) reset(i int) { clear(r.s.cells[r.m.nodes[i].firstCell:r.m.nodes[i].endCell]) }

// clear lets node i forget the pane, but not what has finished.
func (r *run) clear(i int) {
	n := &r.m.nodes[i]
	for c := n.firstCell; c < n.endCell; c++ {
		r.s.cells[c].value = 0
	}
}

// wake lowers the times in w to those that node i waits for.
func (r *run) wake(i int, w *Wake) {
	node := &r.m.nodes[i]
	switch node.kind {
	case never, always, count:
	case afterEnd:
		r.wakeAtEnd(w)
	case delay, synchronized:
		r.wakeAtDeadline(i, w)
	case endOfWindow:
		if !r.cell(i).done {
			r.wakeAtEnd(w)
			if r.c.over() {
				return
			}
		}
		if part := r.active(i); part > 0 {
			r.wake(part, w)
		}
	case each:
		if part := r.current(i); part < node.end {
			r.wake(part, w)
		}
	case all, anyOf, orFinally, repeat:
		if r.finished(i) {
			return
		}
		r.parts(i, func(part int) bool {
			r.wake(part, w)
			return true
		})
	}
}

func (r *run) wakeAtEnd(w *Wake) {
	if !r.c.over() {
		w.Event = min(w.Event, r.c.End)
	}
}

func (r *run) wakeAtDeadline(i int, w *Wake) {
	node, c := &r.m.nodes[i], r.cell(i)
	if c.value == 0 || c.time() <= r.clock(node) {
		return
	}
	if node.kind == synchronized {
		w.Synchronized = min(w.Synchronized, c.time())
	} else {
		w.Processing = min(w.Processing, c.time())
	}
}
