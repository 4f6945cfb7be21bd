package segment

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// region implements element.Stored.
type region struct {
	segment *segment
	header  header
}

// Size is the number of bytes of the data.
func (r *region) Size() int { return int(r.header.size) }

// errUnnamed is the answer to who asks for the place of what ends with the
// process.
var errUnnamed = errors.New("the file has no name")

// Place says where the region is.
func (r *region) Place() (element.Place, error) {
	if !r.segment.disk.params.Named {
		return element.Place{}, fmt.Errorf("%w: %s: %w", shuffle.ErrDisk, r.segment.file.Name(), errUnnamed)
	}
	h := &r.header
	return element.Place{File: h.segment, Offset: h.offset, Bytes: headerSize + h.stored, Size: h.size}, nil
}

// Load reads the region.
func (r *region) Load() ([]byte, error) {
	data, err := r.load()
	if err != nil {
		return nil, fmt.Errorf("%w: load %d bytes at %d of %s: %w",
			shuffle.ErrDisk, r.header.size, r.header.offset, r.segment.file.Name(), err)
	}
	return data, nil
}

func (r *region) load() ([]byte, error) {
	defer runtime.KeepAlive(r) // its end gives back the space
	if err := r.segment.check(); err != nil {
		return nil, err
	}
	d := r.segment.disk
	// What is loaded is going to be garbage.
	d.garbage.due(d.params.Quota, int64(r.header.stored))
	if r.header.codec == plain {
		return r.read(make([]byte, headerSize+int(r.header.stored)))
	}
	scratch := d.scratch()
	defer d.free(scratch)
	if n := headerSize + int(r.header.stored); cap(*scratch) < n {
		*scratch = make([]byte, n)
	} else {
		*scratch = (*scratch)[:n]
	}
	body, err := r.read(*scratch)
	if err != nil {
		return nil, err
	}
	return d.packer.unpack(body, int(r.header.size))
}

// read reads the region into b, which has its size, and returns what is stored.
func (r *region) read(b []byte) ([]byte, error) {
	if err := r.segment.read(b, int64(r.header.offset)); err != nil {
		return nil, err
	}
	h, body, err := cutRegion(b)
	if err != nil {
		return nil, err
	}
	if h != r.header {
		return nil, fmt.Errorf("%w: another region: %+v", errCorrupt, h)
	}
	return body, nil
}
