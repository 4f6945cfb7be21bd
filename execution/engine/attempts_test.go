package engine

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/metrics"
)

// TestMetricsOfRunningBundles shows that attempted metrics count what running
// bundles tell of themselves: what they tell last while one does not answer, and
// once what they tell in the end.
func TestMetricsOfRunningBundles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var count atomic.Int64
		var silent atomic.Bool
		goOn := make(chan error)
		h := &fakeHost{plan: chainPlan(1)}
		h.before = func(_ *fakeWorker, b *harness.Bundle) error {
			if b.Stage.ID == workStage {
				return <-goOn
			}
			return nil
		}
		h.after = onWork(1000, func(*harness.Bundle) (harness.Result, error) {
			return harness.Result{Metrics: counter(byte(count.Load()))}, nil
		})
		h.progress = func(ctx context.Context, b *harness.Bundle) ([]metrics.Info, error) {
			if silent.Load() {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return counter(byte(count.Load())), nil
		}
		job := New(h.plan.plan, Options{Host: h, SplitInterval: time.Hour, ProgressTimeout: 3 * time.Second})
		ended := make(chan error)
		go func() { ended <- job.Run(t.Context()) }()
		expect := func(what string, wantAttempted, wantCommitted []metrics.Info) {
			t.Helper()
			synctest.Wait()
			attempted, committed := job.Metrics()
			if diff := cmp.Diff(wantAttempted, attempted); diff != "" {
				t.Errorf("%s, attempted: (-want +got)\n%s", what, diff)
			}
			if diff := cmp.Diff(wantCommitted, committed); diff != "" {
				t.Errorf("%s, committed: (-want +got)\n%s", what, diff)
			}
		}
		none := []metrics.Info{}
		count.Store(5)
		expect("running", counter(5), none)
		silent.Store(true)
		begin := time.Now()
		expect("without an answer", counter(5), none)
		if d := time.Since(begin); d != 3*time.Second {
			t.Errorf("waited %v for an answer", d)
		}
		silent.Store(false)
		goOn <- errSim
		count.Store(2)
		expect("tried again after a failure", counter(5+2), none)
		count.Store(3)
		goOn <- nil
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		expect("ended", counter(5+3), counter(3))
	})
}

// TestProgressThatPanics shows that asking for metrics costs nothing but them.
func TestProgressThatPanics(t *testing.T) {
	d, h := callDriver(Options{})
	h.progress = func(context.Context, *harness.Bundle) ([]metrics.Info, error) { panic("sim") }
	var handle harness.Execution = &fakeExecution{worker: h.mustStart(t), bundle: &harness.Bundle{}}
	x := &execution{stage: d.plan.Functions[0]}
	x.started.Store(&handle)
	d.running[1] = x
	if attempted, committed := d.metrics(); len(attempted)+len(committed) > 0 {
		t.Errorf("got %v and %v", attempted, committed)
	}
}
