package engine

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/execution/harness"
)

// contents is what a side input holds in one window. It does not change and
// may be read from any goroutine.
type contents struct {
	// chunks are runs of encoded values, each whole.
	chunks [][]byte
	// keyed is the index by key, made when it is first asked for.
	keyed func() (*keyedContents, error)
}

// newContents makes the contents of so many encoded values. The coder is that
// of the edge; only where it is a KV there is an index by key.
func newContents(value *coder.Coder, chunks [][]byte, count int) *contents {
	return &contents{chunks: chunks, keyed: sync.OnceValues(func() (*keyedContents, error) {
		return indexKeys(value, chunks, count)
	})}
}

// part returns a part of the contents, which is that of a key for PartValues.
func (c *contents) part(part harness.SideInputPart, key []byte) (paged, error) {
	if part == harness.PartIterable {
		return listOf(c.chunks), nil
	}
	k, err := c.keyed()
	if err != nil {
		return nil, err
	}
	switch part {
	case harness.PartValues:
		return listOf(k.values[string(key)]), nil
	case harness.PartKeys:
		return listOf(k.keys), nil
	case harness.PartEntries:
		return &chunkList{len(k.keys), k.entry}, nil
	case harness.PartIterable:
	}
	return nil, errPart
}

// keyedContents is an index of the values of a window by key. It refers to the
// chunks and copies nothing but the keys.
type keyedContents struct {
	keys   [][]byte // encoded, in order of first appearance
	values map[string][][]byte
}

func indexKeys(value *coder.Coder, chunks [][]byte, count int) (*keyedContents, error) {
	k := &keyedContents{values: make(map[string][][]byte)}
	for _, c := range chunks {
		for len(c) > 0 {
			n, err := value.Component(0).Measure(c)
			if err != nil {
				return nil, fmt.Errorf("side input: key of %v: %w", value, err)
			}
			m, err := value.Component(1).Measure(c[n:])
			if err == nil && n+m == 0 {
				err = coder.ErrMalformed
			}
			if err != nil {
				return nil, fmt.Errorf("side input: value of %v: %w", value, err)
			}
			k.add(c[:n:n], c[n:n+m:n+m])
			c, count = c[n+m:], count-1
		}
	}
	for range count { // pairs without bytes
		k.add(nil, nil)
	}
	return k, nil
}

func (k *keyedContents) add(key, value []byte) {
	values, seen := k.values[string(key)]
	if !seen {
		k.keys = append(k.keys, key)
	}
	k.values[string(key)] = append(values, value)
}

// entry encodes a key followed by the iterable of its values.
func (k *keyedContents) entry(i int) ([]byte, error) {
	key := k.keys[i]
	values := k.values[string(key)]
	b := binary.BigEndian.AppendUint32(slices.Clone(key), uint32(len(values)))
	for _, v := range values {
		b = append(b, v...)
	}
	return b, nil
}
