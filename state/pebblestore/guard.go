package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gorunner/gorunner/shuffle"
)

// guard stands between Pebble and a file system. Pebble tries again for ever
// what it cannot write, or ends the process; it has files to lose. A temporary
// table has none. So once something has failed, the guard remembers it for
// whoever asks the table next, and from then on acts as if all were well, but
// does nothing: Pebble comes to rest, and is closed. Files that are to last stay as
// they were when it failed, as if the machine had ended then.
//
// Copies of lasting files are not guarded.
//
// The guard also counts the bytes of the files, and syncs none of those that are
// temporary.
type guard struct {
	vfs.FS
	disk *shuffle.Account // may be nil
	// aside is the directory of snapshots, whose files are copies: nothing depends on
	// them, and who makes them is told what fails.
	aside string
	// lasting says that the files are not temporary.
	lasting bool

	mu     sync.Mutex
	failed error            // guarded by mu
	sizes  map[string]int64 // of the files; guarded by mu
}

func newGuard(fs vfs.FS, disk *shuffle.Account) *guard {
	return &guard{FS: fs, disk: disk, sizes: make(map[string]int64)}
}

// adopt enters the files that are there already.
func (g *guard) adopt(dir string) error {
	names, err := g.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		name = g.PathJoin(dir, name)
		info, err := g.Stat(name)
		if err != nil {
			return err
		}
		g.grow(name, info.Size())
	}
	return nil
}

// err is what has failed.
func (g *guard) err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed
}

// broken says that something has.
func (g *guard) broken() bool { return g.err() != nil }

// fail notes that something has failed.
func (g *guard) fail(op string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed == nil {
		if errors.Is(err, syscall.ENOSPC) {
			op = "the disk is full: " + op
		}
		g.failed = fmt.Errorf("%w: rows: %s: %w", shuffle.ErrDisk, op, err)
	}
}

// try does something unless something has failed.
func (g *guard) try(op, name string, f func() error) {
	if g.err() != nil {
		return
	}
	if err := f(); err != nil {
		g.fail(op+" "+name, err)
	}
}

// grow enters that a file has become larger.
func (g *guard) grow(name string, n int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sizes[name] += n
	if g.disk != nil {
		g.disk.Add(n)
	}
}

// drop enters that a file is gone.
func (g *guard) drop(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.disk != nil {
		g.disk.Add(-g.sizes[name])
	}
	delete(g.sizes, name)
}

// forget enters that all files are gone.
func (g *guard) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, n := range g.sizes {
		if g.disk != nil {
			g.disk.Add(-n)
		}
		delete(g.sizes, name)
	}
}

// isAside says that a file is of a snapshot.
func (g *guard) isAside(name string) bool {
	return g.lasting && (name == g.aside || g.PathDir(name) == g.aside)
}

func (g *guard) create(name string, make func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	g.try("create", name, func() (err error) {
		f, err = make()
		return err
	})
	g.drop(name)
	return &file{inner: f, guard: g, name: name}, nil
}

// Create makes a file. A marker says which other file is the current one: that
// must be there whenever the marker is.
func (g *guard) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if g.isAside(name) {
		return g.FS.Create(name, c)
	}
	if g.lasting && strings.HasPrefix(g.PathBase(name), "marker.") {
		if err := SyncDir(g, g.PathDir(name)); err != nil {
			return nil, err
		}
	}
	return g.create(name, func() (vfs.File, error) { return g.FS.Create(name, c) })
}

func (g *guard) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return g.create(name, func() (vfs.File, error) { return g.FS.OpenReadWrite(name, c, o...) })
}

func (g *guard) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	g.drop(oldname)
	return g.create(newname, func() (vfs.File, error) { return g.FS.ReuseForWrite(oldname, newname, c) })
}

// Open fails as what was written has, lest a file be missed that was never made.
func (g *guard) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	if err := g.err(); err != nil {
		return nil, err
	}
	return g.FS.Open(name, o...)
}

func (g *guard) OpenDir(name string) (vfs.File, error) {
	if g.isAside(name) {
		return g.FS.OpenDir(name)
	}
	f := &file{guard: g, name: name} // which is synced, or not
	if g.lasting {
		g.try("open", name, func() (err error) {
			f.inner, err = g.FS.OpenDir(name)
			return err
		})
	}
	return f, nil
}

// SyncDir makes the names in a directory outlive the machine.
func SyncDir(fs vfs.FS, dir string) error {
	if dir == "" {
		dir = "."
	}
	f, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (g *guard) Remove(name string) error {
	if g.isAside(name) {
		return g.FS.Remove(name)
	}
	if g.lasting && g.broken() {
		return nil // what replaces it may not have been written
	}
	g.drop(name)
	return g.FS.Remove(name)
}

func (g *guard) Link(oldname, newname string) error {
	if g.isAside(newname) {
		return g.FS.Link(oldname, newname)
	}
	g.try("link", newname, func() error { return g.FS.Link(oldname, newname) })
	return nil
}

func (g *guard) Rename(oldname, newname string) error {
	if g.isAside(newname) {
		return g.FS.Rename(oldname, newname)
	}
	g.try("rename", newname, func() error { return g.FS.Rename(oldname, newname) })
	g.mu.Lock()
	defer g.mu.Unlock()
	if n, known := g.sizes[oldname]; known {
		if g.disk != nil {
			g.disk.Add(-g.sizes[newname])
		}
		g.sizes[newname] = n
		delete(g.sizes, oldname)
	}
	return nil
}

func (g *guard) Lock(name string) (io.Closer, error) {
	if g.lasting {
		return g.FS.Lock(name)
	}
	return &file{guard: g, name: name}, nil // the directory is ours
}

func (g *guard) Unwrap() vfs.FS { return g.FS }

var errWritten = errors.New("the file is only written")

// file is a file that is written, or a directory.
type file struct {
	inner vfs.File // nil if it could not be made, and of a directory
	guard *guard
	name  string
}

func (f *file) Write(p []byte) (int, error) {
	size := len(p)
	f.guard.try("write", f.name, func() error {
		n, err := f.inner.Write(p)
		f.guard.grow(f.name, int64(n))
		return err
	})
	return size, nil
}

func (f *file) WriteAt(p []byte, at int64) (int, error) {
	size := len(p)
	f.guard.try("write", f.name, func() error {
		_, err := f.inner.WriteAt(p, at)
		return err
	})
	return size, nil
}

func (f *file) Close() error {
	if f.inner != nil {
		if err := f.inner.Close(); err != nil {
			f.guard.fail("close "+f.name, err)
		}
	}
	return nil
}

func (f *file) Sync() error { return f.sync(vfs.File.Sync) }

func (f *file) SyncData() error { return f.sync(vfs.File.SyncData) }

func (f *file) sync(how func(vfs.File) error) error {
	if f.guard.lasting {
		f.guard.try("sync", f.name, func() error { return how(f.inner) })
	}
	return nil
}

// Stat is asked how large a log is that is used again.
func (f *file) Stat() (vfs.FileInfo, error) {
	if f.inner != nil && f.guard.err() == nil {
		return f.inner.Stat()
	}
	return nothing{}, nil
}

// nothing describes a file that could not be made.
type nothing struct{ vfs.FileInfo }

// Size implements vfs.FileInfo.
func (nothing) Size() int64 { return 0 }

// Pebble opens anew what it reads.
func (f *file) Read([]byte) (int, error)            { return 0, errWritten }
func (f *file) ReadAt([]byte, int64) (int, error)   { return 0, errWritten }
func (f *file) Preallocate(int64, int64) error      { return nil }
func (f *file) SyncTo(int64) (bool, error)          { return false, nil }
func (f *file) Prefetch(offset, length int64) error { return nil }
func (f *file) Fd() uintptr                         { return vfs.InvalidFd }
