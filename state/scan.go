package state

import (
	"fmt"
	"strings"
)

// scanner goes through a part of a cell, from the transaction's layer down to
// the rows of the table.
type scanner struct {
	key  []byte // of the cell
	from Place
	to   string // "" is no bound

	top, mid layer
	rows     Rows // nil if none count
	name     []byte
	number   uint64 // name and number are those of the row, if it has a key

	// f takes pieces, or names takes names; more is what it said last.
	f     func(Piece) bool
	names func(string) bool
	more  bool
	count int // the rows that were read
	// scratch is for keys.
	scratch []byte
}

// end is the name at which the layers' knowledge ends; "" is none.
func (s *scanner) end() string {
	end := s.to
	for _, l := range []*layer{&s.top, &s.mid} {
		if l.ends && (end == "" || l.end < end) {
			end = l.end
		}
	}
	return end
}

// run goes through the entries up to the end. Rows are opened at or before from.
func (s *scanner) run() error {
	end := s.end()
	s.more = true
	if s.rows != nil {
		number := s.from.Row
		if s.names != nil {
			number = 0
		}
		s.scratch = appendRow(append(s.scratch[:0], s.key...), s.from.Entry, number)
		if err := s.seek(); err != nil {
			return err
		}
	}
	for s.more {
		name, some := s.first()
		if !some || end != "" && name >= end {
			return nil
		}
		if err := s.entry(name); err != nil {
			return err
		}
	}
	return nil
}

// first returns the first name that is left.
func (s *scanner) first() (name string, some bool) {
	for _, l := range []*layer{&s.top, &s.mid} {
		if len(l.entries) > 0 && (!some || l.entries[0].name < name) {
			name, some = l.entries[0].name, true
		}
	}
	if s.rows != nil && s.rows.Key() != nil && (!some || string(s.name) < name) {
		return string(s.name), true
	}
	return name, some
}

// take takes an entry off a layer, if it is there.
func (l *layer) take(name string) *seen {
	if len(l.entries) == 0 || l.entries[0].name != name {
		return nil
	}
	e := &l.entries[0]
	l.entries = l.entries[1:]
	return e
}

// entry goes through the layers of an entry, the lowest first.
func (s *scanner) entry(name string) error {
	top, mid := s.top.take(name), s.mid.take(name)
	midCounts := mid != nil && (top == nil || !top.hides)
	rowsCount := (top == nil || !top.hides) && (mid == nil || !mid.hides)
	at := &cursor{place: Place{Entry: name}}
	if name == s.from.Entry {
		at.skip = s.from.Bytes
		if rowsCount && s.rows != nil {
			at.place.Row, at.place.Before, at.place.Bytes = s.from.Row, s.from.Before, s.from.Before
		}
	}
	if s.rows != nil && s.at(name) {
		limit := uint64(0)
		if mid != nil {
			limit = mid.limit
		}
		if err := s.entryRows(at, rowsCount, limit); err != nil {
			return err
		}
	}
	if midCounts {
		s.chunks(at, mid)
	}
	if top != nil {
		s.chunks(at, top)
	}
	if s.more && at.skip > at.place.Bytes {
		return fmt.Errorf("%w: %d of %d bytes", ErrPlace, at.skip, at.place.Bytes)
	}
	return nil
}

// cursor is how far a scanner is in an entry.
type cursor struct {
	place Place
	// skip is how many bytes of the entry were read before.
	skip  uint64
	named bool // the name was told
}

// entryRows goes through the rows of an entry and leaves them. Small ones are
// joined to pieces.
func (s *scanner) entryRows(at *cursor, count bool, limit uint64) error {
	var joined []byte
	var last uint64
	for count && s.more && s.at(at.place.Entry) && (limit == 0 || s.number < limit) {
		if s.names != nil {
			s.tell(at)
			break
		}
		data, err := s.rows.Value()
		if err != nil {
			return err
		}
		if len(joined) > 0 && len(joined)+len(data) > chunkBytesMax {
			s.row(at, joined, last)
			joined = nil
		}
		joined, last = append(joined, data...), s.number
		s.count++
		if err := s.next(); err != nil {
			return err
		}
	}
	s.row(at, joined, last)
	if s.more && s.at(at.place.Entry) {
		s.scratch = appendBehind(append(s.scratch[:0], s.key...), at.place.Entry)
		return s.seek()
	}
	return nil
}

// at says whether the row is one of the entry.
func (s *scanner) at(name string) bool { return s.rows.Key() != nil && string(s.name) == name }

// row passes on a piece of rows, of which last is the last one's number.
func (s *scanner) row(at *cursor, data []byte, last uint64) {
	if len(data) == 0 {
		return
	}
	// Now the hint is that they were read.
	at.place.Row, at.place.Before = last+1, at.place.Bytes+uint64(len(data))
	s.piece(at, data)
}

func (s *scanner) chunks(at *cursor, e *seen) {
	for _, c := range e.chunks {
		s.piece(at, c)
	}
	s.piece(at, e.tail)
}

// piece passes on what of a piece was not read before.
func (s *scanner) piece(at *cursor, data []byte) {
	begin := at.place.Bytes
	at.place.Bytes += uint64(len(data))
	if !s.more || at.place.Bytes <= at.skip {
		return
	}
	if s.names != nil {
		s.tell(at)
		return
	}
	if begin < at.skip {
		data = data[at.skip-begin:]
	}
	if len(data) == 0 {
		return
	}
	s.more = s.f(Piece{Entry: at.place.Entry, Data: data[:len(data):len(data)], Next: at.place})
}

func (s *scanner) tell(at *cursor) {
	if !at.named {
		at.named = true
		s.more = s.names(strings.Clone(at.place.Entry))
	}
}

func (s *scanner) seek() error {
	if err := s.rows.Seek(s.scratch); err != nil {
		return err
	}
	return s.read()
}

func (s *scanner) next() error {
	if err := s.rows.Next(); err != nil {
		return err
	}
	return s.read()
}

// read reads the key of the row.
func (s *scanner) read() (err error) {
	if key := s.rows.Key(); key != nil {
		s.name, s.number, err = readRow(key[len(s.key):])
	}
	return err
}
