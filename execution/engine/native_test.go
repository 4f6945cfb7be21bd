package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

// groupPlan is a GroupByKey of byte strings whose output goes to two edges.
func groupPlan() *plan.Plan {
	bytes := coder.Must(coder.Bytes)
	grouped := coder.Must(coder.KV, bytes, coder.Must(coder.Iterable, bytes))
	return &plan.Plan{
		KeyGroups: 1,
		Edges: []*plan.Edge{
			{ID: 0, Name: "pairs", Value: coder.Must(coder.KV, bytes, bytes), Windowing: global()},
			{ID: 1, Name: "one", Value: grouped, Windowing: global()},
			{ID: 2, Name: "other", Value: grouped, Windowing: global()},
		},
		Stages: []*plan.Stage{{
			ID: 0, Name: "group", Kind: &plan.GroupByKey{Windowing: global(), Key: bytes, Value: bytes},
			Input: &plan.Input{Edge: 0, Keyed: true}, Outputs: []plan.Output{{Edge: 1}, {Edge: 2}},
		}},
	}
}

// execute runs a bundle of the plan's first stage.
func execute(ctx context.Context, t *testing.T, p *plan.Plan, data []byte) (*collector, error) {
	t.Helper()
	w, err := newNativeWorker(p, Options{}.withDefaults(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if w.ID() != nativeID || w.Slots() < 1 || w.Err() != nil {
		t.Errorf("worker %s with %d slots and error %v", w.ID(), w.Slots(), w.Err())
	}
	select {
	case <-w.Done():
		t.Error("the native worker is gone")
	default:
	}
	c := newCollector(newPipes(p)[0])
	x, err := w.Start(ctx, &harness.Bundle{Stage: p.Stages[0], Input: []element.Block{{Data: data}}, Output: c, State: &bundleState{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := x.Split(ctx, 0.5); ok || err != nil {
		t.Errorf("split: %t, error %v, want none", ok, err)
	}
	if p, err := x.Progress(ctx); p.ElementsRead != 0 || err != nil {
		t.Errorf("progress: %+v, error %v, want nothing", p, err)
	}
	_, err = x.Wait()
	return c, err
}

func TestNativeGroupByKey(t *testing.T) {
	data := append(windowed(1, nil, pair("k", "1")), windowed(2, nil, pair("k", "2"))...)
	c, err := execute(t.Context(), t, groupPlan(), data)
	if err != nil {
		t.Fatal(err)
	}
	outputs, _, err := c.close()
	if err != nil {
		t.Fatal(err)
	}
	want := string(windowed(element.EndOfGlobalWindow, nil, []byte("\x01k\x00\x00\x00\x02\x011\x012")))
	for i, out := range outputs {
		if out.Count != 1 || out.Bytes != int64(len(want)) {
			t.Errorf("output %d: got %d elements of %d bytes, want one of %d", i, out.Count, out.Bytes, len(want))
		}
	}
}

func TestNativeImpulse(t *testing.T) {
	p := forkedPlan()
	p.Edges[0] = p.Edges[1]
	p.Stages[1].Input.Keyed = false
	c, err := execute(t.Context(), t, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	outputs, _, err := c.close()
	if err != nil {
		t.Fatal(err)
	}
	for i, out := range outputs {
		if len(out.Plain) != 1 || out.Plain[0].MinTime != element.MinTime {
			t.Fatalf("output %d: got %+v", i, out)
		}
		made, err := bytesLayout().MakeBlock(out.Plain[0].Data)
		if err != nil || made.Count != 1 || made.MinTime != element.MinTime || !strings.HasSuffix(string(made.Data), "\x00") {
			t.Errorf("output %d: got %+v, error %v, want one empty element", i, made, err)
		}
	}
}

func TestNativeErrors(t *testing.T) {
	if _, err := execute(t.Context(), t, groupPlan(), []byte("no element")); !errors.Is(err, coder.ErrShort) || !strings.Contains(err.Error(), "stage group") {
		t.Errorf("broken input: got error %v, want one that names the stage", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errSim)
	if _, err := execute(ctx, t, groupPlan(), windowed(0, nil, pair("k", "v"))); !errors.Is(err, errSim) && !errors.Is(err, context.Canceled) {
		t.Errorf("abandoned: got error %v", err)
	}
	p := groupPlan()
	p.Stages[0].Kind = &plan.Executable{}
	if _, err := execute(t.Context(), t, p, nil); !errors.Is(err, errNativeStage) {
		t.Errorf("user code: got error %v, want %v", err, errNativeStage)
	}
	w := &nativeWorker{}
	x, err := w.Start(t.Context(), &harness.Bundle{Stage: p.Stages[0]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Wait(); err == nil {
		t.Error("foreign output: no error")
	}
	p = groupPlan()
	p.Stages[0].Kind = &plan.GroupByKey{
		Windowing: &plan.Windowing{Fn: plan.CustomWindows{URN: "custom", Merging: true}, Window: coder.Must(coder.LengthPrefix)},
		Key:       coder.Must(coder.Bytes), Value: coder.Must(coder.Bytes),
	}
	if _, err := newNativeWorker(p, Options{}, nil, nil); err == nil || !strings.Contains(err.Error(), "stage group") {
		t.Errorf("windows that cannot be merged: got error %v, want one that names the stage", err)
	}
}

// TestNativePanic shows that a panic fails the bundle, and names the stage.
func TestNativePanic(t *testing.T) {
	p := groupPlan()
	w := &nativeWorker{operators: map[plan.StageID]operator{0: func(context.Context, *operation) error { panic("sim") }}}
	x, err := w.Start(t.Context(), &harness.Bundle{Stage: p.Stages[0], Output: newCollector(newPipes(p)[0]), State: &bundleState{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Wait(); err == nil || !strings.Contains(err.Error(), "stage group") || !strings.Contains(err.Error(), "sim") {
		t.Errorf("got error %v, want one that names the stage and the panic", err)
	}
}
