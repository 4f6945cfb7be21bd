package state

import (
	"bytes"
	"encoding/binary"
)

// small holds cells that have at most a small value in the entry "", and of which
// everything is known: most cells, of most pipelines. They lie in pages without
// pointers, which the garbage collector does not look at, and are found by the
// hash of their key. It has one owner, the shard.
//
// A slot of a page is flags, the sizes of key and value in nine bits each and the
// number of a commit in fourteen, key and value; slots of a page are of one size.
type small struct {
	index map[uint64]slotRef // by hash of the key
	pages []page
	// free are the slots that are free, by class; each has the next one.
	free [len(slotSizes)]slotRef
	// hand is where the last look of who evicts ended.
	handPage, handSlot int
}

type page struct {
	class int
	data  []byte
}

// slotRef is one more than the number of a page, and the place within it.
type slotRef struct{ page, at uint32 }

const (
	pageSize = 64 << 10
	// The first pages are small, because most stores are.
	pageSizeMin, pagesSmall = 4 << 10, 2 * len(slotSizes)
	slotHeader              = 5
	slotMax                 = 512
	// slotBytes is what a slot takes besides its own size.
	slotBytes = 24
)

var slotSizes = [...]int{32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, slotMax} //nolint:gochecknoglobals // a constant table

// Flags of a slot; 0 is one that is free.
const (
	slotLive = 1 << iota
	slotUsed
	slotDirty  // the table does not have it
	slotBelow  // there may be rows of it in the table
	slotFlying // it is being written
	slotMany   // there may be rows of it besides the first
)

// The parts of a slot's header behind the flags.
const (
	slotSizeBits = 9
	slotSizeMask = 1<<slotSizeBits - 1
	slotSeqBits  = 32 - 2*slotSizeBits
	slotSeqMask  = 1<<slotSeqBits - 1
)

// slot is a cell in its place.
type slot []byte

func (s slot) sizes() (key, value int) {
	header := binary.LittleEndian.Uint32(s[1:])
	return int(header & slotSizeMask), int(header >> slotSizeBits & slotSizeMask)
}

// seq is the end of the number of the commit that has written it last.
func (s slot) seq() uint64 { return uint64(binary.LittleEndian.Uint32(s[1:]) >> (2 * slotSizeBits)) }

func (s slot) key() []byte {
	key, _ := s.sizes()
	return s[slotHeader : slotHeader+key]
}

func (s slot) value() []byte {
	key, value := s.sizes()
	return s[slotHeader+key : slotHeader+key+value]
}

func (s slot) is(flag byte) bool { return s[0]&flag != 0 }

func classOf(size int) int {
	class := 0
	for slotSizes[class] < size {
		class++
	}
	return class
}

func (m *small) at(r slotRef) slot {
	p := &m.pages[r.page-1]
	return p.data[r.at : r.at+uint32(slotSizes[p.class])]
}

// find returns the slot of a cell; nil if it has none.
func find[K string | []byte](m *small, hash uint64, key K) slot {
	r, found := m.index[hash]
	if !found {
		return nil
	}
	if s := m.at(r); string(s.key()) == string(key) {
		return s
	}
	return nil
}

// put puts a cell into a slot, perhaps of one that it had before, of which value
// must not be a part. grown is by how much memory. It fails if the cell is too
// large, or another has the same hash.
func (m *small) put(hash uint64, key string, value []byte, h header) (grown int, ok bool) {
	size := slotHeader + len(key) + len(value)
	if size > slotMax {
		return 0, false
	}
	class := classOf(size)
	r, found := m.index[hash]
	if found {
		s := m.at(r)
		if string(s.key()) != key {
			return 0, false
		}
		if m.pages[r.page-1].class == class {
			s.fill(key, value, h)
			return 0, true
		}
		grown -= m.release(r)
	}
	if m.index == nil {
		m.index = make(map[uint64]slotRef)
	}
	r = m.take(class)
	m.index[hash] = r
	m.at(r).fill(key, value, h)
	return grown + slotSizes[class] + slotBytes, true
}

// header is what a slot tells of its cell.
type header struct {
	flags byte
	seq   uint64
}

func (s slot) fill(key string, value []byte, h header) {
	s[0] = h.flags | slotLive
	binary.LittleEndian.PutUint32(s[1:], uint32(len(key))|uint32(len(value))<<slotSizeBits|uint32(h.seq&slotSeqMask)<<(2*slotSizeBits))
	copy(s[slotHeader:], key)
	copy(s[slotHeader+len(key):], value)
}

// take takes a free slot, of a new page if there is none.
func (m *small) take(class int) slotRef {
	if m.free[class].page == 0 {
		size := slotSizes[class]
		bytes := pageSizeMin
		if len(m.pages) >= pagesSmall {
			bytes = pageSize
		}
		m.pages = append(m.pages, page{class, make([]byte, bytes/size*size)})
		for at := bytes/size*size - size; at >= 0; at -= size {
			m.put0(slotRef{uint32(len(m.pages)), uint32(at)})
		}
	}
	r := m.free[class]
	s := m.at(r)
	m.free[class] = slotRef{binary.LittleEndian.Uint32(s[1:]), binary.LittleEndian.Uint32(s[5:])}
	return r
}

// put0 puts a slot among the free ones.
func (m *small) put0(r slotRef) {
	s, class := m.at(r), m.pages[r.page-1].class
	s[0] = 0
	binary.LittleEndian.PutUint32(s[1:], m.free[class].page)
	binary.LittleEndian.PutUint32(s[5:], m.free[class].at)
	m.free[class] = r
}

func (m *small) release(r slotRef) (freed int) {
	m.put0(r)
	return slotSizes[m.pages[r.page-1].class] + slotBytes
}

// remove forgets the cell that is in a slot and returns how much memory is free.
func (m *small) remove(hash uint64) (freed int) {
	r := m.index[hash]
	delete(m.index, hash)
	return m.release(r)
}

// look returns what the slot has in the range that begins with from.
func (s slot) look(from string) layer {
	l := layer{hides: true}
	if value := s.value(); len(value) > 0 && from == "" {
		l.entries = []seen{{hides: true, tail: bytes.Clone(value)}}
	}
	return l
}

// next returns the slot after the hand, which may be free, and moves the hand.
func (m *small) next() slot {
	for range 2 {
		if m.handPage < len(m.pages) {
			p := &m.pages[m.handPage]
			size := slotSizes[p.class]
			if at := m.handSlot * size; at < len(p.data) {
				m.handSlot++
				return p.data[at : at+size]
			}
			m.handPage, m.handSlot = m.handPage+1, 0
			if m.handPage < len(m.pages) {
				continue
			}
		}
		m.handPage, m.handSlot = 0, 0
	}
	return nil
}

// only returns the entry "" of the writes, which may be nil, if they have no
// other.
func (o *overlay) only() (e *entry, only bool) {
	switch {
	case o.entries.empty():
		return nil, true
	case len(o.entries.rest) == 0 && len(o.entries.first) == 1 && o.entries.first[0].name == "":
		return &o.entries.first[0], true
	}
	return nil, false
}

// applySmall applies writes to a cell that is small and stays so. Otherwise the
// cell is in no slot afterwards.
func (s *Cache) applySmall(sh *shard, hash uint64, key string, w *overlay, seq uint64, keep bool) (done bool) {
	was := find(&sh.small, hash, key)
	if was == nil && (sh.cells[key] != nil || s.table.Load() != nil && !w.hides) {
		return false
	}
	value, only := sh.join(was, w)
	h := header{flags: s.flags(was, w), seq: seq}
	if only && len(value) == 0 && h.flags&slotBelow == 0 && !keep {
		if was != nil {
			s.grow(-int64(sh.small.remove(hash)))
		}
		return true
	}
	if only {
		if grown, ok := sh.small.put(hash, key, value, h); ok {
			s.grow(int64(grown))
			if len(value) == 0 && keep {
				s.bury(sh, grave{key: key, seq: seq})
			}
			return true
		}
	}
	if was != nil {
		s.inflate(sh, hash, key, was)
	}
	return false
}

// flags are those of a small cell after writes; it may be new.
func (s *Cache) flags(was slot, w *overlay) byte {
	if s.params.Lasting != nil {
		flags := byte(slotUsed)
		e, _ := w.only()
		if e != nil && (e.rows > 1 || e.row > 0) || was != nil && !w.hides && was.is(slotMany) {
			flags |= slotMany
		}
		return flags
	}
	flags := byte(slotUsed | slotDirty)
	switch {
	case was != nil:
		flags |= was[0] & (slotBelow | slotFlying)
	case s.table.Load() != nil:
		flags |= slotBelow
	}
	return flags
}

// join returns the value that a small cell has after the writes, until the next
// call; false if it is not small then.
func (sh *shard) join(was slot, w *overlay) (value []byte, ok bool) {
	e, only := w.only()
	if !only || e != nil && e.size > 4*slotMax {
		return nil, false
	}
	value = sh.scratch[:0]
	if was != nil && !w.hides && (e == nil || !e.hides) {
		value = append(value, was.value()...)
	}
	if e != nil {
		for _, c := range e.chunks {
			value = append(value, c...)
		}
		value = append(value, e.tail...)
	}
	sh.scratch = value
	return value, true
}

// inflate takes a cell out of its slot.
func (s *Cache) inflate(sh *shard, hash uint64, key string, from slot) {
	dirty := from.is(slotDirty | slotFlying)
	c := &cell{overlay: overlay{hides: true}, below: from.is(slotBelow | slotFlying), used: true}
	c.void = dirty && c.below // also of entries that the slot knows nothing of
	if value := from.value(); len(value) > 0 {
		e, _ := c.entries.put("")
		e.hides, e.rows, e.many, e.seq = true, 1, from.is(slotMany), s.lasts.applied.Load()
		e.append(bytes.Clone(value))
		if !dirty {
			e.seal()
			e.clean = 1
		}
		c.size = e.bytes()
	}
	c.size += cellBytes + len(key)
	sh.cells[key] = c
	s.grow(int64(c.size - sh.small.remove(hash)))
}

// keepSmall keeps a cell that was read from the table, if it is small.
func (s *Cache) keepSmall(sh *shard, hash uint64, key string, read *overlay) bool {
	e, only := read.only()
	if !only {
		return false
	}
	var value []byte
	h := header{flags: slotUsed}
	if s.params.Lasting != nil {
		h.seq = s.lasts.durable.Load()
	}
	if e != nil {
		if e.size > 2*slotMax {
			return false
		}
		switch {
		case s.params.Lasting == nil:
			h.flags |= slotBelow
		case e.many:
			h.flags |= slotMany
		}
		value = bytes.Join(e.chunks, nil)
	}
	grown, ok := sh.small.put(hash, key, value, h)
	s.grow(int64(grown))
	if ok && len(value) == 0 && s.params.Lasting != nil {
		s.bury(sh, grave{key: key})
	}
	return ok
}

// departSmall puts small cells that were not used into the batch, and forgets
// those that are in the table.
func (s *Cache) departSmall(f *flight) error {
	m := &f.shard.small
	for ; f.seen < lookMax && !f.full(s.params.BatchBytes) && f.freed < int64(s.params.BatchBytes); f.seen++ {
		one := m.next()
		switch {
		case one == nil:
			return nil
		case !one.is(slotLive) || one.is(slotFlying) || f.horizon.pendingSmall(one.seq()): // the hand comes around
			continue
		case one.is(slotUsed):
			one[0] &^= slotUsed
			continue
		}
		hash := s.hash(string(one.key()))
		if !one.is(slotDirty) {
			f.freed += int64(m.remove(hash))
			continue
		}
		if err := s.writeSmall(f.batch, one); err != nil {
			return err
		}
		f.small = append(f.small, string(one.key()))
		one[0] = one[0]&^slotDirty | slotFlying | slotBelow
	}
	return nil
}

func (s *Cache) writeSmall(b Batch, one slot) error {
	key := bytes.Clone(one.key())
	multiple := s.names.at(cellNumber(string(key))).multiple()
	if multiple && one.is(slotBelow) {
		if err := b.DeleteRange(key, behind(key)); err != nil {
			return err
		}
	}
	row := appendRow(key, "", 0)
	switch {
	case len(one.value()) > 0:
		return b.Set(row, one.value())
	case !multiple:
		return b.Delete(row)
	}
	return nil
}

// arriveSmall forgets small cells that are written, unless they were written to
// meanwhile.
func (s *Cache) arriveSmall(f *flight) {
	for _, key := range f.small {
		hash := s.hash(key)
		one := find(&f.shard.small, hash, key)
		if one == nil {
			continue
		}
		one[0] &^= slotFlying
		if !one.is(slotDirty) {
			f.freed += int64(f.shard.small.remove(hash))
		}
	}
}
