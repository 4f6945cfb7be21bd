package jobdb

import (
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// references keeps what rows refer to, so that it stays on disk. It has nothing
// of rows that refer to nothing.
type references struct {
	queued map[element.Number][]element.Stored
	side   map[plan.EdgeID][]element.Stored
	shown  map[shownWindow][]element.Stored
}

type shownWindow struct {
	view   plan.StageID
	window string
}

func newReferences() references {
	return references{
		queued: make(map[element.Number][]element.Stored),
		side:   make(map[plan.EdgeID][]element.Stored),
		shown:  make(map[shownWindow][]element.Stored),
	}
}

// adopt keeps what an image refers to.
func (r *references) adopt(m *journal.Image) {
	r.add(&journal.Commit{Queued: m.Queued, Side: m.Side, Shown: m.Shown})
}

// add keeps what new rows refer to. What they replace is kept as well, until the
// commit is dropped.
func (r *references) add(c *journal.Commit) {
	for i := range c.Queued {
		if s := storedOf(&c.Queued[i].Block); s != nil {
			r.queued[c.Queued[i].Number] = s
		}
	}
	for i := range c.Side {
		if s := storedOf(&c.Side[i].Block); s != nil {
			r.side[c.Side[i].Edge] = append(r.side[c.Side[i].Edge], s...)
		}
	}
	for i := range c.Shown {
		w := shownWindow{c.Shown[i].View, c.Shown[i].Window}
		r.shown[w] = appendStored(r.shown[w], c.Shown[i].Chunks)
	}
}

// drop lets go of what the commit, which is durable, has consumed or replaced.
func (r *references) drop(c *journal.Commit) {
	for _, n := range c.Consumed {
		delete(r.queued, n)
	}
	for _, e := range c.SideDone {
		delete(r.side, e)
	}
	for i := range c.Shown {
		w := shownWindow{c.Shown[i].View, c.Shown[i].Window}
		now := appendStored(nil, c.Shown[i].Chunks)
		if delete(r.shown, w); len(now) > 0 {
			r.shown[w] = now
		}
	}
}

func storedOf(b *element.Block) []element.Stored {
	all := appendStored(nil, []element.Chunk{{Data: b.Data, Stored: b.Stored}})
	for _, p := range b.Pages {
		all = appendStored(all, p.Chunks)
	}
	return all
}

// appendStored appends what is on disk of chunks.
func appendStored(to []element.Stored, chunks []element.Chunk) []element.Stored {
	for i := range chunks {
		s := chunks[i].Stored
		if l, ok := s.(*shuffle.Later); s != nil && (!ok || l.Unwritten() == nil) {
			to = append(to, s)
		}
	}
	return to
}
