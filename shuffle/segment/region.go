package segment

import (
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// region implements element.Parted. Its parts stand back to back.
type region struct {
	segment *segment
	offset  int64
	parts   []part
}

// part is one of a region. One that a process before has stored may be all the
// parts of what was stored.
type part struct {
	// size is the number of bytes of the data, stored that of the file.
	size, stored uint32
}

// newRegion makes a region at an offset, whose end gives a place back.
func newRegion(place extent, offset int64, parts []part) *region {
	r := &region{segment: place.segment, offset: offset, parts: parts}
	runtime.AddCleanup(r, extent.release, place)
	return r
}

// sizes adds up parts.
func sizes(parts []part) (size, stored int) {
	for _, p := range parts {
		size += int(p.size)
		stored += int(p.stored)
	}
	return size, stored
}

// Size is the number of bytes of the data.
func (r *region) Size() int {
	size, _ := sizes(r.parts)
	return size
}

// errUnnamed is the answer to who asks for the place of what ends with the
// process.
var errUnnamed = errors.New("the file has no name")

// Place says where the region is.
func (r *region) Place() (element.Place, error) {
	if !r.segment.disk.params.Named {
		return element.Place{}, fmt.Errorf("%w: %s: %w", shuffle.ErrDisk, r.segment.file.Name(), errUnnamed)
	}
	size, stored := sizes(r.parts)
	return element.Place{File: r.segment.id, Offset: uint64(r.offset), Bytes: uint32(stored), Size: uint32(size)}, nil
}

// Parts is the number of parts.
func (r *region) Parts() int { return len(r.parts) }

// PartSize is the number of bytes of the data of a part.
func (r *region) PartSize(i int) int { return int(r.parts[i].size) }

// Load reads the region.
func (r *region) Load() ([]byte, error) { return r.LoadParts(nil, 0, len(r.parts)) }

// LoadParts appends the data of the parts from one on and before another.
func (r *region) LoadParts(dst []byte, from, to int) ([]byte, error) {
	data, err := r.load(dst, from, to)
	if err != nil {
		return dst, fmt.Errorf("%w: load %d bytes at %d of %s: %w",
			shuffle.ErrDisk, r.Size(), r.offset, r.segment.file.Name(), err)
	}
	return data, nil
}

func (r *region) load(dst []byte, from, to int) ([]byte, error) {
	defer runtime.KeepAlive(r) // its end gives back the space
	if err := r.segment.check(); err != nil {
		return nil, err
	}
	_, before := sizes(r.parts[:from])
	size, stored := sizes(r.parts[from:to])
	at := r.offset + int64(before)
	d := r.segment.disk
	// What is loaded is going to be garbage.
	d.garbage.due(d.params.Quota, int64(stored))
	if dst == nil && stored == size+headerSize {
		read := make([]byte, stored)
		if err := r.segment.read(read, at); err != nil {
			return nil, err
		}
		h, body, err := r.cut(read, at)
		if err != nil || h.codec == plain && len(body) == size {
			return body, err
		}
	}
	scratch := d.scratch()
	defer d.free(scratch)
	*scratch = slices.Grow((*scratch)[:0], stored)[:stored]
	if err := r.segment.read(*scratch, at); err != nil {
		return nil, err
	}
	return r.unpack(dst, *scratch, at, size)
}

// unpack appends the size bytes that are stored as was read at an offset.
func (r *region) unpack(dst, read []byte, at int64, size int) ([]byte, error) {
	end := len(dst) + size
	for len(read) > 0 {
		h, body, err := r.cut(read, at)
		if err != nil {
			return nil, err
		}
		switch h.codec {
		case plain:
			dst = append(dst, body...)
		case zstandard:
			if dst, err = r.segment.disk.packer.unpack(dst, body, int(h.size)); err != nil {
				return nil, err
			}
		}
		n := headerSize + len(body)
		read, at = read[n:], at+int64(n)
	}
	if len(dst) != end {
		return nil, fmt.Errorf("%w: %d bytes, want %d", errCorrupt, len(dst)-end+size, size)
	}
	return dst, nil
}

// cut cuts what is stored at an offset from the beginning of what was read.
func (r *region) cut(read []byte, at int64) (header, []byte, error) {
	h, body, err := cutRegion(read)
	if err == nil && (h.segment != r.segment.id || h.offset != uint64(at)) {
		err = fmt.Errorf("%w: another region: %+v", errCorrupt, h)
	}
	return h, body, err
}
