package engine

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// statefulPlan has one stage with a state, a timer of each domain and one that
// tells of expirations, over interval windows.
func statefulPlan(lateness time.Duration) *plan.Plan {
	bytes := coder.Must(coder.Bytes)
	return &plan.Plan{
		KeyGroups: testGroups,
		Edges: []*plan.Edge{{Name: "pairs", Value: coder.Must(coder.KV, bytes, bytes), Windowing: &plan.Windowing{
			Fn: plan.FixedWindows{Size: time.Second}, Window: coder.Must(coder.IntervalWindow), AllowedLateness: lateness,
		}}},
		Stages: []*plan.Stage{{
			Name: "stateful", Input: &plan.Input{Edge: 0, Keyed: true, Port: "in"},
			Kind: &plan.Executable{
				States: []plan.StateSpec{{Transform: "t", ID: "one"}, {Transform: "t", ID: "two"}},
				Timers: []plan.TimerSpec{
					{Transform: "t", Family: "event", Domain: plan.EventTimeDomain, Key: bytes},
					{Transform: "t", Family: "processing", Domain: plan.ProcessingTimeDomain, Key: bytes},
					{Transform: "t", Family: "expires", Domain: plan.EventTimeDomain, Key: bytes, Expiration: true},
				},
			},
		}},
	}
}

// The families of statefulPlan.
const (
	eventFamily = iota
	processingFamily
	expiresFamily
	forgetsFamily
)

// TestExpires holds for which stages windows expire.
func TestExpires(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*plan.Plan)
		want   bool
	}{
		{"stateful", func(*plan.Plan) {}, true},
		{"only timers", func(p *plan.Plan) { kind(p).States = nil }, true},
		{"neither", func(p *plan.Plan) { kind(p).States, kind(p).Timers = nil, nil }, false},
		{"bounded", func(p *plan.Plan) { p.Edges[0].Bounded = true }, false},
		{"global", func(p *plan.Plan) { p.Edges[0].Windowing = global() }, false},
		{"not keyed", func(p *plan.Plan) { p.Stages[0].Input.Keyed = false }, false},
		{"reader", func(p *plan.Plan) {
			p.Stages[0].Input.Keyed = false
			p.Stages[0].SideInputs = []plan.SideInput{{Edge: 0}, {Edge: 0, View: 1}}
		}, true},
		{"reader of what is complete", func(p *plan.Plan) {
			p.Stages[0].Input.Keyed = false
			p.Stages[0].SideInputs = []plan.SideInput{{Edge: 0}}
		}, false},
		{"splittable reader", func(p *plan.Plan) {
			p.Stages[0].Input.Keyed, kind(p).Splittable = false, true
			p.Stages[0].SideInputs = []plan.SideInput{{Edge: 0, View: 1}}
		}, false},
		{"root", func(p *plan.Plan) { p.Stages[0].Input = nil }, false},
		{"native", func(p *plan.Plan) { p.Stages[0].Kind = &plan.TimeSort{} }, false},
	} {
		p := statefulPlan(0)
		test.change(p)
		if got := expires(p, p.Stages[0]); got != test.want {
			t.Errorf("%s: got %t, want %t", test.name, got, test.want)
		}
	}
	p := statefulPlan(0)
	if n := len(timerFamilies(p, p.Stages[0])); n != forgetsFamily+1 {
		t.Errorf("%d families with state", n)
	}
	kind(p).States = nil
	if n := len(timerFamilies(p, p.Stages[0])); n != forgetsFamily {
		t.Errorf("%d families without state", n)
	}
}

func kind(p *plan.Plan) *plan.Executable {
	k, _ := p.Stages[0].Kind.(*plan.Executable)
	return k
}

// TestDropLate holds that what is left of a bundle is each element in those of
// its windows that have not expired, in order, and that a block of which nothing
// is late stays what it is.
func TestDropLate(t *testing.T) {
	type one struct {
		at     element.EventTime
		id     byte
		window string
	}
	rapid.Check(t, func(t *rapid.T) {
		lateness := rapid.IntRange(0, 3).Draw(t, "lateness")
		watermark := element.EventTime(rapid.IntRange(0, 20).Draw(t, "watermark"))
		pipe := newPipes(statefulPlan(time.Duration(lateness) * time.Millisecond))[0]
		var blocks []element.Block
		var want []one
		var dropped int64
		id := byte(0)
		for range rapid.IntRange(0, 4).Draw(t, "blocks") {
			var data []byte
			for range rapid.IntRange(1, 4).Draw(t, "elements") {
				id++
				at := element.EventTime(rapid.IntRange(0, 20).Draw(t, "at"))
				var windows [][]byte
				for range rapid.IntRange(1, 3).Draw(t, "windows") {
					end := at + element.EventTime(rapid.IntRange(1, 10).Draw(t, "length"))
					w := binary.AppendUvarint(coder.PutTime(nil, end), 10)
					windows = append(windows, w)
					if end-1+element.EventTime(lateness) < watermark {
						dropped++
					} else {
						want = append(want, one{at, id, string(w)})
					}
				}
				data = append(data, windowed(at, windows, pair("k", string(rune(id))))...)
			}
			b, err := pipe.input.MakeBlock(data)
			if err != nil {
				t.Fatal(err)
			}
			b.Pages, b.Window = []*element.Page{{Token: "p"}}, []byte("w")
			blocks = append(blocks, b)
		}
		kept, n, err := pipe.dropLate(blocks, watermark)
		if err != nil {
			t.Fatal(err)
		}
		var got []one
		for i := range kept {
			b := &kept[i]
			made, err := pipe.input.MakeBlock(b.Data)
			if err != nil || made.Count != b.Count || made.MinTime != b.MinTime || b.Count == 0 || len(b.Pages) != 1 || string(b.Window) != "w" {
				t.Fatalf("block %+v is %+v, error %v", *b, made, err)
			}
			if err := pipe.input.Each(b, func(e *shuffle.Element, window []byte) error {
				got = append(got, one{e.Header.Timestamp, e.Value[3], string(window)})
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(one{})); diff != "" || n != dropped {
			t.Fatalf("dropped %d, want %d; (-want +got)\n%s", n, dropped, diff)
		}
		if dropped > 0 {
			return
		}
		for i := range kept {
			if &kept[i].Data[0] != &blocks[i].Data[0] {
				t.Fatalf("block %d is copied though nothing in it is late", i)
			}
		}
	})
}

// TestOnTimeBlocksAreNotRead shows that a block without elements before the
// watermark costs nothing.
func TestOnTimeBlocksAreNotRead(t *testing.T) {
	pipe := newPipes(statefulPlan(0))[0]
	unreadable := []element.Block{{Data: []byte("no element"), Count: 1, MinTime: 5}}
	if kept, _, err := pipe.dropLate(unreadable, 5); err != nil || len(kept) != 1 {
		t.Errorf("got %v, error %v", kept, err)
	}
	if _, _, err := pipe.dropLate(unreadable, 6); !errors.Is(err, coder.ErrShort) {
		t.Errorf("got error %v, want %v", err, coder.ErrShort)
	}
}

// prepared is an execution of statefulPlan's stage as far as prepare brings it.
func prepared(t *testing.T, b *harness.Bundle, timers ...*timer.Timer) *execution {
	t.Helper()
	p := statefulPlan(0)
	pipe := newPipes(p)[0]
	txn := state.NewMemory().Begin()
	x := &execution{
		stage: p.Stages[0], out: newCollector(pipe), txn: txn, layout: pipe.input,
		state: &bundleState{txn: txn, stage: p.Stages[0], written: &scopes{}},
	}
	b.Stage = p.Stages[0]
	if err := x.prepare(b, timers); err != nil {
		t.Fatal(err)
	}
	return x
}

// TestLateBundle shows what a bundle is for which everything comes too late: it
// is not executed, and counts.
func TestLateBundle(t *testing.T) {
	data := windowed(5, [][]byte{[]byte(interval(1))}, pair("k", "v"))
	b := &harness.Bundle{
		Time: harness.Time{Watermark: 1000}, Input: []element.Block{{Data: data, Count: 1, MinTime: 5}},
	}
	x := prepared(t, b, &timer.Timer{
		Name: timer.Name{Family: processingFamily, Key: "\x01k", Window: interval(1)}, Domain: plan.ProcessingTimeDomain, Data: []byte("t"),
	})
	if !x.spent(b) || len(x.share.input) != 0 {
		t.Errorf("got input %v and timers %v", b.Input, b.Timers)
	}
	f, err := x.finish(b)
	if err != nil || len(f.timers) != 0 {
		t.Errorf("got %+v, error %v", f, err)
	}
	want := []metrics.Info{{
		URN: "beam:metric:user:sum_int64:v1", Type: "beam:metrics:sum_int64:v1", Payload: []byte{1},
		Labels: map[string]string{"PTRANSFORM": "t", "NAMESPACE": "gorunner", "NAME": "droppedDueToLateness"},
	}}
	if diff := cmp.Diff(want, x.result.Metrics); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	var set metrics.Set
	if err := set.Add(x.result.Metrics); err != nil {
		t.Error(err)
	}
	kind := kind(statefulPlan(0))
	kind.States = nil
	x.stage = &plan.Stage{Kind: kind}
	if diff := cmp.Diff(want, x.late()); diff != "" {
		t.Errorf("a stage with timers only: (-want +got)\n%s", diff)
	}
}
