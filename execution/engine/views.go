package engine

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
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
	// rows notes what outlives the process; nil if nothing does.
	rows *viewRows
}

// tokenOf names a version of a view, as a process of the job has it.
func tokenOf(life uint64, kind byte, view, version int64) []byte {
	return fmt.Appendf(nil, "%c%d.%d.%d", kind, life, view, version)
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
	// prompt says that a part of a window can be read at once.
	prompt(window []byte, part harness.SideInputPart) bool
	// release says that the bundle has ended.
	release()
}

// newViews makes the views of a plan, which enter what they have in memory in
// the account. life is that of the process among those that have had the job.
func newViews(p *plan.Plan, a *shuffle.Account, life uint64) *views {
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
				v.complete[id.edge] = newCompleteView(e, a, life)
			} else {
				v.shown[id.view] = newShownView(id.view, e.Value, a, life)
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
		w.add(blocks)
		v.rows.add(edge, blocks)
	}
}

// show makes a new version of a view, in which some windows hold something
// else than before.
func (v *views) show(stage plan.StageID, windows []shownWindow) {
	if w := v.shown[stage]; w != nil && len(windows) > 0 {
		w.show(windows)
		v.rows.show(stage, windows)
	}
}

// forget frees windows of a view that nobody asks for any more.
func (v *views) forget(stage plan.StageID, windows []string) {
	if w := v.shown[stage]; w != nil {
		w.forget(windows)
		v.rows.forget(stage, windows)
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
		v.rows.free(id, v.shown[id.view])
		if id.view == 0 {
			v.complete[id.edge].memory.free()
			v.complete[id.edge] = nil
		} else {
			v.shown[id.view].free()
			v.shown[id.view] = nil
		}
	}
}

// drop frees everything.
func (v *views) drop() {
	for _, w := range v.complete {
		if w != nil {
			w.memory.free()
		}
	}
	for _, w := range v.shown {
		if w != nil {
			w.free()
		}
	}
	clear(v.complete)
	clear(v.shown)
}

// completeView is an edge that is complete when it is read.
type completeView struct {
	edge   *plan.Edge
	life   uint64
	memory viewMemory
	// blocks belong to the job's loop until the first look-up, which makes the
	// index of them.
	blocks []element.Block
	index  func() (map[string]*contents, error)
	// indexed says that the index is there.
	indexed atomic.Bool
}

func newCompleteView(e *plan.Edge, a *shuffle.Account, life uint64) *completeView {
	v := &completeView{edge: e, life: life, memory: viewMemory{account: a}}
	v.index = sync.OnceValues(func() (map[string]*contents, error) {
		index, err := v.indexWindows()
		v.indexed.Store(err == nil)
		return index, err
	})
	return v
}

func (v *completeView) add(blocks []element.Block) {
	v.blocks = append(v.blocks, blocks...)
	for i := range blocks {
		v.memory.add(footprint(&blocks[i]))
	}
}

func (v *completeView) in(window []byte) (*contents, error) {
	index, err := v.index()
	return index[string(window)], err
}

func (v *completeView) prompt(window []byte, part harness.SideInputPart) bool {
	if !v.indexed.Load() {
		return false
	}
	c, err := v.in(window)
	return err == nil && (c == nil || c.prompt(part))
}

func (v *completeView) token() []byte { return tokenOf(v.life, 'e', int64(v.edge.ID), 0) }

func (v *completeView) release() {}

// indexWindows finds where the values of each window lie. They are not copied;
// blocks on disk are loaded one by one.
func (v *completeView) indexWindows() (map[string]*contents, error) {
	chunks := make([]element.Chunk, len(v.blocks))
	all := make([]span, len(v.blocks))
	for i := range v.blocks {
		chunks[i] = element.Chunk{Data: v.blocks[i].Data, Stored: v.blocks[i].Stored}
		all[i] = span{chunk: uint32(i), to: uint32(chunks[i].Size())}
	}
	v.blocks = nil
	layout := shuffle.EdgeLayout(v.edge)
	data := newViewData(chunks, layout.Cut, &v.memory)
	w := windowIndex{spans: make(map[string]*[]span)}
	err := data.each(all, func(e *shuffle.Element, chunk, at uint32) error {
		end := at + uint32(len(e.Value))
		return w.add(layout, e, span{chunk, end - uint32(e.Size), end})
	})
	if err != nil {
		return nil, err
	}
	index := make(map[string]*contents, len(w.spans))
	for window, spans := range w.spans {
		v.memory.add(int64(cap(*spans) * spanBytes))
		index[window] = newContents(data, *spans, 0)
	}
	return index, nil
}

// windowIndex collects where the elements of windows lie.
type windowIndex struct {
	spans map[string]*[]span
	// last is the window of the last element that had one only.
	last  []byte
	lasts *[]span
}

// add notes that an element lies in s.
func (w *windowIndex) add(layout *shuffle.Layout, e *shuffle.Element, s span) error {
	if e.Header.NumWindows == 1 && w.lasts != nil && bytes.Equal(e.Header.Windows, w.last) {
		extend(w.lasts, s)
		return nil
	}
	rest := e.Header.Windows
	for range e.Header.NumWindows {
		n, err := layout.Window.Measure(rest)
		if err != nil {
			return fmt.Errorf("window: %w", err)
		}
		spans := w.spans[string(rest[:n])]
		if spans == nil {
			spans = new([]span)
			w.spans[string(rest[:n])] = spans
		}
		extend(spans, s)
		w.last, w.lasts = append(w.last[:0], rest[:n]...), spans
		rest = rest[n:]
	}
	return nil
}

// extend adds s to spans, of which it may continue the last.
func extend(spans *[]span, s span) {
	if n := len(*spans); n > 0 && (*spans)[n-1].chunk == s.chunk && (*spans)[n-1].to == s.from {
		(*spans)[n-1].to = s.to
		return
	}
	*spans = append(*spans, s)
}

// shownWindow is what a window of a view shows: encoded values, back to back in
// chunks, each whole.
type shownWindow struct {
	window []byte
	chunks []element.Chunk
	count  int
}

// shownView is what a View stage has shown.
type shownView struct {
	stage   plan.StageID
	value   *coder.Coder
	account *shuffle.Account
	life    uint64

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

func (e *edition) free() {
	if e.contents != nil {
		e.contents.data.memory.free()
	}
}

func newShownView(stage plan.StageID, value *coder.Coder, a *shuffle.Account, life uint64) *shownView {
	return &shownView{
		stage: stage, value: value, account: a, life: life,
		opened: make(map[int64]int), windows: make(map[string]*edition), outdated: make(map[string]bool),
	}
}

func (v *shownView) show(windows []shownWindow) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.number++
	v.shows++
	for _, w := range windows {
		v.replace(string(w.window), v.contents(&w))
	}
}

// contents makes the contents of what a window is to show.
func (v *shownView) contents(w *shownWindow) *contents {
	memory := &viewMemory{account: v.account}
	spans := make([]span, len(w.chunks))
	size := 0
	for i := range w.chunks {
		spans[i] = span{chunk: uint32(i), to: uint32(w.chunks[i].Size())}
		size += w.chunks[i].Size()
		memory.add(int64(len(w.chunks[i].Data)))
	}
	bare := 0
	if size == 0 {
		bare = w.count
	}
	return newContents(newViewData(w.chunks, cutValues(v.value), memory), spans, bare)
}

// free says that the view is not read any more.
func (v *shownView) free() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range v.windows {
		for ; e != nil; e = e.older {
			e.free()
		}
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
		older.free() // the version has not been seen yet
		older = older.older
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
			newer.older.free()
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

func (o *openView) prompt(window []byte, part harness.SideInputPart) bool {
	c, err := o.in(window)
	return err == nil && (c == nil || c.prompt(part))
}

func (o *openView) token() []byte {
	return tokenOf(o.view.life, 'v', int64(o.view.stage), o.shows)
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
