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
// A Machine may be used from any goroutine, a State by one at a time.
package trigger

import (
	"github.com/gorunner/gorunner/element"
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

// Machine is a compiled trigger.
type Machine struct{}

// State is what a machine remembers of one window.
type State struct{}

// Wake is when a trigger may become ready without another element: a time in
// each domain, element.MaxTime where it does not wait for that clock. It may
// be ready only after the clock has passed Event, and when it has reached
// Processing or Synchronized.
type Wake struct{ Event, Processing, Synchronized element.EventTime }

// Compile compiles a trigger; nil is the default trigger. It fails on a
// trigger that makes no sense, such as one without parts.
func Compile(plan.Trigger) (*Machine, error) { return &Machine{}, nil }

// New is the state of a window in which nothing has come.
func (m *Machine) New() State { return State{} }

// Decode reads what [State.Append] wrote.
func (m *Machine) Decode([]byte) (State, error) { return State{}, nil }

// Append appends the state's encoding.
func (s *State) Append(b []byte) []byte { return b }

// Elements says that n elements have come since it was last called.
func (m *Machine) Elements(*State, int, Context) {}

// Ready says whether a pane may be fired now.
func (m *Machine) Ready(*State, Context) bool { return false }

// Fire says that a pane is fired, which must be ready.
func (m *Machine) Fire(*State, Context) {}

// Finished says that the trigger never fires again: what comes later in the
// window is dropped.
func (m *Machine) Finished(*State) bool { return false }

// Wake says when to ask again.
func (m *Machine) Wake(*State, Context) Wake {
	return Wake{element.MaxTime, element.MaxTime, element.MaxTime}
}

// Merge makes the state of a window into which others have merged.
func (m *Machine) Merge([]State, Context) State { return State{} }
