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
	if t.framesItself(id) {
		return id
	}
	if key, value, ok := t.framable(id); ok {
		return t.add(id+"/framed", urnCoderKV, key, t.framed(value))
	}
	return t.add(id+"/prefixed", urnCoderLengthPrefix, id)
}

// framable takes a KV apart whose key can be told from the value.
func (t *coderTable) framable(id string) (key, value string, ok bool) {
	key, value, ok = t.components2(id)
	return key, value, ok && t.wire(key).id == key
}

// framesItself says whether all SDKs encode values of the coder in the same
// way, whether something follows or not.
func (t *coderTable) framesItself(id string) bool {
	kind, known := wireKind(t.get(id).GetSpec().GetUrn())
	if !known || t.wire(id).id != id {
		return false
	}
	switch kind {
	case coder.VarInt, coder.Bool, coder.Double, coder.LengthPrefix, coder.Iterable:
		return true
	case coder.KV:
		_, value, _ := t.components2(id)
		return t.framesItself(value)
	case coder.Bytes, coder.StateBackedIterable, coder.Nullable, coder.ShardedKey,
		coder.GlobalWindow, coder.IntervalWindow, coder.CustomWindow:
	}
	return false
}

// frame appends a value to b that was encoded for itself alone, in the wire
// format of the framed coder.
func (t *coderTable) frame(b []byte, id string, value []byte) ([]byte, error) {
	for !t.framesItself(id) {
		key, rest, ok := t.framable(id)
		if !ok {
			b = binary.AppendUvarint(b, uint64(len(value)))
			return append(b, value...), nil
		}
		n, err := t.wire(key).coder.Measure(value)
		if err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
		b, value, id = append(b, value[:n]...), value[n:], rest
	}
	c := t.wire(id).coder
	n, err := c.Measure(value)
	if err != nil {
		return nil, err
	}
	if n != len(value) {
		return nil, fmt.Errorf("%d bytes, of which coder %v takes %d", len(value), c, n)
	}
	return append(b, value...), nil
}
