package checkpoints

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gorunner/gorunner/execution/checkpoint"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
	"github.com/gorunner/gorunner/shuffle/segment"
)

// Snapshots makes snapshots of a job; [*jobdb.DB] does.
type Snapshots interface {
	Snapshot(ctx context.Context) (*jobdb.Snapshot, error)
}

// Other is a file of a job besides its database.
type Other struct {
	// Kind is that of a description, which is small and may be replaced, of an
	// artifact, whose name no other content ever has, or of a dead letter, which may be
	// retracted and kept anew, but once in a process.
	Kind checkpoint.FileKind
	// Name is that of the file in a checkpoint, Path where it is.
	Name, Path string
}

// JobParams are a job's files.
type JobParams struct {
	Database Snapshots
	// Plan tells the job's plan from others.
	Plan checkpoint.Fingerprint
	// Others lists the files of the job besides its database, once there is a snapshot
	// of that.
	Others func() ([]Other, error)
	// Log gets what is worth telling; default nothing.
	Log *slog.Logger
}

// Job makes cuts of a job. It implements [Files].
//
// Of the database, the tables of rows are files that never change. Of segments,
// what was not uploaded yet is packed.
type Job struct {
	params JobParams

	// What follows is used by cuts alone, of which there is one at a time.
	packs packs
	// sums are those of files that do not change.
	sums map[fileKey]checkpoint.Sum

	mu  sync.Mutex
	cut map[fileKey]source // guarded by mu; how to open the files of the cut
	// snapshot is that of the cut, nil if there is none; guarded by mu.
	snapshot *jobdb.Snapshot
	// fresh are the packs of the cut that are to be uploaded, by name; guarded by mu.
	fresh map[string]*pack
}

type fileKey struct {
	kind checkpoint.FileKind
	name string
	size int64
}

func keyOf(f checkpoint.File) fileKey { return fileKey{f.Kind, f.Name, f.Size} }

// source opens a file.
type source func() (Content, error)

// NewJob returns the files of a job, for a process with a name that no other has.
func NewJob(p JobParams, process string) *Job {
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	return &Job{params: p, packs: packs{process: process}, sums: make(map[fileKey]checkpoint.Sum)}
}

// adopt says that the job's directory has gone on from an entry, with an index: what
// is in there need not be uploaded again. No cut may have been made.
func (j *Job) adopt(e *checkpoint.Entry, x *Index) error {
	files := make(map[string]checkpoint.File)
	for _, f := range e.Files {
		switch f.Kind {
		case checkpoint.Table, checkpoint.Artifact:
			if isConstant(f) {
				j.sums[keyOf(f)] = f.Sum
			}
		case checkpoint.Segment:
			files[f.Name] = f
		case checkpoint.Snapshot, checkpoint.Description, checkpoint.DeadLetter:
		}
	}
	for _, p := range x.Packs {
		regions, err := decodeRegions(p.Regions)
		if err != nil {
			return err
		}
		if f, ok := files[p.Name]; ok {
			f.Blob = ""
			j.packs.all = append(j.packs.all, &pack{file: f, regions: regions, stored: true})
		}
	}
	return nil
}

// isConstant says that there is never another file of the same kind and name.
func isConstant(f checkpoint.File) bool {
	return f.Kind == checkpoint.Artifact || f.Kind == checkpoint.Table && len(f.Name) > 4 && f.Name[len(f.Name)-4:] == ".sst"
}

// Cut implements Files.
func (j *Job) Cut(ctx context.Context, _ checkpoint.EntryKind) (checkpoint.Cut, error) {
	s, err := j.params.Database.Snapshot(ctx)
	if err != nil {
		return checkpoint.Cut{}, err
	}
	c := cutter{ctx: ctx, job: j, snapshot: s, open: make(map[fileKey]source), fresh: make(map[string]*pack)}
	if err = c.make(); err == nil {
		maps.DeleteFunc(j.sums, func(k fileKey, _ checkpoint.Sum) bool { return c.open[k] == nil })
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.snapshot, j.cut, j.fresh = s, c.open, c.fresh
	return checkpoint.Cut{Plan: j.params.Plan, Files: c.files}, err
}

// Open implements Files.
func (j *Job) Open(_ context.Context, f checkpoint.File) (Content, error) {
	j.mu.Lock()
	open := j.cut[keyOf(f)]
	j.mu.Unlock()
	if open == nil {
		return nil, fmt.Errorf("%s %s is not in the cut, or should be stored already: %w", f.Kind, f.Name, os.ErrNotExist)
	}
	return open()
}

// Stored implements Files.
func (j *Job) Stored(f checkpoint.File) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if p := j.fresh[f.Name]; p != nil && f.Kind == checkpoint.Segment {
		p.stored = true
	}
}

// Release implements Files.
func (j *Job) Release() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.snapshot == nil {
		return
	}
	if err := j.snapshot.Release(); err != nil {
		j.params.Log.Warn("snapshot could not be removed", "error", err)
	}
	j.snapshot, j.cut, j.fresh = nil, nil, nil
}

// cutter makes one cut.
type cutter struct {
	ctx      context.Context //nolint:containedctx // of one Cut
	job      *Job
	snapshot *jobdb.Snapshot
	files    []checkpoint.File
	open     map[fileKey]source
	fresh    map[string]*pack
}

func (c *cutter) make() error {
	for _, f := range c.snapshot.Rows() {
		open := func() (Content, error) { return openRows(c.snapshot, f.Name) }
		if err := c.add(checkpoint.File{Kind: checkpoint.Table, Name: f.Name, Size: f.Size}, open); err != nil {
			return err
		}
	}
	others, err := c.job.params.Others()
	if err != nil {
		return err
	}
	for _, o := range others {
		if err := c.addOther(o); err != nil {
			return err
		}
	}
	return c.addPacks()
}

// add enters a file, whose sum is that of what open yields unless it is known.
func (c *cutter) add(f checkpoint.File, open source) error {
	key := keyOf(f)
	c.open[key] = open
	sum, known := c.job.sums[key]
	if !known {
		content, err := open()
		if err != nil {
			return err
		}
		if sum, err = c.sum(content); err != nil {
			return fmt.Errorf("read %s %s: %w", f.Kind, f.Name, err)
		}
		if isConstant(f) {
			c.job.sums[key] = sum
		}
	}
	f.Sum = sum
	c.files = append(c.files, f)
	return nil
}

// sum reads a file and closes it.
func (c *cutter) sum(content Content) (checkpoint.Sum, error) {
	hash := xxhash.New()
	buffer := make([]byte, 256<<10)
	var err error
	for at, size := int64(0), content.Size(); at < size && err == nil; {
		n := int(min(int64(len(buffer)), size-at))
		if n, err = content.ReadAt(buffer[:n], at); errors.Is(err, io.EOF) && n > 0 {
			err = nil
		}
		_, _ = hash.Write(buffer[:n])
		at += int64(n)
		err = errors.Join(err, c.ctx.Err())
	}
	return checkpoint.Sum(hash.Sum64()), errors.Join(err, content.Close())
}

func (c *cutter) addOther(o Other) error {
	if o.Kind == checkpoint.Description { // it may be replaced meanwhile
		data, err := os.ReadFile(o.Path)
		if err != nil {
			return err
		}
		return c.addBytes(o.Kind, o.Name, data)
	}
	info, err := os.Stat(o.Path)
	if err != nil {
		return err
	}
	return c.add(checkpoint.File{Kind: o.Kind, Name: o.Name, Size: info.Size()}, func() (Content, error) { return openFile(o.Path) })
}

func (c *cutter) addBytes(kind checkpoint.FileKind, name string, data []byte) error {
	return c.add(checkpoint.File{Kind: kind, Name: name, Size: int64(len(data))}, func() (Content, error) {
		return constant{bytes.NewReader(data)}, nil
	})
}

func (c *cutter) addPacks() error {
	regions, err := c.snapshot.Regions()
	if err != nil {
		return err
	}
	known, fresh := c.job.packs.cut(regions)
	for _, p := range known {
		c.files = append(c.files, p.file)
	}
	for _, p := range fresh {
		content, err := c.snapshot.Pack(p.regions)
		if err != nil {
			return err
		}
		if err := c.add(p.file, func() (Content, error) { return packed{content}, nil }); err != nil {
			return err
		}
		p.file.Sum = c.files[len(c.files)-1].Sum
		c.fresh[p.file.Name] = p
	}
	index, err := makeIndex(uint64(c.snapshot.Seq()), c.snapshot.Epoch(), append(known, fresh...))
	if err != nil {
		return err
	}
	return c.addBytes(checkpoint.Snapshot, indexName, index)
}

// constant is a file in memory.
type constant struct{ *bytes.Reader }

func (constant) Close() error { return nil }

// packed is a pack of regions.
type packed struct{ *segment.Pack }

func (packed) Close() error { return nil }

// rowsFile is a file of a database's snapshot.
type rowsFile struct {
	vfs.File
	size int64
}

func (f rowsFile) Size() int64 { return f.size }

func openRows(s *jobdb.Snapshot, name string) (Content, error) {
	f, err := s.OpenRows(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return rowsFile{f, info.Size()}, nil
}

// diskFile is a file of the operating system's.
type diskFile struct {
	*os.File
	size int64
}

func (f diskFile) Size() int64 { return f.size }

func openFile(path string) (Content, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return diskFile{f, info.Size()}, nil
}
