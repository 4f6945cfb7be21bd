package trigger

import (
	"errors"
	"fmt"
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
)

// The largest trigger that is compiled.
const (
	MaxNodes = 1000
	MaxDepth = 100
)

// ErrTooLarge is wrapped by the error of [Compile] for a trigger beyond
// [MaxNodes] or [MaxDepth].
var ErrTooLarge = errors.New("trigger is too large")

// Machine is a compiled trigger.
type Machine struct {
	trigger plan.Trigger
	// nodes are the parts of the trigger, each before its own parts.
	nodes []node
	// cells say what the cells of a state may hold, in the order of the nodes
	// that have one.
	cells []cellLimit
}

type kind int

const (
	never kind = iota
	always
	afterEnd // the default trigger
	endOfWindow
	count
	delay
	synchronized
	each
	all
	anyOf
	orFinally
	repeat
)

// node is a part of a trigger. The state of a node and its parts is in
// neighbouring cells, the node's own first.
type node struct {
	kind kind
	// end is the index behind the node's last part. Its first part stands right
	// behind it, the next one at the end of the first, and so on.
	end int
	// firstCell and endCell bound the cells of the node and its parts.
	firstCell, endCell int
	// early and late are parts of an endOfWindow, 0 where it has none.
	early, late int
	shifts      []shift
}

// cellLimit is the largest value of a cell.
type cellLimit uint64

// times is the number of times there are, and so the largest value of a cell
// that holds one: 1 is element.MinTime.
const times = cellLimit(element.MaxTime-element.MinTime) + 1

// shift is a plan.TimeShift in milliseconds.
type shift struct{ delay, period, offset int64 }

// Compile compiles a trigger; nil is the default trigger. It fails on a
// trigger that makes no sense, such as one without parts.
func Compile(t plan.Trigger) (*Machine, error) {
	if t == nil {
		t = plan.DefaultTrigger{}
	}
	m := &Machine{trigger: t}
	if err := m.add(t, 1); err != nil {
		return nil, fmt.Errorf("trigger: %w", err)
	}
	return m, nil
}

// add appends the nodes of t, which is on the given level.
func (m *Machine) add(t plan.Trigger, depth int) error {
	if depth > MaxDepth || len(m.nodes) == MaxNodes {
		return fmt.Errorf("%w: more than %d parts, or %d within one another", ErrTooLarge, MaxNodes, MaxDepth)
	}
	i := len(m.nodes)
	m.nodes = append(m.nodes, node{firstCell: len(m.cells)})
	if err := m.fill(i, t, depth); err != nil {
		return err
	}
	m.nodes[i].end, m.nodes[i].endCell = len(m.nodes), len(m.cells)
	return nil
}

// fill makes node i, the last one, what t says and appends its parts.
func (m *Machine) fill(i int, t plan.Trigger, depth int) error {
	switch t := t.(type) {
	case nil:
		return errors.New("a part is missing")
	case plan.NeverTrigger:
		m.leaf(i, never)
	case plan.AlwaysTrigger:
		m.leaf(i, always)
	case plan.DefaultTrigger:
		m.leaf(i, afterEnd)
	case plan.AfterCount:
		if t.Elements < 1 {
			return fmt.Errorf("%v: fires after less than one element", t)
		}
		m.leaf(i, count, cellLimit(t.Elements))
	case plan.AfterProcessingTime:
		var err error
		if m.nodes[i].shifts, err = shifts(t.Shifts); err != nil {
			return fmt.Errorf("%v: %w", t, err)
		}
		m.leaf(i, delay, times)
	case plan.AfterSynchronizedProcessingTime:
		m.leaf(i, synchronized, times)
	case plan.AfterEndOfWindow:
		return m.endOfWindow(i, t, depth)
	case plan.AfterEach:
		return m.composite(i, each, t.Parts, depth)
	case plan.AfterAll:
		return m.composite(i, all, t.Parts, depth)
	case plan.AfterAny:
		return m.composite(i, anyOf, t.Parts, depth)
	case plan.OrFinally:
		m.cells = append(m.cells, 0)
		return m.composite(i, orFinally, []plan.Trigger{t.Main, t.Finally}, depth)
	case plan.Repeat:
		return m.composite(i, repeat, []plan.Trigger{t.Part}, depth)
	}
	return nil
}

func (m *Machine) leaf(i int, k kind, cells ...cellLimit) {
	m.nodes[i].kind = k
	m.cells = append(m.cells, cells...)
}

func (m *Machine) composite(i int, k kind, parts []plan.Trigger, depth int) error {
	m.nodes[i].kind = k
	if len(parts) == 0 {
		return errors.New("a trigger of parts has none")
	}
	for _, part := range parts {
		if err := m.add(part, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// endOfWindow repeats the early and the late trigger, as the model has it.
func (m *Machine) endOfWindow(i int, t plan.AfterEndOfWindow, depth int) error {
	m.leaf(i, endOfWindow, 0)
	if t.Early != nil {
		m.nodes[i].early = len(m.nodes)
		if err := m.add(plan.Repeat{Part: t.Early}, depth+1); err != nil {
			return err
		}
	}
	if t.Late != nil {
		m.nodes[i].late = len(m.nodes)
		if err := m.add(plan.Repeat{Part: t.Late}, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func shifts(in []plan.TimeShift) ([]shift, error) {
	out := make([]shift, len(in))
	for i, s := range in {
		if s.Delay < 0 || s.Period < 0 || s.Period > 0 && s.Period < time.Millisecond {
			return nil, errors.New("a time can be moved forward by whole milliseconds only")
		}
		out[i] = shift{s.Delay.Milliseconds(), s.Period.Milliseconds(), s.Offset.Milliseconds()}
	}
	return out, nil
}

// move moves a time on, at most to the end of time. The sum does not overflow:
// times are microseconds and durations nanoseconds of 64 bits.
func (s shift) move(t element.EventTime) element.EventTime {
	by := s.delay
	if s.period > 0 {
		by = s.offset%s.period - int64(t)%s.period
		by = (by%s.period + s.period) % s.period
	}
	return min(t+element.EventTime(by), element.MaxTime)
}
