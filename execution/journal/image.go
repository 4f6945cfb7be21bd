package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
)

// Image is what a job is at a start, but for its state: that stays where it is
// until it is asked for.
type Image struct {
	// Queued are in the order of their numbers.
	Queued  []Block
	Timers  []Timer
	Parked  []Parked
	Side    []SideBlock
	Shown   []Shown
	Stages  []Stage
	Scripts []Script
	Metrics metrics.Set
	// Draining says that the job is being drained.
	Draining bool
}

// ErrRow reports a row that is none.
var ErrRow = errors.New("malformed row")

// Kinds returns the ranges of keys, from and to, in which the rows of an image
// are.
func Kinds() [][2][]byte {
	kinds := make([][2][]byte, 0, 9)
	for _, k := range []byte{rowBlock, rowTimer, rowParked, rowSide, rowShown, rowStage, rowScript, rowMetric, rowDrain} {
		kinds = append(kinds, [2][]byte{{k}, {k + 1}})
	}
	return kinds
}

// Read enters a row. Rows come in the order of their keys; open finds what is
// stored at a place. An image does not refer to key and value afterwards.
func (m *Image) Read(key, value []byte, open func(element.Place) (element.Stored, error)) error {
	if len(key) == 0 {
		return fmt.Errorf("%w: empty key", ErrRow)
	}
	k, v := &reader{rest: key[1:]}, &reader{rest: value, open: open}
	switch key[0] {
	case rowBlock:
		m.Queued = append(m.Queued, readBlock(k, v))
	case rowTimer:
		m.Timers = append(m.Timers, readTimer(k, v))
	case rowParked:
		m.Parked = append(m.Parked, readParked(k, v))
	case rowSide:
		m.Side = append(m.Side, readSide(k, v))
	case rowShown:
		s := Shown{View: plan.StageID(k.number32()), Window: string(k.all()), Count: v.count()}
		s.Chunks = v.chunks()
		m.Shown = append(m.Shown, s)
	case rowStage:
		m.Stages = append(m.Stages, readStage(k, v))
	case rowScript:
		m.Scripts = append(m.Scripts, Script{Index: k.number32(), Played: v.count(), Epoch: element.EventTime(v.varint()), Clock: time.Duration(v.varint())})
	case rowMetric:
		k.all()
		if in := readMetric(v); v.err == nil {
			v.err = m.Metrics.Add([]metrics.Info{in})
		}
	case rowDrain:
		m.Draining = true
	default:
		return fmt.Errorf("%w: key %x of no kind", ErrRow, key)
	}
	if err := errors.Join(k.end(), v.end()); err != nil {
		return fmt.Errorf("row %x: %w", key, err)
	}
	return nil
}

func readBlock(k, v *reader) Block {
	flags := v.byte()
	b := Block{Stage: plan.StageID(v.uvarint()), Group: element.Unkeyed, Due: element.MinTime, Truncated: flags&isTruncated != 0}
	if flags&isGrouped != 0 {
		b.Group = v.group()
	}
	if flags&hasDue != 0 {
		b.Due = element.EventTime(v.varint())
	}
	b.Block = v.block(flags)
	b.Number = element.Number(k.number64())
	return b
}

func readSide(k, v *reader) SideBlock {
	b := SideBlock{Edge: plan.EdgeID(k.number32())}
	b.Block = v.block(v.byte())
	b.Number = element.Number(k.number64())
	return b
}

func readTimer(k, v *reader) Timer {
	var t Timer
	t.Stage, t.Name = readTimerName(k)
	t.Domain, t.Group = v.domain(), v.group()
	t.Fire, t.Hold = element.EventTime(v.varint()), element.EventTime(v.varint())
	t.Chain = v.count()
	t.Data = append([]byte{}, v.all()...)
	return t
}

func readParked(k, v *reader) Parked {
	p := Parked{Stage: plan.StageID(k.number32()), Domain: k.domain(), Group: element.KeyGroup(k.number16())}
	p.Count, p.First, p.Hold = v.varint(), element.EventTime(v.varint()), element.EventTime(v.varint())
	return p
}

// readTimerName reads the key of a timer's row behind its first byte.
func readTimerName(r *reader) (plan.StageID, timer.Name) {
	stage := plan.StageID(r.number32())
	return stage, timer.Name{Family: int(r.uvarint()), Key: r.text(), Tag: r.text(), Window: r.text()}
}

func readStage(k, v *reader) Stage {
	s := Stage{ID: plan.StageID(k.number32()), Finished: v.byte() == 1}
	for _, at := range [...]*element.EventTime{&s.Input, &s.Output, &s.Reached} {
		*at = element.EventTime(v.varint())
	}
	for _, n := range [...]*int64{&s.ElementsIn, &s.BytesIn, &s.ElementsOut, &s.BytesOut} {
		*n = v.varint()
	}
	return s
}

func readMetric(v *reader) metrics.Info {
	in := metrics.Info{URN: v.text(), Type: v.text(), Labels: map[string]string{}}
	for n := v.uvarint(); n > 0 && v.err == nil; n-- {
		label := v.text()
		in.Labels[label] = v.text()
	}
	in.Payload = append([]byte{}, v.all()...)
	return in
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// reader reads the parts of a row. After an error it yields zeros.
type reader struct {
	rest []byte
	open func(element.Place) (element.Stored, error)
	err  error
}

// end fails if something went wrong, or is left.
func (r *reader) end() error {
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("%w: %d bytes are left", ErrRow, len(r.rest))
	}
	return r.err
}

func (r *reader) take(n uint64) []byte {
	if r.err == nil && n > uint64(len(r.rest)) {
		r.err = fmt.Errorf("%w: %d of %d bytes", ErrRow, len(r.rest), n)
	}
	if r.err != nil {
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) all() []byte { return r.take(uint64(len(r.rest))) }

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) number16() int {
	if b := r.take(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) number32() int {
	if b := r.take(4); b != nil {
		return int(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) number64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	r.skip(n)
	return v
}

// below reads a number that is at most so large.
func (r *reader) below(most uint64) uint64 {
	v := r.uvarint()
	if v > most && r.err == nil {
		r.err = fmt.Errorf("%w: %d is more than %d", ErrRow, v, most)
	}
	if r.err != nil {
		return 0
	}
	return v
}

func (r *reader) count() int { return int(r.below(math.MaxInt64)) }

func (r *reader) group() element.KeyGroup { return element.KeyGroup(r.below(math.MaxUint16)) }

func (r *reader) domain() plan.TimeDomain {
	return plan.TimeDomain(r.below(uint64(plan.SynchronizedDomain)))
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	r.skip(n)
	return v
}

func (r *reader) skip(n int) {
	if n <= 0 && r.err == nil {
		r.err = fmt.Errorf("%w: number", ErrRow)
	}
	r.take(uint64(max(n, 0)))
}

func (r *reader) text() string { return string(r.take(r.uvarint())) }

// data returns a copy of a string of bytes.
func (r *reader) data() []byte { return append([]byte{}, r.take(r.uvarint())...) }

func (r *reader) block(flags byte) element.Block {
	b := element.Block{Count: r.count(), MinTime: element.EventTime(r.varint()), MinEnd: element.EventTime(r.varint())}
	if flags&hasWindow != 0 {
		b.Window = r.data()
	}
	if flags&hasData != 0 {
		b.Data = r.data()
	} else {
		b.Stored = r.stored()
	}
	if flags&hasPages == 0 {
		return b
	}
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		b.Pages = append(b.Pages, &element.Page{Token: r.text(), Chunks: r.chunks()})
	}
	return b
}

func (r *reader) chunks() []element.Chunk {
	var chunks []element.Chunk
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		if r.byte() == 0 {
			chunks = append(chunks, element.Chunk{Data: r.data()})
		} else {
			chunks = append(chunks, element.Chunk{Stored: r.stored()})
		}
	}
	return chunks
}

func (r *reader) stored() element.Stored {
	p := element.Place{File: r.uvarint(), Offset: r.uvarint(), Bytes: uint32(r.below(math.MaxUint32)), Size: uint32(r.below(math.MaxUint32))}
	if r.err != nil {
		return nil
	}
	s, err := r.open(p)
	r.err = err
	return s
}
