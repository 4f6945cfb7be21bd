package engine

import (
	"errors"
	"fmt"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/shuffle"
)

// share is the part of its input that a bundle still has after splits. It is
// guarded by the execution's mu.
type share struct {
	// input is what the bundle began with: harnesses count its elements.
	input []element.Block
	// own is the number of elements, from the first, that it keeps whole.
	own int64
	// part stands for element own, if the bundle keeps a part of it.
	part []element.Block
}

func newShare(input []element.Block) share {
	s := share{input: input}
	for i := range input {
		s.own += int64(input[i].Count)
	}
	return s
}

// end is the number of the element behind the last that the share has, whole
// or in part.
func (s *share) end() int64 {
	if len(s.part) > 0 {
		return s.own + 1
	}
	return s.own
}

// The ways in which a split loses work or repeats it.
var (
	errCutOrder  = errors.New("these are not the two sides of a cut")
	errCutBeyond = errors.New("the bundle does not have the element in between")
	errCutLoses  = errors.New("neither side has a part of the element in between")
	errCutAdds   = errors.New("there are parts, but no element in between")
)

// check refuses cuts after which the two sides are not what the share was.
func (s *share) check(cut *harness.Split) error {
	between := cut.FirstResidual - cut.LastPrimary - 1
	parts := len(cut.Primaries) + len(cut.Residuals)
	switch {
	case cut.LastPrimary < -1 || between < 0 || between > 1:
		return errCutOrder
	case between == 0 && parts > 0:
		return errCutAdds
	case between == 1 && cut.LastPrimary+1 >= s.end():
		return errCutBeyond
	case between == 1 && parts == 0:
		return errCutLoses
	}
	return nil
}

// split cuts the share and returns both sides; the residuals that came with
// the split belong to the rest as well. An error leaves the share as it was.
func (s *share) split(layout *shuffle.Layout, cut harness.Split) (keep, rest []element.Block, err error) {
	if err := s.check(&cut); err != nil {
		return nil, nil, fmt.Errorf("keep up to element %d, give back from %d: %w", cut.LastPrimary, cut.FirstResidual, err)
	}
	next := share{input: s.input, own: min(cut.LastPrimary+1, s.own)}
	if cut.LastPrimary >= s.own {
		next.part = s.part // the cut is behind it
	}
	for i, p := range cut.Primaries {
		b, err := oneElement(layout, p)
		if err != nil {
			return nil, nil, fmt.Errorf("primary %d: %w", i, err)
		}
		next.part = append(next.part, b)
	}
	keep, _, err = layout.SplitAt(s.input, next.own, next.own)
	if err != nil {
		return nil, nil, err
	}
	if cut.FirstResidual < s.end() {
		if rest, err = s.from(layout, cut.FirstResidual); err != nil {
			return nil, nil, err
		}
	}
	*s = next
	return append(keep, next.part...), rest, nil
}

// from returns what the share has from the element on.
func (s *share) from(layout *shuffle.Layout, first int64) ([]element.Block, error) {
	whole, _, err := layout.SplitAt(s.input, s.own, s.own)
	if err != nil {
		return nil, err
	}
	if first >= s.own {
		return s.part, nil
	}
	_, rest, err := layout.SplitAt(whole, first, first)
	return append(rest, s.part...), err
}

// errNotOne reports the application of a transform to less or more than an
// element.
var errNotOne = errors.New("not one element")

// oneElement makes a block of the one element that data must be.
func oneElement(layout *shuffle.Layout, data []byte) (element.Block, error) {
	b, err := layout.MakeBlock(data)
	if err != nil {
		return element.Block{}, err
	}
	if b.Count != 1 {
		return element.Block{}, fmt.Errorf("%d bytes with %d elements: %w", len(data), b.Count, errNotOne)
	}
	return b, nil
}

// divide cuts blocks so that so many bundles can have about as many elements
// each.
func divide(layout *shuffle.Layout, blocks []element.Block, parts int) ([]element.Block, error) {
	var out []element.Block
	count := countOf(blocks)
	for ; parts > 1 && count > 1; parts-- {
		n := (count + int64(parts) - 1) / int64(parts)
		first, rest, err := layout.SplitAt(blocks, n, n)
		if err != nil {
			return nil, err
		}
		out, blocks, count = append(out, first...), rest, count-n
	}
	return append(out, blocks...), nil
}
