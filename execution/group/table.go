package group

import (
	"bytes"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/gorunner/gorunner/element"
)

// table is a hash table from (window, key) to values. It refers to bytes by
// where they lie, without pointers, so that the garbage collector has nothing to
// look at, however many entries there are.
type table struct {
	// data holds the blocks of input, behind the table's own bytes in data[0].
	data [][]byte
	// ownKey is the key of all entries, if they have the same.
	ownKey extent
	// slots hold hashes and, in the lower half, indices of entries plus one; their
	// number is a power of two.
	slots   []uint64
	entries []entry
	// values are those of all entries, in order of input.
	values []value
	// order lists the values entry by entry, once sort has been called.
	order []uint32
	// times are the timestamps of the values, if they are kept.
	times []element.EventTime
	// max bounds the number of values.
	max   int
	bytes int
	// loaded counts the bytes in data that nobody else holds, counted what of the
	// table was counted as held.
	loaded, counted int
}

// extent is where some bytes lie.
type extent struct{ block, start, end uint32 }

// entry is a key in a window.
type entry struct {
	key, window extent
	// first is the index into order of the entry's values, of which there are
	// count.
	first, count     uint32
	bytes            int
	earliest, latest element.EventTime
}

// value is where an encoded value lies, and of which entry it is.
type value struct {
	extent
	entry uint32
}

// ownBytesMax bounds what the table keeps itself, which an extent must be able
// to refer to.
const ownBytesMax = 1 << 30

// newTable makes an empty table with room for count values.
func newTable(count, valuesMax int) *table {
	const slotsMin = 64
	return &table{
		data: make([][]byte, 1), slots: make([]uint64, slotsMin),
		values: make([]value, 0, min(count, valuesMax)), max: valuesMax,
	}
}

// full says that there is no room for n more values. There always is for those
// of one element.
func (t *table) full(n int) bool {
	return len(t.values)+n > t.max && len(t.values) > 0 || len(t.data[0]) > ownBytesMax
}

// What each takes of a table's memory.
const (
	entryBytes = 56
	valueBytes = 16
	orderBytes = 4
	slotBytes  = 8
	timeBytes  = 8
)

// room is the memory that the table keeps when it is emptied.
func (t *table) room() int {
	return cap(t.data[0]) + entryBytes*cap(t.entries) + valueBytes*cap(t.values) + orderBytes*cap(t.order) +
		slotBytes*cap(t.slots) + timeBytes*cap(t.times)
}

// resident is the memory that the table takes.
func (t *table) resident() int {
	return t.loaded + len(t.data[0]) + entryBytes*len(t.entries) + (valueBytes+orderBytes)*len(t.values) + slotBytes*len(t.slots) + timeBytes*len(t.times)
}

// reset empties the table.
func (t *table) reset() {
	clear(t.data)
	clear(t.slots)
	*t = table{
		data: t.data[:1], slots: t.slots, entries: t.entries[:0], values: t.values[:0],
		order: t.order, times: t.times[:0], max: t.max,
	}
}

// at returns bytes that the table refers to.
func (t *table) at(x extent) []byte { return t.data[x.block][x.start:x.end] }

// keep copies bytes into the table.
func (t *table) keep(b []byte) extent {
	if len(b) == 0 {
		return extent{}
	}
	start := len(t.data[0])
	t.data[0] = append(t.data[0], b...)
	return extent{0, uint32(start), uint32(start + len(b))}
}

// keepWindow copies a window into the table, unless it is that of the last
// entry.
func (t *table) keepWindow(window []byte) extent {
	if n := len(t.entries); n > 1 {
		if last := t.entries[n-2].window; bytes.Equal(t.at(last), window) {
			return last
		}
	}
	return t.keep(window)
}

// add enters a value.
func (t *table) add(window, key []byte, keyAt extent, at element.EventTime, v extent) {
	i, isNew := t.find(window, key)
	e := &t.entries[i]
	if isNew {
		e.key, e.window = keyAt, t.keepWindow(window)
	}
	if e.count == 0 {
		e.earliest, e.latest = at, at
	} else {
		e.earliest, e.latest = min(e.earliest, at), max(e.latest, at)
	}
	size := int(v.end - v.start)
	e.count++
	e.bytes += size
	t.bytes += size
	t.values = append(t.values, value{v, uint32(i)})
	if t.times != nil {
		t.times = append(t.times, at)
	}
}

// find returns the index of the entry of the key in the window. If there is
// none it makes one, whose key and window the caller must set.
func (t *table) find(window, key []byte) (i int, isNew bool) {
	h := xxhash.Sum64(key)
	if len(window) > 0 {
		h ^= xxhash.Sum64(window) * 0x9e3779b97f4a7c15
	}
	// The upper half of the hash is alike within a key group. The lower half is
	// the place in the table and the mark that tells most entries apart.
	mark := h << 32
	mask := uint64(len(t.slots) - 1)
	for at := h & mask; ; at = (at + 1) & mask {
		slot := t.slots[at]
		if slot == 0 {
			t.entries = append(t.entries, entry{})
			t.slots[at] = mark | uint64(len(t.entries))
			if 4*len(t.entries) > 3*len(t.slots) {
				t.grow()
			}
			return len(t.entries) - 1, true
		}
		if slot&^(1<<32-1) != mark {
			continue
		}
		i := int(slot&(1<<32-1)) - 1
		e := &t.entries[i]
		if bytes.Equal(t.at(e.key), key) && bytes.Equal(t.at(e.window), window) {
			return i, false
		}
	}
}

// findOwn is find for a key and window that are not of the input.
func (t *table) findOwn(window, key []byte) int {
	i, isNew := t.find(window, key)
	if isNew {
		t.entries[i].key, t.entries[i].window = t.keep(key), t.keep(window)
	}
	return i
}

func (t *table) grow() {
	old := t.slots
	t.slots = make([]uint64, 2*len(old))
	mask := uint64(len(t.slots) - 1)
	for _, slot := range old {
		if slot == 0 {
			continue
		}
		at := slot >> 32 & mask
		for t.slots[at] != 0 {
			at = (at + 1) & mask
		}
		t.slots[at] = slot
	}
}

// sort puts the values in order of their entries; those of an entry stay in the
// order of input. Where values are read one after the other from an array, the
// processor fetches several at a time.
func (t *table) sort() {
	next := make([]uint32, len(t.entries))
	first := uint32(0)
	for i := range t.entries {
		next[i] = first
		t.entries[i].first = first
		first += t.entries[i].count
	}
	t.order = slices.Grow(t.order[:0], len(t.values))[:len(t.values)]
	for i := range t.values {
		e := t.values[i].entry
		t.order[next[e]] = uint32(i)
		next[e]++
	}
}

// of returns the values of an entry, once they have been sorted.
func (t *table) of(e *entry) []uint32 { return t.order[e.first : e.first+e.count] }

// byKey returns the indices of the entries of each key.
func (t *table) byKey() [][]uint32 {
	keys := &table{data: t.data, slots: make([]uint64, len(t.slots)), max: t.max}
	of := make([]uint32, len(t.entries))
	for i := range t.entries {
		key := t.entries[i].key
		k, isNew := keys.find(nil, t.at(key))
		if isNew {
			keys.entries[k].key = key
		}
		keys.entries[k].count++
		of[i] = uint32(k)
	}
	all := make([]uint32, 0, len(t.entries))
	lists := make([][]uint32, len(keys.entries))
	for k := range keys.entries {
		n := len(all) + int(keys.entries[k].count)
		lists[k] = all[len(all):len(all):n]
		all = all[:n]
	}
	for i, k := range of {
		lists[k] = append(lists[k], uint32(i))
	}
	return lists
}

// absorb makes the values of entry b those of a, and leaves b empty. The values
// themselves follow when all has been said: see relabel.
func (t *table) absorb(a, b *entry) {
	a.count += b.count
	a.bytes += b.bytes
	a.earliest, a.latest = min(a.earliest, b.earliest), max(a.latest, b.latest)
	b.count, b.bytes = 0, 0
}

// relabel gives the values of each entry to the one that absorbed it.
func (t *table) relabel(into []uint32) {
	for i := range t.values {
		t.values[i].entry = into[t.values[i].entry]
	}
}

// join returns the values of several entries in the order of input.
func (t *table) join(entries []int) []uint32 {
	switch len(entries) {
	case 0:
		return nil
	case 1:
		return t.of(&t.entries[entries[0]])
	}
	var values []uint32
	for _, i := range entries {
		values = append(values, t.of(&t.entries[i])...)
	}
	slices.Sort(values)
	return values
}
