package metrics

import (
	"encoding/binary"
	"fmt"
	"math"
)

// reader cuts Beam-encoded values off a payload. After the first error it
// returns zeros.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMalformed, what)
	}
	r.b = nil
}

// end says whether the payload was whole and nothing is left of it.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail(fmt.Sprintf("%d bytes too many", len(r.b)))
	}
	return r.err
}

func (r *reader) varint() int64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("varint")
		return 0
	}
	r.b = r.b[n:]
	return int64(v)
}

func (r *reader) double() float64 {
	if len(r.b) < 8 {
		r.fail("double")
		return 0
	}
	v := math.Float64frombits(binary.BigEndian.Uint64(r.b))
	r.b = r.b[8:]
	return v
}

// bytes cuts a varint length and that many bytes.
func (r *reader) bytes() []byte {
	n := r.varint()
	if r.err != nil || n < 0 || n > int64(len(r.b)) {
		r.fail("length")
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) text() string { return string(r.bytes()) }

// iterable reads a count and that many values, or count -1 and chunks. Every
// value has at least one byte, so that a count cannot make a long loop.
func iterable[T any](r *reader, value func(*reader) T) []T {
	if len(r.b) < 4 {
		r.fail("iterable")
		return nil
	}
	count := int64(int32(binary.BigEndian.Uint32(r.b)))
	r.b = r.b[4:]
	var out []T
	take := func(n int64) {
		for ; n > 0 && r.err == nil; n-- {
			out = append(out, value(r))
		}
	}
	if count >= 0 {
		take(count)
		return out
	}
	if count != -1 {
		r.fail("iterable")
		return nil
	}
	for r.err == nil {
		n := r.varint()
		if n < 0 {
			r.fail("iterable chunk")
		}
		if n == 0 {
			break
		}
		take(n)
	}
	return out
}

func appendVarint(b []byte, v int64) []byte { return binary.AppendUvarint(b, uint64(v)) }

func appendDouble(b []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(b, math.Float64bits(v))
}

// count encodes the number of values of an iterable.
func count(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// field is one field of a proto message.
type field struct {
	number int
	wire   int
	num    uint64 // of varint, fixed64 and fixed32
	data   []byte // of length-delimited
}

// The wire types of protobuf.
const (
	wireVarint = 0
	wireFixed  = 1
	wireBytes  = 2
	wire32     = 5
)

// fields calls f for each field of a proto message.
func fields(b []byte, f func(field) error) error {
	r := &reader{b: b}
	for len(r.b) > 0 && r.err == nil {
		tag := uint64(r.varint())
		fl := field{number: int(tag >> 3), wire: int(tag & 7)}
		switch fl.wire {
		case wireVarint:
			fl.num = uint64(r.varint())
		case wireFixed:
			if len(r.b) < 8 {
				r.fail("fixed64")
				break
			}
			fl.num = binary.LittleEndian.Uint64(r.b)
			r.b = r.b[8:]
		case wire32:
			if len(r.b) < 4 {
				r.fail("fixed32")
				break
			}
			fl.num = uint64(binary.LittleEndian.Uint32(r.b))
			r.b = r.b[4:]
		case wireBytes:
			fl.data = r.bytes()
		default:
			r.fail("wire type")
		}
		if r.err == nil {
			if err := f(fl); err != nil {
				return err
			}
		}
	}
	return r.err
}

func appendTag(b []byte, number, wire int) []byte {
	return binary.AppendUvarint(b, uint64(number)<<3|uint64(wire))
}

// appendBytesField appends a length-delimited field.
func appendBytesField[T ~string | ~[]byte](b []byte, number int, data T) []byte {
	b = appendTag(b, number, wireBytes)
	b = binary.AppendUvarint(b, uint64(len(data)))
	return append(b, data...)
}

// firstField encodes field 1, a varint, at the start of a message, unless it
// is zero.
func firstField(v uint64) []byte {
	if v == 0 {
		return nil
	}
	return binary.AppendUvarint(appendTag(nil, 1, wireVarint), v)
}
