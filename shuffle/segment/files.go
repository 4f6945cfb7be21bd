package segment

import (
	"errors"
	"io"
	"os"
)

// Files makes files. It is what the package needs of a file system.
type Files interface {
	// CreateTemp makes an empty file in a directory which is gone, with all its
	// space, when it is closed or the process ends.
	CreateTemp(dir string) (File, error)
}

// File is a file that many may write to and read from at the same time.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Punch gives back the space of n bytes from an offset on, which nobody will
	// read any more. Both are multiples of 4096.
	Punch(at, n int64) error
	// Name is what to call it in an error.
	Name() string
}

// unnamed makes files of the operating system.
type unnamed struct{}

// CreateTemp takes the name away at once.
func (unnamed) CreateTemp(dir string) (File, error) {
	f, err := os.CreateTemp(dir, "segment-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return file{f}, nil
}

type file struct{ *os.File }
