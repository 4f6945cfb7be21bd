package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run executes a random plan on the host and collects what the terminal
// stages were given. It checks that they have committed all their input once.
func run(t *testing.T, h *fakeHost, opts Options) (got []map[string]int, err error) {
	t.Helper()
	var mu sync.Mutex
	got = make([]map[string]int, len(h.plan.plan.Edges))
	for i := range got {
		got[i] = map[string]int{}
	}
	spied := slices.Clone(h.plan.ops)
	for i, s := range h.plan.plan.Stages {
		if len(s.Outputs) == 0 {
			spied[i] = func(v []byte) [][]byte {
				mu.Lock()
				defer mu.Unlock()
				got[s.Input.Edge][string(v)]++
				return nil
			}
		}
	}
	plain := h.plan.ops
	h.plan.ops = spied
	opts.Host = h
	job := New(h.plan.plan, opts)
	err = job.Run(t.Context())
	h.plan.ops = plain
	for _, w := range h.workers {
		if !w.stopped.Load() {
			t.Errorf("worker %s was not stopped", w.id)
		}
	}
	if err == nil {
		checkCommitted(t, h.plan, job.Status())
	}
	return got, err
}

// checkCommitted compares what each terminal stage has consumed for good.
func checkCommitted(t *testing.T, p *simPlan, status Status) {
	t.Helper()
	want := p.expect(nil)
	for i, s := range p.plan.Stages {
		if len(s.Outputs) > 0 {
			continue
		}
		var sum int64
		for _, n := range want[s.Input.Edge] {
			sum += int64(n)
		}
		if st := status.Stages[i]; !st.Done || st.ElementsIn != sum || st.Why != "" {
			t.Errorf("stage %s: %+v, want done with %d elements", s.Name, st, sum)
		}
	}
}

func randomPlan(seed uint64) *simPlan { return newSimPlan(rand.New(rand.NewPCG(seed, 7)), 1) }

// check compares what the terminal stages were given with a plain evaluation.
// A stage that is tried again sees its input again: hence only where nothing
// failed.
func check(t *testing.T, p *simPlan, got []map[string]int) {
	t.Helper()
	for i, want := range p.expect(nil) {
		if isGrouped(p.plan.Edges[i]) || !terminal(p, plan.EdgeID(i)) {
			continue
		}
		if diff := cmp.Diff(want, got[i]); diff != "" {
			t.Errorf("edge %d: (-want +got)\n%s", i, diff)
		}
	}
}

func terminal(p *simPlan, e plan.EdgeID) bool {
	for _, s := range p.plan.Stages {
		if len(s.Outputs) == 0 && s.Input.Edge == e {
			return true
		}
	}
	return false
}

func TestRun(t *testing.T) {
	for seed := range uint64(40) {
		p := randomPlan(seed)
		got, err := run(t, &fakeHost{plan: p}, Options{
			BundleBytes: 1 + int(seed)*17, Workers: 1 + int(seed%3), SplitInterval: time.Microsecond,
		})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		check(t, p, got)
	}
}

func TestFailedBundleIsTriedAgain(t *testing.T) {
	p := randomPlan(3)
	var failed atomic.Int64
	h := &fakeHost{plan: p, before: func(_ *fakeWorker, b *harness.Bundle) error {
		if b.ID%2 == 0 && len(b.Stage.Outputs) > 0 {
			failed.Add(1)
			return errSim
		}
		return nil
	}}
	var events recorder
	got, err := run(t, h, Options{Workers: 2, Listener: &events, MaxAttempts: 100, SplitInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	check(t, p, got)
	if n := events.retried.Load(); n == 0 || n != failed.Load() {
		t.Errorf("told of %d retries, want %d", n, failed.Load())
	}
}

type recorder struct{ retried, replaced, finished atomic.Int64 }

func (r *recorder) Event(e Event) {
	switch e.(type) {
	case BundleRetried:
		r.retried.Add(1)
	case WorkerReplaced:
		r.replaced.Add(1)
	case StageFinished:
		r.finished.Add(1)
	case ElementParked, WorkerMissing:
	}
}

func TestLostWorkerIsReplaced(t *testing.T) {
	p := randomPlan(5)
	var deaths atomic.Int64
	h := &fakeHost{plan: p, before: func(w *fakeWorker, b *harness.Bundle) error {
		if len(b.Stage.Outputs) > 0 && deaths.Add(1) <= 3 {
			w.die()
		}
		return nil
	}}
	var events recorder
	// What ran on a worker when it died is given to another one: terminal
	// stages may see it twice, but commit it once.
	if _, err := run(t, h, Options{Listener: &events, SplitInterval: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if events.replaced.Load() == 0 {
		t.Error("no worker was replaced")
	}
	if n := events.finished.Load(); n != int64(len(p.plan.Stages)) {
		t.Errorf("%d stages finished, want %d", n, len(p.plan.Stages))
	}
}

func TestBundleThatKeepsFailingFailsTheJob(t *testing.T) {
	p := randomPlan(1)
	h := &fakeHost{plan: p, before: func(_ *fakeWorker, b *harness.Bundle) error { return errSim }}
	_, err := run(t, h, Options{})
	var failure *BundleError
	if !errors.As(err, &failure) || !errors.Is(err, errSim) || failure.Attempts != 4 {
		t.Errorf("got %v, want a BundleError after 4 attempts", err)
	}
}

func TestWorkerThatCannotStartFailsTheJob(t *testing.T) {
	if _, err := run(t, &fakeHost{plan: randomPlan(1), refuse: errSim}, Options{}); !errors.Is(err, errSim) {
		t.Errorf("got %v, want %v", err, errSim)
	}
}

func TestWorkersThatKeepDyingFailTheJob(t *testing.T) {
	h := &fakeHost{plan: randomPlan(1), before: func(w *fakeWorker, _ *harness.Bundle) error {
		w.die()
		return nil
	}}
	if _, err := run(t, h, Options{MaxAttempts: 100, MaxWorkerRestarts: 5, RestartDelay: time.Millisecond}); !errors.Is(err, harness.ErrWorkerLost) {
		t.Errorf("got %v, want one that wraps ErrWorkerLost", err)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := randomPlan(1)
	h := &fakeHost{plan: p, before: func(w *fakeWorker, _ *harness.Bundle) error {
		cancel()
		return nil
	}}
	if err := New(p.plan, Options{Host: h}).Run(ctx); !errors.Is(err, ErrCancelled) {
		t.Errorf("got %v, want ErrCancelled", err)
	}
}

// What fails once the job was cancelled, such as the start of a worker, does not
// make it a job that failed.
func TestFailureOfACancelledJob(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	if err := cancelled(ctx, errSim); errors.Is(err, ErrCancelled) || !errors.Is(err, errSim) {
		t.Errorf("before: got %v, want %v alone", err, errSim)
	}
	cancel()
	if err := cancelled(ctx, errSim); !errors.Is(err, ErrCancelled) || !errors.Is(err, errSim) {
		t.Errorf("after: got %v, want ErrCancelled and %v", err, errSim)
	}
	if err := cancelled(ctx, nil); err != nil {
		t.Errorf("a job that was done: got %v", err)
	}
}
