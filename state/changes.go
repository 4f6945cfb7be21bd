package state

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Changes is a list of changes to rows, in order, that is made in one place and
// carried out in another. The zero value is empty, and so is nil. It copies what
// it is given.
type Changes struct {
	// list holds each change as its kind and two strings, each after its size.
	list []byte
	n    int
}

// The kinds of changes.
const (
	changeSet byte = iota
	changeDelete
	changeDeleteRange
)

// Set gives a row a value.
func (c *Changes) Set(key, value []byte) { c.add(changeSet, key, value) }

// Delete removes a row.
func (c *Changes) Delete(key []byte) { c.add(changeDelete, key, nil) }

// DeleteRange removes the rows in [from, to).
func (c *Changes) DeleteRange(from, to []byte) { c.add(changeDeleteRange, from, to) }

func (c *Changes) add(kind byte, a, b []byte) {
	c.list = append(binary.AppendUvarint(append(c.list, kind), uint64(len(a))), a...)
	c.list = append(binary.AppendUvarint(c.list, uint64(len(b))), b...)
	c.n++
}

// Append adds all changes of another list.
func (c *Changes) Append(other *Changes) {
	if other != nil {
		c.list = append(c.list, other.list...)
		c.n += other.n
	}
}

// Len is the number of changes.
func (c *Changes) Len() int {
	if c == nil {
		return 0
	}
	return c.n
}

// Bytes is the size of the list.
func (c *Changes) Bytes() int {
	if c == nil {
		return 0
	}
	return len(c.list)
}

var errChange = errors.New("malformed change")

// Apply carries the changes out, in a batch.
func (c *Changes) Apply(b Batch) error { return c.ApplyUnder(nil, b) }

// ApplyUnder carries the changes out, in a batch, to rows whose keys have a prefix
// besides.
func (c *Changes) ApplyUnder(prefix []byte, b Batch) error {
	if c == nil {
		return nil
	}
	var keys, ends []byte
	under := func(buffer *[]byte, key []byte) []byte {
		if len(prefix) == 0 {
			return key
		}
		*buffer = append(append((*buffer)[:0], prefix...), key...)
		return *buffer
	}
	for list := c.list; len(list) > 0; {
		kind := list[0]
		key, rest, ok := cutString(list[1:])
		value, rest, more := cutString(rest)
		if !ok || !more {
			return fmt.Errorf("%w: %x", errChange, list)
		}
		key = under(&keys, key)
		var err error
		switch kind {
		case changeSet:
			err = b.Set(key, value)
		case changeDelete:
			err = b.Delete(key)
		case changeDeleteRange:
			err = b.DeleteRange(key, under(&ends, value))
		default:
			err = fmt.Errorf("%w: of kind %d", errChange, kind)
		}
		if err != nil {
			return err
		}
		list = rest
	}
	return nil
}

func cutString(b []byte) (s, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n : n+int(size)], b[n+int(size):], true
}
