package engine

import (
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/plan"
)

// viewRows notes, for the journal of a job, what its side inputs hold from a commit
// on. Nil notes nothing. It belongs to the job's loop.
//
// Windows are forgotten, and views freed, by orders of the scheduler, and so with
// the commit behind the one that is the reason: what is there for too long is
// forgotten again after a start.
type viewRows struct {
	side  []journal.SideBlock
	done  []plan.EdgeID
	shown []journal.Shown
	// last are the numbers of the last blocks of edges.
	last []element.Number
}

func (r *viewRows) add(edge plan.EdgeID, blocks []element.Block) {
	if r == nil {
		return
	}
	for i := range blocks {
		b := onDiskOrNot(blocks[i])
		r.last[edge]++
		b.Number = r.last[edge]
		r.side = append(r.side, journal.SideBlock{Edge: edge, Block: b})
	}
}

// onDiskOrNot is a block in one place only: on disk, if it is there.
func onDiskOrNot(b element.Block) element.Block {
	if b.Stored != nil {
		b.Data = nil
	}
	return b
}

func (r *viewRows) show(view plan.StageID, windows []shownWindow) {
	if r == nil {
		return
	}
	for _, w := range windows {
		s := journal.Shown{View: view, Window: string(w.window), Count: w.count}
		for _, c := range w.chunks {
			if c.Stored != nil {
				c.Data = nil
			}
			s.Chunks = append(s.Chunks, c)
		}
		r.shown = append(r.shown, s)
	}
}

func (r *viewRows) forget(view plan.StageID, windows []string) {
	if r == nil {
		return
	}
	for _, w := range windows {
		r.shown = append(r.shown, journal.Shown{View: view, Window: w, Forgotten: true})
	}
}

func (r *viewRows) free(id viewID, shown *shownView) {
	switch {
	case r == nil:
	case id.view == 0:
		r.done = append(r.done, id.edge)
	default:
		r.forget(id.view, shown.holding())
	}
}

// last makes the views note what is to outlive the process.
func (v *views) last() { v.rows = &viewRows{last: make([]element.Number, len(v.plan.Edges))} }

// changes adds to a commit what has changed since it was asked last.
func (v *views) changes(into *journal.Commit) {
	if r := v.rows; r != nil {
		into.Side, into.SideDone, into.Shown = append(into.Side, r.side...), append(into.SideDone, r.done...), append(into.Shown, r.shown...)
		r.side, r.done, r.shown = nil, nil, nil
	}
}

// restore fills the views with what a process before has left. Nothing is read of
// it before it is asked for.
func (v *views) restore(m *journal.Image) {
	for i := range m.Side {
		b := &m.Side[i]
		v.rows.last[b.Edge] = max(v.rows.last[b.Edge], b.Number)
		if w := v.complete[b.Edge]; w != nil {
			w.add([]element.Block{b.Block})
		}
	}
	for i := range m.Shown {
		s := &m.Shown[i]
		if w := v.shown[s.View]; w != nil {
			w.show([]shownWindow{{window: []byte(s.Window), chunks: s.Chunks, count: s.Count}})
		}
	}
}

// holding lists the windows in which the view holds something.
func (v *shownView) holding() (windows []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for w, e := range v.windows {
		if e.contents != nil {
			windows = append(windows, w)
		}
	}
	return windows
}
