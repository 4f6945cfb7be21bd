package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gorunner/gorunner/execution/engine"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
	"github.com/gorunner/gorunner/shuffle"
)

// blockLife makes it impossible to write down what state a job is in, until the
// function that is returned is called.
func blockLife(t *testing.T, dir string) (mend func()) {
	t.Helper()
	blocker := filepath.Join(dir, "life.new")
	if err := os.MkdirAll(filepath.Join(blocker, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.RemoveAll(blocker); err != nil {
			t.Fatal(err)
		}
	}
}

// wantStranded checks that a job is shown as failed, for the reason, and kept.
func (w *world) wantStranded(id, why string) {
	w.t.Helper()
	said := w.follow(id)
	if len(said) < 2 || said[len(said)-2] != "FAILED" || !strings.Contains(said[len(said)-1], why) || !strings.Contains(said[len(said)-1], "kept as it is") {
		w.t.Errorf("%q, and not stranded for %q", said, why)
	}
}

// TestUnwrittenEnd: a job whose end cannot be written down keeps what it has
// committed, and ends in the next server.
func TestUnwrittenEnd(t *testing.T) {
	for name, end := range map[string]error{"well": nil, "badly": errors.New("no luck")} {
		t.Run(name, func(t *testing.T) {
			f := newShelf(t)
			var mend func()
			var rows string
			w := f.serve(t, Options{}, func(_ context.Context, x *fakeExecution) error {
				entries, err := filepath.Glob(filepath.Join(f.dir, "jobs", "*"))
				if err != nil || len(entries) != 1 {
					t.Errorf("%v, %v", entries, err)
				}
				rows = filepath.Join(entries[0], "rows")
				if err := os.Mkdir(rows, 0o700); err != nil {
					t.Error(err)
				}
				mend = blockLife(t, entries[0])
				return end
			})
			id := w.start(pipeline(), nil)
			w.wantStranded(id, "life.new")
			if end != nil {
				w.wantStranded(id, end.Error())
			}
			if _, err := os.Stat(rows); err != nil {
				t.Errorf("what it has committed: %v", err)
			}
			w.close()
			mend()
			w = f.serve(t, Options{}, nil)
			defer w.close()
			if said := w.follow(id); said[len(said)-1] != "DONE" {
				t.Errorf("mended: %q", said)
			}
		})
	}
}

// TestLostCommits: a job that has run does not begin once more because nothing is
// left of what it had committed.
func TestLostCommits(t *testing.T) {
	f := newShelf(t)
	w := f.serve(t, Options{}, untilCancelled)
	id := w.start(pipeline(), nil)
	w.job(id).hub.wait(t.Context(), func(s State) bool { return s == Running })
	w.close()
	clear(f.opened)
	w = f.serve(t, Options{}, func(context.Context, *fakeExecution) error {
		t.Error("it runs")
		return nil
	})
	defer w.close()
	w.wantStranded(id, "what it had committed is not there")
}

// TestReasonsThatAreNotTheJobs: what a disk or the runner has done to a job that
// lasts does not end it.
func TestReasonsThatAreNotTheJobs(t *testing.T) {
	tests := map[string]struct {
		err      error
		stranded bool
	}{
		"journal":       {fmt.Errorf("%w: %w", engine.ErrJournal, errors.New("no more")), true},
		"full":          {fmt.Errorf("%w: store: %w", shuffle.ErrDisk, syscall.ENOSPC), true},
		"mistake":       {fmt.Errorf("%w: panic: no luck", engine.ErrInternal), true},
		"quota":         {fmt.Errorf("%w: %w is used up", shuffle.ErrDisk, shuffle.ErrQuota), false},
		"journal quota": {fmt.Errorf("%w: %w: %w", engine.ErrJournal, shuffle.ErrDisk, shuffle.ErrQuota), false},
		"malformed":     {fmt.Errorf("%w: no region has so much", shuffle.ErrDisk), false},
		"no worker":     {fmt.Errorf("environment e: %w: no such program", engine.ErrNoWorker), false},
		"job":           {errors.New("no luck"), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newShelf(t)
			w := f.serve(t, Options{}, func(context.Context, *fakeExecution) error { return tt.err })
			id := w.start(pipeline(), nil)
			said := w.follow(id)
			if !slices.Contains(said, "FAILED") {
				t.Errorf("%q", said)
			}
			w.close()
			w = f.serve(t, Options{}, nil)
			defer w.close()
			want := "FAILED"
			if tt.stranded {
				want = "DONE"
			}
			if got := w.states(id); got[len(got)-1] != want {
				t.Errorf("in the next server: %v, want %s", got, want)
			}
		})
	}
}

// TestWorkersComeLate: a job that is resumed before its workers are there is left as
// it is.
func TestWorkersComeLate(t *testing.T) {
	f := newShelf(t)
	w := f.serve(t, Options{}, untilCancelled)
	id := w.start(pipeline(), nil)
	w.job(id).hub.wait(t.Context(), func(s State) bool { return s == Running })
	w.close()
	w = f.serve(t, Options{}, func(context.Context, *fakeExecution) error {
		return fmt.Errorf("environment e: %w: nobody is there", engine.ErrNoWorker)
	})
	w.wantStranded(id, "nobody is there")
	w.close()
	w = f.serve(t, Options{}, nil)
	defer w.close()
	if said := w.follow(id); said[len(said)-1] != "DONE" {
		t.Errorf("with workers: %q", said)
	}
}

// TestPanicStrands: a panic of the job's own goroutine is a mistake of ours.
func TestPanicStrands(t *testing.T) {
	f := newShelf(t)
	w := f.serve(t, Options{}, func(context.Context, *fakeExecution) error { panic("no luck") })
	defer w.close()
	w.wantStranded(w.start(pipeline(), nil), "internal error: no luck")
}

// TestUnwrittenRunning: a job of which it cannot be written down that it runs was
// not cancelled.
func TestUnwrittenRunning(t *testing.T) {
	f := newShelf(t)
	var mend func()
	w := f.serve(t, Options{}, func(context.Context, *fakeExecution) error { return nil })
	open := f.journal
	w.server.deps.OpenJournal = func(p jobdb.Params) (Journal, error) {
		mend = blockLife(t, p.Dir)
		return open(p)
	}
	id := w.start(pipeline(), nil)
	w.wantStranded(id, "state RUNNING: ")
	w.close()
	mend()
	w = f.serve(t, Options{}, nil)
	defer w.close()
	if got := w.states(id); got[len(got)-1] != "DONE" {
		t.Errorf("mended: %v", got)
	}
}

// TestTrimmedMessagesAreKeptOnce: a history that is cut short is written anew, with
// the message that was one too many.
func TestTrimmedMessagesAreKeptOnce(t *testing.T) {
	f := newShelf(t)
	w := f.serve(t, Options{Limits: Limits{MaxMessages: 10}}, untilCancelled)
	defer w.close()
	j := w.job(w.start(pipeline(), nil))
	j.hub.wait(t.Context(), func(s State) bool { return s == Running })
	for i := range 50 {
		j.hub.say(Basic, fmt.Sprint(i))
	}
	kept, _, err := j.saved.Messages().Read()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[int64]bool)
	for _, m := range kept {
		if seen[m.Seq] {
			t.Errorf("message %d is there twice", m.Seq)
		}
		seen[m.Seq] = true
	}
	if len(seen) == 0 {
		t.Error("there are no messages")
	}
}
