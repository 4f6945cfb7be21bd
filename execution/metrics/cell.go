package metrics

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// The types that are merged. Values of any other type replace each other.
const (
	typeSumInt64     = "beam:metrics:sum_int64:v1"
	typeSumDouble    = "beam:metrics:sum_double:v1"
	typeDistInt64    = "beam:metrics:distribution_int64:v1"
	typeDistDouble   = "beam:metrics:distribution_double:v1"
	typeLatestInt64  = "beam:metrics:latest_int64:v1"
	typeLatestDouble = "beam:metrics:latest_double:v1"
	typeTopInt64     = "beam:metrics:top_n_int64:v1"
	typeTopDouble    = "beam:metrics:top_n_double:v1"
	typeBottomInt64  = "beam:metrics:bottom_n_int64:v1"
	typeBottomDouble = "beam:metrics:bottom_n_double:v1"
	typeSetString    = "beam:metrics:set_string:v1"
	typeTrie         = "beam:metrics:bounded_trie:v1"
	typeHistogram    = "beam:metrics:histogram_int64:v1"
)

// cell is the merged value of an info. The set is closed: sum, distribution,
// latest, extrema, stringSet, trie, histogram, last.
//
//sumtype:decl
type cell interface {
	// merge adds a value of the same type. On error nothing has changed.
	merge(cell) error
	encode() []byte
}

// decode reads a payload.
func decode(typ string, payload []byte) (cell, error) {
	r := &reader{b: payload}
	var c cell
	switch typ {
	case typeSumInt64:
		c = &sum[int64]{v: r.varint()}
	case typeSumDouble:
		c = &sum[float64]{v: r.double()}
	case typeDistInt64:
		d := readDistribution(r)
		c = &d
	case typeDistDouble:
		c = &distribution[float64]{count: r.varint(), sum: r.double(), min: r.double(), max: r.double()}
	case typeLatestInt64:
		c = &latest[int64]{at: r.varint(), v: r.varint()}
	case typeLatestDouble:
		c = &latest[float64]{at: r.varint(), v: r.double()}
	case typeTopInt64:
		c = &extrema[int64]{largest: true, v: iterable(r, (*reader).varint)}
	case typeTopDouble:
		c = &extrema[float64]{largest: true, v: iterable(r, (*reader).double)}
	case typeBottomInt64:
		c = &extrema[int64]{v: iterable(r, (*reader).varint)}
	case typeBottomDouble:
		c = &extrema[float64]{v: iterable(r, (*reader).double)}
	case typeSetString:
		c = newStringSet(iterable(r, (*reader).text))
	case typeTrie:
		return decodeTrie(payload)
	case typeHistogram:
		return decodeHistogram(payload)
	default:
		return &last{v: slices.Clone(payload)}, nil
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return c, nil
}

// mergeEncoded merges a payload of the same type into the kinds of values that
// bundles have most of, without making a value of it first. known is false for
// the others.
func mergeEncoded(c cell, payload []byte) (known bool, err error) {
	r := reader{b: payload}
	switch c := c.(type) {
	case *sum[int64]:
		v := r.varint()
		if err = r.end(); err == nil {
			c.v += v
		}
		return true, err
	case *distribution[int64]:
		d := readDistribution(&r)
		if err = r.end(); err == nil {
			c.combine(d)
		}
		return true, err
	case *histogram, *last, *stringSet, *trie:
	}
	return false, nil
}

// number is what sums and the like are made of.
type number interface{ int64 | float64 }

func appendNumber[T number](b []byte, v T) []byte {
	switch v := any(v).(type) {
	case int64:
		return appendVarint(b, v)
	case float64:
		return appendDouble(b, v)
	}
	return b
}

// wrongKind is the error of a merge with another kind of value, which the
// check of types rules out.
func wrongKind(have, got cell) error { return fmt.Errorf("%w: %T into %T", ErrTypeChanged, got, have) }

// sum adds up.
type sum[T number] struct{ v T }

func (s *sum[T]) merge(o cell) error {
	other, ok := o.(*sum[T])
	if !ok {
		return wrongKind(s, o)
	}
	s.v += other.v
	return nil
}

func (s *sum[T]) encode() []byte { return appendNumber(nil, s.v) }

// distribution keeps count, sum and extremes.
type distribution[T number] struct {
	count         int64
	sum, min, max T
	// listed says that the payload is an iterable of the four. TypeScript's SDK
	// writes distributions so, and reads no others.
	listed bool
}

// readDistribution reads either form of a payload. They cannot be mistaken for
// each other: the length of the iterable would be an empty distribution with
// something left after it.
func readDistribution(r *reader) distribution[int64] {
	d := distribution[int64]{listed: len(r.b) > 4 && binary.BigEndian.Uint32(r.b) == 4}
	if d.listed {
		r.b = r.b[4:]
	}
	d.count, d.sum, d.min, d.max = r.varint(), r.varint(), r.varint(), r.varint()
	return d
}

func (d *distribution[T]) merge(o cell) error {
	other, ok := o.(*distribution[T])
	if !ok {
		return wrongKind(d, o)
	}
	d.combine(*other)
	return nil
}

func (d *distribution[T]) combine(other distribution[T]) {
	switch {
	case other.count == 0: // its extremes mean nothing
	case d.count == 0:
		*d = other
	default:
		d.count += other.count
		d.sum += other.sum
		d.min = min(d.min, other.min)
		d.max = max(d.max, other.max)
	}
}

func (d *distribution[T]) encode() []byte {
	var b []byte
	if d.listed {
		b = count(4)
	}
	b = appendVarint(b, d.count)
	b = appendNumber(b, d.sum)
	b = appendNumber(b, d.min)
	return appendNumber(b, d.max)
}

// latest keeps the value with the latest timestamp. Of equal timestamps the
// larger value wins, so that the order of bundles does not matter.
type latest[T number] struct {
	at int64
	v  T
}

func (l *latest[T]) merge(o cell) error {
	other, ok := o.(*latest[T])
	if !ok {
		return wrongKind(l, o)
	}
	if other.at > l.at || other.at == l.at && cmp.Compare(other.v, l.v) > 0 {
		*l = *other
	}
	return nil
}

func (l *latest[T]) encode() []byte { return appendNumber(appendVarint(nil, l.at), l.v) }

// extrema keeps the largest, or the smallest, values. How many is not in the
// payload: as many as the longer list has.
type extrema[T number] struct {
	largest bool
	v       []T
}

func (e *extrema[T]) merge(o cell) error {
	other, ok := o.(*extrema[T])
	if !ok {
		return wrongKind(e, o)
	}
	n := max(len(e.v), len(other.v))
	all := slices.Concat(e.v, other.v)
	slices.Sort(all)
	if e.largest {
		slices.Reverse(all)
	}
	e.v = all[:n]
	return nil
}

func (e *extrema[T]) encode() []byte {
	b := count(len(e.v))
	for _, v := range e.v {
		b = appendNumber(b, v)
	}
	return b
}

// MaxStringSetBytes is the size of a string set beyond which it takes no
// further strings, as the SDKs do.
const MaxStringSetBytes = 1 << 20

// stringSet is a union.
type stringSet struct {
	v     map[string]struct{}
	bytes int
}

func newStringSet(list []string) *stringSet {
	s := &stringSet{v: make(map[string]struct{}, len(list))}
	for _, text := range list {
		s.add(text)
	}
	return s
}

func (s *stringSet) add(text string) {
	if _, ok := s.v[text]; ok || s.bytes+len(text) > MaxStringSetBytes {
		return
	}
	s.v[text] = struct{}{}
	s.bytes += len(text)
}

func (s *stringSet) merge(o cell) error {
	other, ok := o.(*stringSet)
	if !ok {
		return wrongKind(s, o)
	}
	for _, text := range slices.Sorted(maps.Keys(other.v)) {
		s.add(text)
	}
	return nil
}

func (s *stringSet) encode() []byte {
	b := count(len(s.v))
	for _, text := range slices.Sorted(maps.Keys(s.v)) {
		b = appendVarint(b, int64(len(text)))
		b = append(b, text...)
	}
	return b
}

// last is a value that nothing is known of.
type last struct{ v []byte }

func (l *last) merge(o cell) error {
	other, ok := o.(*last)
	if !ok {
		return wrongKind(l, o)
	}
	l.v = other.v
	return nil
}

func (l *last) encode() []byte { return slices.Clone(l.v) }
