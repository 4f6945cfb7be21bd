// Package segmenttest has segments lie in a file system of Pebble's, which may be
// one that fails, or that of a machine which ends at any moment.
package segmenttest

import (
	"bytes"
	"errors"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gorunner/gorunner/shuffle/segment"
)

// Files makes segments in a file system of Pebble's.
type Files struct{ vfs.FS }

func (f Files) CreateTemp(string) (segment.File, error) {
	return nil, errors.New("nothing is temporary")
}

func (f Files) Create(dir, name string) (segment.File, error) { return f.Open(dir, name) }

func (f Files) Open(dir, name string) (segment.File, error) {
	path := f.PathJoin(dir, name)
	inner, err := f.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	return &file{File: inner, name: path}, err
}

func (f Files) Remove(dir, name string) error { return f.FS.Remove(f.PathJoin(dir, name)) }

func (f Files) SyncDir(dir string) error {
	d, err := f.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type file struct {
	vfs.File
	name string

	mu     sync.RWMutex
	closed bool // guarded by mu
}

func (f *file) Name() string { return f.name }

func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return f.File.Close()
}

func (f *file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Punch overwrites what nobody may read any more.
func (f *file) Punch(at, n int64) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return os.ErrClosed
	}
	_, err := f.WriteAt(bytes.Repeat([]byte{0xee}, int(n)), at)
	return err
}
