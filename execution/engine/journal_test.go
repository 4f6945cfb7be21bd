package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
)

var _ Journal = (*jobdb.DB)(nil)

// A job that is suspended again and again, each time after some bundles, comes to
// the same as one that is not.
func TestSuspendedJobsGoOn(t *testing.T) {
	for seed := range uint64(20) {
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
