package fnapi

import "sync"

// frameBuffers are the buffers that HTTP/2 frames are received in. gRPC's own clear
// a buffer each time before they hand it out; but a frame fills its buffer, and
// nobody sees more than that.
type frameBuffers struct{ small, large sync.Pool }

// The sizes of buffers: frames of gRPC hold no more than the larger.
const (
	smallFrameBytes = 4 << 10
	frameBytes      = 16 << 10
)

// poolOf returns the pool of the buffers with room for so many bytes, nil if there is
// none.
func (p *frameBuffers) poolOf(bytes int) (pool *sync.Pool, room int) {
	switch {
	case bytes <= smallFrameBytes:
		return &p.small, smallFrameBytes
	case bytes <= frameBytes:
		return &p.large, frameBytes
	}
	return nil, bytes
}

// Get implements mem.BufferPool.
func (p *frameBuffers) Get(length int) *[]byte {
	pool, room := p.poolOf(length)
	if pool != nil {
		if b, ok := pool.Get().(*[]byte); ok {
			*b = (*b)[:length]
			return b
		}
	}
	b := make([]byte, length, room)
	return &b
}

// Put implements mem.BufferPool.
func (p *frameBuffers) Put(b *[]byte) {
	if pool, room := p.poolOf(cap(*b)); pool != nil && cap(*b) == room {
		pool.Put(b)
	}
}
