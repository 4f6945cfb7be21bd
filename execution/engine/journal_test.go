package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/state"
)

var _ Journal = (*jobdb.DB)(nil)

// A job that is suspended again and again, each time after some bundles, comes to
// the same as one that is not.
func TestSuspendedJobsGoOn(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			if err := suspendAgainAndAgain(t, seed); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func suspendAgainAndAgain(t *testing.T, seed uint64) error {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 17))
	p := newSimPlan(r, 1)
	dir := t.TempDir()
	for epoch := uint64(1); ; epoch++ {
		db, err := jobdb.Open(jobdb.Params{Dir: dir, Plan: "plan"})
		if err != nil {
			return err
		}
		if db.Epoch() != epoch {
			return fmt.Errorf("epoch %d, want %d", db.Epoch(), epoch)
		}
		ctx, suspend := context.WithCancelCause(t.Context())
		var bundles atomic.Int64
		end := int64(1 + r.IntN(20))
		h := &fakeHost{plan: p, before: func(*fakeWorker, *harness.Bundle) error {
			if bundles.Add(1) == end && epoch < 10 {
				suspend(ErrSuspended)
			}
			return nil
		}}
		job := New(p.plan, Options{Host: h, Journal: db, BundleBytes: 50})
		err = job.Run(ctx)
		if closed := db.Close(); closed != nil {
			return closed
		}
		switch {
		case err == nil:
			checkCommitted(t, p, job.Status())
			return nil
		case !errors.Is(err, ErrSuspended) || errors.Is(err, ErrCancelled):
			return err
		}
	}
}

// start runs a job, and returns where its end will be told.
func start(ctx context.Context, p *simPlan, opts Options) (*Job, <-chan error) {
	job := New(p.plan, opts)
	done := make(chan error, 1)
	go func() { done <- job.Run(ctx) }()
	return job, done
}

// hold is a journal of which nothing becomes durable.
func hold() *memJournal {
	j := newMemJournal(1)
	j.held = make(chan struct{})
	return j
}

func ended(done <-chan error) bool { return len(done) > 0 }

// Bundles are finalized, and a job is done, when the machine may end.
func TestWhatIsSaidIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var finalized atomic.Int64
		h := &fakeHost{plan: chainPlan(9)}
		h.after = func(*harness.Bundle) (harness.Result, error) {
			return harness.Result{Finalize: func(context.Context) error {
				finalized.Add(1)
				return nil
			}}, nil
		}
		j := hold()
		job, done := start(t.Context(), h.plan, Options{Host: h, Journal: j, FinalizeTimeout: time.Second})
		time.Sleep(time.Hour)
		for _, s := range job.Status().Stages {
			if !s.Done {
				t.Errorf("stage %s waits for a disk: %+v", s.Name, s)
			}
		}
		if n := finalized.Load(); n != 0 || ended(done) {
			t.Errorf("%d bundles were finalized, done: %t, and nothing is durable", n, ended(done))
		}
		j.release()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if finalized.Load() < 3 || j.Durable() < j.Last() {
			t.Errorf("%d bundles were finalized, %d of %d commits are durable", finalized.Load(), j.Durable(), j.Last())
		}
	})
}

// So is a job that has nothing to finalize.
func TestTheEndIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHost{plan: chainPlan(9)}
		j := hold()
		_, done := start(t.Context(), h.plan, Options{Host: h, Journal: j})
		time.Sleep(time.Hour)
		if ended(done) {
			t.Error("the job is done, and nothing of it is durable")
		}
		j.release()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func stabilizeWork(p *simPlan) {
	p.plan.Stages[workStage].Kind.(*plan.Executable).StableInput = true //nolint:errcheck // it is one
}

// A stage that needs stable input begins when that is durable.
func TestStableInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := chainPlan(9)
		stabilizeWork(p)
		var begun [4]atomic.Int64
		h := &fakeHost{plan: p, before: func(_ *fakeWorker, b *harness.Bundle) error {
			begun[b.Stage.ID].Add(1)
			return nil
		}}
		j := hold()
		_, done := start(t.Context(), p, Options{Host: h, Journal: j})
		time.Sleep(time.Hour)
		if begun[1].Load() == 0 || begun[workStage].Load() != 0 {
			t.Errorf("%d bundles before and %d of the stage have begun", begun[1].Load(), begun[workStage].Load())
		}
		j.release()
		if err := <-done; err != nil || begun[workStage].Load() == 0 {
			t.Errorf("after %d bundles of the stage: %v", begun[workStage].Load(), err)
		}
	})
}

// A job without a journal has no input that is more stable than other.
func TestStableInputOfAJobThatEndsWithItsProcess(t *testing.T) {
	h := &fakeHost{plan: chainPlan(3)}
	stabilizeWork(h.plan)
	if values, _, err := runWork(t, h, Options{}); err != nil || len(values) != 3 {
		t.Errorf("got %v, %v", values, err)
	}
}

// What a job waits for when its process ends, it waits for in the next.
func TestDelaysOutliveTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, seen := drainHost(endlessPlan(true))
		j, rows := newMemJournal(1), &memRows{simRows: simRows{}}
		expect := func(when string, want int) {
			t.Helper()
			synctest.Wait()
			if got := seen(); got != want {
				t.Errorf("%s: %d elements, want %d", when, got, want)
			}
		}
		ctx, suspend := context.WithCancelCause(t.Context())
		_, done := start(ctx, h.plan, Options{Host: h, Journal: j})
		time.Sleep(150 * time.Minute)
		expect("two restrictions, after 0, 1 and 2 hours", 6)
		suspend(ErrSuspended)
		if err := <-done; !errors.Is(err, ErrSuspended) || errors.Is(err, ErrCancelled) {
			t.Errorf("suspended: got %v", err)
		}
		if err := j.Wait(t.Context(), j.Last()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		j, err := j.next(rows)
		if err != nil {
			t.Fatal(err)
		}
		job, done := start(t.Context(), h.plan, Options{Host: h, Journal: j})
		time.Sleep(19 * time.Minute)
		expect("before the third hour", 6)
		time.Sleep(2 * time.Minute)
		expect("after the third hour", 8)
		job.Drain()
		if err := <-done; err != nil {
			t.Error(err)
		}
		expect("drained, with two more of each", 12)
		if n := job.Status().Stages[workStage].ElementsOut; n != 12 {
			t.Errorf("%d elements were written, want 12", n)
		}
	})
}

// A job that was to be drained when its process ended is drained by the next,
// whoever has noted it.
func TestDrainingOutlivesTheProcess(t *testing.T) {
	for _, noted := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			h, _ := drainHost(endlessPlan(true))
			j, rows := newMemJournal(1), &memRows{simRows: simRows{}}
			j.ending = func(journal.Seq) bool { // when the first restrictions are there
				return h.workers != nil && h.workers[0].bundles.Load() > 1
			}
			_, done := start(t.Context(), h.plan, Options{Host: h, Journal: j, Drain: noted})
			if err := <-done; !errors.Is(err, ErrJournal) {
				t.Fatal(err)
			}
			j.ending = nil
			j.ended = false
			if err := j.Wait(t.Context(), j.Last()); err != nil {
				t.Fatal(err)
			}
			j, err := j.next(rows)
			if err != nil {
				t.Fatal(err)
			}
			if j.image.Draining != noted {
				t.Errorf("draining is noted: %t, want %t", j.image.Draining, noted)
			}
			_, done = start(t.Context(), h.plan, Options{Host: h, Journal: j, Drain: !noted})
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// refusing is a journal that takes only so many commits.
type refusing struct {
	*memJournal
	takes journal.Seq
}

func (j refusing) Append(ctx context.Context, c *journal.Commit) (journal.Seq, error) {
	if j.Last() >= j.takes {
		return 0, errSim
	}
	return j.memJournal.Append(ctx, c)
}

// A job whose journal fails does so too, with what has come of it so far.
func TestFailureOfTheJournal(t *testing.T) {
	for takes := range journal.Seq(4) {
		h := &fakeHost{plan: chainPlan(9)}
		_, _, err := runWork(t, h, Options{Journal: refusing{newMemJournal(1), takes}})
		if !errors.Is(err, ErrJournal) || !errors.Is(err, errSim) {
			t.Errorf("after %d commits: got %v", takes, err)
		}
		for _, w := range h.workers {
			if !w.stopped.Load() {
				t.Errorf("after %d commits: worker %s was not stopped", takes, w.id)
			}
		}
	}
}

// orderOfState notes by which commits state has been changed.
type orderOfState struct {
	state.Store
	mu      sync.Mutex
	applied []uint64
}

func (s *orderOfState) Begin() state.Txn { return &orderedTxn{s.Store.Begin(), s} }

type orderedTxn struct {
	state.Txn
	store *orderOfState
}

func (t *orderedTxn) Apply(seq uint64) error {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	t.store.applied = append(t.store.applied, seq)
	return t.Txn.Apply(seq)
}

// State changes with the commit that has the changes.
func TestStateFollowsItsCommit(t *testing.T) {
	p := randomPlan(2)
	j := newMemJournal(1)
	job := New(p.plan, Options{Host: &fakeHost{plan: p}, Journal: j, BundleBytes: 50})
	store := &orderOfState{Store: job.impl.store}
	job.impl.store = store
	if err := job.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := uint64(0)
	for _, seq := range store.applied {
		if seq <= last || seq > uint64(j.Last()) {
			t.Fatalf("state was changed by commits %v", store.applied)
		}
		last = seq
	}
	if len(store.applied) == 0 {
		t.Error("no state was changed")
	}
}
