package metrics

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// MaxInfos is the number of infos that a [Set] holds; further ones are
// refused. It is far beyond what pipelines have and keeps a broken SDK from
// filling the memory.
const MaxInfos = 1 << 20

// Set merges infos by URN and labels. The zero value is an empty set, ready to
// use. A Set belongs to one goroutine at a time.
type Set struct {
	cells map[string]*entry
}

// entry is one info and its merged value.
type entry struct {
	urn, typ string
	labels   map[string]string
	value    cell
}

// The ways in which an info is refused.
var (
	// ErrMalformed means that a payload is not what its type prescribes.
	ErrMalformed = errors.New("malformed payload")
	// ErrTypeChanged means that an earlier info of the same URN and labels has
	// another type.
	ErrTypeChanged = errors.New("type differs from that of earlier values")
	// ErrTooMany means that the set is full.
	ErrTooMany = errors.New("too many metrics")
)

// Add merges infos into the set. Infos that are refused leave the set as it
// was; the error names each. The set keeps no reference to payloads, but to
// labels, which must not be changed.
func (s *Set) Add(infos []Info) error {
	var errs []error
	for _, in := range infos {
		if err := s.add(in); err != nil {
			errs = append(errs, fmt.Errorf("metrics: %s %v of type %s: %w", in.URN, in.Labels, in.Type, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Set) add(in Info) error {
	if in.Key == "" {
		in.Key = KeyOf(in.URN, in.Labels)
	}
	e := s.cells[in.Key]
	if e != nil && e.typ == in.Type {
		if known, err := mergeEncoded(e.value, in.Payload); known {
			return err
		}
	}
	value, err := decode(in.Type, in.Payload)
	if err != nil {
		return err
	}
	if e == nil {
		return s.insert(in.Key, &entry{urn: in.URN, typ: in.Type, labels: in.Labels, value: value})
	}
	if e.typ != in.Type {
		return fmt.Errorf("%w: %s", ErrTypeChanged, e.typ)
	}
	return e.value.merge(value)
}

func (s *Set) insert(key string, e *entry) error {
	if len(s.cells) >= MaxInfos {
		return fmt.Errorf("%w: %d", ErrTooMany, len(s.cells))
	}
	if s.cells == nil {
		s.cells = make(map[string]*entry)
	}
	s.cells[key] = e
	return nil
}

// Merge adds all that other holds, which is not changed.
func (s *Set) Merge(other *Set) error {
	infos := other.Infos()
	for i, key := range slices.Sorted(maps.Keys(other.cells)) {
		infos[i].Key = key
	}
	return s.Add(infos)
}

// Rename returns the infos with new values of a label, without those of which
// name says that they are not wanted. Infos that then have the same URN and
// labels are merged; the error names those that refuse to be. The infos given are
// not changed.
func Rename(infos []Info, label string, name func(string) (renamed string, wanted bool)) ([]Info, error) {
	renamed := make([]Info, 0, len(infos))
	for _, in := range infos {
		if old, ok := in.Labels[label]; ok {
			value, wanted := name(old)
			if !wanted {
				continue
			}
			if value != old {
				in.Labels = maps.Clone(in.Labels)
				in.Labels[label] = value
				in.Key = ""
			}
		}
		renamed = append(renamed, in)
	}
	var set Set
	err := set.Add(renamed)
	return set.Infos(), err
}

// Len is the number of infos that the set holds.
func (s *Set) Len() int { return len(s.cells) }

// Infos returns the merged infos in the order of URN and labels. Their labels
// must not be changed.
func (s *Set) Infos() []Info {
	out := make([]Info, 0, len(s.cells))
	for _, key := range slices.Sorted(maps.Keys(s.cells)) {
		out = append(out, s.cells[key].info())
	}
	return out
}

// Of returns the infos with these keys, in their order.
func (s *Set) Of(keys map[string]bool) []Info {
	out := make([]Info, 0, len(keys))
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if e := s.cells[key]; e != nil {
			out = append(out, e.info())
		}
	}
	return out
}

func (e *entry) info() Info {
	return Info{URN: e.urn, Type: e.typ, Labels: e.labels, Payload: e.value.encode()}
}

// KeyOf is an unambiguous name of URN and labels. Every part is preceded by its
// length but the URN, which ends with a zero byte so that keys sort by URN.
func KeyOf(urn string, labels map[string]string) string {
	var b strings.Builder
	b.WriteString(urn)
	b.WriteByte(0)
	var n [4]byte
	part := func(s string) {
		binary.BigEndian.PutUint32(n[:], uint32(len(s)))
		b.Write(n[:])
		b.WriteString(s)
	}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		part(k)
		part(labels[k])
	}
	return b.String()
}
