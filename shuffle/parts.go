package shuffle

import (
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/gorunner/gorunner/element"
)

// A block of a key group goes to disk in parts, by hash of the key, where what
// reads it needs all values of a key at a time: so a group that is larger than
// memory is read part by part.
const (
	// PartsMax is the number of parts of a key group. A small block has half as
	// many, or a quarter, and so on, each of which stands for as many of these.
	PartsMax = 1 << partBits
	partBits = 4
	// partBytesMin is the least that a part has, on average.
	partBytesMin = 2 << 10
)

// partsFor is the number of parts of a block.
func partsFor(bytes int) int {
	n := PartsMax
	for n > 1 && bytes < n*partBytesMin {
		n /= 2
	}
	return n
}

// partOf is the part of a key, by bits of its hash that neither its group nor its
// place in a table are chosen by.
func partOf(key []byte) int { return int(xxhash.Sum64(key) >> (64 - partBits)) }

// Parter divides elements of a key group into parts. It is for one goroutine at
// a time.
type Parter struct {
	layout *Layout
	cutter *Cutter
	// ends are where the elements end, and parts the part of each.
	ends  []int
	parts []uint8
	data  []byte
	split [PartsMax][]byte
}

// NewParter makes a parter for elements of a layout.
func NewParter(l *Layout) *Parter { return &Parter{layout: l, cutter: NewCutter(l)} }

// cut finds the elements of a block and their parts, and returns the bytes in
// each part.
func (p *Parter) cut(data []byte) (sizes [PartsMax]int, err error) {
	p.ends, p.parts = p.ends[:0], p.parts[:0]
	for at := 0; at < len(data); {
		value, keyEnd, end := p.cutter.Cut(data[at:])
		if end <= 0 {
			e, err := p.layout.Cut(data[at:])
			if err != nil {
				return sizes, fmt.Errorf("element at byte %d of a block: %w", at, err)
			}
			end = e.Size
			value = end - len(e.Value)
			keyEnd = value + e.KeySize
		}
		part := partOf(data[at+value : at+keyEnd])
		at += end
		sizes[part] += end
		p.ends = append(p.ends, at)
		p.parts = append(p.parts, uint8(part))
	}
	return sizes, nil
}

// each calls f for the elements that were cut, with the part of each.
func (p *Parter) each(data []byte, f func(part uint8, e []byte)) {
	start := 0
	for i, end := range p.ends {
		f(p.parts[i], data[start:end])
		start = end
	}
}

// Split returns the elements of a block in n parts, the number of which is a
// power of two. The elements of a key keep their order. The parts are good until
// the next call.
func (p *Parter) Split(data []byte, n int) ([][]byte, error) {
	sizes, err := p.cut(data)
	if err != nil {
		return nil, err
	}
	p.data = slices.Grow(p.data[:0], len(data))
	at, width := 0, PartsMax/n
	for i := range n {
		size := 0
		for _, s := range sizes[i*width : (i+1)*width] {
			size += s
		}
		p.split[i] = p.data[at : at : at+size]
		at += size
	}
	p.each(data, func(part uint8, e []byte) {
		to := &p.split[int(part)/width]
		*to = append(*to, e...)
	})
	return p.split[:n], nil
}

// Append appends the elements of a block to dst that are in the parts from one
// on and before another.
func (p *Parter) Append(dst, data []byte, from, to int) ([]byte, error) {
	if _, err := p.cut(data); err != nil {
		return dst, err
	}
	p.each(data, func(part uint8, e []byte) {
		if int(part) >= from && int(part) < to {
			dst = append(dst, e...)
		}
	})
	return dst, nil
}

// Load appends the elements of a block, wherever it is, to dst that are in the
// parts from one on and before another.
func (p *Parter) Load(dst []byte, b *element.Block, from, to int) ([]byte, error) {
	if !b.OnDisk() {
		return p.Append(dst, b.Data, from, to)
	}
	var data []byte
	var err error
	stored, parted := b.Stored.(element.Parted)
	if parted {
		first, end, size := extent(stored, from, to)
		width := PartsMax / stored.Parts()
		switch {
		case size == 0:
			return dst, nil
		case first*width == from && end*width == to:
			return stored.LoadParts(dst, first, end)
		}
		data, err = stored.LoadParts(nil, first, end)
	} else {
		data, err = b.Stored.Load()
	}
	if err != nil {
		return dst, err
	}
	return p.Append(dst, data, from, to)
}

// extent returns the parts that have to be loaded, and their bytes.
func extent(stored element.Parted, from, to int) (first, end, size int) {
	width := PartsMax / stored.Parts()
	first, end = from/width, (to+width-1)/width
	for i := first; i < end; i++ {
		size += stored.PartSize(i)
	}
	return first, end, size
}

// LoadBytes is how many bytes Load reads.
func LoadBytes(b *element.Block, from, to int) int {
	if !b.OnDisk() {
		return 0
	}
	if stored, parted := b.Stored.(element.Parted); parted {
		_, _, size := extent(stored, from, to)
		return size
	}
	return b.Size()
}

// PartBytes is about how many bytes of a block are in a part.
func PartBytes(b *element.Block, part int) int {
	if stored, parted := b.Stored.(element.Parted); parted && b.OnDisk() {
		width := PartsMax / stored.Parts()
		return stored.PartSize(part/width) / width
	}
	return b.Size() / PartsMax
}
