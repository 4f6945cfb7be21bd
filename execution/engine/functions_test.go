package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

// callDriver is a driver whose one function answers nothing is merged, and a
// host of its workers.
func callDriver(o Options) (*driver, *fakeHost) {
	p := mergePlan()
	h := &fakeHost{plan: &simPlan{plan: p, ops: []simOp{nil, func(question []byte) [][]byte {
		return [][]byte{slices.Concat(question, []byte(iterable()))}
	}}}}
	o.Host = h
	return newDriver(p, o), h
}

func (h *fakeHost) mustStart(t *testing.T) *fakeWorker {
	t.Helper()
	w, err := h.StartWorker(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	return w.(*fakeWorker) //nolint:errcheck,forcetypeassert // it starts no other
}

// ask calls the driver's function with one question.
func ask(ctx context.Context, d *driver) error {
	m := newMerging(d.plan, d.plan.Functions[0])
	sets := [][][]byte{{[]byte(interval(1))}}
	outputs, err := d.call(ctx, d.plan.Functions[0], m.ask(sets))
	if err != nil {
		return err
	}
	_, err = m.read(sets, outputs[0].Plain)
	return err
}

// TestCallWaitsForWorker holds that a function is called as soon as there is a
// worker, and that calls take turns.
func TestCallWaitsForWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, h := callDriver(Options{})
		seen := make(map[harness.BundleID]bool)
		h.before = func(_ *fakeWorker, b *harness.Bundle) error {
			if b.ID >= 0 || seen[b.ID] {
				t.Errorf("call with the id of bundle %d", b.ID)
			}
			seen[b.ID] = true
			return nil
		}
		errs := make(chan error)
		go func() { errs <- ask(t.Context(), d) }()
		synctest.Wait()
		gone := h.mustStart(t)
		gone.die()
		d.addWorker("a", gone)
		d.addWorker("b", h.mustStart(t))
		synctest.Wait()
		select {
		case err := <-errs:
			t.Fatalf("the call ended without a worker: error %v", err)
		default:
		}
		d.addWorker("a", h.mustStart(t))
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
		d.addWorker("a", h.mustStart(t))
		for range 4 {
			if err := ask(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		for i, want := range []int64{0, 0, 3, 2} {
			if got := h.workers[i].bundles.Load(); got != want {
				t.Errorf("worker %d executed %d calls, want %d", i, got, want)
			}
		}
	})
}

// TestCallThatFails holds that a call is repeated when its worker is lost, and
// that its error is never that of the caller's worker.
func TestCallThatFails(t *testing.T) {
	d, h := callDriver(Options{MaxAttempts: 3})
	for range 4 {
		d.addWorker("a", h.mustStart(t))
	}
	deaths := 2
	h.before = func(w *fakeWorker, _ *harness.Bundle) error {
		if deaths > 0 {
			deaths--
			w.die()
		}
		return nil
	}
	if err := ask(t.Context(), d); err != nil {
		t.Errorf("two workers were lost: got error %v", err)
	}
	for range 3 {
		d.addWorker("a", h.mustStart(t))
	}
	deaths = 3
	if err := ask(t.Context(), d); err == nil || errors.Is(err, harness.ErrWorkerLost) || !strings.Contains(err.Error(), "function merge") {
		t.Errorf("three workers were lost: got error %v", err)
	}
	h.before = func(*fakeWorker, *harness.Bundle) error { return errSim }
	if err := ask(t.Context(), d); !errors.Is(err, errSim) || !strings.Contains(err.Error(), "function merge") {
		t.Errorf("got error %v, want %v of the function", err, errSim)
	}
	h.plan.ops[1] = func([]byte) [][]byte { return [][]byte{{1}} }
	h.before = nil
	if err := ask(t.Context(), d); err == nil {
		t.Error("output cut short: no error")
	}
	d, _ = callDriver(Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errSim)
	if _, err := d.call(ctx, d.plan.Functions[0], []element.Block{}); !errors.Is(err, errSim) {
		t.Errorf("abandoned: got error %v", err)
	}
}

// TestWorkersOfCalledFunctions holds that an environment that only functions
// need has its workers replaced as long as a stage that calls them is not done.
func TestWorkersOfCalledFunctions(t *testing.T) {
	for _, test := range []struct {
		name  string
		merge plan.StageID
		want  bool
	}{{"called", 1, true}, {"not called", 0, false}} {
		p := mergePlan()
		p.Environments = []plan.EnvironmentID{"a"}
		p.Stages = append(p.Stages, &plan.Stage{
			ID: 1, Name: "group", Input: &plan.Input{Edge: 2, Keyed: true},
			Kind: &plan.GroupByKey{Windowing: global(), Merge: 2 * test.merge},
		})
		p.Functions[0].ID = 2
		s := newScheduler(p, config{workers: 1, slots: 1, maxWorkerRestarts: 1})
		s.start()
		s.step(0, workerReady{env: "a", id: "w", slots: 1})
		orders := s.step(0, workerGone{id: "w", err: errSim})
		got := slices.ContainsFunc(orders, func(o order) bool { _, ok := o.(startWorker); return ok })
		if got != test.want {
			t.Errorf("%s: got orders %v", test.name, orders)
		}
	}
}

// TestEnvironmentWorkers: an environment may have another number of workers than
// the rest.
func TestEnvironmentWorkers(t *testing.T) {
	p := mergePlan()
	p.Environments = []plan.EnvironmentID{"a", "b"}
	s := newScheduler(p, config{workers: 2, environmentWorkers: map[plan.EnvironmentID]int{"b": 3}})
	got := map[plan.EnvironmentID]int{}
	for _, o := range s.start() {
		if start, ok := o.(startWorker); ok {
			got[start.env]++
		}
	}
	if got["a"] != 2 || got["b"] != 3 {
		t.Errorf("%v", got)
	}
}
