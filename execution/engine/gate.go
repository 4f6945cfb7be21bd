package engine

import (
	"fmt"
	"time"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/windowing"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// gate keeps the main input of a stage back that reads views which are shown
// window by window. Blocks of a window wait, in order and holding the
// watermark, until there is something to read in the window of each side input
// that theirs is mapped to: it has been shown, or the view is past it and it is
// empty.
//
//	block ──▶ window open? ──yes──────────────────────────▶ queue
//	               │no                                        ▲
//	               ▼                                          │
//	             held ──all its side windows shown or passed──┘
//
// A window that is open stays open. What has been in the queue therefore does
// not come to the gate again. A block costs no more than a look-up for each
// view. Where only the SDK knows which side window it is, it is asked once for
// each window, which waits for the answer.
type gate struct {
	queue *shuffle.Queue
	// window is the coder of the main input's windows, lateness how long after
	// its end each is read.
	window   *coder.Coder
	lateness time.Duration
	sides    []*gateSide
	// held are the windows that are not open, by their encoding.
	held map[string]*heldWindow
	// elements counts what waits.
	elements int64
	// passed is the stage's output watermark: nothing is left to do before it.
	passed element.EventTime
	// lasting says that the watermark tells nothing of what is left to do: input
	// that is bounded never comes too late, and a restriction has a watermark of
	// its own, beyond its window perhaps.
	lasting bool
}

// gateSide is a view that a gate waits for.
type gateSide struct {
	view *viewGate
	// to maps the windows of the main input to the view's. It is nil where only
	// the SDK can, by the function. If there is none either, each waits until the
	// view is past its own end.
	to       func(window []byte) ([]byte, error)
	function plan.StageID
	// mapped are the answers of the function for windows that are not past, asked
	// what waits for one.
	mapped sideWindows
	asked  map[string]*heldWindow
	// questions are yet to be asked.
	questions []string
}

// heldWindow is a window of the main input that is not open.
type heldWindow struct {
	gate   *gate
	window string
	// missing counts the side windows that cannot be read yet.
	missing int
	blocks  []heldBlock
}

type heldBlock struct {
	group element.KeyGroup
	block element.Block
}

// viewGate is what the gates know of a view.
type viewGate struct {
	stage   plan.StageID
	window  *coder.Coder
	readers []*gate
	// watermark is the view's output watermark. What is before it has been
	// shown, if there was anything.
	watermark element.EventTime
	// awaited are the windows that something waits for.
	awaited sideWindows
	// shown are the windows that have been shown and may still be asked for.
	shown sideWindows
	// keep says that it is not known which windows are asked for: they are kept
	// as long as the view is.
	keep bool
}

// newGates makes the gates of stages that read views, and the views' side of
// them. It returns the stages that have one.
func newGates(p *plan.Plan, stages []*stageState) (gated []*stageState) {
	type reading struct{ view, mapping plan.StageID }
	for _, st := range stages {
		seen := make(map[reading]bool)
		for _, side := range st.SideInputs {
			if r := (reading{side.View, side.Map}); side.View == 0 || seen[r] {
				continue
			} else {
				seen[r] = true
			}
			main, windows := p.Edges[st.Input.Edge].Windowing, p.Edges[side.Edge].Windowing
			if st.gate == nil {
				st.gate = newGate(st.queue, main)
				st.gate.lasting = st.splittable || p.Edges[st.Input.Edge].Bounded
				gated = append(gated, st)
			}
			view := stages[side.View]
			if view.viewed == nil {
				view.viewed = newViewGate(side.View, windows)
			}
			to, _ := windowing.Mapper(main, windows)
			st.gate.read(view.viewed, to, side.Map)
		}
	}
	return gated
}

func newGate(queue *shuffle.Queue, main *plan.Windowing) *gate {
	return &gate{
		queue: queue, window: main.Window, lateness: main.AllowedLateness,
		held: make(map[string]*heldWindow), passed: element.MinTime,
	}
}

func newViewGate(stage plan.StageID, side *plan.Windowing) *viewGate {
	return &viewGate{stage: stage, window: side.Window, watermark: element.MinTime, awaited: newSideWindows(), shown: newSideWindows()}
}

// read lets the gate wait for a view.
func (g *gate) read(v *viewGate, to func([]byte) ([]byte, error), function plan.StageID) {
	g.sides = append(g.sides, &gateSide{
		view: v, to: to, function: function, mapped: newSideWindows(), asked: make(map[string]*heldWindow),
	})
	v.readers = append(v.readers, g)
	v.keep = v.keep || to == nil
}

// push puts a block into the queue, now or when its window is open.
func (g *gate) push(group element.KeyGroup, b element.Block) error {
	h := g.held[string(b.Window)]
	if h == nil {
		h = &heldWindow{gate: g, window: string(b.Window)}
		for _, side := range g.sides {
			if err := side.await(h, b.Window); err != nil {
				return fmt.Errorf("side input of window %x: %w", b.Window, err)
			}
		}
		if h.missing == 0 {
			g.queue.Push(group, b)
			return nil
		}
		g.held[h.window] = h
	}
	h.blocks = append(h.blocks, heldBlock{group, b})
	g.elements += int64(b.Count)
	return nil
}

// waiting is the number of elements that wait.
func (g *gate) waiting() int64 {
	if g == nil {
		return 0
	}
	return g.elements
}

// await lets a window of the main input wait for the view, if it must.
func (s *gateSide) await(h *heldWindow, window []byte) error {
	switch {
	case s.to != nil:
		to, err := s.to(window)
		if err != nil {
			return err
		}
		return s.awaitWindow(h, to)
	case s.function == 0:
		end, err := h.gate.window.WindowEnd(window)
		if err == nil && !s.view.past(end) {
			s.view.awaited.put(sideKey{end: end}, end).add(h)
		}
		return err
	}
	if m := s.mapped.byKey[sideKey{window: h.window, known: true}]; m != nil {
		return s.awaitWindow(h, []byte(m.to))
	}
	s.asked[h.window] = h
	s.questions = append(s.questions, h.window)
	h.missing++
	return nil
}

// awaitWindow lets a window of the main input wait for one of the view.
func (s *gateSide) awaitWindow(h *heldWindow, to []byte) error {
	end, err := s.view.window.WindowEnd(to)
	key := sideKey{window: string(to), known: true}
	if err == nil && !s.view.past(end) && !s.view.shown.has(key) {
		s.view.awaited.put(key, end).add(h)
	}
	return err
}

// answer takes the window of the view to which one of the main input is mapped.
func (s *gateSide) answer(window string, to []byte) error {
	h := s.asked[window]
	if h == nil {
		return fmt.Errorf("window %x: %w", window, errUnasked)
	}
	end, err := h.gate.window.WindowEnd([]byte(window))
	if err != nil {
		return err
	}
	delete(s.asked, window)
	s.mapped.put(sideKey{window: window, known: true}, end).to = string(to)
	if err := s.awaitWindow(h, to); err != nil {
		return fmt.Errorf("side input of window %x: %w", window, err)
	}
	h.settle()
	return nil
}

// forget drops the answers for windows that are past.
func (s *gateSide) forget(g *gate) {
	for w := s.mapped.first(); w != nil && windowing.Expiry(w.end, g.lateness) < g.passed; w = s.mapped.first() {
		s.mapped.remove(w)
	}
}

// past says whether the view has come past a window with that end.
func (v *viewGate) past(end element.EventTime) bool {
	return end < v.watermark || v.watermark == element.MaxTime
}

// show says that a window of the view has been shown.
func (v *viewGate) show(window []byte) error {
	end, err := v.window.WindowEnd(window)
	if err != nil {
		return fmt.Errorf("view: window %x: %w", window, err)
	}
	key := sideKey{window: string(window), known: true}
	v.shown.put(key, end)
	if w := v.awaited.byKey[key]; w != nil {
		v.awaited.remove(w)
		w.open()
	}
	return nil
}

// advance says that the view has come to a watermark.
func (v *viewGate) advance(to element.EventTime) {
	v.watermark = to
	for w := v.awaited.first(); w != nil && v.past(w.end); w = v.awaited.first() {
		v.awaited.remove(w)
		w.open()
	}
}

// expired returns the windows that no reader asks for any more, once each.
//
// A reader asks for a window while it works on one of the main input's that is
// mapped to it, which ends no later, since it contains that one's last moment.
func (v *viewGate) expired() (windows []string) {
	if v.keep {
		return nil
	}
	for w := v.shown.first(); w != nil && v.passed(w.end); w = v.shown.first() {
		v.shown.remove(w)
		windows = append(windows, w.key.window)
	}
	return windows
}

// passed says whether all readers are past the windows with that end.
func (v *viewGate) passed(end element.EventTime) bool {
	for _, g := range v.readers {
		if g.passed <= windowing.Expiry(end, g.lateness) {
			return false
		}
	}
	return true
}

// settle says that one thing less is missing, and opens the window if it was
// the last.
func (h *heldWindow) settle() {
	if h.missing--; h.missing > 0 {
		return
	}
	g := h.gate
	delete(g.held, h.window)
	for _, b := range h.blocks {
		g.queue.Push(b.group, b.block)
		g.elements -= int64(b.block.Count)
	}
}

// arrive is push for what is new to the stage, and may have to wait at its gate.
func (s *scheduler) arrive(st *stageState, g element.KeyGroup, b element.Block) {
	if st.gate == nil {
		s.push(st, g, b)
		return
	}
	s.enter(st, st.hold, place{group: g}, &b)
	if err := st.gate.push(g, b); err != nil {
		s.fail(fmt.Errorf("stage %s: %w", st.Name, err))
	}
}

// show opens gates to windows of a view that hold something new.
func (s *scheduler) show(st *stageState, windows [][]byte) {
	for _, w := range windows {
		if st.viewed == nil {
			return // nobody reads it
		}
		if err := st.viewed.show(w); err != nil {
			s.fail(fmt.Errorf("stage %s: %w", st.Name, err))
		}
	}
}

// openGates draws the conclusions of a watermark that has moved for side inputs.
func (s *scheduler) openGates(st *stageState) {
	at := s.tracker.Output(st.ID)
	if st.viewed != nil {
		st.viewed.advance(at)
	}
	if st.gate == nil || st.gate.lasting && at < element.MaxTime {
		return
	}
	st.gate.passed = at
	for _, side := range st.gate.sides {
		side.forget(st.gate)
		if windows := side.view.expired(); len(windows) > 0 {
			s.orders = append(s.orders, forgetWindows{side.view.stage, windows})
		}
	}
}

// ask asks for the windows that only SDKs can map.
func (s *scheduler) ask() {
	for _, st := range s.gated {
		for i, side := range st.gate.sides {
			if len(side.questions) > 0 {
				s.orders = append(s.orders, mapWindows{st.ID, i, side.function, side.questions})
				side.questions = nil
				s.asking++
			}
		}
	}
}

// answered takes the answers to a question.
func (s *scheduler) answered(f windowsMapped) {
	s.asking--
	st, err := s.stages[f.stage], f.err
	for i := 0; i < len(f.to) && err == nil; i++ {
		err = st.gate.sides[f.side].answer(f.windows[i], f.to[i])
	}
	if err != nil {
		s.fail(fmt.Errorf("stage %s: map windows to those of side inputs: %w", st.Name, err))
	}
}
