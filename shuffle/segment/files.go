package segment

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// Files makes files. It is what the package needs of a file system.
type Files interface {
	// CreateTemp makes an empty file in a directory which is gone, with all its
	// space, when it is closed or the process ends.
	CreateTemp(dir string) (File, error)
	// Create makes an empty file that is not there yet, Open opens one that is.
	Create(dir, name string) (File, error)
	Open(dir, name string) (File, error)
	// List returns the names of the files in a directory.
	List(dir string) ([]string, error)
	Remove(dir, name string) error
	// SyncDir makes the names of the files in a directory outlive the machine's
	// end.
	SyncDir(dir string) error
}

// File is a file that many may write to and read from at the same time.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Punch gives back the space of n bytes from an offset on, which nobody will
	// read any more. Both are multiples of 4096.
	Punch(at, n int64) error
	// Sync makes what was written outlive the machine's end.
	Sync() error
	// Size is where the file ends.
	Size() (int64, error)
	// Name is what to call it in an error.
	Name() string
}

// directFile is a file that can be written to past the system's cache.
type directFile interface {
	// WriteDirect writes at an offset. Offset and size are multiples of 4096. It fails
	// with errors.ErrUnsupported if that is not possible here.
	WriteDirect(b []byte, at int64) error
}

// system makes files of the operating system.
type system struct{}

// CreateTemp takes the name away at once.
func (system) CreateTemp(dir string) (File, error) {
	f, err := os.CreateTemp(dir, "segment-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return file{File: f}, nil
}

// Create implements Files.
func (system) Create(dir, name string) (File, error) {
	const mode = 0o600
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, err
	}
	return file{f, openDirect(f.Name())}, nil
}

// Open implements Files.
func (system) Open(dir, name string) (File, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return file{File: f}, nil
}

// List implements Files.
func (system) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// Remove implements Files.
func (system) Remove(dir, name string) error { return os.Remove(filepath.Join(dir, name)) }

// SyncDir implements Files.
func (system) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

type file struct {
	*os.File
	direct *os.File // the same past the system's cache; nil if it is not known how
}

// Close implements File.
func (f file) Close() error {
	err := f.File.Close()
	if f.direct != nil {
		err = errors.Join(err, f.direct.Close())
	}
	return err
}

// WriteDirect implements directFile.
func (f file) WriteDirect(b []byte, at int64) error {
	if f.direct == nil {
		return errors.ErrUnsupported
	}
	_, err := f.direct.WriteAt(b, at)
	if errors.Is(err, syscall.EINVAL) { // some say so only now
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return err
}

// Size implements File.
func (f file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
