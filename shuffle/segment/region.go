package segment

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/gorunner/gorunner/shuffle"
)

// segment is a file of regions.
type segment struct {
	disk *Disk
	file File
	id   uint64

	size int64 // guarded by the disk's mu
	// references counts the regions, and the disk as long as it appends.
	references int // guarded by the disk's mu

	// verify checks the header of the file, the first time something is loaded.
	verify  sync.Once
	invalid error
}

func (s *segment) unref() {
	s.disk.mu.Lock()
	f := s.disk.unref(s)
	s.disk.mu.Unlock()
	if f != nil {
		_ = f.Close() // it has no name: there is nothing else to do about it
	}
}

func (s *segment) check() error {
	s.verify.Do(func() {
		b := make([]byte, fileHeaderSize)
		if s.invalid = s.read(b, 0); s.invalid == nil {
			s.invalid = checkFileHeader(b, s.id)
		}
	})
	return s.invalid
}

// read fills b from an offset.
func (s *segment) read(b []byte, at int64) error {
	n, err := s.file.ReadAt(b, at)
	switch {
	case n == len(b):
		return nil // with or without io.EOF
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %d of %d bytes, then the file ends", errCorrupt, n, len(b))
	}
	return err
}

// region implements element.Stored.
type region struct {
	segment *segment
	header  header
}

// Size is the number of bytes of the data.
func (r *region) Size() int { return int(r.header.size) }

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
	defer runtime.KeepAlive(r) // its end would close the file
	if err := r.segment.check(); err != nil {
		return nil, err
	}
	if r.header.codec == plain {
		return r.read(make([]byte, headerSize+int(r.header.stored)))
	}
	d := r.segment.disk
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
