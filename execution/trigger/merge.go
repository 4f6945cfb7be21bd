package trigger

// Merge makes the state of a window into which others have merged; c is that
// window's. The states are those of the windows in which something has come,
// the merged window's own included if it was there before. They are not changed.
//
// What has fired for the end of a window fires again if another of the windows
// had not come to that yet, or if the merged window has not ended.
func (m *Machine) Merge(states []State, c Context) State {
	s := m.New()
	s.over = c.over() && len(states) > 0
	for i := range states {
		s.pending = s.pending || states[i].pending
		s.over = s.over && states[i].over
	}
	r := run{m, &s, &c}
	if len(states) > 0 {
		r.merge(0, states)
	}
	return s
}

// merge makes the cells of node i and its parts.
func (r *run) merge(i int, states []State) {
	node := &r.m.nodes[i]
	switch node.kind {
	case never, always, afterEnd:
	case count, delay, synchronized:
		*r.cell(i) = r.mergeCell(i, states)
	case endOfWindow:
		r.mergeEndOfWindow(i, states)
	case each:
		r.mergeEach(i, states)
	case all, anyOf, orFinally, repeat:
		r.parts(i, func(part int) bool {
			r.merge(part, states)
			return true
		})
		if node.kind == orFinally {
			r.cell(i).done = r.doneIn(i, states) > 0
		}
		// Parts that have finished in different windows may be finished all
		// together now, though no pane has been fired for that.
		if node.kind == repeat && r.finished(i+1) {
			r.reset(i)
		}
	}
}

// doneIn counts the states in which the first cell of node i is done.
func (r *run) doneIn(i int, states []State) int {
	n := 0
	for s := range states {
		if states[s].cells[r.m.nodes[i].firstCell].done {
			n++
		}
	}
	return n
}

// mergeCell merges the cell of a node that fires once: what has finished in a
// window has finished, counts add up, and the earliest time counts.
func (r *run) mergeCell(i int, states []State) cell {
	if r.doneIn(i, states) > 0 {
		return cell{done: true}
	}
	node := &r.m.nodes[i]
	limit := uint64(r.m.cells[node.firstCell])
	merged := cell{}
	for s := range states {
		value := states[s].cells[node.firstCell].value
		switch {
		case node.kind == count:
			merged.value += min(value, limit-merged.value)
		case merged.value == 0 || value > 0 && value < merged.value:
			merged.value = value
		}
	}
	return merged
}

func (r *run) mergeEndOfWindow(i int, states []State) {
	r.cell(i).done = r.c.over() && r.doneIn(i, states) == len(states)
	if part := r.active(i); part > 0 {
		r.merge(part, states)
	}
}

// mergeEach merges the parts up to the first one that is not finished. Those
// behind it have not begun, whatever they were before.
func (r *run) mergeEach(i int, states []State) {
	turn := true
	r.parts(i, func(part int) bool {
		r.merge(part, states)
		if !turn {
			r.begin(part)
		}
		turn = turn && r.finished(part)
		return true
	})
}

// begin lets node i forget what has finished, but not the pane.
func (r *run) begin(i int) {
	n := &r.m.nodes[i]
	for c := n.firstCell; c < n.endCell; c++ {
		r.s.cells[c].done = false
	}
}
