package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorunner/gorunner/execution/engine"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/internal/subprocess"
	"github.com/gorunner/gorunner/plan"
)

// report is what the replays have shown.
type report struct {
	// Seconds is the least time that the job's bundles take, Recorded what they
	// took when they were recorded.
	Seconds  float64 `json:"seconds"`
	Recorded float64 `json:"recorded_seconds,omitempty"`
	// WorkerCPU and CPU are the CPU seconds of the workers and of this process,
	// the others those of the recorded run, in which this process was the runner.
	WorkerCPU         float64 `json:"worker_cpu_seconds"`
	CPU               float64 `json:"cpu_seconds"`
	RecordedWorkerCPU float64 `json:"recorded_worker_cpu_seconds,omitempty"`
	RecordedCPU       float64 `json:"recorded_cpu_seconds,omitempty"`
	// Kind says how bundles were cut and how many were in flight.
	Kind string `json:"kind"`
	// Bundles, their input, output, and what they asked of state.
	Bundles  int   `json:"bundles"`
	BytesIn  int64 `json:"bytes_in"`
	BytesOut int64 `json:"bytes_out"`
	Requests int64 `json:"state_requests,omitempty"`
	// Missed counts requests that had not been recorded; they read nothing.
	Missed int64 `json:"state_requests_missed,omitempty"`
	// Others are the kinds that were slower.
	Others []report `json:"others,omitempty"`
}

// kind is a way to replay.
type kind struct {
	name     string
	bundles  []*recorded
	inFlight int
}

var errNothing = errors.New("no bundle of user code was executed")

// best is the kind of replay that took the least time, each by the median of its
// replays.
func (j *job) best(kinds [][]report) report {
	var reports []report
	for _, same := range kinds {
		slices.SortFunc(same, bySeconds)
		reports = append(reports, same[(len(same)-1)/2])
	}
	slices.SortFunc(reports, bySeconds)
	best := reports[0]
	best.Recorded, best.Others = j.Status().Executed.Seconds(), reports[1:]
	best.RecordedWorkerCPU, best.RecordedCPU = j.used.worker.Seconds(), j.used.self.Seconds()
	for _, b := range j.bundles {
		best.Requests += b.requests.Load()
	}
	return best
}

func bySeconds(a, b report) int { return cmp.Compare(a.Seconds, b.Seconds) }

// The numbers of bundles in flight that may be best where the SDK waits for
// answers, and how many bundles there are for each.
const (
	someInFlight = 8
	manyInFlight = 32
	cutsEach     = 4
)

// kinds are the ways that may be the fastest. inFlight is the number of bundles
// in flight, 0 if that is to be found out.
func (j *job) kinds(inFlight int) ([]kind, error) {
	j.bundles = slices.DeleteFunc(j.bundles, func(b *recorded) bool { return b == nil })
	bundles := j.bundles
	if len(bundles) == 0 {
		return nil, errNothing
	}
	if n := inFlight; n > 0 {
		return []kind{{fmt.Sprintf("as recorded, %d in flight", n), bundles, n}}, nil
	}
	slots := min(j.slots, max(2, runtime.GOMAXPROCS(0)))
	kinds := []kind{{fmt.Sprintf("as recorded, %d in flight", slots), bundles, slots}}
	cuts := []int{slots}
	var requests int64
	for _, b := range bundles {
		requests += b.requests.Load()
	}
	if requests > int64(cutsEach*len(bundles)) {
		cuts = []int{someInFlight, manyInFlight}
	}
	if j.endless() {
		return append(kinds, kind{fmt.Sprintf("as recorded, %d in flight", someInFlight), bundles, someInFlight}), nil
	}
	for _, n := range cuts {
		atLeast := n
		if n != slots {
			atLeast *= cutsEach
		}
		cut, err := j.recut(bundles, atLeast)
		if err != nil {
			return nil, err
		}
		if !slices.Equal(cut, bundles) {
			kinds = append(kinds, kind{fmt.Sprintf("cut anew, %d in flight", n), cut, n})
		}
	}
	return kinds, nil
}

// endless says whether the job has unbounded input.
func (j *job) endless() bool {
	for _, s := range j.plan.Stages {
		if s.Input != nil && !j.plan.Edges[s.Input.Edge].Bounded {
			return true
		}
	}
	return false
}

// replay is an execution that plays recorded bundles. Its workers are new, as
// those of any job are: what a harness has to do for the first time counts.
type replay struct {
	job     *job
	kind    kind
	options engine.Options
	// plan is that of the replay, the same as what was recorded.
	plan   *plan.Plan
	worker func() int
	report report
}

var errPlan = errors.New("the client has not submitted the same pipeline again")

// twins are the stages of the plan by those that were recorded: the Go SDK lists
// transforms in another order each time.
func (p *replay) twins() (map[*plan.Stage]*plan.Stage, error) {
	byName := map[string]*plan.Stage{}
	for _, s := range slices.Concat(p.plan.Stages, p.plan.Functions) {
		byName[s.Name] = s
	}
	twins := map[*plan.Stage]*plan.Stage{}
	for _, b := range p.kind.bundles {
		s := byName[b.stage.Name]
		if s == nil || s.Input == nil || s.Input.Port != b.stage.Input.Port || len(s.Outputs) != len(b.stage.Outputs) {
			return nil, fmt.Errorf("stage %s: %w", b.stage.Name, errPlan)
		}
		twins[b.stage] = s
	}
	return twins, nil
}

// Run implements runner.Execution.
func (p *replay) Run(ctx context.Context) (err error) {
	twins, err := p.twins()
	if err != nil {
		return err
	}
	workers := make(map[plan.EnvironmentID][]harness.Worker)
	defer func() {
		for _, of := range workers {
			for _, w := range of {
				err = errors.Join(err, w.Stop(context.WithoutCancel(ctx)))
			}
		}
	}()
	for _, env := range p.plan.Environments {
		for range max(1, p.options.Workers) {
			w, err := p.options.Host.StartWorker(ctx, env)
			if err != nil {
				return err
			}
			workers[env] = append(workers[env], w)
		}
	}
	p.report, err = p.play(ctx, workers, twins)
	return err
}

// Status implements runner.Execution.
func (*replay) Status() engine.Status { return engine.Status{} }

// Metrics implements runner.Execution: clients count by them what was checked.
func (p *replay) Metrics() (attempted, committed []metrics.Info) { return p.job.Metrics() }

// Drain implements runner.Execution.
func (*replay) Drain() {}

// play plays bundles in order, as many at a time as are to be in flight.
func (p *replay) play(
	ctx context.Context, workers map[plan.EnvironmentID][]harness.Worker, twins map[*plan.Stage]*plan.Stage,
) (report, error) {
	k := p.kind
	r := report{Kind: k.name, Bundles: len(k.bundles)}
	state := &replayed{answers: &p.job.answers}
	out := &counter{}
	runtime.GC()
	before, err := usage(p.worker())
	if err != nil {
		return r, err
	}
	begin := time.Now()
	errs := make([]error, k.inFlight)
	var next atomic.Int64
	var wg sync.WaitGroup
	for i := range k.inFlight {
		wg.Go(func() {
			for n := next.Add(1); int(n) <= len(k.bundles) && errs[i] == nil; n = next.Add(1) {
				b := bundleOf(k.bundles[n-1], n)
				of := workers[environmentOf(b.Stage)]
				b.Stage = twins[b.Stage]
				errs[i] = playOne(ctx, of[i%len(of)], b, state, out)
			}
		})
	}
	wg.Wait()
	r.Seconds = time.Since(begin).Seconds()
	after, err := usage(p.worker())
	used := after.since(before)
	r.WorkerCPU, r.CPU = used.worker.Seconds(), used.self.Seconds()
	for _, b := range k.bundles {
		for i := range b.input {
			r.BytesIn += int64(b.input[i].Size())
		}
	}
	r.BytesOut, r.Missed = out.bytes.Load(), state.missed.Load()
	return r, errors.Join(append(errs, err)...)
}

// bundleOf makes a bundle of a recorded one.
func bundleOf(r *recorded, n int64) *harness.Bundle {
	return &harness.Bundle{
		ID: harness.BundleID(n), Stage: r.stage, Input: r.input, Timers: r.timers, Time: r.time,
		StateCache: r.stateCache, ViewCaches: r.viewCaches,
	}
}

// environmentOf is where a recorded stage was executed.
func environmentOf(s *plan.Stage) plan.EnvironmentID {
	if x, ok := s.Kind.(*plan.Executable); ok {
		return x.Environment
	}
	return ""
}

func playOne(ctx context.Context, w harness.Worker, b *harness.Bundle, state harness.State, out harness.Output) error {
	b.State, b.Output = state, out
	x, err := w.Start(ctx, b)
	if err != nil {
		return err
	}
	_, err = x.Wait()
	return err
}

// usages are CPU times.
type usages struct{ worker, self time.Duration }

func (u usages) since(before usages) usages {
	return usages{u.worker - before.worker, u.self - before.self}
}

// usage is that of the worker's processes and of this one.
func usage(workers int) (usages, error) {
	worker, err1 := subprocess.GroupCPU(workers)
	self, err2 := subprocess.UsageOf(os.Getpid())
	return usages{worker, self.CPU}, errors.Join(err1, err2)
}

// counter is an output that throws away what it gets.
type counter struct{ bytes atomic.Int64 }

// Write implements harness.Output.
func (c *counter) Write(_ int, data []byte) error {
	c.bytes.Add(int64(len(data)))
	return nil
}

// WriteTimers implements harness.Output.
func (c *counter) WriteTimers(_ int, data []byte) error {
	c.bytes.Add(int64(len(data)))
	return nil
}
