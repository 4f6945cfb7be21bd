package trigger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gorunner/gorunner/element"
)

// State is what a machine remembers of one window. Machines make it, by New,
// Decode or Merge; it belongs to the machine that made it, or to one compiled
// from an equal trigger.
type State struct {
	// pending says that something has come since the last pane.
	pending bool
	// over says that a pane has been fired after the end of the window.
	over  bool
	cells []cell
}

// cell is what a node remembers. One of the two is zero.
type cell struct {
	// done says that the node has fired: for the last time, or at the end of the
	// window.
	done bool
	// value is the number of elements in the pane, or the time at which it is
	// due, counted from 1 at the beginning of time.
	value uint64
}

func (c *cell) setTime(t element.EventTime) { c.value = uint64(t-element.MinTime) + 1 }
func (c *cell) time() element.EventTime     { return element.EventTime(c.value-1) + element.MinTime }

// ErrMalformed is wrapped by the errors of [Machine.Decode].
var ErrMalformed = errors.New("malformed trigger state")

// An encoded state is a bit map, low bits first, followed by the values that it
// announces as varints. Two bits are the state's, then each cell has two.
const (
	bitPending = 1 << iota
	bitOver
	cellDone  = 1
	cellValue = 2
)

// Append appends the state's encoding, which is a byte for most triggers most
// of the time.
func (s *State) Append(b []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, mapBytes(len(s.cells)))...)
	if s.pending {
		b[at] |= bitPending
	}
	if s.over {
		b[at] |= bitOver
	}
	for i, c := range s.cells {
		bits := byte(0)
		switch {
		case c.done:
			bits = cellDone
		case c.value > 0:
			bits = cellValue
			b = binary.AppendUvarint(b, c.value)
		}
		b[at+(i+1)/4] |= bits << ((i + 1) % 4 * 2)
	}
	return b
}

// mapBytes is the size of the bit map.
func mapBytes(cells int) int { return (cells + 1 + 3) / 4 }

// Decode reads what [State.Append] wrote.
func (m *Machine) Decode(b []byte) (State, error) {
	s := m.New()
	head := mapBytes(len(m.cells))
	if len(b) < head {
		return State{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	s.pending, s.over = b[0]&bitPending > 0, b[0]&bitOver > 0
	rest := b[head:]
	for i := range s.cells {
		switch b[(i+1)/4] >> ((i + 1) % 4 * 2) & (cellDone | cellValue) {
		case cellDone:
			s.cells[i].done = true
		case cellValue:
			value, n := binary.Uvarint(rest)
			if n <= 0 || value > uint64(m.cells[i]) {
				return State{}, fmt.Errorf("%w: value of cell %d", ErrMalformed, i)
			}
			s.cells[i].value, rest = value, rest[n:]
		}
	}
	// Whatever else may be wrong makes a difference when it is written again.
	var again [64]byte
	if !bytes.Equal(s.Append(again[:0]), b) {
		return State{}, fmt.Errorf("%w: %x", ErrMalformed, b)
	}
	return s, nil
}
