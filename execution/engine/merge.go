package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gorunner/gorunner/coder"
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
// those of which it was made. The nonce is the number of the question. That the
// function's edges have these coders is a property of plans.
type merging struct{ question, answer *shuffle.Layout }

// The ways in which an answer is none.
var (
	errNonce      = errors.New("an answer to no question, or a second one")
	errUnanswered = errors.New("no answer")
	errUnasked    = errors.New("a window that was not asked for, or twice")
)

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

// mergeBlockBytes is what blocks of questions are filled up to.
const mergeBlockBytes = 1 << 20

// ask encodes the questions.
func (m *merging) ask(sets [][][]byte) []element.Block {
	var blocks []element.Block
	b := element.Block{MinTime: element.MinTime}
	for i, set := range sets {
		if len(b.Data) >= mergeBlockBytes {
			blocks = append(blocks, b)
			b = element.Block{MinTime: element.MinTime}
		}
		b.Data = coder.PutHeader(b.Data, element.Header{
			Timestamp: element.MinTime, NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring},
		})
		nonce := binary.AppendUvarint(nil, uint64(i))
		b.Data = binary.AppendUvarint(b.Data, uint64(len(nonce)))
		b.Data = append(b.Data, nonce...)
		b.Data = binary.BigEndian.AppendUint32(b.Data, uint32(len(set)))
		for _, w := range set {
			b.Data = append(b.Data, w...)
		}
		b.Count++
	}
	return append(blocks, b)
}

// read decodes the answers. A window that its answer does not mention stays as
// it is: an SDK leaves out windows that it takes to be equal to others.
func (m *merging) read(sets [][][]byte, blocks []element.Block) ([][]windowing.Merged, error) {
	out := make([][]windowing.Merged, len(sets))
	answered := make([]bool, len(sets))
	for i := range blocks {
		for data := blocks[i].Data; len(data) > 0; {
			e, err := m.answer.Cut(data)
			if err != nil {
				return nil, err
			}
			data = data[e.Size:]
			n, err := nonce(e.Key())
			if err != nil || n >= uint64(len(sets)) || answered[n] {
				return nil, fmt.Errorf("%w: %x", errNonce, e.Key())
			}
			answered[n] = true
			if out[n], err = m.readSet(sets[n], e.Value[e.KeySize:]); err != nil {
				return nil, err
			}
		}
	}
	for n := range answered {
		if !answered[n] {
			return nil, fmt.Errorf("%w to question %d of %d", errUnanswered, n, len(sets))
		}
	}
	return out, nil
}

// nonce reads the number that ask has put into length-prefixed bytes.
func nonce(b []byte) (uint64, error) {
	_, n := binary.Uvarint(b)
	v, m := binary.Uvarint(b[n:])
	if m <= 0 || n+m != len(b) {
		return 0, errNonce
	}
	return v, nil
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
