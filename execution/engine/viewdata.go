package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// viewData is the values of a view where they came to lie: in chunks, some of
// them perhaps on disk. It may be used from any goroutine once it is made.
type viewData struct {
	chunks []element.Chunk
	// cut cuts the value at the start of its argument, which is not empty, off
	// what a chunk holds.
	cut func(b []byte) (shuffle.Element, error)
	// stored says that some chunks are on disk.
	stored bool
	memory *viewMemory

	mu sync.Mutex
	// loaded holds the chunks that were loaded last while there was no room, the last
	// first; guarded by mu.
	loaded []loadedChunk
	// kept holds those that were loaded while there was, as in a job that goes on
	// after its process has ended; guarded by mu.
	kept map[uint32][]byte
}

type loadedChunk struct {
	number uint32
	data   []byte
}

// loadedChunks is how many chunks of a view are kept that were loaded without room. A
// reader that goes from one to the next needs one; more is for several readers.
const loadedChunks = 8

// viewMemory is what a view, or an edition of it, has in memory.
type viewMemory struct {
	account *shuffle.Account
	bytes   atomic.Int64
}

func (m *viewMemory) add(n int64) {
	m.bytes.Add(n)
	m.account.Add(n)
}

// free says that the view is gone.
func (m *viewMemory) free() { m.account.Add(-m.bytes.Swap(0)) }

func newViewData(chunks []element.Chunk, cut func([]byte) (shuffle.Element, error), m *viewMemory) *viewData {
	return &viewData{chunks: chunks, cut: cut, memory: m, stored: !chunkPages(chunks).inMemory()}
}

var errHugeChunk = errors.New("a chunk of more than 4 GiB")

// load returns a chunk. A chunk that lies on disk is kept for a while.
func (d *viewData) load(number uint32) ([]byte, error) {
	c := &d.chunks[number]
	if c.Size() > math.MaxUint32 {
		return nil, errHugeChunk
	}
	if !c.OnDisk() {
		return c.Data, nil
	}
	if data, ok := d.recent(number); ok {
		return data, nil
	}
	data, err := c.Load()
	if err != nil {
		return nil, fmt.Errorf("load chunk %d of %d: %w", number, len(d.chunks), err)
	}
	d.keep(number, data)
	return data, nil
}

func (d *viewData) recent(number uint32) ([]byte, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if data, ok := d.kept[number]; ok {
		return data, true
	}
	i := slices.IndexFunc(d.loaded, func(l loadedChunk) bool { return l.number == number })
	if i < 0 {
		return nil, false
	}
	l := d.loaded[i]
	copy(d.loaded[1:], d.loaded[:i])
	d.loaded[0] = l
	return l.data, true
}

func (d *viewData) keep(number uint32, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.ContainsFunc(d.loaded, func(l loadedChunk) bool { return l.number == number }) {
		return // by two at the same time
	}
	if !d.memory.account.Over() {
		if _, twice := d.kept[number]; !twice {
			if d.kept == nil {
				d.kept = make(map[uint32][]byte)
			}
			d.kept[number] = data
			d.memory.add(int64(len(data)))
		}
		return
	}
	if len(d.loaded) == loadedChunks {
		d.memory.add(-int64(len(d.loaded[loadedChunks-1].data)))
		d.loaded = d.loaded[:loadedChunks-1]
	}
	d.loaded = slices.Insert(d.loaded, 0, loadedChunk{number, data})
	d.memory.add(int64(len(data)))
}

// span is a run of elements in a chunk.
type span struct{ chunk, from, to uint32 }

const spanBytes = 12

// each calls f with each element of the spans and where its value begins.
func (d *viewData) each(spans []span, f func(e *shuffle.Element, chunk, at uint32) error) error {
	var e shuffle.Element // one for all
	for _, s := range spans {
		data, err := d.load(s.chunk)
		if err != nil {
			return err
		}
		for at := s.from; at < s.to; {
			if e, err = d.cut(data[at:s.to]); err != nil {
				return fmt.Errorf("chunk %d at byte %d: %w", s.chunk, at, err)
			}
			at += uint32(e.Size)
			if err := f(&e, s.chunk, at-uint32(len(e.Value))); err != nil {
				return err
			}
		}
	}
	return nil
}

// cutValues cuts values that stand alone.
func cutValues(value *coder.Coder) func([]byte) (shuffle.Element, error) {
	keyed := value.Kind() == coder.KV
	return func(b []byte) (e shuffle.Element, err error) {
		if keyed {
			if e.KeySize, err = value.Component(0).Measure(b); err != nil {
				return e, fmt.Errorf("key of %v: %w", value, err)
			}
		}
		e.Size, err = value.Measure(b)
		if err == nil && e.Size == 0 {
			err = coder.ErrMalformed
		}
		if err != nil {
			return e, fmt.Errorf("value of %v: %w", value, err)
		}
		e.Value = b[:e.Size]
		return e, nil
	}
}

// spanList is the values in spans. A token is the number of a span and a place in
// its chunk.
type spanList struct {
	data  *viewData
	spans []span
}

func (l *spanList) page(token []byte) (page, next []byte, err error) {
	i, from, err := l.place(token)
	if err != nil {
		return nil, nil, err
	}
	page = make([]byte, 0, l.room(i, from))
	for ; i < len(l.spans); i++ {
		s := l.spans[i]
		data, err := l.data.load(s.chunk)
		if err != nil {
			return nil, nil, err
		}
		for at := max(s.from, from); at < s.to; {
			e, err := l.data.cut(data[at:s.to])
			if err != nil {
				return nil, nil, fmt.Errorf("chunk %d at byte %d: %w", s.chunk, at, err)
			}
			if len(page) > 0 && len(page)+len(e.Value) > pageBytes {
				return page, binary.AppendUvarint(binary.AppendUvarint(nil, uint64(i)), uint64(at)), nil
			}
			page = append(page, e.Value...)
			at += uint32(e.Size)
		}
		from = 0
	}
	return page, nil, nil
}

// place reads a token.
func (l *spanList) place(token []byte) (i int, from uint32, err error) {
	if len(token) == 0 {
		return 0, 0, nil
	}
	number, n := binary.Uvarint(token)
	if n <= 0 || number >= uint64(len(l.spans)) {
		return 0, 0, errToken
	}
	at, m := binary.Uvarint(token[n:])
	s := l.spans[number]
	if m != len(token)-n || m <= 0 || at < uint64(s.from) || at >= uint64(s.to) {
		return 0, 0, errToken
	}
	return int(number), uint32(at), nil
}

// room is what a page may need.
func (l *spanList) room(i int, from uint32) (n int) {
	for ; i < len(l.spans) && n < pageBytes; i++ {
		s := l.spans[i]
		n += int(s.to - max(s.from, from))
		from = 0
	}
	return min(n, pageBytes)
}

// ref is where a value lies.
type ref struct{ chunk, at, size uint32 }

// refList is values by reference. A token is the number of one.
type refList struct {
	data *viewData
	refs []ref
}

func (l *refList) page(token []byte) (page, next []byte, err error) {
	i, err := readNumber(token, len(l.refs))
	if err != nil || i == len(l.refs) {
		return nil, nil, err
	}
	n, size := i+1, int(l.refs[i].size)
	for n < len(l.refs) && size+int(l.refs[n].size) <= pageBytes {
		size += int(l.refs[n].size)
		n++
	}
	if n < len(l.refs) {
		next = binary.AppendUvarint(nil, uint64(n))
	}
	if n == i+1 {
		page, err = l.data.at(l.refs[i])
		return page, next, err
	}
	page = make([]byte, 0, size)
	for _, r := range l.refs[i:n] {
		b, err := l.data.at(r)
		if err != nil {
			return nil, nil, err
		}
		page = append(page, b...)
	}
	return page, next, nil
}

// at returns the bytes that r refers to.
func (d *viewData) at(r ref) ([]byte, error) {
	data, err := d.load(r.chunk)
	if err != nil {
		return nil, err
	}
	return data[r.at : r.at+r.size : r.at+r.size], nil
}

// readNumber reads a token that is a number below n; an empty one is 0.
func readNumber(token []byte, n int) (int, error) {
	if len(token) == 0 {
		return 0, nil
	}
	at, size := binary.Uvarint(token)
	if size != len(token) || at >= uint64(n) {
		return 0, errToken
	}
	return int(at), nil
}

// chunkPages is a value in chunks that do not change. A token is the number of a
// chunk.
type chunkPages []element.Chunk

func (l chunkPages) page(token []byte) (page, next []byte, err error) {
	i, err := readNumber(token, len(l))
	if err != nil {
		return nil, nil, err
	}
	var p pager
	for size := 0; i < len(l); i++ {
		if size += l[i].Size(); p.some && size > pageBytes {
			next = binary.AppendUvarint(nil, uint64(i))
			break
		}
		chunk, err := l[i].Load()
		if err != nil {
			return nil, nil, err
		}
		p.add(chunk)
	}
	return p.page, next, nil
}

// inMemory says whether all chunks are.
func (l chunkPages) inMemory() bool {
	return !slices.ContainsFunc(l, func(c element.Chunk) bool { return c.OnDisk() })
}
