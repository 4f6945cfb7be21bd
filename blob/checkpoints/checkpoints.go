// Package checkpoints makes checkpoints and savepoints of jobs in a blob.Store, and
// restores jobs from there. What is done, and in which order, execution/checkpoint
// decides.
//
//	home, err := checkpoints.OpenHome(dir)                 // beside the job's database
//	runner := checkpoints.NewRunner(home.Lineage)
//	job := checkpoints.NewJob(checkpoints.JobParams{…}, checkpoints.Process(runner))
//	keeper := checkpoints.Start(checkpoints.KeeperParams{…})
//	info, err := keeper.Make(ctx, checkpoint.Savepoint)    // besides those at intervals
//	keeper.Close()                                         // or End, if the job has ended
//
//	restored, err := checkpoints.Restore(ctx, store, place, target, wait)
//
// A [Place] names a job, or one of its checkpoints, by a URI; [Jobs] and [ReadLog]
// say what there is. A [Keeper] runs one coordinator; an [Executor] carries out its
// acts, each once: whether it is tried again is the decision of who gave it out. A
// [Job] makes cuts of a job's directory:
//
//	table        files of the database's snapshot; those of rows never change
//	segment      packs: regions that were not uploaded before, up to 16 MiB of them
//	description  small files, uploaded when they have changed
//	artifact     files that are named by their content
//	snapshot     the index, which says what is in the packs
//
// A pack of which less than a quarter is needed is packed anew. What is needed of a
// process before, or of the machine that a job was restored from, is found in the
// index of its last checkpoint.
//
// All methods may be called from any goroutine.
package checkpoints

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"

	"github.com/gorunner/gorunner/blob"
	"github.com/gorunner/gorunner/execution/checkpoint"
)

const (
	// maxEntryBytes bounds an entry: some 200,000 files.
	maxEntryBytes = 64 << 20
	// maxStats is how many files are looked for at once.
	maxStats = 16
)

// Files are those of the job on this machine.
type Files interface {
	// Cut returns the state of the job between two commits, as files that stay as
	// they are until Release.
	Cut(ctx context.Context, kind checkpoint.EntryKind) (checkpoint.Cut, error)
	// Open opens a file of the cut.
	Open(ctx context.Context, f checkpoint.File) (Content, error)
	// Stored says that a file of the cut has been uploaded.
	Stored(f checkpoint.File)
	// Release gives the files of the last cut free.
	Release()
}

// Content is an open file.
type Content interface {
	blob.Source
	io.Closer
}

// Executor carries out acts for one job.
type Executor struct {
	store  *blob.Store
	prefix blob.Name
	files  Files
}

// New returns an executor whose objects are below a prefix. A recovery needs no
// files.
func New(store *blob.Store, prefix blob.Name, files Files) *Executor {
	return &Executor{store: store, prefix: prefix, files: files}
}

func (x *Executor) name(b checkpoint.BlobName) blob.Name { return x.prefix + "/" + blob.Name(b) }

// Do carries out an act and says how it has ended.
func (x *Executor) Do(ctx context.Context, act checkpoint.Act) checkpoint.Outcome {
	o := checkpoint.Outcome{Act: act}
	var err error
	switch act := act.(type) {
	case checkpoint.TakeCut:
		o.Cut, err = x.files.Cut(ctx, act.Kind)
	case checkpoint.Upload:
		err = x.upload(ctx, act.File)
	case checkpoint.ReleaseCut:
		x.files.Release()
	case checkpoint.PutEntry:
		_, err = x.store.PutIfAbsent(ctx, x.name(act.Entry.Slot.Blob()), bytes.NewReader(act.Entry.Encode()))
	case checkpoint.ReadEntry:
		var b []byte
		if b, err = x.store.ReadAll(ctx, x.name(act.Slot.Blob()), maxEntryBytes); err == nil {
			o.Entry, err = checkpoint.Decode(b, act.Slot)
		}
	case checkpoint.PutLatest:
		_, err = x.store.Put(ctx, x.name(checkpoint.Latest), bytes.NewReader(checkpoint.EncodeLatest(act.Slot)))
	case checkpoint.ReadLatest:
		var b []byte
		if b, err = x.store.ReadAll(ctx, x.name(checkpoint.Latest), maxEntryBytes); err == nil {
			o.Slot, err = checkpoint.DecodeLatest(b)
		}
	case checkpoint.ListLog:
		o.Names, err = x.list(ctx, checkpoint.LogPrefix)
	case checkpoint.ListData:
		o.Names, err = x.list(ctx, checkpoint.DataPrefix)
	case checkpoint.CheckFiles:
		err = x.check(ctx, act.Entry)
	case checkpoint.Delete:
		names := make([]blob.Name, len(act.Names))
		for i, name := range act.Names {
			names[i] = x.name(name)
		}
		err = x.store.Delete(ctx, names...)
	case checkpoint.Report, checkpoint.Fenced:
		// For the user, who sees what was decided.
	}
	o.Result = result(err)
	if err != nil {
		o.Problem = err.Error()
	}
	return o
}

// result is what an error means to who decides. That an entry is of a version of
// which nothing is known is no damage: nothing may be decided without it.
func result(err error) checkpoint.Result {
	switch {
	case err == nil:
		return checkpoint.OK
	case errors.Is(err, blob.ErrExist):
		return checkpoint.Exists
	case errors.Is(err, blob.ErrNotExist):
		return checkpoint.Absent
	case errors.Is(err, blob.ErrCorrupt), errors.Is(err, checkpoint.ErrDamaged):
		return checkpoint.Damaged
	case errors.Is(err, checkpoint.ErrVersion):
		return checkpoint.Foreign
	case errors.Is(err, blob.ErrPermanent) && !errors.Is(err, context.Canceled):
		return checkpoint.Refused
	}
	return checkpoint.Failed
}

func (x *Executor) upload(ctx context.Context, f checkpoint.File) error {
	content, err := x.files.Open(ctx, f)
	if err != nil {
		return err
	}
	if size := content.Size(); size != f.Size {
		return errors.Join(fmt.Errorf("%s %s has %d bytes, not %d", f.Kind, f.Name, size, f.Size), content.Close())
	}
	_, err = x.store.Put(ctx, x.name(f.Blob), content)
	if err = errors.Join(err, content.Close()); err == nil {
		x.files.Stored(f)
	}
	return err
}

func (x *Executor) list(ctx context.Context, prefix string) ([]checkpoint.BlobName, error) {
	var names []checkpoint.BlobName
	skip := len(x.prefix) + 1
	for info, err := range x.store.List(ctx, string(x.prefix)+"/"+prefix) {
		if err != nil {
			return nil, err
		}
		names = append(names, checkpoint.BlobName(info.Name[skip:]))
	}
	return names, nil
}

// check fails unless all files of an entry exist and have their sizes.
func (x *Executor) check(ctx context.Context, e *checkpoint.Entry) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxStats)
	for _, f := range e.Files {
		group.Go(func() error {
			info, err := x.store.Stat(ctx, x.name(f.Blob))
			if err == nil && info.Size != f.Size {
				err = fmt.Errorf("%w: %s has %d bytes, not %d", blob.ErrCorrupt, f.Blob, info.Size, f.Size)
			}
			return err
		})
	}
	return group.Wait()
}

// Fetch writes a file of an entry to w. If it fails with blob.ErrCorrupt or
// blob.ErrNotExist, the entry is no good; otherwise it may be tried again.
func (x *Executor) Fetch(ctx context.Context, f checkpoint.File, w io.Writer) error {
	r, err := x.store.Get(ctx, x.name(f.Blob))
	if err != nil {
		return err
	}
	defer r.Close()
	hash := xxhash.New()
	n, err := io.Copy(io.MultiWriter(w, hash), r)
	if err != nil {
		return fmt.Errorf("fetch %s %s: %w", f.Kind, f.Name, err)
	}
	if n != f.Size || checkpoint.Sum(hash.Sum64()) != f.Sum {
		return fmt.Errorf("fetch %s %s from %s: %w: %d bytes with another checksum or size", f.Kind, f.Name, f.Blob, blob.ErrCorrupt, n)
	}
	return nil
}

// Recover finds out from what a job is to be restored, and claims the job for a
// runner, whose name no other process has ever used. Wait is called before
// something that has failed is tried again.
func (x *Executor) Recover(ctx context.Context, job checkpoint.JobID, runner string, wait func(context.Context) error) (*checkpoint.Recovery, *checkpoint.Recovered, error) {
	r := checkpoint.NewRecovery(job, runner)
	out, err := x.Continue(ctx, r, r.Begin(), wait)
	return r, out, err
}

// Continue carries on a recovery with acts that it has given out, such as those of
// Reject.
func (x *Executor) Continue(ctx context.Context, r *checkpoint.Recovery, acts []checkpoint.Act, wait func(context.Context) error) (*checkpoint.Recovered, error) {
	for len(acts) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		o := x.Do(ctx, acts[0])
		if o.Result == checkpoint.Failed {
			if err := wait(ctx); err != nil {
				return nil, err
			}
		}
		acts = append(acts[1:], r.Step(o)...)
	}
	return r.Result()
}
