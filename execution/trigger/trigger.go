// Package trigger decides when the panes of a window are fired.
//
// A [Machine] is a trigger compiled into a flat list of nodes. What it
// remembers of one window is a [State], which goes to bytes and back. It is
// pure: elements and clocks go in, decisions come out.
//
//	s := m.New()
//	m.Elements(&s, n, c)      // n elements have come
//	for m.Ready(&s, c) {      // also when a clock has moved on
//		m.Fire(&s, c)         // a pane is emitted; parts start anew or finish
//	}
//
// Without another element or another time a state is ready but a few times in
// a row, so that loop ends: a trigger that is always ready waits for something
// new, and one that is ready since the end of the window has passed fires once
// for that and then for what comes late.
//
// A pane that is fired may hold nothing: a window whose early panes have taken
// all its elements is ready again at its end. Whether an empty pane is emitted
// is the caller's to say; it has been fired all the same.
//
// A Machine may be used from any goroutine, a State by one at a time.
package trigger

import (
	"slices"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/internal/invariants"
	"github.com/gorunner/gorunner/plan"
)

// Context is what a trigger goes by in one window.
type Context struct {
	// Watermark, Processing and Synchronized are what the clocks of the stage
	// show; processing times are milliseconds since the Unix epoch.
	Watermark, Processing, Synchronized element.EventTime
	// End is the window's maximum timestamp.
	End element.EventTime
}

// over says whether the window has ended. Nothing comes after MaxTime, so a
// window without an end has ended then too.
func (c *Context) over() bool { return c.Watermark > c.End || c.Watermark == element.MaxTime }

// Wake is when a trigger may become ready without another element: a time in
// each domain, element.MaxTime where it does not wait for that clock. It may
// be ready only after the clock has passed Event, and when it has reached
// Processing or Synchronized.
type Wake struct{ Event, Processing, Synchronized element.EventTime }

// New is the state of a window in which nothing has come.
func (m *Machine) New() State {
	if len(m.cells) == 0 {
		return State{}
	}
	return State{cells: make([]cell, len(m.cells))}
}

// Elements says that n elements have come since it was last called.
func (m *Machine) Elements(s *State, n int, c Context) {
	if n <= 0 || m.Finished(s) {
		return
	}
	s.pending = true
	r := run{m, s, &c}
	r.elements(0, uint64(n))
}

// Ready says whether a pane may be fired now.
func (m *Machine) Ready(s *State, c Context) bool {
	r := run{m, s, &c}
	return r.ready(0)
}

// Fire says that a pane is fired, which must be ready.
func (m *Machine) Fire(s *State, c Context) {
	r := run{m, s, &c}
	if invariants.Enabled {
		invariants.Assert(r.ready(0), "trigger %v fired before it was ready", m.trigger)
	}
	r.fire(0)
	s.pending = false
	s.over = s.over || c.over()
}

// Finished says that the trigger never fires again: what comes later in the
// window is dropped.
func (m *Machine) Finished(s *State) bool {
	r := run{m, s, nil}
	return r.finished(0)
}

// Wake says when to ask again. A time that has been reached is not in it.
func (m *Machine) Wake(s *State, c Context) Wake {
	w := Wake{element.MaxTime, element.MaxTime, element.MaxTime}
	r := run{m, s, &c}
	r.wake(0, &w)
	return w
}

// Early says whether a trigger may fire before the end of the window.
func Early(t plan.Trigger) bool {
	switch t := t.(type) {
	case nil, plan.DefaultTrigger, plan.NeverTrigger:
		return false
	case plan.AfterEndOfWindow:
		return t.Early != nil && Early(t.Early)
	case plan.AlwaysTrigger, plan.AfterCount, plan.AfterProcessingTime, plan.AfterSynchronizedProcessingTime:
		return true
	case plan.AfterEach:
		return len(t.Parts) > 0 && Early(t.Parts[0])
	case plan.AfterAll:
		return !slices.ContainsFunc(t.Parts, func(p plan.Trigger) bool { return !Early(p) })
	case plan.AfterAny:
		return slices.ContainsFunc(t.Parts, Early)
	case plan.OrFinally:
		return Early(t.Main) || Early(t.Finally)
	case plan.Repeat:
		return Early(t.Part)
	}
	return true
}
