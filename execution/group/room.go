package group

import (
	"bytes"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// room is where one bundle keeps what it works on. It counts for the budget what
// that takes of memory; who hands something on, counts it no more.
type room struct {
	spill   *shuffle.Spill
	account *shuffle.Account // nil if nobody counts
	held    int
}

// newRoom makes the room of a bundle. spill may be nil.
func newRoom(spill *shuffle.Spill) *room {
	r := &room{spill: spill}
	if spill != nil && spill.Memory != nil {
		r.account = spill.Memory.Account("group")
	}
	return r
}

// add counts bytes more, or less.
func (r *room) add(bytes int) {
	r.held += bytes
	if r.account != nil && bytes != 0 {
		r.account.Add(int64(bytes))
	}
}

// release counts nothing any more.
func (r *room) release() { r.add(-r.held) }

// chunk puts data that does not change where there is room, and counts it if
// that is in memory.
func (r *room) chunk(data []byte) (element.Chunk, error) {
	c, err := r.spill.Chunk(data)
	if err != nil {
		return element.Chunk{}, err
	}
	r.add(len(c.Data))
	return c, nil
}

// seal is chunk for a buffer that was filled. It returns a buffer to fill next,
// which may be nil.
func (r *room) seal(buffer []byte) (chunk element.Chunk, next []byte, err error) {
	if chunk, err = r.chunk(buffer); err != nil || chunk.OnDisk() {
		return chunk, buffer[:0], err
	}
	if cap(buffer) > 2*len(buffer) {
		chunk.Data = bytes.Clone(buffer)
	}
	return chunk, nil, nil
}
