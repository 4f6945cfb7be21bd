package engine

import (
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/group"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// views keeps the side inputs of a job: those of complete edges, which are
// read when all stages that write them are finished, and those that stages of
// kind View show window by window, and show again.
//
// The job's loop owns it. A bundle is given a [sideInput] for each of its
// stage's side inputs, with which it reads the same from its beginning to its
// end, whatever the loop does meanwhile.
type views struct {
	plan *plan.Plan
	// complete views by edge, shown views by stage; nil where there is none, or
	// no stage is left that reads it.
	complete []*completeView
	shown    []*shownView
	// readers counts the unfinished stages that read a view.
	readers map[viewID]int
}

// viewID names a view as [plan.SideInput] does.
type viewID struct {
	edge plan.EdgeID
	view plan.StageID
}

// sideInput is a side input as one bundle sees it.
type sideInput interface {
	// in returns the contents of a window, nil if there are none.
	in(window []byte) (*contents, error)
	// token is equal for bundles that see the same.
	token() []byte
	// release says that the bundle has ended.
	release()
}

func newViews(p *plan.Plan) *views {
	v := &views{
		plan:     p,
		complete: make([]*completeView, len(p.Edges)),
		shown:    make([]*shownView, len(p.Stages)),
		readers:  make(map[viewID]int),
	}
	for _, s := range p.Stages {
		for _, id := range viewsOf(s) {
			v.readers[id]++
			e := p.Edges[id.edge]
			if id.view == 0 {
				v.complete[id.edge] = newCompleteView(e)
			} else {
				v.shown[id.view] = newShownView(id.view, e.Value)
			}
		}
	}
	return v
}

// viewsOf returns the views a stage reads, each once.
func viewsOf(s *plan.Stage) []viewID {
	var ids []viewID
	for _, side := range s.SideInputs {
		if id := (viewID{side.Edge, side.View}); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// add keeps committed blocks of an edge, if it is a side input that is still
// wanted.
func (v *views) add(edge plan.EdgeID, blocks []element.Block) {
	if w := v.complete[edge]; w != nil {
		w.blocks = append(w.blocks, blocks...)
	}
}

// show makes a new version of a view, in which some windows hold something
// else than before.
func (v *views) show(stage plan.StageID, windows []group.Contents) {
	if w := v.shown[stage]; w != nil && len(windows) > 0 {
		w.show(windows)
	}
}

// forget frees windows of a view that nobody asks for any more.
func (v *views) forget(stage plan.StageID, windows []string) {
	if w := v.shown[stage]; w != nil {
		w.forget(windows)
	}
}

// open returns the side inputs of a bundle, in the order of its stage's.
func (v *views) open(s *plan.Stage) []sideInput {
	sides := make([]sideInput, len(s.SideInputs))
	for i, side := range s.SideInputs {
		if side.View == 0 {
			sides[i] = v.complete[side.Edge]
		} else {
			sides[i] = v.shown[side.View].open()
		}
	}
	return sides
}

// stageFinished frees the views that no other stage reads.
func (v *views) stageFinished(id plan.StageID) {
	for _, id := range viewsOf(v.plan.Stages[id]) {
		if v.readers[id]--; v.readers[id] > 0 {
			continue
		}
		if id.view == 0 {
			v.complete[id.edge] = nil
		} else {
			v.shown[id.view] = nil
		}
	}
}

// drop frees everything.
func (v *views) drop() {
	clear(v.complete)
	clear(v.shown)
}

// completeView is an edge that is complete when it is read.
type completeView struct {
	edge *plan.Edge
	// blocks belong to the job's loop until the first look-up, which makes the
	// index of them.
	blocks []element.Block
	index  func() (map[string]*contents, error)
}

func newCompleteView(e *plan.Edge) *completeView {
	v := &completeView{edge: e}
	v.index = sync.OnceValues(v.indexWindows)
	return v
}

func (v *completeView) in(window []byte) (*contents, error) {
	index, err := v.index()
	return index[string(window)], err
}

func (v *completeView) token() []byte { return strconv.AppendInt([]byte("e"), int64(v.edge.ID), 10) }

func (v *completeView) release() {}

// indexWindows collects the values of each window. The blocks are not needed
// afterwards.
func (v *completeView) indexWindows() (map[string]*contents, error) {
	type values struct {
		chunks [][]byte
		count  int
	}
	windows := make(map[string]*values)
	layout := shuffle.EdgeLayout(v.edge)
	for i := range v.blocks {
		block, err := v.blocks[i].InMemory()
		if err != nil {
			return nil, fmt.Errorf("side input: %w", err)
		}
		err = layout.Each(&block, func(e *shuffle.Element, window []byte) error {
			w := windows[string(window)]
			if w == nil {
				w = &values{}
				windows[string(window)] = w
			}
			w.chunks = appendValue(w.chunks, e.Value)
			w.count++
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("side input: %w", err)
		}
	}
	v.blocks = nil
	index := make(map[string]*contents, len(windows))
	for window, w := range windows {
		index[window] = newContents(v.edge.Value, w.chunks, w.count)
	}
	return index, nil
}

// appendValue copies a value to the last chunk, or to a new one.
func appendValue(chunks [][]byte, value []byte) [][]byte {
	last := len(chunks) - 1
	if last < 0 || len(chunks[last]) > 0 && len(chunks[last])+len(value) > pageBytes {
		chunks = append(chunks, nil)
		last++
	}
	chunks[last] = append(chunks[last], value...)
	return chunks
}

// shownView is what a View stage has shown.
type shownView struct {
	stage plan.StageID
	value *coder.Coder

	mu sync.Mutex // guards what follows
	// number is that of the latest version of the view; shows counts the versions
	// in which windows were shown, not forgotten.
	number, shows int64
	// opened counts the bundles that read each version.
	opened map[int64]int
	// windows holds what each window is now, and was in the versions that are
	// being read.
	windows map[string]*edition
	// outdated are the windows with more than what is now.
	outdated map[string]bool
}

// edition is what a window holds from a version on. Its contents are nil where
// it is forgotten from then on.
type edition struct {
	number   int64
	contents *contents
	older    *edition
}

func newShownView(stage plan.StageID, value *coder.Coder) *shownView {
	return &shownView{
		stage: stage, value: value,
		opened: make(map[int64]int), windows: make(map[string]*edition), outdated: make(map[string]bool),
	}
}

func (v *shownView) show(windows []group.Contents) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.number++
	v.shows++
	for _, w := range windows {
		v.replace(string(w.Window), newContents(v.value, w.Chunks, w.Count))
	}
}

func (v *shownView) forget(windows []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.number++
	for _, w := range windows {
		v.replace(w, nil)
	}
}

// replace says what a window holds in the latest version.
func (v *shownView) replace(window string, c *contents) {
	older := v.windows[window]
	if older != nil && older.number == v.number {
		older = older.older // the version has not been seen yet
	}
	v.windows[window] = &edition{number: v.number, contents: c, older: older}
	v.trim(window)
}

// trim drops the editions of a window that no bundle reads.
func (v *shownView) trim(window string) {
	newest := v.windows[window]
	newer := newest
	for newer.older != nil {
		if v.reads(newer.older.number, newer.number) {
			newer = newer.older
		} else {
			newer.older = newer.older.older
		}
	}
	switch {
	case newest.older != nil:
		v.outdated[window] = true
	case newest.contents == nil:
		delete(v.windows, window)
		delete(v.outdated, window)
	default:
		delete(v.outdated, window)
	}
}

// reads says whether a bundle reads a version from one to before the other.
func (v *shownView) reads(from, before int64) bool {
	for number := range v.opened {
		if from <= number && number < before {
			return true
		}
	}
	return false
}

func (v *shownView) open() *openView {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.opened[v.number]++
	return &openView{view: v, number: v.number, shows: v.shows}
}

// openView is a version of a view that a bundle reads.
type openView struct {
	view          *shownView
	number, shows int64
}

func (o *openView) in(window []byte) (*contents, error) {
	o.view.mu.Lock()
	defer o.view.mu.Unlock()
	e := o.view.windows[string(window)]
	for e != nil && e.number > o.number {
		e = e.older
	}
	if e == nil {
		return nil, nil
	}
	return e.contents, nil
}

func (o *openView) token() []byte {
	return fmt.Appendf(nil, "v%d.%d", o.view.stage, o.shows)
}

func (o *openView) release() {
	v := o.view
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.opened[o.number]--; v.opened[o.number] > 0 {
		return
	}
	delete(v.opened, o.number)
	for window := range v.outdated {
		v.trim(window)
	}
}
