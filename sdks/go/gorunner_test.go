package gorunner_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/metrics"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/stats"

	"github.com/gorunner/gorunner/runner"
	gorunner "github.com/gorunner/gorunner/sdks/go"
)

func init() {
	register.Function2x1(double)
	register.Function1x2(fail)
	register.Function1x0(stay)
	register.Function1x0(come)
}

func TestMain(m *testing.M) {
	beam.Init()
	os.Exit(m.Run())
}

func double(ctx context.Context, n int) int {
	beam.NewCounter("test", "doubled").Inc(ctx, 1)
	beam.NewDistribution("test", "values").Update(ctx, int64(n))
	return 2 * n
}

func fail(n int) (int, error) { return 0, fmt.Errorf("do not like %d", n) }

// count is a pipeline that checks its own result.
func count() *beam.Pipeline {
	p, s := beam.NewPipelineWithRoot()
	doubled := beam.ParDo(s, double, beam.CreateList(s, []int{1, 2, 3, 3}))
	passert.Equals(s, stats.Sum(s, doubled), 18)
	return p
}

func checkMetrics(t *testing.T, result beam.PipelineResult) {
	t.Helper()
	all := result.Metrics().AllMetrics()
	byName := map[string]metrics.CounterResult{}
	for _, c := range all.Counters() {
		byName[c.Key.Name] = c
	}
	const step = "go_test.double"
	if c := byName["doubled"]; c.Attempted != 4 || c.Committed != 4 || c.Key.Step != step {
		t.Errorf("counter %+v", c)
	}
	counts := map[string]int64{}
	for _, pc := range all.PCols() {
		counts[pc.Key.Step] = pc.Result().ElementCount
	}
	// Each is counted once, also where a stage writes it and others read it.
	for pc, want := range map[string]int64{"Impulse.i0": 1, step + ".i0": 4} {
		if counts[pc] != want {
			t.Errorf("%d elements of %s, want %d of all %v", counts[pc], pc, want, counts)
		}
	}
	found := false
	for _, d := range all.Distributions() {
		if d.Key.Name == "values" {
			found = true
			if d.Committed.Count != 4 || d.Committed.Sum != 9 || d.Committed.Min != 1 || d.Committed.Max != 3 {
				t.Errorf("distribution %+v", d)
			}
		}
	}
	if !found {
		t.Error("no distribution")
	}
}

func TestEmbedded(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	for range 2 {
		result, err := beam.Run(t.Context(), gorunner.Name, count())
		if err != nil {
			t.Fatal(err)
		}
		checkMetrics(t, result)
		if *jobopts.Endpoint != "" {
			t.Errorf("the endpoint option is left at %q", *jobopts.Endpoint)
		}
	}
	left, err := filepath.Glob(filepath.Join(tmp, "gorunner-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// meeting is where two pipelines that must not run together would meet: user
// code in LOOPBACK has no other way to the test.
var meeting struct {
	first, second chan struct{}
	met           atomic.Bool
}

// stay waits a while for the second pipeline, which must not come.
func stay(int) {
	close(meeting.first)
	select {
	case <-meeting.second:
		meeting.met.Store(true)
	case <-time.After(500 * time.Millisecond):
	}
}

func come(int) { close(meeting.second) }

// TestEmbeddedOneAfterTheOther starts a pipeline while another one has its
// embedded server: it must not end up there, since that goes away with the other.
func TestEmbeddedOneAfterTheOther(t *testing.T) {
	meeting.first, meeting.second = make(chan struct{}), make(chan struct{})
	run := func(fn any) {
		p, s := beam.NewPipelineWithRoot()
		beam.ParDo0(s, fn, beam.Create(s, 1))
		if _, err := beam.Run(t.Context(), gorunner.Name, p); err != nil {
			t.Error(err)
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(stay)
	}()
	select {
	case <-meeting.first:
		run(come)
		<-ended
	case <-ended: // in an error
	}
	if meeting.met.Load() {
		t.Error("both pipelines ran at the same time")
	}
}

// TestFailure wants the user's error and the transform in what Run returns.
func TestFailure(t *testing.T) {
	p, s := beam.NewPipelineWithRoot()
	beam.ParDo(s.Scope("Picky"), fail, beam.CreateList(s, []int{42}))
	_, err := beam.Run(t.Context(), gorunner.Name, p)
	if err == nil || !strings.Contains(err.Error(), "do not like 42") ||
		!strings.Contains(err.Error(), "transform Picky/go_test.fail failed in each of 4 attempts") {
		t.Errorf("%v", err)
	}
}

// TestManyJobs runs jobs one after another and several at once, and wants the
// server to be as it was.
func TestManyJobs(t *testing.T) {
	dir := t.TempDir()
	server := startServer(t, runner.Options{DataDir: dir, Limits: runner.Limits{MaxFinished: 20, FinishedGrace: time.Nanosecond}})
	run := func() {
		p, s := beam.NewPipelineWithRoot()
		beam.ParDo(s, double, beam.CreateList(s, []int{1, 2, 3}))
		if _, err := beam.Run(t.Context(), gorunner.Name, p); err != nil {
			t.Error(err)
		}
	}
	run()
	before := settled(0)
	for range 40 {
		run()
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(run)
	}
	wg.Wait()
	if after := settled(before + 2); after > before+2 {
		t.Errorf("%d goroutines before, %d after", before, after)
	}
	if n := len(server.Jobs()); n > 20 {
		t.Errorf("%d jobs are kept", n)
	}
	for _, d := range []string{"jobs", "artifacts"} {
		if left, err := os.ReadDir(filepath.Join(dir, d)); err != nil || len(left) > 0 {
			t.Errorf("%s: %d entries left, %v", d, len(left), err)
		}
	}
}

// settled waits for goroutines that are about to end, until there are as few as
// wanted or they stay as they are, and counts.
func settled(want int) int {
	n := runtime.NumGoroutine()
	for range 50 {
		if n <= want {
			break
		}
		time.Sleep(50 * time.Millisecond)
		n = runtime.NumGoroutine()
	}
	return n
}

// startServer serves until the test ends and makes its address the endpoint.
func startServer(t *testing.T, opts runner.Options) *runner.Server {
	t.Helper()
	server, err := runner.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	*jobopts.Endpoint = l.Addr().String()
	t.Cleanup(func() {
		*jobopts.Endpoint = ""
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		if err := errors.Join(server.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	return server
}

func TestEndpoint(t *testing.T) {
	server := startServer(t, runner.Options{DataDir: t.TempDir()})
	result, err := beam.Run(t.Context(), gorunner.Name, count())
	if err != nil {
		t.Fatal(err)
	}
	checkMetrics(t, result)
	if n := len(server.Jobs()); n != 1 {
		t.Errorf("the server has seen %d jobs", n)
	}
}

func TestAsyncNeedsAServer(t *testing.T) {
	*jobopts.Async = true
	defer func() { *jobopts.Async = false }()
	if _, err := beam.Run(t.Context(), gorunner.Name, count()); err == nil || !strings.Contains(err.Error(), "--endpoint") {
		t.Errorf("%v", err)
	}
}
