package group

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/trigger"
	"github.com/gorunner/gorunner/plan"
)

// What is kept of a key in a window: a cell with an entry for what is remembered of
// the window, which is rewritten whenever it changes. A few values lie behind that;
// more of them have an entry of their own, to which is only appended until they are
// fired. Windows that merge have besides a cell for each key that lists them.
const (
	stateWindow  = "window"
	stateWindows = "windows"
	entryMemory  = ""
	entryValues  = "values"
	entryWindows = ""
)

// besideMax is how many bytes of values are kept with what is remembered of their
// window: to write them again costs less than a second entry does.
const besideMax = 256

// memory is what is remembered of a key in a window.
type memory struct {
	// closed says that the trigger has finished: nothing comes after it.
	closed bool
	// onTime says that what is fired from now on is not the pane on time: there
	// was one, or nothing was there when its time came.
	onTime bool
	// index counts the panes so far, nonSpeculative those that were not early.
	index, nonSpeculative int64
	// fresh counts the values that have come since the last pane.
	fresh int64
	// count and bytes are those of the values kept; apart says that they have an entry
	// of their own.
	count, bytes int64
	apart        bool
	// held says that hold is the timestamp of what is fresh; otherwise that is
	// the end of the window.
	held bool
	hold element.EventTime
	// timers are those that are set, by domain.
	timers  [timerDomains]setTimer
	trigger trigger.State
}

const timerDomains = int(plan.SynchronizedDomain) + 1

// setTimer is when a timer is due and what it holds; its zero value is one
// that is not set.
type setTimer struct {
	set        bool
	fire, hold element.EventTime
}

// errState reports state that is not what was written.
var errState = errors.New("malformed state of a window")

const memoryVersion = 1

// Bits of the second byte.
const (
	memoryClosed = 1 << iota
	memoryOnTime
	memoryHeld
	memoryTimer // and the next two
	_
	_
	memoryApart
)

// append appends the encoding: version, bits, counts, times, and the trigger's. The
// values are to follow, unless they are apart.
func (m *memory) append(b []byte) []byte {
	var bits byte
	if m.closed {
		bits |= memoryClosed
	}
	if m.onTime {
		bits |= memoryOnTime
	}
	if m.held {
		bits |= memoryHeld
	}
	if m.apart {
		bits |= memoryApart
	}
	for d := range m.timers {
		if m.timers[d].set {
			bits |= memoryTimer << d
		}
	}
	b = append(b, memoryVersion, bits)
	for _, n := range [...]int64{m.index, m.nonSpeculative, m.fresh, m.count, m.bytes} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	if m.held {
		b = coder.PutTime(b, m.hold)
	}
	for _, t := range m.timers {
		if t.set {
			b = coder.PutTime(coder.PutTime(b, t.fire), t.hold)
		}
	}
	return m.trigger.Append(b)
}

// readMemory reads what append wrote, and returns the values that follow.
func readMemory(b []byte, machine *trigger.Machine) (m memory, beside []byte, err error) {
	if len(b) < 2 || b[0] != memoryVersion {
		return m, nil, fmt.Errorf("%w: no version %d", errState, memoryVersion)
	}
	bits := b[1]
	m.closed, m.onTime, m.held = bits&memoryClosed != 0, bits&memoryOnTime != 0, bits&memoryHeld != 0
	m.apart = bits&memoryApart != 0
	r := stateReader{rest: b[2:]}
	for _, n := range [...]*int64{&m.index, &m.nonSpeculative, &m.fresh, &m.count, &m.bytes} {
		*n = r.count()
	}
	if m.held {
		m.hold = r.time()
	}
	for d := range m.timers {
		if bits&(memoryTimer<<d) != 0 {
			m.timers[d] = setTimer{set: true, fire: r.time(), hold: r.time()}
		}
	}
	if !m.apart {
		beside = r.last(m.bytes)
	}
	if r.err != nil {
		return m, nil, r.err
	}
	if m.trigger, err = machine.Decode(r.rest); err != nil {
		return m, nil, fmt.Errorf("%w: %w", errState, err)
	}
	return m, beside, nil
}

// stateReader reads state piece by piece until the first error.
type stateReader struct {
	rest []byte
	err  error
}

func (r *stateReader) count() int64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > 1<<63-1 {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return int64(v)
}

func (r *stateReader) time() element.EventTime {
	t, err := coder.Time(r.rest)
	if err != nil {
		r.fail()
		return 0
	}
	r.rest = r.rest[8:]
	return t
}

func (r *stateReader) bytes() []byte {
	n := r.count()
	if r.err != nil || n > int64(len(r.rest)) {
		r.fail()
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// last takes so many bytes off the end.
func (r *stateReader) last(n int64) []byte {
	at := int64(len(r.rest)) - n
	if at < 0 {
		r.fail()
		return nil
	}
	b := r.rest[at:]
	r.rest = r.rest[:at]
	return b
}

func (r *stateReader) fail() {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %d bytes before its end", errState, len(r.rest))
	}
	r.rest = nil
}

// keyWindows are the windows of a key, where they merge.
type keyWindows struct {
	// next is the address that the next window gets.
	next    int64
	windows map[string]keyWindow
}

// keyWindow says of a window where its cell is. The address stays when the
// window grows, so that its values need not move.
type keyWindow struct {
	address int64
	// closed windows do not merge any more, and take in nothing.
	closed bool
}

// sorted returns the windows in the order of their addresses.
func (k *keyWindows) sorted() []string {
	return slices.SortedFunc(maps.Keys(k.windows), func(a, b string) int {
		return cmp.Or(cmp.Compare(k.windows[a].address, k.windows[b].address), cmp.Compare(a, b))
	})
}

func (k *keyWindows) append(b []byte) []byte {
	b = append(b, memoryVersion)
	b = binary.AppendUvarint(b, uint64(k.next))
	for _, window := range k.sorted() {
		var closed byte
		if k.windows[window].closed {
			closed = 1
		}
		b = append(b, closed)
		b = binary.AppendUvarint(b, uint64(k.windows[window].address))
		b = binary.AppendUvarint(b, uint64(len(window)))
		b = append(b, window...)
	}
	return b
}

// readKeyWindows reads what append wrote; nil is a key without windows.
func readKeyWindows(b []byte) (keyWindows, error) {
	k := keyWindows{windows: make(map[string]keyWindow)}
	if b == nil {
		return k, nil
	}
	if len(b) == 0 || b[0] != memoryVersion {
		return k, fmt.Errorf("%w: no version %d", errState, memoryVersion)
	}
	r := stateReader{rest: b[1:]}
	k.next = r.count()
	for r.err == nil && len(r.rest) > 0 {
		closed := r.rest[0] != 0
		r.rest = r.rest[1:]
		w := keyWindow{closed: closed, address: r.count()}
		k.windows[string(r.bytes())] = w
	}
	return k, r.err
}
