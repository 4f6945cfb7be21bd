package engine

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// views keeps the side inputs of a job: the committed blocks of each edge
// that is read as one, and the indices made of them.
//
// A bundle that reads a side input starts only when all stages that write it
// are finished: no block is added after the first look-up. Look-ups come from
// any goroutine, but only while a bundle of a stage that reads the view runs:
// no view is freed under them.
type views struct {
	edges []*view // nil where an edge is no side input
	// readers lists for each stage the edges it reads, once each.
	readers [][]plan.EdgeID
}

// view is one edge read as a side input.
type view struct {
	layout *shuffle.Layout
	// readers is the number of unfinished stages that read it. Together with
	// blocks it belongs to the job's loop until the first look-up.
	readers int
	blocks  []element.Block

	iterable func() (map[string]*pages, error)
	multimap func() (map[string]*keyedPages, error)
}

// pages is a run of encoded values in chunks of whole values.
type pages struct{ chunks [][]byte }

// keyedPages holds the values of each key of a window.
type keyedPages struct {
	keys   []string // in order of first appearance
	values map[string]*pages
	counts map[string]int

	// keyPages is the distinct keys, entryPages each key followed by the
	// iterable of its values.
	keyPages, entryPages func() *pages
}

func newKeyedPages() *keyedPages {
	w := &keyedPages{values: make(map[string]*pages), counts: make(map[string]int)}
	w.keyPages = sync.OnceValue(w.listKeys)
	w.entryPages = sync.OnceValue(w.listEntries)
	return w
}

// pageBytes is what chunks of a view are filled up to.
const pageBytes = 1 << 20

func newViews(p *plan.Plan) *views {
	v := &views{edges: make([]*view, len(p.Edges)), readers: make([][]plan.EdgeID, len(p.Stages))}
	for _, s := range p.Stages {
		for _, side := range s.SideInputs {
			if slices.Contains(v.readers[s.ID], side.Edge) {
				continue
			}
			v.readers[s.ID] = append(v.readers[s.ID], side.Edge)
			if v.edges[side.Edge] == nil {
				e := p.Edges[side.Edge]
				v.edges[side.Edge] = newView(&shuffle.Layout{Value: e.Value, Window: e.Windowing.Window})
			}
			v.edges[side.Edge].readers++
		}
	}
	return v
}

func newView(layout *shuffle.Layout) *view {
	v := &view{layout: layout}
	v.iterable = sync.OnceValues(v.indexWindows)
	v.multimap = sync.OnceValues(v.indexKeys)
	return v
}

// add keeps committed blocks of an edge, if it is a side input that is still
// wanted.
func (v *views) add(edge plan.EdgeID, blocks []element.Block) {
	if w := v.edges[edge]; w != nil {
		w.blocks = append(w.blocks, blocks...)
	}
}

// stageFinished frees the views that no other stage reads.
func (v *views) stageFinished(id plan.StageID) {
	for _, edge := range v.readers[id] {
		if v.edges[edge].readers--; v.edges[edge].readers == 0 {
			v.edges[edge] = nil
		}
	}
}

// drop frees everything.
func (v *views) drop() { clear(v.edges) }

// each calls f for every element, once for each of its windows.
func (v *view) each(f func(e *shuffle.Element, window []byte) error) error {
	for i := range v.blocks {
		if err := v.layout.Each(&v.blocks[i], f); err != nil {
			return fmt.Errorf("side input: %w", err)
		}
	}
	return nil
}

func (v *view) indexWindows() (map[string]*pages, error) {
	index := make(map[string]*pages)
	err := v.each(func(e *shuffle.Element, window []byte) error {
		p := index[string(window)]
		if p == nil {
			p = &pages{}
			index[string(window)] = p
		}
		p.add(e.Value)
		return nil
	})
	return index, err
}

func (v *view) indexKeys() (map[string]*keyedPages, error) {
	index := make(map[string]*keyedPages)
	err := v.each(func(e *shuffle.Element, window []byte) error {
		w := index[string(window)]
		if w == nil {
			w = newKeyedPages()
			index[string(window)] = w
		}
		key := e.Key()
		p := w.values[string(key)]
		if p == nil {
			p = &pages{}
			w.values[string(key)] = p
			w.keys = append(w.keys, string(key))
		}
		p.add(e.Value[len(key):])
		w.counts[string(key)]++
		return nil
	})
	return index, err
}

// add copies a value to the last chunk, or to a new one.
func (p *pages) add(value []byte) {
	last := len(p.chunks) - 1
	if last < 0 || len(p.chunks[last]) > 0 && len(p.chunks[last])+len(value) > pageBytes {
		p.chunks = append(p.chunks, nil)
		last++
	}
	p.chunks[last] = append(p.chunks[last], value...)
}

func (w *keyedPages) listKeys() *pages {
	p := &pages{}
	for _, k := range w.keys {
		p.add([]byte(k))
	}
	return p
}

func (w *keyedPages) listEntries() *pages {
	p := &pages{}
	for _, k := range w.keys {
		entry := append([]byte(k), 0, 0, 0, 0)
		binary.BigEndian.PutUint32(entry[len(k):], uint32(w.counts[k]))
		for _, c := range w.values[k].chunks {
			entry = append(entry, c...)
		}
		p.add(entry)
	}
	return p
}
