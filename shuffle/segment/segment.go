package segment

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
)

// segment is a file of regions.
type segment struct {
	disk *Disk
	file File
	id   uint64

	// What follows is guarded by the disk's mu. size is where the next region
	// begins, held the space that the file takes.
	size, held int64
	// references counts the regions, and the disk as long as it appends.
	references int
	// free are the places of regions that nothing refers to any more and that take
	// space still; freeBytes is their size.
	free      []extent
	freeBytes int64

	// verify checks the header of the file, the first time something is loaded.
	verify  sync.Once
	invalid error
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

// end gives back the file. If that fails, there is nothing else to do about it:
// it has no name, or is swept at the next start.
func (s *segment) end() {
	_ = s.file.Close()
	if d := s.disk; d.params.Named {
		_ = d.params.Files.Remove(d.params.Dir, nameOf(s.id))
	}
}

// extent is a place in a segment.
type extent struct {
	segment   *segment
	from, end int64
}

// release says that the region in this place is no more.
func (e extent) release() {
	s := e.segment
	d := s.disk
	d.mu.Lock()
	last := d.unref(s)
	s.free = append(s.free, e)
	s.freeBytes += e.end - e.from
	var free []extent
	if s.freeBytes >= d.params.SegmentBytes/holeShare {
		free, s.free, s.freeBytes = s.free, nil, 0
	}
	d.mu.Unlock()
	switch {
	case last:
		s.end()
	case len(free) > 0:
		s.punch(free)
	}
}

const (
	// holeShare is the share of a segment that is free before holes are made.
	holeShare = 4
	// pageBytes is what a file system gives space back by.
	pageBytes = 4 << 10
)

// punch makes holes of places that are free.
func (s *segment) punch(free []extent) {
	if s.disk.solid.Load() {
		return
	}
	slices.SortFunc(free, func(a, b extent) int { return cmp.Compare(a.from, b.from) })
	var given int64
	for len(free) > 0 {
		hole, n := free[0], 1
		for n < len(free) && free[n].from == hole.end {
			hole.end = free[n].end
			n++
		}
		free = free[n:]
		from, end := (hole.from+pageBytes-1)&^(pageBytes-1), hole.end&^(pageBytes-1)
		if from >= end {
			continue
		}
		if err := s.file.Punch(from, end-from); err != nil {
			// The file system cannot do it, or the segment has ended meanwhile. Space is
			// given back with the whole file then.
			if !errors.Is(err, os.ErrClosed) {
				s.disk.solid.Store(true)
			}
			break
		}
		given += end - from
	}
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	if _, open := s.disk.open[s]; open {
		s.disk.hold(s, -given)
	}
}
