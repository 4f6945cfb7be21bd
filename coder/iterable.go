package coder

import (
	"encoding/binary"
	"fmt"
)

// Elements calls f for every element of the Iterable at the start of b, and
// returns the iterable's length.
func (c *Coder) Elements(b []byte, f func(element []byte) error) (int, error) {
	if c.kind != Iterable {
		return 0, fmt.Errorf("coder: %v is not an iterable", c)
	}
	if len(b) < 4 {
		return 0, ErrShort
	}
	count := int64(int32(binary.BigEndian.Uint32(b)))
	if count >= 0 {
		n, err := c.each(b[4:], uint64(count), f)
		return 4 + n, err
	}
	if count != -1 {
		return 0, fmt.Errorf("%w: iterable of %d elements", ErrMalformed, count)
	}
	for at := 4; ; {
		chunk, n, err := varint(b[at:])
		if err != nil {
			return 0, err
		}
		if at += n; chunk == 0 {
			return at, nil
		}
		if int64(chunk) < 0 {
			return 0, fmt.Errorf("%w: iterable chunk of %d elements", ErrMalformed, int64(chunk))
		}
		if n, err = c.each(b[at:], chunk, f); err != nil {
			return 0, err
		}
		at += n
	}
}

func (c *Coder) each(b []byte, count uint64, f func([]byte) error) (int, error) {
	at := 0
	for i := range count {
		n, err := c.components[0].Measure(b[at:])
		if err != nil {
			return 0, err
		}
		if n == 0 && i > 0 {
			// What takes no byte is the only one of its kind; the count comes
			// from outside and must not make a long loop.
			return 0, fmt.Errorf("%w: %d elements of coder %v", ErrMalformed, count, c.components[0])
		}
		if err := f(b[at : at+n]); err != nil {
			return 0, err
		}
		at += n
	}
	return at, nil
}
