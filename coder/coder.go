// Package coder finds the extent of encoded values. The runner never decodes
// what a user wrote: it needs to know where an element ends, where its key
// ends, and what its header says.
//
// A [Coder] is an immutable tree, safe for concurrent use. Every function
// takes bytes from outside and answers malformed ones with an error.
package coder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Kind is the wire format of a coder. Only formats whose extent can be found
// are here: translation wraps any other coder in a LengthPrefix.
type Kind int

// The wire formats, after the standard coders of the Beam model in their
// nested encoding.
const (
	// Bytes is a varint length and that many bytes; so are strings.
	Bytes Kind = iota
	// LengthPrefix is Bytes around a coder the runner need not know.
	LengthPrefix
	// VarInt is a base-128 varint of at most 10 bytes.
	VarInt
	// Bool is one byte, 0 or 1.
	Bool
	// Double is 8 bytes.
	Double
	// KV is its two components back to back.
	KV
	// Iterable is a count and that many elements, or count -1 and chunks.
	Iterable
	// StateBackedIterable is Iterable that may end in a token instead.
	StateBackedIterable
	// Nullable is a byte that says whether the component follows.
	Nullable
	// ShardedKey is a shard id like Bytes and the key.
	ShardedKey
	// GlobalWindow is no byte at all.
	GlobalWindow
	// IntervalWindow is the end as 8 bytes and the length as varint.
	IntervalWindow
	// CustomWindow is the maximum timestamp as 8 bytes and the window like
	// Bytes.
	CustomWindow
)

//nolint:gochecknoglobals // a table of names
var kindNames = [...]string{
	"bytes", "length_prefix", "varint", "bool", "double", "kv", "iterable",
	"state_backed_iterable", "nullable", "sharded_key", "global_window",
	"interval_window", "custom_window",
}

// components says how many components each kind has; LengthPrefix may have
// one or none.
func (k Kind) components() int {
	switch k {
	case KV:
		return 2
	case Iterable, StateBackedIterable, Nullable, ShardedKey:
		return 1
	case Bytes, LengthPrefix, VarInt, Bool, Double, GlobalWindow, IntervalWindow, CustomWindow:
	}
	return 0
}

// String is the kind's name after the Beam URN.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind(%d)", int(k))
	}
	return kindNames[k]
}

// Coder is the wire format of a value.
type Coder struct {
	kind       Kind
	components []*Coder
	nodes      int // of the tree, so that what walks it is bounded
}

// MaxNodes bounds the number of kinds in a coder, and with it the depth of the
// tree. A pipeline can share components, so that a few lines of it describe a
// tree that nobody could walk.
const MaxNodes = 1 << 15

// New makes a coder of the kind. It fails when the number of components is
// not the kind's, or when the coder would have more than MaxNodes.
func New(kind Kind, components ...*Coder) (*Coder, error) {
	if kind < 0 || int(kind) >= len(kindNames) {
		return nil, fmt.Errorf("coder: unknown %v", kind)
	}
	if len(components) != kind.components() {
		return nil, fmt.Errorf("coder: %v takes %d components, not %d", kind, kind.components(), len(components))
	}
	nodes := 1
	for _, comp := range components {
		nodes += comp.nodes
	}
	if nodes > MaxNodes {
		return nil, fmt.Errorf("coder: %v of %d nested coders, more than %d", kind, nodes, MaxNodes)
	}
	return &Coder{kind: kind, components: components, nodes: nodes}, nil
}

// Must is New for coders that are written in code.
func Must(kind Kind, components ...*Coder) *Coder {
	c, err := New(kind, components...)
	if err != nil {
		panic(err)
	}
	return c
}

// Kind returns the coder's wire format.
func (c *Coder) Kind() Kind { return c.kind }

// Component returns component i.
func (c *Coder) Component(i int) *Coder { return c.components[i] }

// String prints the coder like kv<bytes,varint>.
func (c *Coder) String() string {
	var b strings.Builder
	c.print(&b)
	return b.String()
}

func (c *Coder) print(b *strings.Builder) {
	b.WriteString(c.kind.String())
	before := byte('<')
	for _, comp := range c.components {
		b.WriteByte(before)
		comp.print(b)
		before = ','
	}
	if len(c.components) > 0 {
		b.WriteByte('>')
	}
}

// Equal says whether both coders describe the same wire format.
func (c *Coder) Equal(d *Coder) bool {
	if c == d {
		return true
	}
	if c == nil || d == nil || c.kind != d.kind || len(c.components) != len(d.components) {
		return false
	}
	for i, comp := range c.components {
		if !comp.Equal(d.components[i]) {
			return false
		}
	}
	return true
}

// The ways in which bytes fail to be a value.
var (
	// ErrShort means that the bytes end within the value.
	ErrShort = errors.New("value cut short")
	// ErrMalformed means that no continuation of the bytes is a value.
	ErrMalformed = errors.New("malformed value")
)

// Measure returns the number of bytes at the start of b that the value takes.
func (c *Coder) Measure(b []byte) (int, error) {
	switch c.kind {
	case Bytes, LengthPrefix:
		return measureBytes(b)
	case VarInt:
		_, n, err := varint(b)
		return n, err
	case Bool:
		return fixed(b, 1)
	case Double:
		return fixed(b, 8)
	case KV:
		n, err := c.components[0].Measure(b)
		if err != nil {
			return 0, err
		}
		m, err := c.components[1].Measure(b[n:])
		return n + m, err
	case Iterable, StateBackedIterable:
		return c.measureIterable(b)
	case Nullable:
		return c.measureNullable(b)
	case ShardedKey:
		n, err := measureBytes(b)
		if err != nil {
			return 0, err
		}
		m, err := c.components[0].Measure(b[n:])
		return n + m, err
	case GlobalWindow:
		return 0, nil
	case IntervalWindow:
		if _, err := fixed(b, 8); err != nil {
			return 0, err
		}
		_, n, err := varint(b[8:])
		return 8 + n, err
	case CustomWindow:
		if _, err := fixed(b, 8); err != nil {
			return 0, err
		}
		n, err := measureBytes(b[8:])
		return 8 + n, err
	}
	return 0, fmt.Errorf("coder: %v cannot be measured", c.kind)
}

func fixed(b []byte, n int) (int, error) {
	if len(b) < n {
		return 0, ErrShort
	}
	return n, nil
}

func varint(b []byte) (uint64, int, error) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1, nil // the most common case
	}
	v, n := binary.Uvarint(b)
	switch {
	case n > 0:
		return v, n, nil
	case n == 0 && len(b) < binary.MaxVarintLen64:
		return 0, 0, ErrShort
	}
	return 0, 0, fmt.Errorf("%w: varint of more than 64 bits", ErrMalformed)
}

func measureBytes(b []byte) (int, error) {
	if len(b) > 0 && b[0] < 0x80 && len(b) > int(b[0]) {
		return 1 + int(b[0]), nil // the most common case
	}
	size, n, err := varint(b)
	if err != nil {
		return 0, err
	}
	if size > maxValueBytes {
		return 0, fmt.Errorf("%w: length %d", ErrMalformed, size)
	}
	if uint64(len(b)-n) < size {
		return 0, ErrShort
	}
	return n + int(size), nil
}

// maxValueBytes bounds a length that is read from outside: a value travels in
// one gRPC message, which is below 2 GiB.
const maxValueBytes = 1<<31 - 1

func (c *Coder) measureNullable(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, ErrShort
	}
	switch b[0] {
	case 0:
		return 1, nil
	case 1:
		n, err := c.components[0].Measure(b[1:])
		return 1 + n, err
	}
	return 0, fmt.Errorf("%w: null marker %d", ErrMalformed, b[0])
}

func (c *Coder) measureIterable(b []byte) (int, error) {
	if len(b) < 4 {
		return 0, ErrShort
	}
	count := int32(binary.BigEndian.Uint32(b))
	if count >= 0 {
		n, err := c.measureElements(b[4:], uint64(count))
		return 4 + n, err
	}
	if count != -1 {
		return 0, fmt.Errorf("%w: iterable of %d elements", ErrMalformed, count)
	}
	at := 4
	for {
		chunk, n, err := varint(b[at:])
		if err != nil {
			return 0, err
		}
		at += n
		switch {
		case chunk == 0:
			return at, nil
		case int64(chunk) == -1 && c.kind == StateBackedIterable:
			n, err := measureBytes(b[at:])
			return at + n, err
		case int64(chunk) < 0:
			return 0, fmt.Errorf("%w: iterable chunk of %d elements", ErrMalformed, int64(chunk))
		}
		n, err = c.measureElements(b[at:], chunk)
		if err != nil {
			return 0, err
		}
		at += n
	}
}

// measureElements measures count elements. An element may be empty, so the
// count alone, which comes from outside, must not make a long loop.
func (c *Coder) measureElements(b []byte, count uint64) (int, error) {
	at := 0
	for i := uint64(0); i < count; i++ {
		n, err := c.components[0].Measure(b[at:])
		if err != nil {
			return 0, err
		}
		if n == 0 {
			return at, nil // elements of this coder take no byte at all
		}
		at += n
	}
	return at, nil
}
