package jobdb_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
	"github.com/gorunner/gorunner/shuffle/segment/segmenttest"
)

// A database is of one plan, and of one process at a time. Each that opens it is
// told that it is another.
func TestOpenAgain(t *testing.T) {
	fs := vfs.NewMem()
	params := func(plan string) jobdb.Params {
		return jobdb.Params{Dir: "job", Plan: plan, FS: fs, Files: segmenttest.Files{FS: fs}}
	}
	for epoch := uint64(1); epoch < 4; epoch++ {
		d, err := jobdb.Open(params("a plan"))
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Epoch(); got != epoch {
			t.Errorf("epoch %d, want %d", got, epoch)
		}
		if second, err := jobdb.Open(params("a plan")); err == nil {
			t.Errorf("it was opened twice: %v", second.Close())
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for plan, want := range map[string]string{
		"another plan": `line 1 was "a plan" and is "another plan"`,
		"a plan\nmore": `line 2 was its end and is "more"`,
	} {
		if _, err := jobdb.Open(params(plan)); !errors.Is(err, jobdb.ErrPlan) || !strings.Contains(err.Error(), want) {
			t.Errorf("opened with another plan: %v", err)
		}
	}
}

// TestSegmentNumbers: those of a process are given by none after it, though its
// segments are gone, and the process between has left nothing.
func TestSegmentNumbers(t *testing.T) {
	fs := vfs.NewMem()
	seen := map[uint64]bool{}
	for life := range 6 {
		d, err := jobdb.Open(jobdb.Params{Dir: "job", FS: fs, Files: segmenttest.Files{FS: fs}})
		if err != nil {
			t.Fatal(err)
		}
		if names, err := fs.List("job/segments"); err != nil || len(names) > 0 {
			t.Fatalf("life %d begins with segments %v, error %v", life, names, err)
		}
		if life%2 == 0 {
			stored, err := d.Disk().Store([]byte("a region"))
			if err != nil {
				t.Fatal(err)
			}
			p, err := stored.Place()
			if err != nil {
				t.Fatal(err)
			}
			if seen[p.File] {
				t.Errorf("life %d: segment %x is there again", life, p.File)
			}
			seen[p.File] = true
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRowsThatAreGone: that the rows have come further is not forgotten, unless
// what says so was being written itself.
func TestRowsThatAreGone(t *testing.T) {
	fs := vfs.NewMem()
	open := func() error {
		d, err := jobdb.Open(jobdb.Params{Dir: "job", FS: fs, Files: segmenttest.Files{FS: fs}})
		if err != nil {
			return err
		}
		seq, err := d.Append(t.Context(), &journal.Commit{Draining: true})
		if err == nil {
			err = d.Wait(t.Context(), seq)
		}
		return errors.Join(err, d.Close())
	}
	write := func(name string, data []byte) {
		t.Helper()
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write(data)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	before, err := vfs.Clone(fs, fs, "job", "before")
	if err != nil || !before {
		t.Fatal(before, err)
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	later := readFile(t, fs, "job/durable")
	if err := fs.RemoveAll("job"); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.Clone(fs, fs, "before", "job"); err != nil {
		t.Fatal(err)
	}
	write("job/durable", later)
	if err := open(); !jobdb.IsCorrupt(err) || !strings.Contains(err.Error(), "end with commit 1, and there was commit 2") {
		t.Errorf("rows are gone: %v", err)
	}
	for _, torn := range [][]byte{later[:5], append(append([]byte{}, later[:7]...), 9, 9, 9, 9, 9), nil} {
		write("job/durable", torn)
		if err := open(); err != nil {
			t.Errorf("a mark of %x: %v", torn, err)
		}
	}
}

// TestMarkFails: a process that ends while it opens the job leaves the mark as it
// was, and what cannot be read is not taken for nothing.
func TestMarkFails(t *testing.T) {
	for _, kind := range []errorfs.OpKind{errorfs.OpFileWriteAt, errorfs.OpFileRead} {
		mem := vfs.NewMem()
		fails := false
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if fails && op.Kind == kind && strings.HasSuffix(op.Path, "durable") {
				return syscall.EIO
			}
			return nil
		}))
		open := func() error {
			d, err := jobdb.Open(jobdb.Params{Dir: "job", FS: fs, Files: segmenttest.Files{FS: mem}})
			if err != nil {
				return err
			}
			return d.Close()
		}
		if err := open(); err != nil {
			t.Fatal(err)
		}
		before := readFile(t, mem, "job/durable")
		fails = true
		if err := open(); !errors.Is(err, syscall.EIO) {
			t.Errorf("operation %d fails: %v", kind, err)
		}
		if after := readFile(t, mem, "job/durable"); !bytes.Equal(after, before) {
			t.Errorf("operation %d fails: the mark was %x and is %x", kind, before, after)
		}
	}
}

func readFile(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}
