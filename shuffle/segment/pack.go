package segment

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"github.com/gorunner/gorunner/shuffle"
)

// Extent is where regions are in a segment.
type Extent struct {
	File uint64
	// From is where they begin, To where they end.
	From, To int64
}

// Bytes is how many it has.
func (e Extent) Bytes() int64 { return e.To - e.From }

// Pack is regions of a disk as they are stored, one behind the other. Each says
// itself where it belongs, so that [Unpack] can put them there again. It may be
// read from any goroutine as long as something refers to the regions.
type Pack struct {
	extents []extent
	ends    []int64 // where each of them ends in the pack
}

// NewPack makes a pack of places in which there are regions.
func (d *Disk) NewPack(extents []Extent) (*Pack, error) {
	d.mu.Lock()
	segments := make(map[uint64]*segment, len(d.open))
	for s := range d.open {
		segments[s.id] = s
	}
	d.mu.Unlock()
	p := &Pack{}
	size := int64(0)
	for _, e := range extents {
		s := segments[e.File]
		if s == nil {
			return nil, fmt.Errorf("%w: pack %s in %s: %w", shuffle.ErrDisk, nameOf(e.File), d.params.Dir, os.ErrNotExist)
		}
		size += e.Bytes()
		p.extents = append(p.extents, extent{s, e.From, e.To})
		p.ends = append(p.ends, size)
	}
	return p, nil
}

// Size is the number of bytes.
func (p *Pack) Size() int64 {
	if len(p.ends) == 0 {
		return 0
	}
	return p.ends[len(p.ends)-1]
}

// ReadAt implements io.ReaderAt.
func (p *Pack) ReadAt(b []byte, at int64) (n int, err error) {
	i := sort.Search(len(p.ends), func(i int) bool { return p.ends[i] > at })
	for ; n < len(b); i++ {
		if i == len(p.ends) {
			return n, io.EOF
		}
		e := p.extents[i]
		left := p.ends[i] - at
		part := b[n:min(int64(len(b)), int64(n)+left)]
		if err := e.segment.read(part, e.end-left); err != nil {
			return n, fmt.Errorf("%w: read %d bytes at %d of %s: %w", shuffle.ErrDisk, len(part), e.end-left, e.segment.file.Name(), err)
		}
		n += len(part)
		at += int64(len(part))
	}
	return n, nil
}

// Unpack puts the regions of a pack where they were, into segments of a directory
// in which there is no [Disk]. What it has put there outlives the machine. Several
// packs may be unpacked at the same time.
func Unpack(files Files, dir string, pack io.Reader) (err error) {
	if files == nil {
		files = system{}
	}
	u := unpacker{files: files, dir: dir}
	defer func() {
		err = errors.Join(err, u.finish())
		if err != nil {
			err = fmt.Errorf("%w: unpack into %s: %w", shuffle.ErrDisk, dir, err)
		}
	}()
	r := bufio.NewReaderSize(pack, scratchBytes)
	var region []byte
	for {
		if _, err := r.Peek(1); errors.Is(err, io.EOF) {
			return files.SyncDir(dir)
		}
		head, err := r.Peek(headerSize)
		if err != nil {
			return err
		}
		size := headerSize + int64(binary.LittleEndian.Uint32(head[20:]))
		if size > regionMax {
			return fmt.Errorf("%w: region of %d bytes", errCorrupt, size)
		}
		if region, err = readGrowing(r, region[:0], size); err != nil {
			return err
		}
		h, _, err := cutRegion(region)
		if err == nil {
			err = u.put(h, region)
		}
		if err != nil {
			return err
		}
	}
}

// readGrowing appends size bytes, taking no more memory than there are.
func readGrowing(r io.Reader, b []byte, size int64) ([]byte, error) {
	for size > 0 {
		n := int(min(size, scratchMax))
		start := len(b)
		b = append(b, make([]byte, n)...)
		if _, err := io.ReadFull(r, b[start:]); err != nil {
			return b, fmt.Errorf("%w: a region ends before its time: %w", errCorrupt, err)
		}
		size -= int64(n)
	}
	return b, nil
}

// unpacker writes to one segment after the other.
type unpacker struct {
	files Files
	dir   string
	id    uint64
	file  File // of the segment id; nil before the first
}

func (u *unpacker) put(h header, region []byte) error {
	if h.offset < fileHeaderSize || h.offset > 1<<62 {
		return fmt.Errorf("%w: region at %d", errCorrupt, h.offset)
	}
	if u.file == nil || u.id != h.segment {
		if err := u.turn(h.segment); err != nil {
			return err
		}
	}
	_, err := u.file.WriteAt(region, int64(h.offset))
	return err
}

// turn goes on with another segment, which it makes if it is not there.
func (u *unpacker) turn(id uint64) error {
	if err := u.finish(); err != nil {
		return err
	}
	f, err := u.files.Open(u.dir, nameOf(id))
	if errors.Is(err, os.ErrNotExist) {
		f, err = u.files.Create(u.dir, nameOf(id))
	}
	if errors.Is(err, os.ErrExist) { // from another pack, meanwhile
		f, err = u.files.Open(u.dir, nameOf(id))
	}
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil && size == 0 {
		_, err = f.WriteAt(putFileHeader(nil, id), 0)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	u.id, u.file = id, f
	return nil
}

// finish makes the segment last that was written to.
func (u *unpacker) finish() error {
	if u.file == nil {
		return nil
	}
	f := u.file
	u.file = nil
	return errors.Join(f.Sync(), f.Close())
}
