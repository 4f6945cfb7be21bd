package engine

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// In a job that is drained, a chain of timers of which each sets the next ends.
func TestChainsOfTimersEnd(t *testing.T) {
	s, _ := timedScheduler(1, 1<<20)
	s.step(0, drainAsked{})
	s.step(0, workerReady{env: native, id: nativeID, slots: 1})
	keyed := make([][]element.Block, 64)
	keyed[0] = blocks(1, 1, element.MinTime)
	s.step(0, bundleDone{id: 1, outputs: []shuffle.Output{{Keyed: keyed}}})
	for id := harness.BundleID(2); ; id++ {
		if id > 1000 {
			t.Fatal("the chain has no end")
		}
		set := timer.Timer{
			Name: timer.Name{Tag: fmt.Sprint(id)}, Domain: plan.ProcessingTimeDomain, Fire: 1 << 40, Data: []byte("t"),
		}
		orders := s.step(0, bundleDone{id: id, timers: []timerChange{{set}}})
		if _, ok := orders[len(orders)-1].(finishJob); ok {
			if id < 100 {
				t.Errorf("the chain has only %d timers", id)
			}
			return
		}
	}
}

// endlessPlan is a source whose restrictions never end, unless they are
// truncated: a restriction is a byte string that begins with how many elements
// it may still yield, 255 for any number.
func endlessPlan(truncates bool) *simPlan {
	p := chainPlan(3)
	source := p.plan.Stages[workStage]
	kind := &plan.Executable{
		Environment: "a", Transforms: []plan.Transform{{ID: "t"}}, Splittable: true, Unbounded: true,
	}
	source.Kind = kind
	p.plan.Edges[2].Bounded = false
	p.ops[1] = func([]byte) [][]byte { return [][]byte{{1, 255}, {1, 255}} }
	if truncates {
		kind.Truncate = plan.StageID(len(p.plan.Stages))
		p.plan.Functions = []*plan.Stage{{
			ID: kind.Truncate, Name: "truncate", Kind: &plan.Executable{Environment: "a", Transforms: []plan.Transform{{ID: "tr"}}},
			Input: &plan.Input{Edge: 1, Port: "in"}, Outputs: []plan.Output{{Edge: 1, Port: "out"}},
		}}
		p.ops = append(p.ops, func([]byte) [][]byte { return [][]byte{{1, 2}} })
	}
	return p
}

// drainHost executes endlessPlan: each bundle yields one element of each
// restriction, and leaves the rest for an hour later.
func drainHost(p *simPlan) (h *fakeHost, seen func() int) {
	h = &fakeHost{plan: p}
	var mu sync.Mutex
	n := 0
	p.ops[workStage] = func(v []byte) [][]byte { return [][]byte{v} }
	p.ops[3] = func([]byte) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		n++
		return nil
	}
	h.after = func(b *harness.Bundle) (harness.Result, error) {
		var r harness.Result
		if b.Stage.ID != workStage {
			return r, nil
		}
		for _, in := range b.Input {
			left := in.Data[len(in.Data)-1]
			if left != 255 {
				left--
			}
			if left > 0 {
				r.Residuals = append(r.Residuals, harness.Residual{Element: windowed(0, nil, []byte{1, left}), Delay: time.Hour})
			}
		}
		return r, nil
	}
	return h, func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// TestDrain shows that a job without end ends when it is drained, in no time,
// and that what its restrictions are truncated to is executed.
func TestDrain(t *testing.T) {
	for _, truncates := range []bool{true, false} {
		for _, start := range []bool{true, false} {
			t.Run(fmt.Sprintf("truncates=%t start=%t", truncates, start), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h, seen := drainHost(endlessPlan(truncates))
					job := New(h.plan.plan, Options{Host: h, Drain: start})
					done := make(chan error)
					go func() { done <- job.Run(t.Context()) }()
					want := 0
					if !start {
						time.Sleep(150 * time.Minute)
						want = 6 // two restrictions, after 0, 1 and 2 hours
						if got := seen(); got != want {
							t.Errorf("%d elements before, want %d", got, want)
						}
						job.Drain()
						job.Drain()
					}
					begin := time.Now()
					if err := <-done; err != nil {
						t.Fatal(err)
					}
					if d := time.Since(begin); d > time.Second {
						t.Errorf("it took %v", d)
					}
					if truncates {
						want += 4 // two more of each
					}
					if diff := cmp.Diff(want, seen()); diff != "" {
						t.Errorf("elements (-want +got):\n%s", diff)
					}
				})
			})
		}
	}
}
