package shuffle

import (
	"encoding/binary"
	"slices"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
)

// Cutter cuts elements of a layout one after the other. It is immutable.
type Cutter struct{ quick quick }

// NewCutter makes a cutter.
func NewCutter(l *Layout) *Cutter { return &Cutter{newQuick(l)} }

// Cut returns where the value, what follows its key, and what follows the
// element begin in b. The element is in one window, which ends a byte before the
// value. If the last is not above 0, it may be any element, or none: Layout.Cut
// tells.
func (c *Cutter) Cut(b []byte) (value, keyEnd, end int) {
	if len(c.quick.forms) == 0 {
		return 0, 0, 0
	}
	return c.quick.cut(b)
}

// quick cuts elements of the most common layouts: in one window, global or an
// interval, with a pane that nothing follows, and a value of byte strings,
// numbers and pairs of these. It knows only elements that are whole, and leaves
// all others, and all that is malformed, to the layout. Most elements that the
// runner sees are cut by it, and nothing is done as often.
type quick struct {
	// forms are those of the parts of the value, the first keys of which make the
	// key; none if the layout is not among those.
	forms []form
	keys  int
	// intervals says that windows are intervals.
	intervals bool
}

// form is how a part of a value is encoded.
type form byte

const (
	prefixed form = iota
	varint
	oneByte
	eightBytes
)

// quickForms bounds the parts of a value.
const quickForms = 8

func newQuick(l *Layout) quick {
	q := quick{intervals: l.Window.Kind() == coder.IntervalWindow}
	if !q.intervals && l.Window.Kind() != coder.GlobalWindow {
		return quick{}
	}
	if !q.add(l.Value) {
		return quick{}
	}
	key := l.Key
	if key == nil && l.Value.Kind() == coder.KV {
		key = l.Value.Component(0)
	}
	if key == nil {
		return q
	}
	var k quick
	if !k.add(key) || len(k.forms) > len(q.forms) || !slices.Equal(k.forms, q.forms[:len(k.forms)]) {
		return quick{}
	}
	q.keys = len(k.forms)
	return q
}

// add appends the parts of a value. It fails if they are not known or too many.
func (q *quick) add(c *coder.Coder) bool {
	if len(q.forms) == quickForms {
		return false
	}
	switch c.Kind() {
	case coder.Bytes, coder.LengthPrefix:
		q.forms = append(q.forms, prefixed)
	case coder.VarInt:
		q.forms = append(q.forms, varint)
	case coder.Bool:
		q.forms = append(q.forms, oneByte)
	case coder.Double:
		q.forms = append(q.forms, eightBytes)
	case coder.KV:
		return q.add(c.Component(0)) && q.add(c.Component(1))
	case coder.Iterable, coder.StateBackedIterable, coder.Nullable, coder.ShardedKey,
		coder.GlobalWindow, coder.IntervalWindow, coder.CustomWindow:
		return false
	}
	return true
}

const cutShort = -1

// cut returns where the value, what follows its key, and what follows the
// element begin in b. The last is 0 if the element is none of those that are
// known, and cutShort if it may be one, of which b has only a part.
func (q *quick) cut(b []byte) (value, keyEnd, end int) {
	const header = 13 // time, number of windows, pane
	if len(b) < header || binary.BigEndian.Uint32(b[8:]) != 1 {
		return 0, 0, 0
	}
	at := header - 1
	if q.intervals {
		n := varint.measure(b[min(at+8, len(b)):])
		if n == 0 {
			return 0, 0, 0
		}
		if at += 8 + n; at >= len(b) {
			return 0, 0, cutShort
		}
	}
	if b[at]&^0x0f != 0 {
		return 0, 0, 0
	}
	at++
	value = at
	for i, f := range q.forms {
		if f == prefixed && at < len(b) && b[at] < 0x80 { // the most common case
			at += 1 + int(b[at])
		} else {
			n := f.measure(b[at:])
			if n == 0 {
				return 0, 0, 0
			}
			at += n
		}
		if at > len(b) {
			return 0, 0, cutShort
		}
		if i+1 == q.keys {
			keyEnd = at
		}
	}
	return value, keyEnd, at
}

// count cuts elements as long as they are of the kind it knows.
func (q *quick) count(data []byte) some {
	all := some{minTime: element.MaxTime, minEnd: element.MaxTime}
	at := 0
	for at < len(data) {
		_, _, end := q.cut(data[at:])
		if end <= 0 {
			break
		}
		all.minTime = min(all.minTime, coder.TimeWithin(data[at:]))
		all.count++
		at += end
	}
	all.data = data[:at]
	return all
}

// measure returns the extent of a part at the start of b, which is more than b if
// that ends within the part, and 0 if the part is of a kind that is rare.
func (f form) measure(b []byte) int {
	switch f {
	case prefixed:
		const most = 4
		size, n := binary.Uvarint(b[:min(len(b), most)])
		switch {
		case n > 0:
			return n + int(size)
		case len(b) < most:
			return len(b) + 1
		}
	case varint:
		const most = 9
		for i, c := range b[:min(len(b), most)] {
			if c < 0x80 {
				return i + 1
			}
		}
		if len(b) < most {
			return len(b) + 1
		}
	case oneByte:
		return 1
	case eightBytes:
		return 8
	}
	return 0
}
