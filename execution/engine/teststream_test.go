package engine

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
)

// testBlock is a block of pairs at the times.
func testBlock(key string, at ...element.EventTime) element.Block {
	b := element.Block{MinTime: element.MaxTime, Count: len(at)}
	for _, ts := range at {
		b.Data = coder.PutHeader(b.Data, element.Header{Timestamp: ts, NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring}})
		b.Data = append(b.Data, pair(key, "v")...)
		b.MinTime = min(b.MinTime, ts)
	}
	return b
}

// A test stream whose elements are read by key arrives as its script says, by
// the script's clocks and in no time.
func TestTestStream(t *testing.T) {
	bytes := coder.Must(coder.Bytes)
	p := &simPlan{plan: &plan.Plan{
		KeyGroups: 4, Environments: []plan.EnvironmentID{"a"},
		Edges: []*plan.Edge{{Name: "e0", Value: coder.Must(coder.KV, bytes, bytes), Windowing: global()}},
		Stages: []*plan.Stage{
			{ID: 0, Name: "test", Kind: &plan.TestSource{}, Outputs: []plan.Output{{Edge: 0}}},
			{
				ID: 1, Name: "use", Kind: &plan.Executable{Environment: "a", Transforms: []plan.Transform{{ID: "t"}}},
				Input: &plan.Input{Edge: 0, Keyed: true, Port: "source"},
			},
		},
		Tests: []plan.Test{{Sources: []plan.StageID{0}, Events: []plan.TestEvent{
			plan.TestElements{Source: 0, Block: testBlock("k", 5, 6)},
			plan.TestWatermark{Source: 0, To: 10},
			plan.TestProcessingTime{By: time.Hour},
			plan.TestElements{Source: 0, Block: testBlock("k", 4)},
		}}},
	}, ops: make([]simOp, 2)}
	p.ops[1] = func([]byte) [][]byte { return nil }
	var mu sync.Mutex
	var got []string
	var begin element.EventTime
	h := &fakeHost{plan: p, before: func(_ *fakeWorker, b *harness.Bundle) error {
		mu.Lock()
		defer mu.Unlock()
		if begin == 0 {
			begin = b.Time.Processing
		}
		got = append(got, fmt.Sprintf("%d elements at %v after %v",
			b.Input[0].Count, b.Time.Watermark, b.Time.Processing-begin))
		return nil
	}}
	job := New(p.plan, Options{Host: h})
	if err := job.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{"2 elements at -inf after 0ms", "1 elements at 10ms after 3600000ms"}
	if diff := cmp.Diff(want, slices.Clone(got)); diff != "" {
		t.Errorf("bundles (-want +got):\n%s", diff)
	}
	if st := job.Status().Stages[1]; st.ElementsIn != 3 || !st.Done {
		t.Errorf("%+v, want 3 elements", st)
	}
}

// A timer that a user has set is due when the script has moved the clock by its
// delay, wherever in a millisecond of the world it was set.
func TestTimersAreDueByTheScriptsClock(t *testing.T) {
	p := &plan.Plan{Tests: []plan.Test{{}}}
	st := &stageState{env: &environment{id: "a"}}
	rapid.Check(t, func(t *rapid.T) {
		// In nanoseconds: when the job began, how long it had run when the user set
		// the timer and when that was committed, and what the script's clock shows.
		begin := time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "begin"))
		set := time.Duration(rapid.Int64Range(0, 1e8).Draw(t, "set"))
		commit := set + time.Duration(rapid.Int64Range(0, 1e7).Draw(t, "latency"))
		clock := ms(rapid.IntRange(0, 1000).Draw(t, "clock"))
		const delay = 50
		s := &scheduler{plan: p, now: commit, clock: clock, config: config{epoch: element.EventTime(begin.Milliseconds())}}
		due := s.processing() + delay
		user := &timer.Timer{Domain: plan.ProcessingTimeDomain, Fire: element.EventTime((begin + set).Milliseconds()) + delay}
		s.byOurClock(st, user)
		if late := user.Fire - due; late > 0 || late < -12 {
			t.Fatalf("it is due %v after the clock has moved by its delay", late)
		}
	})
}
