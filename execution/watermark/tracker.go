// Package watermark derives the watermarks of a plan's stages from counted
// holds. Nobody ever sets a watermark: whoever owes output holds it, by a
// timestamp, and releases the hold in the same step in which the debt is paid
// or handed on.
//
// For a stage s with upstream stages u and holds h:
//
//	input(s)  = min(output(u) for all u, h of kind Pending or Running)
//	output(s) = min(input(s), h of any kind)
//
// Properties its users may assume:
//
//  1. Watermarks never go back, unless the tracker is relaxed. A hold that comes
//     after the watermark has passed its timestamp (late data) counts, but moves
//     nothing.
//  2. Advance visits only stages whose inputs or holds changed, in topological
//     order, and reports each stage at most once.
//  3. Equal sequences of calls give equal results.
//
// A Tracker is not safe for concurrent use; the scheduler of a job owns it.
package watermark

import (
	"fmt"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/internal/invariants"
	"github.com/gorunner/gorunner/plan"
)

// Kind says what owes the output.
type Kind int

// The kinds of holds.
const (
	// Pending is input that waits in the stage's queue.
	Pending Kind = iota
	// Running is input of a bundle that has not been committed.
	Running
	// Buffered is input that the stage has taken and keeps until a window closes.
	Buffered
	// Timed is what timers will emit when they fire.
	Timed
	numKinds
)

// String is the kind in words, as Explain uses it.
func (k Kind) String() string {
	switch k {
	case Pending:
		return "pending input"
	case Running:
		return "a running bundle"
	case Buffered:
		return "buffered windows"
	case Timed:
		return "timers"
	case numKinds:
	}
	return fmt.Sprintf("kind(%d)", int(k))
}

// Tracker derives the watermarks of all stages of a job.
type Tracker struct {
	stages []stage
	dirty  stageHeap
	queued []bool
	// relaxed trackers follow holds back, too.
	relaxed bool
}

type stage struct {
	upstream, downstream []plan.StageID
	holds                [numKinds]multiset
	input, output        element.EventTime
}

// New makes a tracker. upstream lists for each stage the stages whose output
// it reads as main input; each is smaller than the stage itself. A stage
// without any is a root, whose input watermark is element.MaxTime from the
// first Advance on: hold it for what it has yet to emit.
func New(upstream [][]plan.StageID) *Tracker {
	t := &Tracker{stages: make([]stage, len(upstream)), queued: make([]bool, len(upstream))}
	for id, ups := range upstream {
		s := &t.stages[id]
		s.upstream = ups
		s.input, s.output = element.MinTime, element.MinTime
		for _, u := range ups {
			invariants.Assert(int(u) < id, "stage %d reads stage %d, which is not earlier", id, u)
			t.stages[u].downstream = append(t.stages[u].downstream, plan.StageID(id))
		}
	}
	for id := range t.stages {
		t.touch(plan.StageID(id))
	}
	return t
}

// NewRelaxed makes a tracker without memory: what it says is the earliest hold
// there is, and goes back when an earlier one comes. It suits a time that is
// bounded by something else besides, which the tracker does not know.
func NewRelaxed(upstream [][]plan.StageID) *Tracker {
	t := New(upstream)
	t.relaxed = true
	return t
}

// Resume sets the watermarks that a stage had before, below which they do not go
// back.
func (t *Tracker) Resume(id plan.StageID, input, output element.EventTime) {
	s := &t.stages[id]
	s.input, s.output = max(s.input, input), max(s.output, output)
	t.touch(id)
}

// Hold adds a hold of the stage at the time. A hold at element.MaxTime counts
// as one just before it, so that what is held never looks finished.
func (t *Tracker) Hold(id plan.StageID, kind Kind, at element.EventTime) {
	t.stages[id].holds[kind].add(clamp(at))
	t.touch(id)
}

// Release takes back a hold that was added with the same arguments.
func (t *Tracker) Release(id plan.StageID, kind Kind, at element.EventTime) {
	ok := t.stages[id].holds[kind].remove(clamp(at))
	invariants.Assert(ok, "stage %d releases a hold for %v at %v that it does not have", id, kind, at)
	t.touch(id)
}

func clamp(at element.EventTime) element.EventTime { return min(at, element.MaxTime-1) }

// Input returns the stage's input watermark as of the last Advance.
func (t *Tracker) Input(id plan.StageID) element.EventTime { return t.stages[id].input }

// Upstream returns how far all upstream stages have come as of the last Advance:
// what the input watermark would be without holds of the stage itself.
func (t *Tracker) Upstream(id plan.StageID) element.EventTime {
	at := element.MaxTime
	for _, u := range t.stages[id].upstream {
		at = min(at, t.stages[u].output)
	}
	return at
}

// Output returns the stage's output watermark as of the last Advance.
func (t *Tracker) Output(id plan.StageID) element.EventTime { return t.stages[id].output }

// Advance propagates what has changed and returns the stages whose input or
// output watermark moved, in topological order.
func (t *Tracker) Advance() []plan.StageID {
	var moved []plan.StageID
	for {
		id, ok := t.dirty.pop()
		if !ok {
			return moved
		}
		t.queued[id] = false
		s := &t.stages[id]
		input, output := t.derive(s)
		if input == s.input && output == s.output {
			continue
		}
		invariants.Assert(t.relaxed || input >= s.input && output >= s.output, "watermark of stage %d goes back", id)
		if output != s.output {
			for _, d := range s.downstream {
				t.touch(d)
			}
		}
		s.input, s.output = input, output
		moved = append(moved, id)
	}
}

func (t *Tracker) derive(s *stage) (input, output element.EventTime) {
	input = element.MaxTime
	for _, u := range s.upstream {
		input = min(input, t.stages[u].output)
	}
	input = min(input, s.holds[Pending].min(), s.holds[Running].min())
	output = min(input, s.holds[Buffered].min(), s.holds[Timed].min())
	if t.relaxed {
		return input, output
	}
	return max(input, s.input), max(output, s.output)
}

func (t *Tracker) touch(id plan.StageID) {
	if !t.queued[id] {
		t.queued[id] = true
		t.dirty.push(id)
	}
}

// Reason names what keeps a stage's output watermark from advancing.
type Reason struct {
	// Stage has the hold; it is the stage asked for, or one upstream of it.
	Stage plan.StageID
	Kind  Kind
	At    element.EventTime
}

// Explain follows the smallest hold upstream. ok is false when nothing holds
// the stage: its watermark is element.MaxTime.
func (t *Tracker) Explain(id plan.StageID) (r Reason, ok bool) {
	for {
		s := &t.stages[id]
		best := element.MaxTime
		for k := range numKinds {
			if at := s.holds[k].min(); at < best {
				best, r, ok = at, Reason{Stage: id, Kind: k, At: at}, true
			}
		}
		next := id
		for _, u := range s.upstream {
			if at := t.stages[u].output; at < best {
				best, next = at, u
			}
		}
		if next == id {
			return r, ok
		}
		id = next
	}
}
