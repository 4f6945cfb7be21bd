package checkpoints_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorunner/gorunner/blob"
	"github.com/gorunner/gorunner/blob/blobtest"
	"github.com/gorunner/gorunner/blob/checkpoints"
	"github.com/gorunner/gorunner/execution/checkpoint"
)

// local are the files of a job, one more with each cut.
type local struct{ cuts int }

func (l *local) Cut(context.Context, checkpoint.EntryKind) (checkpoint.Cut, error) {
	l.cuts++
	cut := checkpoint.Cut{Plan: "p", Files: []checkpoint.File{makeFile(checkpoint.Snapshot, "snapshot-"+strings.Repeat("i", l.cuts))}}
	for i := range l.cuts {
		cut.Files = append(cut.Files, makeFile(checkpoint.Table, strings.Repeat("t", i+1)))
	}
	return cut, nil
}

func (l *local) Open(_ context.Context, f checkpoint.File) (checkpoints.Content, error) {
	return file{strings.NewReader(content(f.Name))}, nil
}

func (l *local) Stored(checkpoint.File) {}

func (l *local) Release() {}

func noWait(ctx context.Context) error { return ctx.Err() }

// makeCheckpoints has a coordinator make some, and returns how often a file was
// uploaded.
func makeCheckpoints(t *testing.T, x *checkpoints.Executor, out *checkpoint.Recovered, n int) int {
	t.Helper()
	cfg := checkpoint.DefaultConfig()
	cfg.Interval = 0
	c := checkpoint.NewCoordinator(cfg, time.Unix(0, 0), out)
	acts := c.Step(time.Unix(0, 0), checkpoint.Tick{})
	uploads := 0
	for i := 0; i < n || len(acts) > 0; {
		if len(acts) == 0 {
			acts = c.Step(time.Unix(0, 0), checkpoint.Request{Kind: checkpoint.Checkpoint})
			i++
			continue
		}
		act := acts[0]
		acts = acts[1:]
		o := x.Do(t.Context(), act)
		if o.Result != checkpoint.OK {
			t.Fatalf("%T: %v: %s", act, o.Result, o.Problem)
		}
		if _, ok := act.(checkpoint.Upload); ok {
			uploads++
		}
		if checkpoint.IsAnswered(act) {
			acts = append(acts, c.Step(time.Unix(0, 0), o)...)
		}
	}
	return uploads
}

// A job is restored from a directory, of which something is damaged.
func TestRestore(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	store, err := blob.Open(ctx, "file://"+dir, blob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	x := checkpoints.New(store, "jobs/j", &local{})
	_, out, err := x.Recover(ctx, "j", "first", noWait)
	if err != nil || out.Base != nil {
		t.Fatalf("recovered %+v, error %v", out, err)
	}
	// Each of four checkpoints has a new snapshot and one more table.
	if uploads := makeCheckpoints(t, x, out, 4); uploads != 8 {
		t.Errorf("%d uploads, want 8", uploads)
	}

	newest := checkpoint.Slot(5)
	damage := func(f checkpoint.File) {
		path := filepath.Join(dir, "jobs/j", string(f.Blob))
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/3] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, out, err := x.Recover(ctx, "j", "second", noWait)
	if err != nil || out.Base == nil || out.Base.Slot != newest || out.Epoch() != 6 {
		t.Fatalf("recovered %+v, error %v", out, err)
	}
	for _, f := range out.Base.Files {
		var b bytes.Buffer
		if err := x.Fetch(ctx, f, &b); err != nil || b.String() != content(f.Name) {
			t.Errorf("fetch %s: %q, error %v", f.Name, b.String(), err)
		}
	}
	bad := out.Base.Files[0]
	damage(bad)
	err = x.Fetch(ctx, bad, io.Discard)
	if !errors.Is(err, blob.ErrCorrupt) || !strings.Contains(err.Error(), bad.Name) {
		t.Fatalf("fetch of what is damaged: %v", err)
	}
	out, err = x.Continue(ctx, r, r.Reject(err.Error()), noWait)
	if err != nil || out.Base == nil || out.Base.Slot != newest-1 || len(out.Problems) != 1 {
		t.Fatalf("recovered %+v, error %v", out, err)
	}
}

// What another version has written is not passed over.
func TestOtherVersion(t *testing.T) {
	memory := new(blobtest.Memory)
	store := blob.New("test:", memory)
	name := blob.Name("jobs/j/" + checkpoint.Slot(1).Blob())
	if _, err := store.Put(t.Context(), name, strings.NewReader("gorunner-checkpoint 9 0000000000000000\n")); err != nil {
		t.Fatal(err)
	}
	_, _, err := checkpoints.New(store, "jobs/j", nil).Recover(t.Context(), "j", "me", noWait)
	if err == nil || !strings.Contains(err.Error(), `written by another version: "9", want 1`) {
		t.Errorf("got error %v", err)
	}
}

// A file that changes behind the runner's back is found when it is fetched.
func TestFetchComparesWithTheEntry(t *testing.T) {
	store := blob.New("test:", new(blobtest.Memory))
	x := checkpoints.New(store, "j", &local{})
	f := makeFile(checkpoint.Table, "x")
	f.Blob = "data/0000000000000001/x"
	if o := x.Do(t.Context(), checkpoint.Upload{File: f}); o.Result != checkpoint.OK {
		t.Fatal(o.Problem)
	}
	other := f
	other.Sum++
	if err := x.Fetch(t.Context(), other, io.Discard); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("got error %v", err)
	}
	other = f
	other.Size++
	for _, act := range []checkpoint.Act{checkpoint.Upload{File: other}, checkpoint.CheckFiles{Entry: &checkpoint.Entry{Files: []checkpoint.File{other}}}} {
		if o := x.Do(t.Context(), act); o.Result == checkpoint.OK {
			t.Errorf("%T of another size: no error", act)
		}
	}
}
