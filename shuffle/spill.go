package shuffle

import (
	"cmp"
	"errors"
	"fmt"
	"math"

	"github.com/gorunner/gorunner/element"
)

// Disk takes runs of bytes that memory has no room for. Implementations are
// safe for concurrent use. Their errors, and those of loading, wrap [ErrDisk].
type Disk interface {
	// Store writes some parts, one after the other, which are the caller's again
	// when it returns. If there are several, what is returned may be an
	// [element.Parted].
	Store(parts ...[]byte) (element.Stored, error)
}

// ErrDisk is wrapped by all errors of a disk: it is full, has no quota left,
// cannot be written, or does not hold what was written.
var ErrDisk = errors.New("disk")

// ErrQuota is wrapped, besides [ErrDisk], when what is to be stored is more than the
// owner of the disk may have, whatever room there is.
var ErrQuota = errors.New("quota")

// Spill decides what of a job's data stays in memory. The zero value, and nil,
// keep everything there. It is immutable and safe for concurrent use.
//
// Data that is to last is stored whether there is room or not, see [Later], so that
// another process can go on from it. It stays in memory as well, as long as there is
// room. What is small is written with the commit instead, since a place on disk takes
// about as much.
type Spill struct {
	// Memory is the job's budget; nil is none.
	Memory *Budget
	// Disk takes what is beyond it; nil keeps all in memory.
	Disk Disk
	// Free is memory to be used again; nil is none.
	Free *Pool
	// OpenBytes bounds the blocks that one writer is filling, once the budget is
	// exceeded; default is 1/64 of the budget, but at least 4 MiB: much less
	// would make the blocks of an output with many partitions very small.
	OpenBytes int64
	// StoreMin is the size of data below which it stays in memory; default 256,
	// where it lies takes as much, and 1 KiB if it is to last.
	StoreMin int
	// Lasting says that what bundles hand on outlives the process.
	Lasting bool
}

const (
	openBytesMin = 4 << 20
	openShare    = 64
	storeMin     = 256
	// lastMin: below, it is written twice, with the commit; but a region costs a
	// microsecond, and memory as long as it is there.
	lastMin = 1 << 10
)

// Over says whether data goes to disk now.
func (s *Spill) Over() bool { return s != nil && s.Disk != nil && s.Memory.Over() }

// nearShare of the budget in use means that memory is not to be wasted.
const nearShare = 0.5

func (s *Spill) near() bool { return s != nil && s.Memory.OverShare(nearShare) }

// openBytes is how much a writer may be filling while the budget is exceeded.
func (s *Spill) openBytes() int64 {
	switch {
	case s == nil:
		return math.MaxInt64
	case s.OpenBytes > 0:
		return s.OpenBytes
	case s.Memory == nil:
		return openBytesMin
	}
	return max(openBytesMin, s.Memory.Limit()/openShare)
}

// lasts says whether so many bytes are worth to be stored because they are to last.
func (s *Spill) lasts(bytes int) bool { return bytes >= cmp.Or(s.StoreMin, lastMin) }

// takes says whether so many bytes go to disk now.
func (s *Spill) takes(bytes int) bool {
	return s.Over() && bytes >= cmp.Or(s.StoreMin, storeMin)
}

// soonShare of the budget in use means that not even that stays in memory which is
// read at once.
const soonShare = 1.125

// spares says whether what is read at once stays in memory: to write it, and to read
// it again, would take longer than it is there.
func (s *Spill) spares() bool { return s != nil && !s.Memory.OverShare(soonShare) }

// store puts bytes on disk.
func (s *Spill) store(parts ...[]byte) (element.Stored, error) {
	stored, err := s.Disk.Store(parts...)
	if err != nil {
		return nil, fmt.Errorf("spill: %w", err)
	}
	return stored, nil
}

// Chunk returns the chunk in its place: in memory, or on disk if the budget is
// exceeded. On disk it is a copy, and data is the caller's. It is not meant to
// last.
func (s *Spill) Chunk(data []byte) (element.Chunk, error) {
	if !s.takes(len(data)) {
		return element.Chunk{Data: data}, nil
	}
	stored, err := s.store(data)
	if err != nil {
		return element.Chunk{}, err
	}
	return element.Chunk{Stored: stored}, nil
}

// Block puts the elements of a block in their place, as Chunk does, in parts if
// parter is not nil.
func (s *Spill) Block(b *element.Block, parter *Parter) error {
	if !s.takes(len(b.Data)) {
		return nil
	}
	if b.Stored == nil {
		parts := [][]byte{b.Data}
		var err error
		if n := partsFor(len(b.Data)); parter != nil && n > 1 {
			parts, err = parter.Split(b.Data, n)
		}
		if err == nil {
			b.Stored, err = s.store(parts...)
		}
		if err != nil {
			return fmt.Errorf("block of %d elements: %w", b.Count, err)
		}
	}
	b.Data = nil
	return nil
}
