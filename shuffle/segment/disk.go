// Package segment keeps runs of bytes in files: it is the disk of a job whose
// data is larger than its memory.
//
// A [Disk] appends regions to a segment, a file that is followed by the next
// when it is full. Each region has a header and a checksum, so that what is
// loaded is what was stored, or an error. They are compressed where that saves
// time, or space when it is scarce: which is measured, not configured. They are
// written at offsets reserved beforehand, without a lock, and read in one go.
//
// Nothing is left behind: a segment has no name from the moment it is open, and
// so vanishes with the process, whatever ends it. Those of a job that is to outlive
// its process have names ([Params.Named]); after a start it says of all that it
// knows where they are ([Disk.At]), and the rest is removed ([Disk.Sweep]).
//
// Nobody deletes: when nothing
// refers to a region any more, which the garbage collector tells, its space is
// free. It is given back with the whole file, or as a hole in it once a quarter of
// the file is free. The price is that this comes late; so garbage is collected
// when the quota is nearly used up, and before it is said to be exceeded.
//
//	d, err := segment.Open(segment.Params{Dir: dir, Quota: quota})
//	stored, err := d.Store(data)
//	data, err = stored.Load()
//
// All of it is safe for concurrent use.
package segment

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// Params are the settings of a disk; zero values stand for the defaults said
// with each.
type Params struct {
	// Dir is the directory of the files, which must exist.
	Dir string
	// Files makes files; default is the operating system.
	Files Files
	// Named files stay when the process ends.
	Named bool
	// First is the number of the first segment that is made, unless there are higher
	// ones. Files that are found do not tell which numbers were given before, since
	// segments are removed: whoever remembers regions by them beyond the life of a
	// disk must say one that none before has come to.
	First uint64
	// Quota bounds the space on disk, and what is used of it is entered in its
	// account "segments"; default no bound. What would exceed it is refused.
	Quota *shuffle.Budget
	// SegmentBytes is the size of a segment, beyond which it gets nothing but a
	// single region that is larger; default 128 MiB, or 1/1024 of the quota, so
	// that there are not too many files.
	SegmentBytes int64
	// Ratio is how small compression must make a region, as a share of its size,
	// for it to be considered; default 0.75, and less than 0 is never.
	Ratio float64
	// Codecs bounds the regions that are compressed, and those that are
	// decompressed, at the same time; each takes up to 2 MiB. Default is the number
	// of processors.
	Codecs int
}

const (
	segmentBytes  = 128 << 20
	segmentsQuota = 1024
	ratioDefault  = 0.75
	// scarceShare of the quota in use means that space counts more than time.
	scarceShare = 0.5
	// directMin is what is written directly at least: less than that would be as
	// many writes as there are bundles.
	directMin = 64 << 10
	// regionMax is the size of the largest region.
	regionMax = math.MaxInt32
)

func (p Params) withDefaults() Params {
	if p.Files == nil {
		p.Files = system{}
	}
	if p.Quota == nil {
		p.Quota = shuffle.NewBudget(nil, 0)
	}
	if p.SegmentBytes == 0 {
		p.SegmentBytes = max(segmentBytes, p.Quota.Limit()/segmentsQuota)
	}
	if p.Ratio == 0 {
		p.Ratio = ratioDefault
	}
	if p.Codecs == 0 {
		p.Codecs = runtime.GOMAXPROCS(0)
	}
	return p
}

// Disk implements [shuffle.Disk]. Its lock is not held while regions are
// written or read.
type Disk struct {
	params  Params
	packer  *packer
	account *shuffle.Account
	buffers sync.Pool // of *[]byte, to write from and to decompress from
	garbage collector
	// solid says that the file system makes no holes in files.
	solid atomic.Bool
	// indirect says that it has to be written to through the system's cache.
	indirect atomic.Bool

	mu      sync.Mutex
	current *segment              // guarded by mu; the one that is appended to
	open    map[*segment]struct{} // guarded by mu; nil once the disk is closed
	last    uint64                // guarded by mu; the number of the last segment
	// unsynced are the segments with regions that were written since the last
	// Sync; created says that there are new files since. Guarded by mu.
	unsynced map[*segment]struct{}
	created  bool
	// found is what a process before has left, until it is swept.
	found *found
}

// Open makes a disk in a directory.
func Open(p Params) (*Disk, error) {
	p = p.withDefaults()
	names, err := p.Files.List(p.Dir)
	if err != nil {
		return nil, fmt.Errorf("%w: directory of segments: %w", shuffle.ErrDisk, err)
	}
	d := &Disk{
		params: p, packer: newPacker(p.Ratio, p.Codecs), account: p.Quota.Account("segments"),
		open: make(map[*segment]struct{}),
	}
	d.packer.now = now
	d.last = max(p.First, 1) - 1
	if p.Named {
		d.find(names)
	}
	return d, nil
}

// Close gives all space back. Nothing can be loaded any more.
func (d *Disk) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	open := d.open
	d.open, d.current = nil, nil
	var errs []error
	for s := range open {
		d.hold(s, -s.held)
		errs = append(errs, s.file.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w: close segments: %w", shuffle.ErrDisk, err)
	}
	return nil
}

// errClosed is the answer of a disk that was closed.
var errClosed = errors.New("closed")

// Store writes the parts of a region, which are the caller's again when it
// returns.
func (d *Disk) Store(parts ...[]byte) (element.Stored, error) {
	regions, err := d.store(parts, []int{len(parts)}, false)
	if err != nil {
		return nil, err
	}
	return regions[0], nil
}

// StoreAll writes regions one behind the other, at once. It is meant for what is in
// memory as well: if there is much of it, it is written past the system's cache.
// To fill that costs ten times as much as to write, and it is synced soon anyway.
func (d *Disk) StoreAll(data [][]byte) ([]element.Stored, error) {
	if len(data) == 0 {
		return nil, nil
	}
	each := make([]int, len(data))
	for i := range each {
		each[i] = 1
	}
	regions, err := d.store(data, each, true)
	if err != nil {
		return nil, err
	}
	all := make([]element.Stored, len(regions))
	for i, r := range regions {
		all[i] = r
	}
	return all, nil
}

// store writes regions, each of which has so many of the parts.
func (d *Disk) store(parts [][]byte, each []int, direct bool) ([]*region, error) {
	size := 0
	for _, data := range parts {
		size += len(data)
	}
	if size+headerSize*len(parts) > regionMax {
		return nil, fmt.Errorf("%w: store %d bytes: a region has at most %d", shuffle.ErrDisk, size, regionMax)
	}
	regions, err := d.write(parts, each, direct && size >= directMin && !d.indirect.Load())
	if err != nil {
		return nil, fmt.Errorf("%w: store %d bytes in %s: %w", shuffle.ErrDisk, size, d.params.Dir, err)
	}
	return regions, nil
}

func (d *Disk) write(parts [][]byte, each []int, direct bool) ([]*region, error) {
	scratch := d.scratch()
	defer d.free(scratch)
	stored := make([]part, len(parts))
	packed := d.pack((*scratch)[:0], parts, stored, direct)
	if direct {
		packed = append(packed, make([]byte, -len(packed)&(pageBytes-1))...)
	}
	*scratch = packed

	if err := d.admit(int64(len(packed))); err != nil {
		return nil, err
	}
	room, err := d.reserve(int64(len(packed)), len(each), direct)
	if err != nil {
		return nil, explain(err)
	}
	s, at := room.segment, room.end-int64(len(packed))
	places := split(room, at, stored, each)
	putHeaders(packed, extent{s, at, room.end}, stored)
	if direct {
		err = d.writeDirectly(s.file, packed, at)
	} else {
		d.packer.measure(&d.packer.writing, len(packed), func() { _, err = s.file.WriteAt(packed, at) })
	}
	if err != nil {
		for _, place := range places {
			place.release()
		}
		return nil, fmt.Errorf("at %d of %s: %w", at, s.file.Name(), explain(err))
	}
	d.wrote(s)
	regions := make([]*region, len(each))
	for i, n := range each {
		regions[i], stored = newRegion(places[i], at, stored[:n:n]), stored[n:]
		at = places[i].end
	}
	return regions, nil
}

// split says what regions that begin at an offset take of the room for them. What
// is before the first, so that it begins with a page, and behind the last is
// theirs: nobody else gives it back.
func split(room extent, at int64, stored []part, each []int) []extent {
	places := make([]extent, len(each))
	from := room.from
	for i, n := range each {
		_, size := sizes(stored[:n])
		stored = stored[n:]
		at += int64(size)
		places[i] = extent{room.segment, from, at}
		from = at
	}
	places[len(places)-1].end = room.end
	return places
}

// writeDirectly writes to a file, past the system's cache if that is possible.
func (d *Disk) writeDirectly(f File, b []byte, at int64) error {
	if df, ok := f.(directFile); ok {
		err := df.WriteDirect(b, at)
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	d.indirect.Store(true)
	_, err := f.WriteAt(b, at)
	return err
}

// pack appends what is to be stored of the parts, each with a header, in which the
// place is missing. What is written directly is not read soon, and its writing
// costs next to nothing: it is compressed if space is scarce only.
func (d *Disk) pack(dst []byte, parts [][]byte, stored []part, direct bool) []byte {
	scarce := d.params.Quota.OverShare(scarceShare)
	for i, data := range parts {
		dst = slices.Grow(dst, headerSize+len(data))
		start := len(dst)
		h := header{size: uint32(len(data))}
		if dst = dst[:start+headerSize]; direct && !scarce {
			dst = append(dst, data...)
		} else {
			dst, h.codec = d.packer.pack(dst, data, scarce)
		}
		h.stored = uint32(len(dst) - start - headerSize)
		dst[start+codecAt] = byte(h.codec)
		stored[i] = part{size: h.size, stored: headerSize + h.stored}
	}
	return dst
}

// putHeaders writes the headers of the parts before each, the first of which is at
// the beginning of a place.
func putHeaders(packed []byte, place extent, stored []part) {
	at := place.from
	for _, p := range stored {
		h := header{
			codec: codec(packed[codecAt]), size: p.size, stored: p.stored - headerSize,
			offset: uint64(at), segment: place.segment.id,
		}
		h.put(packed)
		packed = packed[p.stored:]
		at += int64(p.stored)
	}
}

// explain says of a full disk in plain words what it is.
func explain(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("the disk is full: %w", err)
	}
	return err
}

// admit fails when n more bytes would exceed the quota, garbage being
// collected.
func (d *Disk) admit(n int64) error {
	d.garbage.due(d.params.Quota, n)
	for range 2 { // what is found the second time may have been on its way
		if d.params.Quota.Fits(n) {
			return nil
		}
		d.Collect()
	}
	if d.params.Quota.Fits(n) {
		return nil
	}
	return fmt.Errorf("the %w of %d bytes is used up", shuffle.ErrQuota, d.params.Quota.Limit())
}

// Collect gives back the space of what nobody refers to any more.
func (d *Disk) Collect() { d.garbage.collect() }

// reserve returns room that ends with the place of the next n bytes, which are so
// many regions: the segment has as many references more then. They begin where a
// page does if they are to be written directly.
func (d *Disk) reserve(n int64, regions int, direct bool) (extent, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil {
		return extent{}, errClosed
	}
	s := d.current
	if s == nil || s.size > fileHeaderSize && s.size+n > d.params.SegmentBytes {
		var err error
		if s, err = d.next(); err != nil {
			return extent{}, err
		}
	}
	room := extent{s, s.size, s.size + n}
	if direct {
		room.end = (s.size+pageBytes-1)&^(pageBytes-1) + n
	}
	s.size = room.end
	s.references += regions
	d.hold(s, room.end-room.from)
	return room, nil
}

// next makes a segment and appends to it from then on. The caller holds mu.
func (d *Disk) next() (*segment, error) {
	file, err := d.create(d.last + 1)
	if err != nil {
		return nil, fmt.Errorf("new segment: %w", err)
	}
	d.last++
	s := &segment{disk: d, file: file, id: d.last, size: fileHeaderSize, references: 1}
	if _, err := file.WriteAt(putFileHeader(nil, s.id), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("new segment %s: %w", file.Name(), err), file.Close())
	}
	d.open[s] = struct{}{}
	d.hold(s, s.size)
	before := d.current
	d.current = s
	if before != nil && d.unref(before) {
		before.end()
	}
	return s, nil
}

// hold enters n bytes more, or less, of space of a segment. The caller holds mu.
func (d *Disk) hold(s *segment, n int64) {
	s.held += n
	d.account.Add(n)
}

// unref takes a reference to a segment back, and says whether it was the last:
// then the segment is to be ended. The caller holds mu.
func (d *Disk) unref(s *segment) bool {
	s.references--
	if _, open := d.open[s]; !open || s.references > 0 {
		return false
	}
	delete(d.open, s)
	d.hold(s, -s.held)
	return true
}

// scratch returns memory to pack a region into.
func (d *Disk) scratch() *[]byte {
	if b, ok := d.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, scratchBytes)
	return &b
}

// free keeps memory for the next region, unless it is unusually large.
func (d *Disk) free(b *[]byte) {
	if cap(*b) <= scratchMax {
		d.buffers.Put(b)
	}
}

const (
	scratchBytes = 256 << 10
	scratchMax   = 4 << 20
)
