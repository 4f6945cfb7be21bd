package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/internal/invariants"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// counter is the info of a user's counter.
func counter(n byte) []metrics.Info {
	return []metrics.Info{{
		URN: "beam:metric:user:sum_int64:v1", Type: "beam:metrics:sum_int64:v1",
		Labels: map[string]string{"NAME": "c"}, Payload: []byte{n},
	}}
}

// chainPlan is an impulse that becomes n elements of one stage, which a last
// stage reads.
func chainPlan(n int) *simPlan {
	bytes := coder.Must(coder.Bytes)
	p := &plan.Plan{KeyGroups: 1, Environments: []plan.EnvironmentID{"a"}}
	for i, name := range []string{"impulse", "source", "out"} {
		p.Edges = append(p.Edges, &plan.Edge{ID: plan.EdgeID(i), Name: name, Value: bytes, Windowing: global(), Bounded: true})
	}
	user := func() plan.Kind {
		return &plan.Executable{Environment: "a", Transforms: []plan.Transform{{ID: "t", Name: "t", URN: "test"}}}
	}
	p.Stages = []*plan.Stage{
		{ID: 0, Name: "impulse", Kind: &plan.Impulse{}, Outputs: []plan.Output{{Edge: 0}}},
		{
			ID: 1, Name: "source", Kind: user(), Input: &plan.Input{Edge: 0, Port: "in"},
			Outputs: []plan.Output{{Edge: 1, Port: "out"}},
		},
		{
			ID: 2, Name: "work", Kind: user(), Input: &plan.Input{Edge: 1, Port: "in"},
			Outputs: []plan.Output{{Edge: 2, Port: "out"}},
		},
		{ID: 3, Name: "last", Kind: user(), Input: &plan.Input{Edge: 2, Port: "in"}},
	}
	source := func([]byte) [][]byte {
		var out [][]byte
		for i := range n {
			out = append(out, []byte{1, byte(i)})
		}
		return out
	}
	return &simPlan{plan: p, ops: []simOp{
		nil, source,
		func(v []byte) [][]byte { return [][]byte{v} },
		func([]byte) [][]byte { return nil },
	}}
}

const workStage plan.StageID = 2

// runWork runs chainPlan and returns what the last stage has committed, sorted.
func runWork(t *testing.T, h *fakeHost, opts Options) (values []byte, job *Job, err error) {
	t.Helper()
	var mu sync.Mutex
	h.plan.ops[3] = func(v []byte) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		values = append(values, v[1])
		return nil
	}
	opts.Host = h
	job = New(h.plan.plan, opts)
	err = job.Run(t.Context())
	slices.Sort(values)
	return values, job, err
}

func numbers(n int) (out []byte) {
	for i := range n {
		out = append(out, byte(i))
	}
	return out
}

// onWork limits a hook to the first bundles of stage "work".
func onWork(times int64, f func(b *harness.Bundle) (harness.Result, error)) func(b *harness.Bundle) (harness.Result, error) {
	var calls atomic.Int64
	return func(b *harness.Bundle) (harness.Result, error) {
		if b.Stage.ID != workStage || calls.Add(1) > times {
			return harness.Result{}, nil
		}
		return f(b)
	}
}

// TestMetricsOfAttempts shows that attempted metrics count failed executions
// too, with what they told, and committed ones only the bundles that are.
func TestMetricsOfAttempts(t *testing.T) {
	var attempts atomic.Int64
	h := &fakeHost{plan: chainPlan(3)}
	h.after = onWork(1000, func(*harness.Bundle) (harness.Result, error) {
		switch attempts.Add(1) {
		case 1: // fails and tells how far it came
			return harness.Result{Metrics: counter(5)}, errSim
		case 2: // fails without a word
			return harness.Result{}, errSim
		case 3: // is finished for the harness, but not for the runner
			return harness.Result{Metrics: counter(20), Residuals: []harness.Residual{{Element: []byte("?")}}}, nil
		}
		return harness.Result{Metrics: append(counter(1), metrics.Info{Type: "beam:metrics:sum_int64:v1"})}, nil
	})
	values, job, err := runWork(t, h, Options{SplitInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(numbers(3), values); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if st := job.Status().Stages[workStage]; st.ElementsIn != 3 || st.ElementsOut != 3 {
		t.Errorf("got %+v, want 3 elements in and out: failed attempts do not count", st)
	}
	bundles := byte(attempts.Load() - 3)
	attempted, committed := job.Metrics()
	if diff := cmp.Diff(counter(25+bundles), attempted); diff != "" {
		t.Errorf("attempted: (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(counter(bundles), committed); diff != "" {
		t.Errorf("committed: (-want +got)\n%s", diff)
	}
}

// TestMetricsOfFailedJob shows that a job that fails has told its attempts.
func TestMetricsOfFailedJob(t *testing.T) {
	h := &fakeHost{plan: chainPlan(1)}
	h.after = onWork(1000, func(*harness.Bundle) (harness.Result, error) { return harness.Result{Metrics: counter(1)}, errSim })
	_, job, err := runWork(t, h, Options{})
	if !errors.Is(err, errSim) {
		t.Fatalf("got error %v, want %v", err, errSim)
	}
	attempted, committed := job.Metrics()
	if diff := cmp.Diff(counter(4), attempted); diff != "" || len(committed) != 0 {
		t.Errorf("attempted: (-want +got)\n%s\ncommitted %v, want none", diff, committed)
	}
}

// TestPanicsFailTheJob shows that a panic in any goroutine of a job ends the
// job with an error, at once, and leaves the process alone.
func TestPanicsFailTheJob(t *testing.T) {
	broken := func() { invariants.Failf("on purpose") }
	mistake := func() { _ = numbers(0)[0] }
	places := map[string]func(h *fakeHost, panics func()){
		"bundle": func(h *fakeHost, panics func()) {
			h.after = onWork(1000, func(*harness.Bundle) (harness.Result, error) {
				panics()
				return harness.Result{}, nil
			})
		},
		"split": func(h *fakeHost, panics func()) {
			ended := make(chan struct{})
			h.before = func(_ *fakeWorker, b *harness.Bundle) error {
				if b.Stage.ID == workStage {
					<-ended
				}
				return nil
			}
			h.split = func(*harness.Bundle) (harness.Split, bool, error) {
				defer close(ended)
				panics()
				return harness.Split{}, false, nil
			}
		},
	}
	for place, set := range places {
		for want, panics := range map[string]func(){"on purpose": broken, "out of range": mistake} {
			t.Run(place+" "+want, func(t *testing.T) {
				h := &fakeHost{plan: chainPlan(2)}
				set(h, panics)
				var events recorder
				_, _, err := runWork(t, h, Options{Listener: &events, SplitInterval: time.Millisecond})
				if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "start worker") {
					t.Errorf("got error %v, want one with %q", err, want)
				}
				if n := events.retried.Load(); n != 0 {
					t.Errorf("the bundle was tried again %d times", n)
				}
			})
		}
	}
}

// TestPanicInTheLoopFailsTheJob shows that workers are stopped even then.
func TestPanicInTheLoopFailsTheJob(t *testing.T) {
	h := &fakeHost{plan: chainPlan(2)}
	_, _, err := runWork(t, h, Options{Listener: panicking{}})
	if err == nil || !strings.Contains(err.Error(), "listener") {
		t.Errorf("got error %v, want the panic's text", err)
	}
	for _, w := range h.workers {
		if !w.stopped.Load() {
			t.Errorf("worker %s was not stopped", w.id)
		}
	}
}

type panicking struct{}

func (panicking) Event(Event) { panic("listener") }

// splitOnce has every work bundle wait until it was asked to split, and
// answers the first time with what f returns.
func splitOnce(h *fakeHost, f func(b *harness.Bundle) harness.Split) {
	answered := make(chan struct{})
	h.before = func(_ *fakeWorker, b *harness.Bundle) error {
		if b.Stage.ID == workStage {
			<-answered
		}
		return nil
	}
	var calls atomic.Int64
	h.split = func(b *harness.Bundle) (harness.Split, bool, error) {
		if b.Stage.ID != workStage || calls.Add(1) > 1 {
			return harness.Split{}, false, nil
		}
		defer close(answered)
		return f(b), true, nil
	}
}

// TestSplitThatCannotBeRead shows that a bundle whose work was given back and
// is unreadable fails, and that its next attempt has all of its input.
func TestSplitThatCannotBeRead(t *testing.T) {
	cuts := map[string]harness.Split{
		"order":           {LastPrimary: 1, FirstResidual: 0},
		"primary":         {LastPrimary: -1, FirstResidual: 1, Primaries: [][]byte{[]byte("?")}},
		"residual":        {LastPrimary: -1, FirstResidual: 1, Residuals: []harness.Residual{{Element: []byte("?")}}},
		"empty residual":  {LastPrimary: -1, FirstResidual: 1, Residuals: []harness.Residual{{}}},
		"lost element":    {LastPrimary: -1, FirstResidual: 1},
		"foreign element": {LastPrimary: 2, FirstResidual: 4, Primaries: [][]byte{windowed(0, nil, text("x"))}},
	}
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			h := &fakeHost{plan: chainPlan(3)}
			splitOnce(h, func(*harness.Bundle) harness.Split { return cut })
			var events recorder
			values, _, err := runWork(t, h, Options{Listener: &events, SplitInterval: time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(numbers(3), values); diff != "" || events.retried.Load() != 1 {
				t.Errorf("%d retries, want 1; (-want +got)\n%s", events.retried.Load(), diff)
			}
		})
	}
}

// TestResiduals shows that what a bundle leaves is executed, now or later.
func TestResiduals(t *testing.T) {
	late := element.MaxTime
	h := &fakeHost{plan: chainPlan(2)}
	h.after = onWork(1, func(*harness.Bundle) (harness.Result, error) {
		return harness.Result{Residuals: []harness.Residual{
			{Element: windowed(0, nil, []byte{1, 10})},
			{Element: windowed(0, nil, []byte{1, 11}), Delay: time.Millisecond, Watermark: &late},
		}}, nil
	})
	values, _, err := runWork(t, h, Options{SplitInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]byte{0, 1, 10, 11}, values); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestResidualsThatCannotBe(t *testing.T) {
	watermark := element.EventTime(7)
	x := &execution{layout: bytesLayout(), stage: &plan.Stage{Name: "s", Input: &plan.Input{}}}
	made, err := x.makeResiduals([]harness.Residual{
		{Element: windowed(5, nil, text("x")), Delay: time.Second}, {Element: windowed(5, nil, text("y")), Watermark: &watermark},
	})
	if err != nil || len(made) != 2 || made[0].delay != time.Second || made[0].block.MinTime != 5 || made[1].block.MinTime != 7 {
		t.Errorf("got %+v, error %v", made, err)
	}
	whole := windowed(0, nil, text("x"))
	for name, data := range map[string][]byte{"empty": nil, "short": whole[:5], "two": slices.Concat(whole, whole)} {
		if _, err := x.makeResiduals([]harness.Residual{{Element: data}}); err == nil || !strings.Contains(err.Error(), "residual 0") {
			t.Errorf("%s: got error %v, want one that names the residual", name, err)
		}
	}
	x.stage.Input = nil
	if _, err := x.makeResiduals([]harness.Residual{{Element: whole}}); !errors.Is(err, errNoInput) {
		t.Errorf("root: got error %v, want %v", err, errNoInput)
	}
	if _, err := x.makeResiduals(nil); err != nil {
		t.Errorf("root, nothing left: %v", err)
	}
}

// TestKeyedResiduals shows that what is left of a keyed stage, in whatever way,
// goes to the group of its key, wherever that stands.
func TestKeyedResiduals(t *testing.T) {
	const groups = 64
	bytes := coder.Must(coder.Bytes)
	kv := coder.Must(coder.KV, bytes, bytes)
	layouts := map[string]*shuffle.Layout{
		"key and value":   {Value: kv, Window: coder.Must(coder.GlobalWindow)},
		"and restriction": {Value: coder.Must(coder.KV, kv, bytes), Key: bytes, Window: coder.Must(coder.GlobalWindow)},
	}
	for name, layout := range layouts {
		value := func(key string) []byte {
			if layout.Key != nil {
				return windowed(0, nil, append(pair(key, "v"), text("r")...))
			}
			return windowed(0, nil, pair(key, "v"))
		}
		group := func(key string) element.KeyGroup { return shuffle.KeyGroup(text(key), groups) }
		x := &execution{layout: layout, groups: groups, stage: &plan.Stage{Name: "s", Input: &plan.Input{Keyed: true}}}
		x.share = newShare([]element.Block{
			{Data: slices.Concat(value("a"), value("a")), Count: 2}, {Data: value("b"), Count: 1}, {Data: value("c"), Count: 1},
		})
		f, err := x.cut(harness.Split{
			LastPrimary: -1, FirstResidual: 1, Primaries: [][]byte{value("a")}, Residuals: []harness.Residual{{Element: value("a")}},
		}, 1)
		if err != nil {
			t.Fatal(err)
		}
		var got []element.KeyGroup
		for _, r := range f.rest {
			got = append(got, r.group)
		}
		if want := []element.KeyGroup{group("a"), group("a"), group("b"), group("c")}; !slices.Equal(got, want) {
			t.Errorf("%s: groups %v, want %v", name, got, want)
		}
	}
}

// TestFinalize shows that a job is done only when every committed bundle that
// asked for it has been finalized, and that its failure does no harm.
func TestFinalize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked, finalized atomic.Int64
		h := &fakeHost{plan: chainPlan(9)}
		h.after = onWork(1000, func(*harness.Bundle) (harness.Result, error) {
			n := asked.Add(1)
			if n == 1 { // has no effect, and is not finalized
				return harness.Result{Finalize: func(context.Context) error {
					t.Error("a failed bundle was finalized")
					return nil
				}}, errSim
			}
			return harness.Result{Finalize: func(ctx context.Context) error {
				time.Sleep(30 * time.Second)
				if ctx.Err() == nil {
					finalized.Add(1)
				}
				switch n {
				case 2:
					panic("on purpose")
				case 3:
					return errSim
				}
				return nil
			}}, nil
		})
		values, _, err := runWork(t, h, Options{SplitInterval: time.Hour, BundleBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(numbers(9), values); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if got, want := finalized.Load(), asked.Load()-1; got != want {
			t.Errorf("%d bundles were finalized, want %d", got, want)
		}
	})
}

// TestFinalizeHasALimit shows that a harness that never finalizes does not keep
// its job from its end.
func TestFinalizeHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHost{plan: chainPlan(1)}
		h.after = onWork(1000, func(*harness.Bundle) (harness.Result, error) {
			return harness.Result{Finalize: func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			}}, nil
		})
		if _, _, err := runWork(t, h, Options{SplitInterval: time.Hour, FinalizeTimeout: time.Second}); err != nil {
			t.Error(err)
		}
	})
}

// TestFinalizeOfFailedJob shows that nobody waits for finalization when the
// job has failed.
func TestFinalizeOfFailedJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHost{plan: chainPlan(1)}
		h.after = func(b *harness.Bundle) (harness.Result, error) {
			if b.Stage.ID == 3 {
				return harness.Result{}, errSim
			}
			return harness.Result{Finalize: func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			}}, nil
		}
		begin := time.Now()
		if _, _, err := runWork(t, h, Options{}); !errors.Is(err, errSim) {
			t.Errorf("got error %v, want %v", err, errSim)
		}
		if d := time.Since(begin); d > time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// TestLateStateRequest shows that an SDK that goes on asking for state after
// its bundle has ended is refused, whatever became of the bundle.
func TestLateStateRequest(t *testing.T) {
	for _, outcome := range []error{nil, errSim} {
		h := &fakeHost{plan: chainPlan(1)}
		var late harness.State
		h.after = onWork(1, func(b *harness.Bundle) (harness.Result, error) {
			late = b.State
			return harness.Result{}, outcome
		})
		if _, _, err := runWork(t, h, Options{}); err != nil {
			t.Fatal(err)
		}
		if err := late.Clear(t.Context(), harness.PageKey{}); !errors.Is(err, errReadOnly) && !errors.Is(err, errEnded) {
			t.Errorf("after %v: got error %v", outcome, err)
		}
		if _, _, err := late.Get(t.Context(), harness.PageKey{Token: "x"}, nil); !errors.Is(err, errEnded) {
			t.Errorf("after %v: got error %v, want %v", outcome, err, errEnded)
		}
	}
}
