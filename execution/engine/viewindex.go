package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/shuffle"
)

// contents is what a side input holds in one window. It does not change and
// may be read from any goroutine.
type contents struct {
	data  *viewData
	spans []span
	// bare counts values that no byte stands for.
	bare int
	// keyed is the index by key, made when it is first asked for; indexed says
	// that it is there.
	keyed   func() (*keyIndex, error)
	indexed atomic.Bool
}

func newContents(data *viewData, spans []span, bare int) *contents {
	c := &contents{data: data, spans: spans, bare: bare}
	c.keyed = sync.OnceValues(func() (*keyIndex, error) {
		k, err := indexKeys(data, spans, bare)
		c.indexed.Store(err == nil)
		return k, err
	})
	return c
}

// prompt says that a part can be read without waiting for a disk or an index.
func (c *contents) prompt(part harness.SideInputPart) bool {
	return !c.data.stored && (part == harness.PartIterable || c.indexed.Load())
}

// part returns a part of the contents, which is that of a key for PartValues.
func (c *contents) part(part harness.SideInputPart, key []byte) (paged, error) {
	if part == harness.PartIterable {
		return &spanList{c.data, c.spans}, nil
	}
	k, err := c.keyed()
	if err != nil {
		return nil, err
	}
	switch part {
	case harness.PartValues:
		return &refList{c.data, k.valuesOf(k.find(key))}, nil
	case harness.PartKeys:
		return &chunkList{len(k.keys), func(i int) ([]byte, error) { return k.key(i), nil }}, nil
	case harness.PartEntries:
		return &chunkList{len(k.keys), k.entry}, nil
	case harness.PartIterable:
	}
	return nil, errPart
}

// keyIndex is an index of the values of a window by key. It has no pointers but
// those to its five parts, so that it costs the garbage collector nothing, and
// refers to the values where they lie. Keys are copied: then what lies on disk is
// read for its values only.
type keyIndex struct {
	data *viewData
	// slots holds the numbers of keys plus 1, below the lower half of their hashes,
	// whose last bits are also where they belong: open addressing, at most half
	// full, a power of two in length. What is passed by is not looked at anywhere
	// else.
	slots []uint64
	// keys in order of first appearance, names their bytes back to back.
	keys  []keyEntry
	names []byte
	// values are those of the first key, then those of the second, and so on.
	values []ref
}

type keyEntry struct {
	at    uint64 // in names
	size  uint32
	first uint32 // in values
}

const (
	keyEntryBytes = 16
	refBytes      = 12
	slotBytes     = 8
	slotsMin      = 64
	halfBits      = 32
)

var errManyValues = errors.New("more values than an index takes")

func indexKeys(data *viewData, spans []span, bare int) (*keyIndex, error) {
	b := indexBuilder{index: keyIndex{data: data, slots: make([]uint64, slotsMin)}}
	err := data.each(spans, func(e *shuffle.Element, chunk, at uint32) error {
		size := uint32(len(e.Value) - e.KeySize)
		return b.add(e.Key(), ref{chunk, at + uint32(e.KeySize), size})
	})
	for i := 0; i < bare && err == nil; i++ { // pairs without bytes
		err = b.add(nil, ref{})
	}
	if err != nil {
		return nil, err
	}
	k := b.finish()
	data.memory.add(int64(len(k.slots)*slotBytes + cap(k.keys)*keyEntryBytes + cap(k.names) + cap(k.values)*refBytes))
	return k, nil
}

// find returns the number of a key, -1 if it is not there.
func (k *keyIndex) find(key []byte) int {
	hash := uint32(xxhash.Sum64(key))
	mask := uint32(len(k.slots) - 1)
	for at := hash & mask; k.slots[at] != 0; at = (at + 1) & mask {
		if slot := k.slots[at]; uint32(slot>>halfBits) == hash {
			if i := int(uint32(slot) - 1); bytes.Equal(k.key(i), key) {
				return i
			}
		}
	}
	return -1
}

// key returns the encoded key of a number.
func (k *keyIndex) key(i int) []byte {
	e := &k.keys[i]
	return k.names[e.at : e.at+uint64(e.size) : e.at+uint64(e.size)]
}

// valuesOf returns the values of a key, none for -1.
func (k *keyIndex) valuesOf(i int) []ref {
	switch {
	case i < 0:
		return nil
	case i+1 == len(k.keys):
		return k.values[k.keys[i].first:]
	}
	return k.values[k.keys[i].first:k.keys[i+1].first]
}

// entry encodes a key followed by the iterable of its values.
func (k *keyIndex) entry(i int) ([]byte, error) {
	values := k.valuesOf(i)
	b := binary.BigEndian.AppendUint32(slices.Clone(k.key(i)), uint32(len(values)))
	for _, v := range values {
		value, err := k.data.at(v)
		if err != nil {
			return nil, err
		}
		b = append(b, value...)
	}
	return b, nil
}

// indexBuilder makes an index of values in any order.
type indexBuilder struct {
	index keyIndex
	// owners are the numbers of the values' keys.
	owners []uint32
}

func (b *indexBuilder) add(key []byte, value ref) error {
	k := &b.index
	if len(k.values) == math.MaxInt32 { // as many keys have slots
		return errManyValues
	}
	i := k.find(key)
	if i < 0 {
		i = b.insert(key)
	}
	b.owners = append(b.owners, uint32(i))
	k.values = append(k.values, value)
	return nil
}

func (b *indexBuilder) insert(key []byte) int {
	k := &b.index
	if len(k.keys) >= len(k.slots)/2 {
		old := k.slots
		k.slots = make([]uint64, 2*len(old))
		for _, slot := range old {
			if slot != 0 {
				k.occupy(slot)
			}
		}
	}
	i := len(k.keys)
	k.keys = append(k.keys, keyEntry{at: uint64(len(k.names)), size: uint32(len(key))})
	k.names = append(k.names, key...)
	k.occupy(xxhash.Sum64(key)<<halfBits | uint64(i+1))
	return i
}

// occupy puts what a slot holds where it belongs, or behind.
func (k *keyIndex) occupy(slot uint64) {
	mask := uint32(len(k.slots) - 1)
	at := uint32(slot>>halfBits) & mask
	for k.slots[at] != 0 {
		at = (at + 1) & mask
	}
	k.slots[at] = slot
}

// finish puts the values of each key together, in their order.
func (b *indexBuilder) finish() *keyIndex {
	k := &b.index
	if len(k.keys) == len(k.values) { // as in a map
		for i := range k.keys {
			k.keys[i].first = uint32(i)
		}
		return k
	}
	next := make([]uint32, len(k.keys)+1)
	for _, i := range b.owners {
		next[i+1]++
	}
	for i := range k.keys {
		next[i+1] += next[i]
		k.keys[i].first = next[i]
	}
	sorted := make([]ref, len(k.values))
	for at, i := range b.owners {
		sorted[next[i]] = k.values[at]
		next[i]++
	}
	k.values = sorted
	return k
}
