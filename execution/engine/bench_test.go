package engine

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// benchPlan is a source of restrictions, a chain of stages behind it, and a chain
// of stages besides that have nothing to do yet.
func benchPlan(chain, idle int) *plan.Plan {
	p := &plan.Plan{KeyGroups: 64, Environments: []plan.EnvironmentID{"go"}}
	// stage adds a stage that reads an edge, and returns the edge that it writes.
	stage := func(kind plan.Kind, from plan.EdgeID) plan.EdgeID {
		s := &plan.Stage{ID: plan.StageID(len(p.Stages)), Kind: kind}
		s.Name = fmt.Sprint("s", s.ID)
		out := plan.Output{Edge: plan.EdgeID(len(p.Edges))}
		if _, user := kind.(*plan.Executable); user {
			s.Input = &plan.Input{Edge: from, Port: "source"}
			out.Port = "sink"
		}
		s.Outputs = []plan.Output{out}
		p.Stages = append(p.Stages, s)
		p.Edges = append(p.Edges, &plan.Edge{
			ID: out.Edge, Name: fmt.Sprint("e", out.Edge), Value: coder.Must(coder.Bytes), Windowing: global(), Bounded: len(p.Edges) == 0,
		})
		return out.Edge
	}
	user := func(splittable bool) *plan.Executable {
		return &plan.Executable{
			Environment: "go", Splittable: splittable, Unbounded: splittable,
			Transforms: []plan.Transform{{ID: "t", Name: "t", URN: "test"}},
		}
	}
	last := stage(user(true), stage(&plan.Impulse{}, 0))
	for range chain {
		last = stage(user(false), last)
	}
	if idle > 0 {
		last = stage(&plan.Impulse{}, 0)
	}
	for range idle {
		last = stage(user(false), last)
	}
	return p
}

// benchHost executes bundles at once. One of restrictions writes one element and
// leaves the rest for later, until there have been enough.
type benchHost struct {
	slots int
	left  atomic.Int64
	// output is what such a bundle writes, infos what each one counts.
	output []byte
	infos  []metrics.Info
	done   chan struct{}
}

func newBenchHost(bundles int) *benchHost {
	h := &benchHost{slots: 2, done: make(chan struct{}), output: impulse().Data}
	h.left.Store(int64(bundles))
	for i := range 12 {
		h.infos = append(h.infos, metrics.Info{
			URN: "beam:metric:element_count:v1", Type: "beam:metrics:sum_int64:v1",
			Labels: map[string]string{"PCOLLECTION": fmt.Sprint("pc", i)}, Payload: []byte{1},
		})
		h.infos[i].Key = metrics.KeyOf(h.infos[i].URN, h.infos[i].Labels)
	}
	return h
}

func (h *benchHost) StartWorker(context.Context, plan.EnvironmentID) (harness.Worker, error) {
	return h, nil
}
func (h *benchHost) ID() harness.WorkerID       { return "w" }
func (h *benchHost) Slots() int                 { return h.slots }
func (h *benchHost) Done() <-chan struct{}      { return h.done }
func (h *benchHost) Err() error                 { return nil }
func (h *benchHost) Stop(context.Context) error { return nil }

func (h *benchHost) Start(_ context.Context, b *harness.Bundle) (harness.Execution, error) {
	return benchExecution{h, b}, nil
}

type benchExecution struct {
	host   *benchHost
	bundle *harness.Bundle
}

func (x benchExecution) Wait() (harness.Result, error) {
	r := harness.Result{Metrics: x.host.infos}
	if x.bundle.Stage.ID == 1 {
		if x.host.left.Add(-1) <= 0 {
			return r, nil
		}
		at := element.EventTime(-x.host.left.Load())
		r.Residuals = []harness.Residual{{Element: x.bundle.Input[0].Data, Watermark: &at}}
	}
	return r, x.bundle.Output.Write(0, x.host.output)
}

func (x benchExecution) Progress(context.Context) (harness.Progress, error) {
	return harness.Progress{}, nil
}

func (x benchExecution) Split(context.Context, float64) (harness.Split, bool, error) {
	return harness.Split{}, false, nil
}

// BenchmarkBundles is what a bundle of one element costs the engine, if the
// harness takes no time: each time a source yields an element, which goes
// through all other stages.
func BenchmarkBundles(b *testing.B) {
	for _, stages := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("stages=%d", stages), func(b *testing.B) {
			b.ReportAllocs()
			h := newBenchHost(max(1, b.N/stages))
			if err := New(benchPlan(stages-1, 0), Options{Host: h}).Run(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkStep is what the scheduler does for a bundle of a source, beside
// stages that have nothing to do.
func BenchmarkStep(b *testing.B) {
	for _, idle := range []int{0, 10, 100, 1000} {
		b.Run(fmt.Sprintf("idle=%d", idle), func(b *testing.B) {
			s := newScheduler(benchPlan(0, idle), config{
				workers: 1, slots: runtime.GOMAXPROCS(0), maxAttempts: 1, bundleBytes: 32 << 20, splitInterval: time.Second, checkpointInterval: time.Second,
			})
			s.start()
			s.step(0, workerReady{id: nativeID, env: native, slots: 2})
			s.step(0, workerReady{id: "w", env: "go", slots: runtime.GOMAXPROCS(0)})
			var root harness.BundleID
			for id, x := range s.bundles {
				if x.stage.ID == 0 {
					root = id
				}
			}
			block := impulse()
			id := started(s.step(0, bundleDone{id: root, outputs: []shuffle.Output{{Plain: []element.Block{block}}}}))
			outputs := []shuffle.Output{{Plain: []element.Block{block}}}
			b.ReportAllocs()
			n := int64(0)
			for b.Loop() {
				n++
				block.MinTime = element.EventTime(n)
				id = started(s.step(time.Duration(n), bundleDone{
					id: id[0], outputs: outputs,
					residuals: []residual{{block: block, group: element.Unkeyed}},
				}))
			}
		})
	}
}

// started lists the bundles that the orders start.
func started(orders []order) (ids []harness.BundleID) {
	for _, o := range orders {
		if o, ok := o.(startBundle); ok {
			ids = append(ids, o.id)
		}
	}
	return ids
}
