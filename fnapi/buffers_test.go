package fnapi

import "testing"

func TestFrameBuffers(t *testing.T) {
	var p frameBuffers
	for range 3 {
		for _, n := range []int{0, 1, smallFrameBytes, smallFrameBytes + 1, frameBytes, frameBytes + 1} {
			b := p.Get(n)
			if len(*b) != n {
				t.Errorf("%d bytes instead of %d", len(*b), n)
			}
			*b = (*b)[:n/2] // as gRPC does when a frame is padded
			p.Put(b)
		}
		short := make([]byte, 1)
		p.Put(&short)
	}
}
