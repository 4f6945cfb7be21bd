package group

import (
	"bytes"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/gorunner/gorunner/element"
)

// table is a hash table from (window, key) to the chain of its values. Values
// are positions within the input blocks, without pointers.
type table struct {
	blocks []element.Block
	// slots hold indices of entries plus one; its length is a power of two.
	slots   []uint32
	entries []entry
	// chain holds the values of all entries, each linked to the next of its
	// entry.
	chain []value
	// times are the timestamps of the values in chain, if they are kept.
	times []element.EventTime
	bytes int
}

// entry is a key in a window.
type entry struct {
	hash             uint64
	window, key      []byte
	first, last      uint32 // indices into chain
	count            int
	bytes            int
	earliest, latest element.EventTime
}

// value is where an encoded value lies.
type value struct {
	block, start, end uint32
	next              uint32
}

// none ends a chain.
const none = 1<<32 - 1

// newTable makes an empty table for about count values.
func newTable(blocks []element.Block, count int) *table {
	const slotsMin = 64
	return &table{blocks: blocks, slots: make([]uint32, slotsMin), chain: make([]value, 0, count)}
}

// add enters a value. window and key are kept, not copied.
func (t *table) add(window, key []byte, at element.EventTime, v value) {
	e := &t.entries[t.find(window, key)]
	v.next = none
	t.chain = append(t.chain, v)
	if t.times != nil {
		t.times = append(t.times, at)
	}
	index := uint32(len(t.chain) - 1)
	if e.count == 0 {
		e.first, e.earliest, e.latest = index, at, at
	} else {
		t.chain[e.last].next = index
		e.earliest, e.latest = min(e.earliest, at), max(e.latest, at)
	}
	e.last = index
	e.count++
	e.bytes += int(v.end - v.start)
	t.bytes += int(v.end - v.start)
}

// find returns the index of the entry of the key in the window, a new one if
// need be.
func (t *table) find(window, key []byte) int {
	h := xxhash.Sum64(key)
	if len(window) > 0 {
		h ^= xxhash.Sum64(window) * 0x9e3779b97f4a7c15
	}
	mask := uint64(len(t.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		slot := t.slots[i]
		if slot == 0 {
			t.entries = append(t.entries, entry{hash: h, window: window, key: key})
			t.slots[i] = uint32(len(t.entries))
			if 4*len(t.entries) > 3*len(t.slots) {
				t.grow()
			}
			return len(t.entries) - 1
		}
		e := &t.entries[slot-1]
		if e.hash == h && bytes.Equal(e.key, key) && bytes.Equal(e.window, window) {
			return int(slot - 1)
		}
	}
}

func (t *table) grow() {
	t.slots = make([]uint32, 2*len(t.slots))
	mask := uint64(len(t.slots) - 1)
	for n := range t.entries {
		i := t.entries[n].hash & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = uint32(n + 1)
	}
}

// byKey returns the entries of each key together, keys in order of first
// appearance.
func (t *table) byKey() [][]entry {
	index := make(map[string]int)
	var keys [][]entry
	for _, e := range t.entries {
		i, ok := index[string(e.key)]
		if !ok {
			i = len(keys)
			index[string(e.key)] = i
			keys = append(keys, nil)
		}
		keys[i] = append(keys[i], e)
	}
	return keys
}

// absorb appends the values of b to those of a.
func (t *table) absorb(a, b *entry) {
	t.chain[a.last].next = b.first
	a.last = b.last
	a.count += b.count
	a.bytes += b.bytes
	a.earliest, a.latest = min(a.earliest, b.earliest), max(a.latest, b.latest)
}

// replace puts other entries in the place of the table's.
func (t *table) replace(entries []entry) {
	t.entries = slices.Clip(entries)
	t.slots = nil
}
