package engine

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

// onFinished calls f when a stage is finished.
type onFinished func(plan.StageID)

func (f onFinished) Event(e Event) {
	if done, ok := e.(StageFinished); ok {
		f(done.Stage)
	}
}

// changingPlan has a main input of three elements and a side input of n, which
// is shown anew with each element.
func changingPlan(n int) *simPlan {
	bytes := coder.Must(coder.Bytes)
	p := &plan.Plan{KeyGroups: 1, Environments: []plan.EnvironmentID{"a", "b"}}
	counted := global()
	counted.Trigger = plan.Repeat{Part: plan.AfterCount{Elements: 1}}
	for i, w := range []*plan.Windowing{global(), global(), counted} {
		p.Edges = append(p.Edges, &plan.Edge{ID: plan.EdgeID(i), Name: []string{"impulse", "main", "side"}[i], Value: bytes, Windowing: w})
	}
	user := func(env plan.EnvironmentID) plan.Kind {
		return &plan.Executable{Environment: env, Transforms: []plan.Transform{{ID: "t", Name: "t", URN: "test"}}}
	}
	out := func(e plan.EdgeID) []plan.Output { return []plan.Output{{Edge: e, Port: "out"}} }
	p.Stages = []*plan.Stage{
		{ID: 0, Name: "impulse", Kind: &plan.Impulse{}, Outputs: []plan.Output{{Edge: 0}}},
		{ID: 1, Name: "main", Kind: user("a"), Input: &plan.Input{Edge: 0, Port: "in"}, Outputs: out(1)},
		{ID: 2, Name: "side", Kind: user("b"), Input: &plan.Input{Edge: 0, Port: "in"}, Outputs: out(2)},
		{ID: 3, Name: "view", Kind: &plan.View{Windowing: counted}, Input: &plan.Input{Edge: 2}},
		{ID: 4, Name: "reader", Kind: user("a"), Input: &plan.Input{Edge: 1, Port: "in"}, SideInputs: []plan.SideInput{
			{Edge: 2, View: 3, Transform: "t", Tag: "s"},
		}},
	}
	emit := func(n int) simOp {
		return func([]byte) (out [][]byte) {
			for i := range n {
				out = append(out, []byte{1, byte(i)})
			}
			return out
		}
	}
	return &simPlan{plan: p, ops: []simOp{nil, emit(3), emit(n), nil, func([]byte) [][]byte { return nil }}}
}

// TestMainInputWaitsForTheView runs a job whose main input is there long before
// its side input. Nothing is read before it has been shown, and a bundle reads
// the same twice. If nothing is ever shown, the side input is empty.
func TestMainInputWaitsForTheView(t *testing.T) {
	for _, n := range []int{0, 1, 5} {
		p := changingPlan(n)
		committed := make(chan struct{})
		var mu sync.Mutex
		var reads []string
		h := &fakeHost{plan: p}
		h.before = func(_ *fakeWorker, b *harness.Bundle) error {
			switch b.Stage.ID {
			case 2:
				<-committed
			case 4:
				key := harness.SideInputKey{Transform: "t", Tag: "s"}
				first, _, err := b.State.Get(t.Context(), key, nil)
				if err != nil {
					return err
				}
				again, _, err := b.State.Get(t.Context(), key, nil)
				if err != nil {
					return err
				}
				if diff := cmp.Diff(first, again); diff != "" {
					t.Errorf("one bundle reads different things: %s", diff)
				}
				mu.Lock()
				defer mu.Unlock()
				reads = append(reads, string(first))
			}
			return nil
		}
		job := New(p.plan, Options{Host: h, Listener: onFinished(func(id plan.StageID) {
			if id == 1 {
				close(committed)
			}
		})})
		if err := job.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st := job.Status().Stages[4]; st.ElementsIn != 3 {
			t.Errorf("%d shown: the reader had %d elements, want 3", n, st.ElementsIn)
		}
		if len(reads) == 0 || slices.Contains(reads, "") != (n == 0) {
			t.Errorf("%d shown: bundles read %q", n, reads)
		}
	}
}

// TestWindowsAreMappedByTheSDK runs the same job where only the SDK knows which
// window of the side input is read.
func TestWindowsAreMappedByTheSDK(t *testing.T) {
	for _, answers := range []bool{true, false} {
		p := changingPlan(3)
		nonce := coder.Must(coder.KV, coder.Must(coder.Bytes), coder.Must(coder.GlobalWindow))
		for i, name := range []string{"to map", "mapped"} {
			p.plan.Edges = append(p.plan.Edges, &plan.Edge{ID: plan.EdgeID(3 + i), Name: name, Value: nonce, Windowing: global(), Bounded: true})
		}
		p.plan.Edges[2].Windowing.Fn = plan.CustomWindows{URN: "test"}
		p.plan.Stages[4].SideInputs[0].Map = 5
		p.plan.Functions = []*plan.Stage{{
			ID: 5, Name: "map", Kind: &plan.Executable{Environment: "a"},
			Input: &plan.Input{Edge: 3, Port: "in"}, Outputs: []plan.Output{{Edge: 4, Port: "out"}},
		}}
		calls := 0
		p.ops = append(p.ops, func(question []byte) [][]byte {
			calls++
			if answers {
				return [][]byte{question}
			}
			return nil
		})
		h := &fakeHost{plan: p}
		job := New(p.plan, Options{Host: h})
		err := job.Run(t.Context())
		if answers == (err != nil) || err != nil && !errors.Is(err, errUnanswered) {
			t.Errorf("answers %t: got error %v", answers, err)
		}
		if st := job.Status().Stages[4]; answers && st.ElementsIn != 3 {
			t.Errorf("the reader had %d elements, want 3", st.ElementsIn)
		}
		if calls != 1 {
			t.Errorf("answers %t: %d questions, want one", answers, calls)
		}
	}
}
