package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/internal/subprocess"
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

// replay plays the recorded bundles in all ways. used is what the recorded run
// has used.
func (j *job) replay(ctx context.Context, used usages) (report, error) {
	bundles := slices.DeleteFunc(j.bundles, func(b *recorded) bool { return b == nil })
	if len(bundles) == 0 || len(j.workers) == 0 {
		return report{}, errNothing
	}
	kinds, err := j.kinds(bundles)
	if err != nil {
		return report{}, err
	}
	var reports []report
	for _, k := range kinds {
		var same []report
		for n := range j.settings.replays {
			r, err := j.play(ctx, k, fmt.Sprintf("%s/%d", k.name, n))
			if err != nil {
				return report{}, fmt.Errorf("%s: %w", k.name, err)
			}
			same = append(same, r)
		}
		slices.SortFunc(same, bySeconds)
		reports = append(reports, same[(len(same)-1)/2])
	}
	slices.SortFunc(reports, bySeconds)
	best := reports[0]
	best.Recorded, best.Others = j.Status().Executed.Seconds(), reports[1:]
	best.RecordedWorkerCPU, best.RecordedCPU = used.worker.Seconds(), used.self.Seconds()
	for _, b := range bundles {
		best.Requests += b.requests.Load()
	}
	return best, nil
}

func bySeconds(a, b report) int {
	switch {
	case a.Seconds < b.Seconds:
		return -1
	case a.Seconds > b.Seconds:
		return 1
	}
	return 0
}

// The numbers of bundles in flight that may be best where the SDK waits for
// answers, and how many bundles there are for each.
const (
	someInFlight = 8
	manyInFlight = 32
	cutsEach     = 4
)

// kinds are the ways that may be the fastest.
func (j *job) kinds(bundles []*recorded) ([]kind, error) {
	if n := j.settings.inFlight; n > 0 {
		return []kind{{fmt.Sprintf("as recorded, %d in flight", n), bundles, n}}, nil
	}
	slots := 0
	for _, w := range j.workers {
		slots += w.Slots()
	}
	slots = min(slots, max(2, runtime.GOMAXPROCS(0)))
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

// play plays bundles in order, as many at a time as are to be in flight. Caches
// of other replays are of no use to it, as its name is part of their tokens.
func (j *job) play(ctx context.Context, k kind, name string) (report, error) {
	r := report{Kind: k.name, Bundles: len(k.bundles)}
	state := &replayed{answers: &j.answers}
	out := &counter{}
	runtime.GC()
	before, err := j.usage()
	if err != nil {
		return r, err
	}
	begin := time.Now()
	errs := make([]error, k.inFlight)
	var next atomic.Int64
	var wg sync.WaitGroup
	for i := range k.inFlight {
		w := j.workers[i%len(j.workers)]
		wg.Go(func() {
			for n := next.Add(1); int(n) <= len(k.bundles) && errs[i] == nil; n = next.Add(1) {
				errs[i] = playOne(ctx, w, bundleOf(k.bundles[n-1], n, name), state, out)
			}
		})
	}
	wg.Wait()
	r.Seconds = time.Since(begin).Seconds()
	after, err := j.usage()
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
func bundleOf(r *recorded, n int64, replay string) *harness.Bundle {
	b := &harness.Bundle{
		ID: harness.BundleID(n), Stage: r.stage, Input: r.input, Timers: r.timers, Time: r.time,
		StateCache: renamed(r.stateCache, replay),
	}
	for _, token := range r.viewCaches {
		b.ViewCaches = append(b.ViewCaches, renamed(token, replay))
	}
	return b
}

// renamed is the cache token as it is in a replay.
func renamed(token []byte, replay string) []byte {
	if len(token) == 0 {
		return token
	}
	return strconv.AppendQuote(slices.Clone(token), replay)
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

func (j *job) usage() (usages, error) {
	worker, err1 := subprocess.GroupCPU(j.worker())
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
