package engine

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/gorunner/gorunner/state"
)

// pageBytes is what pages and chunks are filled up to.
const pageBytes = 1 << 20

// paged is what a state request reads page by page: runs of encoded values.
// token is empty for the first page; next is empty on the last.
type paged interface {
	page(token []byte) (page, next []byte, err error)
}

// pager joins chunks to a page, as many as fit and at least one: there may be
// very many small ones, and each page is a round trip.
type pager struct {
	page []byte
	some bool
	own  bool // page may be appended to
}

// add returns false when the page is full without the chunk.
func (p *pager) add(chunk []byte) bool {
	switch {
	case !p.some:
		p.page, p.some = chunk, true
		return true
	case len(p.page)+len(chunk) > pageBytes:
		return false
	case !p.own:
		p.page, p.own = slices.Clone(p.page), true
	}
	p.page = append(p.page, chunk...)
	return true
}

// chunkList is a list of chunks that does not change. A token is the number of
// a chunk, which may be made only when it is asked for.
type chunkList struct {
	n  int
	at func(i int) ([]byte, error)
}

func listOf(chunks [][]byte) *chunkList {
	return &chunkList{len(chunks), func(i int) ([]byte, error) { return chunks[i], nil }}
}

func (l *chunkList) page(token []byte) (page, next []byte, err error) {
	i := 0
	if len(token) > 0 {
		at, n := binary.Uvarint(token)
		if n != len(token) || at >= uint64(l.n) {
			return nil, nil, errToken
		}
		i = int(at)
	}
	var p pager
	for ; i < l.n; i++ {
		chunk, err := l.at(i)
		if err != nil {
			return nil, nil, err
		}
		if !p.add(chunk) {
			next = binary.AppendUvarint(nil, uint64(i))
			break
		}
	}
	return p.page, next, nil
}

// cellPart is a part of a cell of user state, from a place to the first name that is
// not in it. An SDK may keep what it has read from one bundle to another, and go
// on reading when the cell has got more. Hence a token is a place.
type cellPart struct {
	txn  state.Txn
	cell state.Cell
	from string
	to   string // "" is no bound
	// one says that it is one entry.
	one bool

	// What follows is the page that is being read.
	pager pager
	at    state.Place
	next  []byte
}

func (s *cellPart) page(token []byte) (page, next []byte, err error) {
	begin, err := readPlace(token, s.from)
	if err != nil {
		return nil, nil, err
	}
	s.pager, s.at, s.next = pager{}, begin, nil
	err = s.txn.Scan(s.cell, begin, s.to, s.add)
	if errors.Is(err, state.ErrPlace) || err == nil && s.one && begin.Bytes > 0 && s.at == begin && s.next == nil && !s.exists() {
		err = fmt.Errorf("%w: %w", errToken, state.ErrPlace)
	}
	return s.pager.page, s.next, err
}

// add adds a piece to the page and says whether there is room for more.
func (s *cellPart) add(piece state.Piece) bool {
	if piece.Entry != s.at.Entry {
		s.at = state.Place{Entry: piece.Entry}
	}
	if !s.pager.add(piece.Data) {
		s.next = putPlace(s.at)
		return false
	}
	s.at = piece.Next
	return true
}

// exists says whether there is anything in the range.
func (s *cellPart) exists() (some bool) {
	err := s.txn.Names(s.cell, s.from, s.to, func(string) bool {
		some = true
		return false
	})
	return some || err != nil
}

// cellNames are the names of the entries of a cell, each made into a chunk. A token
// is the place of the next.
type cellNames struct {
	txn   state.Txn
	cell  state.Cell
	chunk func(name string) ([]byte, error)
}

func (n *cellNames) page(token []byte) (page, next []byte, err error) {
	from, err := readPlace(token, "")
	if err != nil {
		return nil, nil, err
	}
	var p pager
	var failed error
	err = n.txn.Names(n.cell, from.Entry, "", func(name string) bool {
		var chunk []byte
		if chunk, failed = n.chunk(name); failed != nil {
			return false
		}
		if !p.add(chunk) {
			next = putPlace(state.Place{Entry: name})
			return false
		}
		return true
	})
	return p.page, next, cmp.Or(failed, err)
}

// putPlace encodes a place as a token.
func putPlace(p state.Place) []byte {
	b := make([]byte, 0, 16+len(p.Entry))
	for _, n := range [...]uint64{p.Bytes, p.Row, p.Before} {
		b = binary.AppendUvarint(b, n)
	}
	return append(b, p.Entry...)
}

// readPlace reads a token; an empty one is the beginning of the entry from.
func readPlace(token []byte, from string) (state.Place, error) {
	p := state.Place{Entry: from}
	if len(token) == 0 {
		return p, nil
	}
	for _, n := range [...]*uint64{&p.Bytes, &p.Row, &p.Before} {
		v, size := binary.Uvarint(token)
		if size <= 0 {
			return p, errToken
		}
		*n = v
		token = token[size:]
	}
	p.Entry = string(token)
	return p, nil
}
