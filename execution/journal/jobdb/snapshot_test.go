package jobdb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
	"github.com/gorunner/gorunner/shuffle/segment"
	"github.com/gorunner/gorunner/shuffle/segment/segmenttest"
)

// restore puts a snapshot into a directory.
func restore(s *jobdb.Snapshot, fs vfs.FS, dir string) error {
	for _, d := range []string{jobdb.RowsDir, jobdb.SegmentsDir} {
		if err := fs.MkdirAll(fs.PathJoin(dir, d), 0o700); err != nil {
			return err
		}
	}
	for _, f := range s.Rows() {
		in, err := s.OpenRows(f.Name)
		if err != nil {
			return err
		}
		out, err := fs.Create(fs.PathJoin(dir, jobdb.RowsDir, f.Name), vfs.WriteCategoryUnspecified)
		if err == nil {
			_, err = io.Copy(out, in)
		}
		if err = errors.Join(err, out.Sync(), out.Close(), in.Close()); err != nil {
			return err
		}
	}
	regions, err := s.Regions()
	if err != nil {
		return err
	}
	pack, err := s.Pack(regions)
	if err != nil {
		return err
	}
	return segment.Unpack(segmenttest.Files{FS: fs}, fs.PathJoin(dir, jobdb.SegmentsDir), io.NewSectionReader(pack, 0, pack.Size()))
}

// Whatever a job does while its snapshot is copied, the copy is what the job was
// after the commits that the snapshot says it has; and goes on from there.
func TestSnapshots(t *testing.T) {
	for seed := *from; seed < *from+uint64(*seeds); seed++ {
		l := newLife(seed)
		fs := vfs.NewMem()
		for n := range 1 + l.some(4) {
			if err := l.move(fs, fmt.Sprint("job", n), fmt.Sprint("job", n+1)); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	}
}

// move opens a job, lets it commit, and copies snapshots of it, of which the last
// is what the job is elsewhere.
func (l *life) move(fs vfs.FS, dir, next string) error {
	d, err := jobdb.Open(jobdb.Params{Dir: dir, Plan: "plan", FS: fs, Files: segmenttest.Files{FS: fs}, SyncInterval: -1, SegmentBytes: 40_000})
	if err != nil {
		return err
	}
	err = l.resume(d, d.Last())
	for range 1 + l.some(3) {
		if err != nil {
			break
		}
		_ = fs.RemoveAll(next)
		err = l.copyWhile(d, fs, next)
	}
	return errors.Join(err, d.Close())
}

func (l *life) copyWhile(d *jobdb.DB, fs vfs.FS, to string) error {
	if err := l.commits(d, l.some(30)); err != nil {
		return err
	}
	durable := d.Durable()
	s, err := d.Snapshot(context.Background())
	if err != nil {
		return err
	}
	if s.Seq() < durable {
		return fmt.Errorf("snapshot of commit %d, and %d was durable", s.Seq(), durable)
	}
	if second, err := d.Snapshot(context.Background()); err == nil {
		return errors.Join(errors.New("a second snapshot"), second.Release())
	}
	err = l.commits(d, l.some(30))
	d.Collect()
	return errors.Join(err, restore(s, fs, to), s.Release(), s.Release())
}

// A database that is closed or broken has no snapshots; one that waits for it ends.
func TestNoSnapshot(t *testing.T) {
	fs := vfs.NewMem()
	d, err := jobdb.Open(jobdb.Params{Dir: "job", Plan: "plan", FS: fs, Files: segmenttest.Files{FS: fs}})
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	end(why)
	if s, err := d.Snapshot(ended); err == nil {
		_ = s.Release() // it was there before the end was seen
	} else if !errors.Is(err, why) {
		t.Errorf("snapshot for nobody: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := d.Snapshot(t.Context()); !errors.Is(err, jobdb.ErrClosed) {
		t.Errorf("snapshot of what is closed: %v, %v", s, err)
	}
}

// BenchmarkSnapshot takes snapshots of a job with a gigabyte of rows and regions.
func BenchmarkSnapshot(b *testing.B) {
	for _, megabytes := range []int{64, 1024} {
		b.Run(fmt.Sprintf("%dMiB", megabytes), func(b *testing.B) { benchmarkSnapshot(b, megabytes) })
	}
}

func benchmarkSnapshot(b *testing.B, megabytes int) {
	b.Helper()
	if testing.Short() || b.N == 0 {
		b.Skip("it needs a gigabyte")
	}
	d, err := jobdb.Open(jobdb.Params{Dir: b.TempDir(), Plan: "plan", MemoryBytes: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	random := rand.NewChaCha8([32]byte{})
	data := make([]byte, 1<<20)
	number := element.Number(0)
	queue := func(megabytes int) {
		for range megabytes {
			_, _ = random.Read(data)
			c := &journal.Commit{}
			for chunk := range slices.Chunk(data, 16<<10) {
				number++
				block := journal.Block{Stage: 1, Group: element.Unkeyed, Due: element.MinTime, Block: element.Block{Number: number, Count: 1}}
				if number%2 == 0 {
					block.Data = bytes.Clone(chunk)
				} else if block.Stored, err = d.Disk().Store(chunk); err != nil {
					b.Fatal(err)
				}
				c.Queued = append(c.Queued, block)
			}
			if _, err := d.Append(b.Context(), c); err != nil {
				b.Fatal(err)
			}
		}
		if err := d.Wait(b.Context(), d.Last()); err != nil {
			b.Fatal(err)
		}
	}
	queue(megabytes)
	for b.Loop() {
		b.StopTimer()
		queue(1)
		b.StartTimer()
		s, err := d.Snapshot(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Regions(); err != nil {
			b.Fatal(err)
		}
		if err := s.Release(); err != nil {
			b.Fatal(err)
		}
	}
}
