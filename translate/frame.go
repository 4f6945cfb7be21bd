package translate

import (
	"encoding/binary"
	"fmt"

	"github.com/gorunner/gorunner/coder"
)

// framed is the coder of a value that was encoded for itself alone, so that
// its end was where the bytes end, once [coderTable.frame] has marked that
// end: with a length prefix, but for coders that always say it themselves. The
// key of a KV stays what it was.
func (t *coderTable) framed(id string) string {
	kind, known := wireKind(t.get(id).GetSpec().GetUrn())
	if known && t.wire(id).id == id {
		switch kind {
		case coder.VarInt, coder.Bool, coder.Double, coder.Iterable:
			return id
		case coder.KV, coder.Bytes, coder.LengthPrefix, coder.StateBackedIterable, coder.Nullable, coder.ShardedKey,
			coder.GlobalWindow, coder.IntervalWindow, coder.CustomWindow:
		}
	}
	if key, value, ok := t.components2(id); ok && t.wire(key).id == key {
		if v := t.framed(value); v != value {
			return t.add(id+"/framed", urnCoderKV, key, v)
		}
		return id
	}
	return t.add(id+"/prefixed", urnCoderLengthPrefix, id)
}

// frame appends a value to b, in the wire format of the framed coder.
func (t *coderTable) frame(b []byte, framed string, value []byte) ([]byte, error) {
	c := t.wire(framed).coder
	for c.Kind() == coder.KV {
		n, err := c.Component(0).Measure(value)
		if err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
		b, value, c = append(b, value[:n]...), value[n:], c.Component(1)
	}
	if c.Kind() == coder.LengthPrefix {
		b = binary.AppendUvarint(b, uint64(len(value)))
		return append(b, value...), nil
	}
	n, err := c.Measure(value)
	if err != nil {
		return nil, err
	}
	if n != len(value) {
		return nil, fmt.Errorf("%d bytes, of which coder %v takes %d", len(value), c, n)
	}
	return append(b, value...), nil
}
