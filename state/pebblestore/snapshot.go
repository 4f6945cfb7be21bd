package pebblestore

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Snapshot is a lasting table as it was at some time, in files which nobody
// changes: a table is opened in a directory that has them.
type Snapshot struct {
	table *Table
	dir   string
	// Files are sorted by name.
	Files []SnapshotFile
}

// SnapshotFile is a file of a snapshot.
type SnapshotFile struct {
	Name string
	Size int64
	// Sorted says that this is a table of rows, whose name no other content has had
	// or will have as long as the table goes on in its directory.
	Sorted bool
}

const (
	// snapshotSuffix is that of the directory of a table's snapshot.
	snapshotSuffix = ".snapshot"
	// logSuffix and sortedSuffix are those of Pebble's files.
	logSuffix    = ".log"
	sortedSuffix = ".sst"
)

// Flush writes what is in memory, and the log has, to sorted tables.
func (t *Table) Flush() error {
	if err := t.guard.err(); err != nil {
		return err
	}
	return t.check("flush", t.db.Flush())
}

// Snapshot makes a snapshot, of which there is one at a time. Nothing is
// committed to the table meanwhile. It costs little but for what was not flushed:
// sorted tables are linked.
func (t *Table) Snapshot() (*Snapshot, error) {
	// With everything in sorted tables the log has nothing that is needed. It would
	// be copied as a whole, again and again, with what was in it when it was used
	// the last time.
	if err := t.Flush(); err != nil {
		return nil, err
	}
	s := &Snapshot{table: t, dir: t.snapshotDir()}
	if err := t.check("make snapshot", t.db.Checkpoint(s.dir)); err != nil {
		return nil, errors.Join(err, s.Release())
	}
	if err := s.list(); err != nil {
		return nil, errors.Join(t.wrap("list snapshot", err), s.Release())
	}
	return s, nil
}

func (t *Table) snapshotDir() string { return t.params.Dir + snapshotSuffix }

func (s *Snapshot) list() error {
	fs := s.table.params.FS
	names, err := fs.List(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, logSuffix) {
			continue
		}
		info, err := fs.Stat(fs.PathJoin(s.dir, name))
		if err != nil {
			return err
		}
		s.Files = append(s.Files, SnapshotFile{Name: name, Size: info.Size(), Sorted: strings.HasSuffix(name, sortedSuffix)})
	}
	slices.SortFunc(s.Files, func(a, b SnapshotFile) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}

// Open opens a file of the snapshot.
func (s *Snapshot) Open(name string) (vfs.File, error) {
	fs := s.table.params.FS
	f, err := fs.Open(fs.PathJoin(s.dir, name))
	return f, s.table.wrap("open snapshot", err)
}

// Release removes the files. What is open stays so.
func (s *Snapshot) Release() error { return s.table.dropSnapshot() }

func (t *Table) dropSnapshot() error {
	err := t.params.FS.RemoveAll(t.snapshotDir())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return t.wrap("remove snapshot", err)
}
