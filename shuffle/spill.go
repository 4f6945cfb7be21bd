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
	// Store writes data, which is the caller's again when it returns.
	Store(data []byte) (element.Stored, error)
}

// ErrDisk is wrapped by all errors of a disk: it is full, has no quota left,
// cannot be written, or does not hold what was written.
var ErrDisk = errors.New("disk")

// Spill decides what of a job's data stays in memory. The zero value, and nil,
// keep everything there. It is immutable and safe for concurrent use.
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
	// StoreMin is the size of data below which it stays in memory; default 256:
	// where it lies takes as much.
	StoreMin int
}

const (
	openBytesMin = 4 << 20
	openShare    = 64
	storeMin     = 256
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

// Chunk returns the chunk in its place: in memory, or on disk if the budget is
// exceeded. On disk it is a copy, and data is the caller's.
func (s *Spill) Chunk(data []byte) (element.Chunk, error) {
	if !s.Over() || len(data) < cmp.Or(s.StoreMin, storeMin) {
		return element.Chunk{Data: data}, nil
	}
	stored, err := s.Disk.Store(data)
	if err != nil {
		return element.Chunk{}, fmt.Errorf("spill %d bytes: %w", len(data), err)
	}
	return element.Chunk{Stored: stored}, nil
}

// Block puts the elements of a block in their place, as Chunk does.
func (s *Spill) Block(b *element.Block) error {
	if b.Stored != nil {
		return nil
	}
	c, err := s.Chunk(b.Data)
	if err != nil {
		return fmt.Errorf("block of %d elements: %w", b.Count, err)
	}
	b.Data, b.Stored = c.Data, c.Stored
	return nil
}
