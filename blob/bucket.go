package blob

import (
	"context"
	"io"
	"time"
)

// Bucket keeps the bytes of objects. Names that reach it are valid, sizes
// positive and ranges not empty. Its errors wrap ErrNotExist, ErrExist or
// ErrPermanent where they apply; all others are worth another try.
type Bucket interface {
	// Put stores an object as a whole or not at all. If there is one already it is
	// replaced, or, with ifAbsent, left alone with ErrExist.
	Put(ctx context.Context, name Name, content Source, ifAbsent bool) error

	// Get reads from offset at most size bytes, of which those that exist are
	// returned: none beyond the end, which is no error.
	Get(ctx context.Context, name Name, offset, size int64) (io.ReadCloser, error)

	// Stat returns the size.
	Stat(ctx context.Context, name Name) (int64, error)

	// List returns in order at most limit objects whose names begin with prefix and
	// follow after; fewer, with more set, are no end.
	List(ctx context.Context, prefix string, after Name, limit int) (page []Info, more bool, err error)

	// Delete removes objects; those that do not exist are no error. At most
	// MaxDelete are given.
	Delete(ctx context.Context, names []Name) error

	// Sweep removes what puts have left behind that were begun before a time and
	// not finished, and says how much it was.
	Sweep(ctx context.Context, before time.Time) (int, error)
}

// MaxDelete is how many objects a bucket is asked to delete at once.
const MaxDelete = 1000

// MaxPage is the largest limit of a List.
const MaxPage = 1000
