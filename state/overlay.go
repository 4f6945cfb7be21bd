package state

import (
	"slices"
	"strings"
)

// overlay is what a layer has of a cell.
type overlay struct {
	// hides says that nothing of the cell counts that is below.
	hides   bool
	entries entries
}

// entry is what a layer has of an entry.
type entry struct {
	name string
	// hides says that nothing of the entry counts that is below.
	hides bool
	// void says that rows of the entry that are on disk are to be deleted.
	void bool
	// many says that there may be rows besides the first; rows is about how many
	// there are. Both are known of entries that hide what is below, and where commits
	// write the rows. Of a transaction's writes they are the rows to be written.
	many bool
	rows int32
	// chunks follow what is below, and the tail follows them. Readers look at
	// them without a lock: chunks are never replaced, and no byte changes. But
	// the tail may grow.
	chunks [][]byte
	tail   []byte
	size   int // the memory that chunks and tail take

	// Of the chunks, the first clean ones are on disk and the flying ones after them
	// are being written.
	clean, flying int
	// row is the number of the first row that is in memory as well, of those that
	// follow what is below; 0 if none is.
	row uint64
	// seq is the commit that has touched the entry last.
	seq uint64
}

// chunkBytesMax is how large a chunk gets by joining smaller ones.
const chunkBytesMax = 64 << 10

// append adds data, which the entry owns from now on.
func (e *entry) append(data []byte) {
	if len(e.tail) > 0 && len(e.tail)+len(data) <= chunkBytesMax {
		e.size -= cap(e.tail)
		e.tail = append(e.tail, data...)
		e.size += cap(e.tail)
		return
	}
	e.seal()
	e.tail = data
	e.size += cap(data)
}

// seal makes a chunk of the tail.
func (e *entry) seal() {
	if len(e.tail) > 0 {
		e.chunks = append(e.chunks, e.tail)
		e.tail = nil
		e.size += chunkBytes
	}
}

// clear empties the entry and hides what is below.
func (e *entry) clear() {
	e.chunks, e.tail, e.size, e.clean, e.flying, e.hides = nil, nil, 0, 0, 0, true
	e.row, e.rows, e.many = 0, 0, false
}

// blank says that the entry has nothing of its own.
func (e *entry) blank() bool { return len(e.chunks) == 0 && len(e.tail) == 0 }

// What the parts of a cell take in memory besides the bytes of names and data.
const (
	chunkBytes = 24
	entryBytes = 120
	cellBytes  = 200
)

// bytes is the memory that the entry takes.
func (e *entry) bytes() int { return entryBytes + len(e.name) + e.size }

// drop forgets what is on disk.
func (e *entry) drop() {
	for _, c := range e.chunks[:e.clean] {
		e.size -= chunkBytes + cap(c)
	}
	e.chunks = slices.Clone(e.chunks[e.clean:])
	e.hides = e.hides && e.clean == 0
	e.clean = 0
}

// entries are sorted by name. They lie in leaves, so that an insertion into
// many moves few.
type entries struct {
	first []entry
	rest  [][]entry // none is empty
}

// leafMax is how many entries a leaf has at most.
const leafMax = 128

// leaf returns the index of the leaf where a name belongs.
func (s *entries) leaf(name string) int {
	i, found := slices.BinarySearchFunc(s.rest, name, func(l []entry, name string) int { return strings.Compare(l[0].name, name) })
	if found {
		i++
	}
	return i
}

func (s *entries) at(leaf int) *[]entry {
	if leaf == 0 {
		return &s.first
	}
	return &s.rest[leaf-1]
}

func search(l []entry, name string) (int, bool) {
	return slices.BinarySearchFunc(l, name, func(e entry, name string) int { return strings.Compare(e.name, name) })
}

// get returns the entry, nil if there is none. It is good until the next put or
// remove.
func (s *entries) get(name string) *entry {
	l := *s.at(s.leaf(name))
	if i, found := search(l, name); found {
		return &l[i]
	}
	return nil
}

// put returns the entry, which is new if there was none.
func (s *entries) put(name string) (e *entry, isNew bool) {
	n := s.leaf(name)
	l := s.at(n)
	i, found := search(*l, name)
	if found {
		return &(*l)[i], false
	}
	if len(*l) == leafMax {
		half := slices.Clone((*l)[leafMax/2:])
		clear((*l)[leafMax/2:])
		*l = (*l)[:leafMax/2]
		s.rest = slices.Insert(s.rest, n, half)
		return s.put(name)
	}
	if *l == nil {
		*l = make([]entry, 0, 1)
	}
	*l = slices.Insert(*l, i, entry{name: name})
	return &(*l)[i], true
}

func (s *entries) remove(name string) {
	n := s.leaf(name)
	l := s.at(n)
	i, found := search(*l, name)
	if !found {
		return
	}
	*l = slices.Delete(*l, i, i+1)
	if len(*l) == 0 && n > 0 {
		s.rest = slices.Delete(s.rest, n-1, n)
	}
}

func (s *entries) empty() bool { return len(s.first) == 0 && len(s.rest) == 0 }

// ascend calls f with the entries from a name on until it returns false. f does
// not add or remove any.
func (s *entries) ascend(from string, f func(*entry) bool) {
	n := s.leaf(from)
	i, _ := search(*s.at(n), from)
	for ; n <= len(s.rest); n++ {
		l := *s.at(n)
		for ; i < len(l); i++ {
			if !f(&l[i]) {
				return
			}
		}
		i = 0
	}
}

// layer is what was seen of a part of an overlay: it does not change.
type layer struct {
	hides   bool
	entries []seen
	// end is the name from which on nothing was looked at, if ends.
	end  string
	ends bool
}

// seen is an entry of a layer.
type seen struct {
	name   string
	hides  bool
	chunks [][]byte
	tail   []byte
	// rows of the entry that count have numbers below limit; 0 is no limit.
	limit uint64
}

// layerMax is how many entries are looked at at a time.
const layerMax = 1024

// look returns what the overlay has in the range [from, to).
func (o *overlay) look(from, to string) layer {
	l := layer{hides: o.hides}
	o.entries.ascend(from, func(e *entry) bool {
		if to != "" && e.name >= to {
			return false
		}
		if len(l.entries) == layerMax {
			l.end, l.ends = e.name, true
			return false
		}
		l.entries = append(l.entries, e.look())
		return true
	})
	return l
}

func (e *entry) look() seen {
	return seen{name: e.name, hides: e.hides, limit: e.row, chunks: e.chunks[:len(e.chunks):len(e.chunks)], tail: e.tail[:len(e.tail):len(e.tail)]}
}
