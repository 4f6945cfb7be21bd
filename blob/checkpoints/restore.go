package checkpoints

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/gorunner/gorunner/blob"
	"github.com/gorunner/gorunner/execution/checkpoint"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
	"github.com/gorunner/gorunner/shuffle/segment"
)

// maxFetches is how many files are fetched at once.
const maxFetches = 8

// maxTries is how often a file is fetched, or the log read.
const maxTries = 8

// NewLineage makes the name of a new lineage: of a job's directory, and whoever
// goes on with what is in it.
func NewLineage() string { return strings.ToLower(rand.Text()) }

// NewRunner makes the name of a process of a lineage.
func NewRunner(lineage string) string { return lineage + "/" + strings.ToLower(rand.Text()) }

// Process is the part of a runner's name that no other has.
func Process(runner string) string {
	_, process, _ := strings.Cut(runner, "/")
	return process
}

// Target is where the files of a job are fetched to.
type Target struct {
	// Dir is the job's directory, Artifacts that of artifacts. Both exist, and nobody
	// uses what is in Dir.
	Dir, Artifacts string
	// Dead is where dead letters go. It is made when it is first needed.
	Dead string
}

// FetchAll writes the files of an entry, for good; wait is called before a file is
// fetched again, by several goroutines. If [IsBad], an error says that the entry is
// no good; otherwise it may be tried again, in an empty directory.
func (x *Executor) FetchAll(ctx context.Context, e *checkpoint.Entry, to Target, wait func(context.Context) error) error {
	for _, dir := range []string{jobdb.RowsDir, jobdb.SegmentsDir} {
		if err := os.Mkdir(filepath.Join(to.Dir, dir), 0o700); err != nil {
			return err
		}
	}
	dirs := []string{filepath.Join(to.Dir, jobdb.RowsDir), to.Artifacts}
	if slices.ContainsFunc(e.Files, func(f checkpoint.File) bool { return f.Kind == checkpoint.DeadLetter }) {
		if err := os.MkdirAll(to.Dead, 0o700); err != nil {
			return err
		}
		dirs = append(dirs, to.Dead)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxFetches)
	for _, f := range e.Files {
		group.Go(func() error {
			return persist(ctx, wait, func() error { return x.fetchTo(ctx, f, to) })
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, dir := range append(dirs, to.Dir) {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// persist tries something until it succeeds, or there is no hope that it will.
func persist(ctx context.Context, wait func(context.Context) error, try func() error) error {
	err := try()
	for tries := 1; err != nil && !IsBad(err) && !blob.IsPermanent(err) && ctx.Err() == nil && tries < maxTries; tries++ {
		if err := wait(ctx); err != nil {
			return err
		}
		err = try()
	}
	return err
}

func (x *Executor) fetchTo(ctx context.Context, f checkpoint.File, to Target) error {
	switch f.Kind {
	case checkpoint.Segment:
		return x.fetchPack(ctx, f, filepath.Join(to.Dir, jobdb.SegmentsDir))
	case checkpoint.Table:
		return x.fetchFile(ctx, f, filepath.Join(to.Dir, jobdb.RowsDir, f.Name))
	case checkpoint.Description:
		return x.fetchFile(ctx, f, filepath.Join(to.Dir, f.Name))
	case checkpoint.Artifact:
		return x.fetchArtifact(ctx, f, to.Artifacts)
	case checkpoint.DeadLetter:
		return x.fetchFile(ctx, f, filepath.Join(to.Dead, f.Name))
	case checkpoint.Snapshot: // of what is where, which the log of the job has
		return nil
	}
	return fmt.Errorf("fetch %s %s: %w: of no known kind", f.Kind, f.Name, checkpoint.ErrDamaged)
}

func (x *Executor) fetchFile(ctx context.Context, f checkpoint.File, path string) error {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = x.Fetch(ctx, f, out); err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// fetchArtifact writes a file that may be there already, or may be being written
// for another job.
func (x *Executor) fetchArtifact(ctx context.Context, f checkpoint.File, dir string) error {
	path := filepath.Join(dir, f.Name)
	if info, err := os.Stat(path); err == nil && info.Size() == f.Size {
		return nil
	}
	part := filepath.Join(dir, ".part-"+rand.Text())
	if err := x.fetchFile(ctx, f, part); err != nil {
		return err
	}
	return os.Rename(part, path)
}

// fetchPack puts the regions of a pack into segments.
func (x *Executor) fetchPack(ctx context.Context, f checkpoint.File, dir string) error {
	r, w := io.Pipe()
	var group errgroup.Group
	group.Go(func() error {
		err := x.Fetch(ctx, f, w)
		return errors.Join(err, w.CloseWithError(err))
	})
	err := segment.Unpack(nil, dir, r)
	// What has been fetched is not what was stored, and whoever fetches is told.
	if fetchErr := errors.Join(r.CloseWithError(err), group.Wait()); fetchErr != nil {
		return fetchErr
	}
	if err != nil {
		return fmt.Errorf("fetch pack %s: %w", f.Name, err)
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// IsBad reports whether an error of FetchAll says that the entry is no good.
func IsBad(err error) bool {
	return errors.Is(err, blob.ErrCorrupt) || errors.Is(err, blob.ErrNotExist) || errors.Is(err, checkpoint.ErrDamaged)
}

// The reasons why there is nothing to restore.
var (
	// ErrNothing says that there is no checkpoint of a job.
	ErrNothing = errors.New("there is no checkpoint of the job")
	// ErrEnded says that the job has ended: it is restored only from an entry that is
	// named.
	ErrEnded = errors.New("the job has ended")
)

// Restored says what a job was restored from.
type Restored struct {
	Entry *checkpoint.Entry
	// Problems are entries that were found wanting.
	Problems []string
}

// Restore takes a job over from whatever runner has it, which is fenced, and writes
// its files: of the newest entry that is whole, or of the one in a slot other than 0.
// Target makes an empty directory for each try.
func Restore(ctx context.Context, store *blob.Store, p Place, target func() (Target, error)) (*Restored, error) {
	out, err := restore(ctx, store, p, target, waitABit)
	if err != nil {
		return nil, fmt.Errorf("restore %s: %w", p.URI(), err)
	}
	return out, nil
}

func restore(ctx context.Context, store *blob.Store, p Place, target func() (Target, error), wait func(context.Context) error) (*Restored, error) {
	var log *Log
	if err := persist(ctx, wait, func() (err error) {
		log, err = ReadLog(ctx, store, p.ID)
		return err
	}); err != nil {
		return nil, err
	}
	switch {
	case len(log.Entries) == 0 && len(log.Problems) == 0:
		return nil, ErrNothing
	case p.Slot == 0 && log.Ended():
		return nil, ErrEnded
	}
	x := New(store, Prefix(p.ID), nil)
	home := Home{Lineage: NewLineage()}
	r, found, err := x.Recover(ctx, p.ID, NewRunner(home.Lineage), wait)
	for err == nil {
		base := found.Base
		if p.Slot > 0 {
			base = nil
			for _, e := range found.Entries {
				if e.Slot == p.Slot {
					base = e
				}
			}
		}
		if base == nil {
			return nil, errors.Join(append([]error{ErrNothing}, problems(found)...)...)
		}
		home.Restored = base.Slot
		fetchErr := x.fetchInto(ctx, base, home, target, wait)
		switch {
		case fetchErr == nil:
			return &Restored{Entry: base, Problems: found.Problems}, nil
		case !IsBad(fetchErr) || p.Slot > 0:
			return nil, fetchErr
		}
		found, err = x.Continue(ctx, r, r.Reject(fetchErr.Error()), wait)
	}
	return nil, err
}

// Delete deletes a savepoint of a job that has ended, and its files. Those of a job
// that runs, its [Keeper] forgets.
func Delete(ctx context.Context, store *blob.Store, p Place) error {
	if err := deleteSavepoint(ctx, store, p); err != nil {
		return fmt.Errorf("delete %s: %w", p.URI(), err)
	}
	return nil
}

// ErrRuns says that a job has not ended, as far as is known: whoever has it deletes
// its savepoints.
var ErrRuns = errors.New("the job has not ended")

func deleteSavepoint(ctx context.Context, store *blob.Store, p Place) error {
	x := New(store, Prefix(p.ID), nil)
	switch e, err := x.Entry(ctx, p.Slot); {
	case err != nil:
		return err
	case e.Kind != checkpoint.Savepoint:
		return fmt.Errorf("%w: it is a %s", ErrNothing, e.Kind)
	}
	switch log, err := ReadLog(ctx, store, p.ID); {
	case err != nil:
		return err
	case !log.Ended():
		return ErrRuns
	}
	_, found, err := x.Recover(ctx, p.ID, NewRunner(NewLineage()), waitABit)
	if err != nil {
		return err
	}
	cfg := checkpoint.DefaultConfig()
	cfg.Interval = 0
	c := checkpoint.NewCoordinator(cfg, now(), found)
	c.AssumeEnded()
	acts := c.Step(now(), checkpoint.Forget{Slot: p.Slot})
	for len(acts) > 0 {
		act := acts[0]
		acts = acts[1:]
		if report, ok := act.(checkpoint.Report); ok {
			return errors.New(report.Problem)
		}
		if o := x.Do(ctx, act); checkpoint.IsAnswered(act) {
			acts = append(acts, c.Step(now(), o)...)
		}
	}
	return nil
}

func problems(r *checkpoint.Recovered) []error {
	var errs []error
	for _, p := range r.Problems {
		errs = append(errs, errors.New(p))
	}
	return errs
}

func (x *Executor) fetchInto(ctx context.Context, e *checkpoint.Entry, home Home, target func() (Target, error), wait func(context.Context) error) error {
	to, err := target()
	if err == nil {
		err = x.FetchAll(ctx, e, to, wait)
	}
	if err == nil {
		err = home.write(to.Dir)
	}
	return err
}
