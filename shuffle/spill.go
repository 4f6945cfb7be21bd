package shuffle

import (
	"errors"
	"fmt"

	"github.com/gorunner/gorunner/element"
)

// Disk takes runs of bytes that memory has no room for. Implementations are
// safe for concurrent use.
type Disk interface {
	// Store writes data, which is the caller's again when it returns.
	Store(data []byte) (element.Stored, error)
}

// ErrDisk is wrapped by all errors of a disk: it is full, has no quota left,
// cannot be written, or does not hold what was written.
var ErrDisk = errors.New("disk")

// Spill decides what of a job's data stays in memory. The zero value keeps
// everything there.
type Spill struct {
	// Memory is the job's budget; nil is none.
	Memory *Budget
	// Disk takes what is beyond it; nil keeps all in memory.
	Disk Disk
}

// Chunk returns the chunk in its place: in memory, or on disk if the budget is
// exceeded.
func (s *Spill) Chunk(data []byte) (element.Chunk, error) {
	if s == nil || s.Disk == nil || len(data) == 0 || !s.Memory.Over() {
		return element.Chunk{Data: data}, nil
	}
	stored, err := s.Disk.Store(data)
	if err != nil {
		return element.Chunk{}, fmt.Errorf("%w: %w", ErrDisk, err)
	}
	return element.Chunk{Stored: stored}, nil
}
