package engine

import (
	"encoding/binary"
	"slices"
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

// entryList is the entries of a cell of user state, in order of their names. An
// SDK may keep what it has read from one bundle to another, and go on reading
// when the cell has got more. Hence a token is the name of an entry, after the
// number of bytes of it that have been read.
type entryList struct {
	names  []string
	chunks func(name string) ([][]byte, error)
}

func (l *entryList) page(token []byte) (page, next []byte, err error) {
	i, skip := 0, uint64(0)
	if len(token) > 0 {
		n := 0
		if skip, n = binary.Uvarint(token); n <= 0 {
			return nil, nil, errToken
		}
		var found bool
		if i, found = slices.BinarySearch(l.names, string(token[n:])); !found {
			skip = 0
		}
	}
	var p pager
	for ; i < len(l.names); i++ {
		chunks, err := l.chunks(l.names[i])
		if err != nil {
			return nil, nil, err
		}
		at := uint64(0)
		for _, c := range chunks {
			begin := at
			at += uint64(len(c))
			if begin < skip {
				begin = min(skip, at)
				c = c[uint64(len(c))-(at-begin):]
			}
			if len(c) > 0 && !p.add(c) {
				return p.page, append(binary.AppendUvarint(nil, begin), l.names[i]...), nil
			}
		}
		if skip > at {
			return nil, nil, errToken
		}
		skip = 0
	}
	return p.page, nil, nil
}
