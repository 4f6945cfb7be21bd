package pebblestore_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/gorunner/gorunner/state/pebblestore"
)

func set(t *testing.T, table *pebblestore.Table, from, to int, value string) {
	t.Helper()
	b := table.Batch()
	for i := from; i < to; i++ {
		if err := b.Set(fmt.Appendf(nil, "row %06d", i), []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(b.Commit(), b.Close()); err != nil {
		t.Fatal(err)
	}
}

// count returns how many rows have a value.
func count(t *testing.T, table *pebblestore.Table) map[string]int {
	t.Helper()
	n := map[string]int{}
	if err := table.Scan([]byte("row"), []byte("rox"), func(_, v []byte) error { n[string(v)]++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func lasting(fs vfs.FS, dir string) pebblestore.Params {
	return pebblestore.Params{FS: fs, Dir: dir, Lasting: true, Kind: "test", Prefix: func(k []byte) int { return len(k) }}
}

// copyTo copies a snapshot, and returns the bytes of each file.
func copyTo(t *testing.T, s *pebblestore.Snapshot, fs vfs.FS, dir string) map[pebblestore.SnapshotFile]string {
	t.Helper()
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	files := map[pebblestore.SnapshotFile]string{}
	for _, f := range s.Files {
		in, err := s.Open(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(in)
		if err != nil || int64(len(b)) != f.Size {
			t.Fatalf("%s: %d bytes, want %d, error %v", f.Name, len(b), f.Size, err)
		}
		out, err := fs.Create(fs.PathJoin(dir, f.Name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = out.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(in.Close(), out.Close()); err != nil {
			t.Fatal(err)
		}
		files[f] = string(b)
	}
	return files
}

// A snapshot has what was committed, however the table goes on; what it shares
// with the one before has the same name and size.
func TestSnapshot(t *testing.T) {
	fs := vfs.NewMem()
	table, err := pebblestore.Open(lasting(fs, "job/rows"))
	if err != nil {
		t.Fatal(err)
	}
	set(t, table, 0, 50_000, "old")
	var before map[pebblestore.SnapshotFile]string
	for round, want := range []map[string]int{{"old": 50_000}, {"old": 49_990, "new": 10}} {
		if _, err := table.Snapshot(); err != nil {
			t.Fatal(err)
		}
		if second, err := table.Snapshot(); err == nil {
			t.Fatalf("a second snapshot beside the first: %v", second.Release())
		}
		s, err := table.Snapshot() // the attempt has released both
		if err != nil {
			t.Fatal(err)
		}
		set(t, table, 0, 10, "new")
		dir := fmt.Sprint("copy", round)
		files := copyTo(t, s, fs, dir)
		if err := s.Release(); err != nil {
			t.Fatal(err)
		}
		shared := 0
		for f, b := range files {
			if was, ok := before[f]; ok && f.Sorted {
				if shared += len(b); was != b {
					t.Errorf("%s has become another file", f.Name)
				}
			}
		}
		if round > 0 && shared == 0 {
			t.Error("the snapshots share nothing")
		}
		before = files
		again, err := pebblestore.Open(lasting(fs, dir))
		if err != nil {
			t.Fatal(err)
		}
		if got := count(t, again); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("snapshot %d has %v, want %v", round, got, want)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Stat("job/rows.snapshot"); err == nil {
		t.Error("the directory of snapshots is left")
	}
}

// A snapshot that cannot be made, or is in the way since a process before, does
// not hold up the table.
func TestSnapshotFails(t *testing.T) {
	mem := vfs.NewMem()
	if err := mem.MkdirAll("job/rows.snapshot/old", 0o700); err != nil {
		t.Fatal(err)
	}
	full := false
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full && mem.PathBase(mem.PathDir(op.Path)) == "rows.snapshot" && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.ENOSPC
		}
		return nil
	}))
	table, err := pebblestore.Open(lasting(fs, "job/rows"))
	if err != nil {
		t.Fatal(err)
	}
	set(t, table, 0, 100, "a")
	full = true
	if s, err := table.Snapshot(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("snapshot on a full disk: %v, %v", s, err)
	}
	set(t, table, 0, 50, "b")
	full = false
	s, err := table.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Release(), table.Close()); err != nil {
		t.Fatal(err)
	}
}

// Whenever the disk of a lasting table is full, whoever writes next is told, and
// nothing else happens: logs that are used again among others.
func TestLastingDiskFull(t *testing.T) {
	for left := int64(0); left < 80; left += 3 {
		mem := vfs.NewMem()
		var writes atomic.Int64
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpRemove && writes.Add(1) > left {
				return syscall.ENOSPC
			}
			return nil
		}))
		table, err := pebblestore.Open(lasting(fs, "rows"))
		if err != nil {
			continue
		}
		for i := range 8 {
			b := table.Batch()
			err = errors.Join(b.Set(fmt.Appendf(nil, "row %d", i), []byte("x")), b.Commit(), b.Close(), table.Flush())
			if err != nil && !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("after %d writes: %v", left, err)
			}
		}
		if err := table.Close(); err != nil {
			t.Fatalf("close after %d writes: %v", left, err)
		}
	}
}

// TestDamageWhileOpen: a block that is damaged on disk is read while the table is in
// use, and whoever reads is told what it is, then and later.
func TestDamageWhileOpen(t *testing.T) {
	fs := vfs.NewMem()
	table, err := pebblestore.Open(lasting(fs, "job/rows"))
	if err != nil {
		t.Fatal(err)
	}
	set(t, table, 0, 5000, "a value")
	if err := table.Close(); err != nil { // what is in the log is written at the next start
		t.Fatal(err)
	}
	if table, err = pebblestore.Open(lasting(fs, "job/rows")); err != nil {
		t.Fatal(err)
	}
	flipTables(t, fs, "job/rows")
	scan := func() error {
		return table.Scan([]byte("row"), []byte("rox"), func(_, _ []byte) error { return nil })
	}
	for range 2 {
		if err := scan(); !pebblestore.IsCorrupt(err) {
			t.Errorf("scan of a damaged table: %v", err)
		}
	}
	if _, err := table.Rows(nil, []byte("row"), []byte("rox")); !pebblestore.IsCorrupt(err) {
		t.Errorf("rows of a damaged table: %v", err)
	}
	if err := table.Close(); err != nil {
		t.Error(err)
	}
}

// flipTables changes a byte of the first block of each sorted table.
func flipTables(t *testing.T, fs vfs.FS, dir string) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	flipped := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		f, err := fs.OpenReadWrite(fs.PathJoin(dir, name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		_, err = f.ReadAt(b, 100)
		if err == nil {
			b[0] ^= 1
			_, err = f.WriteAt(b, 100)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		flipped++
	}
	if flipped == 0 {
		t.Fatal("there is no table")
	}
}
