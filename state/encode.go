package state

import (
	"bytes"
	"slices"
)

// encoder turns the writes of a transaction into changes of rows. No row is read
// for that. What the cache knows of a cell, or the store of a state, says which
// rows there may be that are to be deleted.
//
// What it finds out it says in the writes: they hide what is not there anyway, and
// have what they were joined with. So they can be applied whatever becomes of
// the cell in memory until then.
type encoder struct {
	store *Cache
	out   *Changes
	told  map[*kind]uint32 // the traits of which rows are among the changes

	kind *kind // that of the cell
	key  []byte
	row  []byte // the key of a row
	end  []byte
}

// encode encodes the writes, if they are to last and it was not done. Who calls it
// holds mu.
func (t *txn) encode() {
	if t.store.params.Lasting == nil || t.encoded != nil || len(t.writes) == 0 {
		return
	}
	t.encoded = &encoder{store: t.store, out: &Changes{}}
	for key, w := range t.writes {
		t.encoded.cell(key, w)
	}
}

// applied notes that the traits of states are told.
func (e *encoder) applied() {
	for k, bits := range e.told {
		k.told.Or(bits)
	}
}

// extent is which rows there may be of an entry.
type extent int

const (
	extentNone  extent = iota
	extentFirst        // that of number 0
	extentMany
)

// known is what the cache knows of a cell: it is in a slot, or is a cell, or is
// nowhere, or nothing is known of it.
type known struct {
	small   slot
	cell    *cell
	nowhere bool
}

func (e *encoder) cell(key string, w *overlay) {
	if number := cellNumber(key); e.kind == nil || e.kind.number != number {
		e.kind = e.store.names.at(number)
	}
	e.key = append(e.key[:0], key...)
	if w.hides && !e.kind.multiple() {
		e.replaceCell(&known{}, w) // which is all that there is to know
		return
	}
	s := e.store
	hash := s.hash(key)
	sh := &s.shards[hash%shardCount]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	k := &known{small: find(&sh.small, hash, key)}
	if k.small == nil {
		k.cell = sh.cells[key]
		k.nowhere = k.cell == nil && s.table.Load() == nil
	}
	switch {
	case k.nowhere:
		w.hides = true
	case k.small != nil && !w.hides:
		// It is written anew, and so is one row ever after.
		if value, ok := sh.join(k.small, w); ok && slotHeader+len(key)+len(value) <= slotMax {
			*w = overlay{hides: true}
			if len(value) > 0 {
				all, _ := w.entries.put("")
				all.append(bytes.Clone(value))
			}
		}
	}
	if w.hides {
		e.replaceCell(k, w)
		return
	}
	w.entries.ascend("", func(one *entry) bool {
		e.entry(k, one)
		return true
	})
}

// replaceCell deletes the rows of a cell and sets others.
func (e *encoder) replaceCell(k *known, w *overlay) {
	names, single := e.singles(k)
	if !single {
		e.out.DeleteRange(e.key, behind(e.key))
	}
	for _, name := range names {
		if now := w.entries.get(name); now == nil || now.blank() {
			e.out.Delete(e.rowKey(name, 0))
		}
	}
	w.entries.ascend("", func(one *entry) bool {
		one.hides = true
		e.rows(one)
		return true
	})
}

// singlesMax is how many rows are deleted one by one.
const singlesMax = 16

// singles returns the entries of a cell, if they are few, and each has at most its
// first row.
func (e *encoder) singles(k *known) (names []string, ok bool) {
	switch {
	case k.nowhere:
		return nil, true
	case k.small != nil && k.small.is(slotMany):
		return nil, false
	case k.small != nil && len(k.small.value()) == 0:
		return nil, true
	case k.small != nil:
		return []string{""}, true
	case k.cell != nil && k.cell.hides:
		ok = true
		k.cell.entries.ascend("", func(one *entry) bool {
			if !one.blank() {
				names = append(names, one.name)
			}
			ok = len(names) <= singlesMax && !one.many
			return ok
		})
		return names, ok
	case e.kind.multiple():
		return nil, false
	}
	return []string{""}, true
}

// extent says which rows there may be of an entry.
func (e *encoder) extent(k *known, name string) extent {
	found, isKnown := extentNone, false
	switch {
	case k.small != nil:
		isKnown = true
		switch {
		case name != "" || len(k.small.value()) == 0:
		case k.small.is(slotMany):
			found = extentMany
		default:
			found = extentFirst
		}
	case k.cell != nil:
		one := k.cell.entries.get(name)
		isKnown = one == nil && k.cell.hides || one != nil && one.hides
		switch {
		case one == nil || one.blank():
		case one.many:
			found = extentMany
		default:
			found = extentFirst
		}
	}
	if isKnown {
		return found
	}
	if e.kind.has.Load()&(1<<traitMany) != 0 {
		return extentMany
	}
	return extentFirst
}

// entry encodes the writes to an entry.
func (e *encoder) entry(k *known, one *entry) {
	found := e.extent(k, one.name)
	switch {
	case one.hides:
	case found == extentNone:
		one.hides = true
	case !one.hides:
		if all := e.joined(k, one); all != nil {
			one.clear()
			one.append(all)
		}
	}
	switch {
	case !one.hides || found == extentNone:
	case found == extentMany:
		e.row = appendRow(append(e.row[:0], e.key...), one.name, 0)
		e.end = appendBehind(append(e.end[:0], e.key...), one.name)
		e.out.DeleteRange(e.row, e.end)
	case one.blank():
		e.out.Delete(e.rowKey(one.name, 0))
	}
	e.rows(one)
}

// An entry of a cell that is loaded as a whole is written anew when it has so many
// rows, of less than so many bytes each.
const (
	rejoinRows     = 32
	rejoinRowBytes = 256
)

// joined returns the whole of an entry that is to be appended to, if it is in many
// small rows, and known.
func (e *encoder) joined(k *known, one *entry) []byte {
	if k.cell == nil || k.cell.size > e.store.params.LoadBytes {
		return nil
	}
	was := k.cell.entries.get(one.name)
	if was == nil || !was.hides || was.rows < rejoinRows || was.size+one.size > rejoinRowBytes*int(was.rows) {
		return nil
	}
	return slices.Concat(slices.Concat(was.chunks...), was.tail, slices.Concat(one.chunks...), one.tail)
}

// rows sets the rows of what is written to an entry.
func (e *encoder) rows(one *entry) {
	one.seal()
	one.row, one.rows = 0, int32(len(one.chunks))
	for i, chunk := range one.chunks {
		number := uint64(0)
		if i > 0 || !one.hides {
			number = e.store.row.Add(1)
		}
		if i == 0 {
			one.row = number
		}
		e.tell(traitsOf(one.name, number))
		e.out.Set(e.rowKey(one.name, number), chunk)
	}
}

func (e *encoder) rowKey(name string, number uint64) []byte {
	e.row = appendRow(append(e.row[:0], e.key...), name, number)
	return e.row
}

// tell adds the rows of traits, unless they are written. Others may be about to
// write the same: each of them may be the first to be committed.
func (e *encoder) tell(bits uint32) {
	k := e.kind
	missing := bits &^ k.told.Load() &^ e.told[k]
	if missing == 0 {
		return
	}
	k.has.Or(missing)
	if e.told == nil {
		e.told = make(map[*kind]uint32)
	}
	e.told[k] |= missing
	k.rows(e.out, missing)
}
