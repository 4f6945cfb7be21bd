package fnapi

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of Elements, Elements.Data and Elements.Timers.
const (
	fieldData   = 1
	fieldTimers = 2

	fieldInstruction = 1
	fieldTransform   = 2

	fieldDataPayload = 3
	fieldDataLast    = 4

	fieldTimersFamily  = 3
	fieldTimersPayload = 4
	fieldTimersLast    = 5
)

// entry is one Data or Timers of an Elements message. Its slices alias the
// message.
type entry struct {
	instruction, transform []byte
	// timers says that the entry is one of Timers; family is then set.
	timers  bool
	family  []byte
	payload span
	last    bool
}

// The ways in which a message is not one of Elements.
var (
	errFrameShort = errors.New("message cut short")
	errFrameWire  = errors.New("message is not a valid proto")
)

// parseElements calls visit for each entry of the Elements message that the
// pieces make when put together. Fields may come in any order and unknown ones
// are skipped, as protobuf demands. The entry is valid during the call.
func parseElements(pieces [][]byte, visit func(*entry) error) error {
	c := cursor{pieces: pieces}
	for _, p := range pieces {
		c.left += len(p)
	}
	var e entry
	for c.left > 0 {
		num, typ, err := c.tag()
		if err != nil {
			return err
		}
		if typ != protowire.BytesType || (num != fieldData && num != fieldTimers) {
			if err := c.skipField(num, typ, 0); err != nil {
				return err
			}
			continue
		}
		n, err := c.length()
		if err != nil {
			return err
		}
		rest := c.left - n
		c.left = n
		e = entry{timers: num == fieldTimers}
		if err := e.parse(&c); err != nil {
			return err
		}
		c.left = rest
		if err := visit(&e); err != nil {
			return err
		}
	}
	return nil
}

// parse reads the fields up to the end of the cursor.
func (e *entry) parse(c *cursor) error {
	payload, last := protowire.Number(fieldDataPayload), protowire.Number(fieldDataLast)
	if e.timers {
		payload, last = fieldTimersPayload, fieldTimersLast
	}
	for c.left > 0 {
		num, typ, err := c.tag()
		if err != nil {
			return err
		}
		switch {
		case typ == protowire.BytesType && num == fieldInstruction:
			e.instruction, err = c.bytes()
		case typ == protowire.BytesType && num == fieldTransform:
			e.transform, err = c.bytes()
		case typ == protowire.BytesType && num == payload:
			e.payload, err = c.span()
		case typ == protowire.BytesType && num == fieldTimersFamily && e.timers:
			e.family, err = c.bytes()
		case typ == protowire.VarintType && num == last:
			var v uint64
			v, err = c.uvarint()
			e.last = v != 0
		default:
			err = c.skipField(num, typ, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cursor reads a message that lies in pieces. It is a value: a copy is a mark.
type cursor struct {
	pieces [][]byte
	// off is the position within the first piece.
	off int
	// left is the number of bytes that may still be read.
	left int
}

// settle moves over exhausted pieces, so that the first piece has bytes. The
// caller has made sure that some are left.
func (c *cursor) settle() {
	for c.off == len(c.pieces[0]) {
		c.pieces, c.off = c.pieces[1:], 0
	}
}

func (c *cursor) uvarint() (uint64, error) {
	var v uint64
	for shift := 0; shift < 70; shift += 7 {
		if c.left == 0 {
			return 0, errFrameShort
		}
		c.settle()
		b := c.pieces[0][c.off]
		c.off++
		c.left--
		if shift == 63 && b > 1 {
			break
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, fmt.Errorf("%w: varint of more than 64 bits", errFrameWire)
}

func (c *cursor) tag() (protowire.Number, protowire.Type, error) {
	v, err := c.uvarint()
	if err != nil {
		return 0, 0, err
	}
	if v > math.MaxUint32 || v>>3 == 0 {
		return 0, 0, fmt.Errorf("%w: tag %d", errFrameWire, v)
	}
	return protowire.Number(v >> 3), protowire.Type(v & 7), nil
}

// length reads the length of a field that is then still to be read.
func (c *cursor) length() (int, error) {
	n, err := c.uvarint()
	if err != nil {
		return 0, err
	}
	if n > uint64(c.left) {
		return 0, fmt.Errorf("%w: a field of %d bytes with %d left", errFrameShort, n, c.left)
	}
	return int(n), nil
}

func (c *cursor) skip(n int) error {
	if n > c.left {
		return errFrameShort
	}
	c.left -= n
	for n > 0 {
		c.settle()
		step := min(n, len(c.pieces[0])-c.off)
		c.off += step
		n -= step
	}
	return nil
}

// bytes reads a length and that many bytes: where they lie if they are in one
// piece, else in a copy.
func (c *cursor) bytes() ([]byte, error) {
	s, err := c.span()
	if err != nil {
		return nil, err
	}
	return s.contiguous(), nil
}

// span reads a length and marks that many bytes.
func (c *cursor) span() (span, error) {
	n, err := c.length()
	if err != nil {
		return span{}, err
	}
	if n > 0 {
		c.settle()
	}
	s := span{pieces: c.pieces, off: c.off, n: n}
	return s, c.skip(n)
}

// groupDepthMax bounds the nesting of groups in unknown fields.
const groupDepthMax = 64

func (c *cursor) skipField(num protowire.Number, typ protowire.Type, depth int) error {
	switch typ {
	case protowire.VarintType:
		_, err := c.uvarint()
		return err
	case protowire.Fixed32Type:
		return c.skip(4)
	case protowire.Fixed64Type:
		return c.skip(8)
	case protowire.BytesType:
		n, err := c.length()
		if err != nil {
			return err
		}
		return c.skip(n)
	case protowire.StartGroupType:
		return c.skipGroup(num, depth)
	case protowire.EndGroupType:
	}
	return fmt.Errorf("%w: wire type %d of field %d", errFrameWire, typ, num)
}

func (c *cursor) skipGroup(group protowire.Number, depth int) error {
	if depth == groupDepthMax {
		return fmt.Errorf("%w: groups nested more than %d deep", errFrameWire, groupDepthMax)
	}
	for {
		num, typ, err := c.tag()
		if err != nil {
			return err
		}
		if typ == protowire.EndGroupType && num == group {
			return nil
		}
		if err := c.skipField(num, typ, depth+1); err != nil {
			return err
		}
	}
}

// span is a run of bytes within a message.
type span struct {
	pieces [][]byte
	off, n int
}

// each calls visit with the pieces of the span, none of them empty.
func (s span) each(visit func([]byte) error) error {
	for s.n > 0 {
		part := s.pieces[0][s.off:]
		part = part[:min(len(part), s.n)]
		if len(part) > 0 {
			if err := visit(part); err != nil {
				return err
			}
		}
		s.pieces, s.off, s.n = s.pieces[1:], 0, s.n-len(part)
	}
	return nil
}

func (s span) contiguous() []byte {
	if s.n == 0 {
		return nil
	}
	if first := s.pieces[0][s.off:]; len(first) >= s.n {
		return first[:s.n]
	}
	b := make([]byte, 0, s.n)
	_ = s.each(func(part []byte) error {
		b = append(b, part...)
		return nil
	})
	return b
}

// appendDataHeader appends the beginning of a Data entry, up to where its
// payload of size bytes, at least 1, must follow.
func appendDataHeader(b []byte, instruction, transform string, size int) []byte {
	entry := protowire.SizeTag(fieldInstruction) + protowire.SizeBytes(len(instruction)) +
		protowire.SizeTag(fieldTransform) + protowire.SizeBytes(len(transform)) +
		protowire.SizeTag(fieldDataPayload) + protowire.SizeBytes(size)
	b = protowire.AppendTag(b, fieldData, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(entry))
	b = appendString(b, fieldInstruction, instruction)
	b = appendString(b, fieldTransform, transform)
	b = protowire.AppendTag(b, fieldDataPayload, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(size))
}

// appendDataLast appends an empty Data entry that closes the input.
func appendDataLast(b []byte, instruction, transform string) []byte {
	entry := protowire.SizeTag(fieldInstruction) + protowire.SizeBytes(len(instruction)) +
		protowire.SizeTag(fieldTransform) + protowire.SizeBytes(len(transform)) +
		protowire.SizeTag(fieldDataLast) + 1
	b = protowire.AppendTag(b, fieldData, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(entry))
	b = appendString(b, fieldInstruction, instruction)
	b = appendString(b, fieldTransform, transform)
	b = protowire.AppendTag(b, fieldDataLast, protowire.VarintType)
	return protowire.AppendVarint(b, 1)
}

// appendTimers appends a Timers entry with the given timers.
func appendTimers(b []byte, instruction, transform, family string, timers []byte) []byte {
	b = appendTimersHead(b, instruction, transform, family, protowire.SizeTag(fieldTimersPayload)+protowire.SizeBytes(len(timers)))
	b = protowire.AppendTag(b, fieldTimersPayload, protowire.BytesType)
	return protowire.AppendBytes(b, timers)
}

// appendTimersLast appends an empty Timers entry that closes a timer family.
func appendTimersLast(b []byte, instruction, transform, family string) []byte {
	b = appendTimersHead(b, instruction, transform, family, protowire.SizeTag(fieldTimersLast)+1)
	b = protowire.AppendTag(b, fieldTimersLast, protowire.VarintType)
	return protowire.AppendVarint(b, 1)
}

// appendTimersHead begins a Timers entry of which rest bytes are to follow.
func appendTimersHead(b []byte, instruction, transform, family string, rest int) []byte {
	entry := protowire.SizeTag(fieldInstruction) + protowire.SizeBytes(len(instruction)) +
		protowire.SizeTag(fieldTransform) + protowire.SizeBytes(len(transform)) +
		protowire.SizeTag(fieldTimersFamily) + protowire.SizeBytes(len(family)) + rest
	b = protowire.AppendTag(b, fieldTimers, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(entry))
	b = appendString(b, fieldInstruction, instruction)
	b = appendString(b, fieldTransform, transform)
	return appendString(b, fieldTimersFamily, family)
}

func appendString(b []byte, num protowire.Number, s string) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendString(b, s)
}
