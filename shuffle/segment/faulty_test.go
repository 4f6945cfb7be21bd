package segment

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
)

// faulty makes files in memory that fail as they are told.
type faulty struct {
	Files // of which it has no other than temporary ones
	mu    sync.Mutex
	// space is what is left on the disk; less than 0 is no end.
	space                           int64
	failRead, failCreate, failPunch error
	holes                           int64
	files                           []*memFile
}

func (f *faulty) List(string) ([]string, error) { return nil, nil }

func (f *faulty) CreateTemp(string) (File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failCreate != nil {
		return nil, f.failCreate
	}
	file := &memFile{fs: f}
	f.files = append(f.files, file)
	return file, nil
}

// openFiles is the number of files that have not been closed.
func (f *faulty) openFiles() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, file := range f.files {
		if !file.closed {
			n++
		}
	}
	return n
}

type memFile struct {
	fs     *faulty
	data   []byte
	closed bool
}

var errFileClosed = errors.New("file closed")

func (m *memFile) Name() string { return "mem" }

func (m *memFile) Sync() error { return nil }

func (m *memFile) Size() (int64, error) {
	m.fs.mu.Lock()
	defer m.fs.mu.Unlock()
	return int64(len(m.data)), nil
}

func (m *memFile) WriteAt(p []byte, off int64) (int, error) {
	m.fs.mu.Lock()
	defer m.fs.mu.Unlock()
	if m.closed {
		return 0, errFileClosed
	}
	n := len(p)
	if m.fs.space >= 0 {
		n = int(min(int64(n), m.fs.space))
		m.fs.space -= int64(n)
	}
	if more := int(off) + n - len(m.data); more > 0 {
		m.data = append(m.data, make([]byte, more)...)
	}
	copy(m.data[off:], p[:n])
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (m *memFile) ReadAt(p []byte, off int64) (int, error) {
	m.fs.mu.Lock()
	defer m.fs.mu.Unlock()
	switch {
	case m.closed:
		return 0, errFileClosed
	case m.fs.failRead != nil:
		return 0, m.fs.failRead
	case off >= int64(len(m.data)):
		return 0, io.EOF
	}
	n := copy(p, m.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// punched is the size of all holes.
func (f *faulty) punched() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.holes
}

// Punch loses the bytes.
func (m *memFile) Punch(at, n int64) error {
	m.fs.mu.Lock()
	defer m.fs.mu.Unlock()
	switch {
	case m.closed:
		return os.ErrClosed
	case m.fs.failPunch != nil:
		return m.fs.failPunch
	case at%pageBytes != 0 || n%pageBytes != 0 || n == 0 || at+n > int64(len(m.data)):
		return fmt.Errorf("hole of %d bytes at %d in a file of %d", n, at, len(m.data))
	}
	m.fs.holes += n
	clear(m.data[at : at+n])
	return nil
}

func (m *memFile) Close() error {
	m.fs.mu.Lock()
	defer m.fs.mu.Unlock()
	if m.closed {
		return errFileClosed
	}
	m.closed, m.data = true, nil
	return nil
}
