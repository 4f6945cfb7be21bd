package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/group"
	"github.com/gorunner/gorunner/execution/windowing"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// merging is the wire format of a function that merges windows. A question is
//
//	KV<nonce, iterable<window>>
//
// and its answer
//
//	KV<nonce, KV<iterable<window>, iterable<KV<window, iterable<window>>>>>
//
// with the windows that stay as they are, and each window that is made with
// those of which it was made. That the function's edges have these coders is a
// property of plans.
type merging struct{ question, answer *shuffle.Layout }

// errUnasked refuses an answer about something else.
var errUnasked = errors.New("a window that was not asked for, or twice")

// newMergeFunc makes the function that asks the SDK; nil if there is none.
func newMergeFunc(p *plan.Plan, id plan.StageID, call caller) group.MergeFunc {
	if id == 0 {
		return nil
	}
	fn := p.Stage(id)
	m := newMerging(p, fn)
	return func(ctx context.Context, sets [][][]byte) ([][]windowing.Merged, error) {
		if len(sets) == 0 {
			return nil, nil
		}
		outputs, err := call(ctx, fn, m.ask(sets))
		if err != nil {
			return nil, err
		}
		merged, err := m.read(sets, outputs[0].Plain)
		if err != nil {
			return nil, fmt.Errorf("function %s: %w", fn.Name, err)
		}
		return merged, nil
	}
}

func newMerging(p *plan.Plan, fn *plan.Stage) *merging {
	return &merging{
		question: shuffle.EdgeLayout(p.Edges[fn.Input.Edge]),
		answer:   shuffle.EdgeLayout(p.Edges[fn.Outputs[0].Edge]),
	}
}

// ask encodes the questions.
func (m *merging) ask(sets [][][]byte) []element.Block {
	return questions(len(sets), func(b []byte, i int) []byte {
		b = binary.BigEndian.AppendUint32(b, uint32(len(sets[i])))
		for _, w := range sets[i] {
			b = append(b, w...)
		}
		return b
	})
}

// read decodes the answers. A window that its answer does not mention stays as
// it is: an SDK leaves out windows that it takes to be equal to others.
func (m *merging) read(sets [][][]byte, blocks []element.Block) ([][]windowing.Merged, error) {
	out := make([][]windowing.Merged, len(sets))
	err := answers(m.answer, len(sets), blocks, func(i int, value []byte) (err error) {
		out[i], err = m.readSet(sets[i], value)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// readSet decodes the answer to one question.
func (m *merging) readSet(set [][]byte, b []byte) ([]windowing.Merged, error) {
	answer := m.answer.Value.Component(1)
	alone, merged := answer.Component(0), answer.Component(1)
	left := make(map[string]bool, len(set)) // whether the window is yet to be found
	for _, w := range set {
		left[string(w)] = true
	}
	// What stays alone is what nothing is made of.
	n, err := alone.Elements(b, func([]byte) error { return nil })
	if err != nil {
		return nil, err
	}
	var out []windowing.Merged
	index := make(map[string]int) // of the windows that are made
	add := func(window, from []byte) {
		i, ok := index[string(window)]
		if !ok {
			i = len(out)
			index[string(window)] = i
			out = append(out, windowing.Merged{Window: window})
		}
		out[i].From = append(out[i].From, from)
	}
	made := merged.Component(0)
	_, err = merged.Elements(b[n:], func(kv []byte) error {
		n, err := made.Component(0).Measure(kv)
		if err != nil {
			return err
		}
		_, err = made.Component(1).Elements(kv[n:], func(w []byte) error {
			if !left[string(w)] {
				return fmt.Errorf("%w: %x", errUnasked, w)
			}
			left[string(w)] = false
			add(kv[:n], w)
			return nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, w := range set {
		if left[string(w)] {
			left[string(w)] = false
			add(w, w)
		}
	}
	return out, nil
}
