package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/engine"
	"github.com/gorunner/gorunner/fnapi"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/translate"
)

func mustMarshal(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

func untilCancelled(ctx context.Context, _ *fakeExecution) error {
	<-ctx.Done()
	return nil
}

func TestJobRunsToItsEnd(t *testing.T) {
	w := newWorld(t, Options{}, nil)
	defer w.close()
	id := w.start(pipeline(), map[string]any{"beam:option:job_name:v1": "Word Count!"})
	if !strings.HasPrefix(id, "word-count-") {
		t.Errorf("job id %s", id)
	}
	want := []string{"STOPPED", "STARTING", "RUNNING", "DONE"}
	if diff := cmp.Diff(want, w.states(id)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, w.follow(id)); diff != "" {
		t.Error(diff)
	}
	ctx := t.Context()
	jobs, err := w.jobs.GetJobs(ctx, &jobpb.GetJobsRequest{})
	if err != nil || len(jobs.GetJobInfo()) != 1 || jobs.GetJobInfo()[0].GetJobName() != "Word Count!" ||
		jobs.GetJobInfo()[0].GetState() != jobpb.JobState_DONE {
		t.Errorf("%v, %v", jobs, err)
	}
	p, err := w.jobs.GetPipeline(ctx, &jobpb.GetJobPipelineRequest{JobId: id})
	if err != nil || !proto.Equal(p.GetPipeline(), pipeline()) {
		t.Errorf("%v, %v", p, err)
	}
	m, err := w.jobs.GetJobMetrics(ctx, &jobpb.GetJobMetricsRequest{JobId: id})
	if err != nil || len(m.GetMetrics().GetAttempted()) != 2 || len(m.GetMetrics().GetCommitted()) != 1 {
		t.Fatalf("%v, %v", m, err)
	}
	got := m.GetMetrics().GetCommitted()[0]
	if got.GetUrn() == "" || got.GetType() == "" || got.GetLabels()["PTRANSFORM"] != "Count" || got.GetPayload()[0] != 7 {
		t.Errorf("%v", got)
	}
}

func TestFailureTellsWhatTheUserNeeds(t *testing.T) {
	trace := "Traceback (most recent call last):\n  File \"x.py\", line 3\nValueError: boom [while running 'Count/Format']"
	w := newWorld(t, Options{}, func(w *world) {
		w.engine.run = func(_ context.Context, x *fakeExecution) error {
			x.opts.Listener.Event(engine.BundleRetried{Bundle: 3, Attempt: 1, Err: errors.New("first try")})
			x.opts.Listener.Event(engine.StageFinished{Stage: 0})
			x.opts.Listener.Event(engine.ElementParked{Where: "/dead/element", Parked: 2, Err: errors.New("boom")})
			x.opts.Listener.Event(engine.WorkerReplaced{Worker: "w", Environment: "env", Err: errors.New("lost")})
			x.opts.Listener.Event(engine.WorkerMissing{Environment: "env", Left: 1, Err: errors.New("no more")})
			return &engine.BundleError{Stage: fakeStage(), Bundle: 7, Attempts: 4, Kept: "/dead/letter", Err: fmt.Errorf("stage Count + Count/Format: %w", &fnapi.SDKError{Text: trace})}
		}
	})
	defer w.close()
	id := w.start(pipeline(), nil)
	want := []string{
		"STOPPED", "STARTING", "RUNNING",
		"WARNING: stage Count + Format: bundle 3 failed (attempt 1) and is tried again: first try",
		"DETAILED: stage Count + Format finished",
		"WARNING: stage Count + Format: an element that keeps failing is put aside, the job goes on; it is kept in /dead/element (2 of this stage so far): boom",
		"WARNING: worker w of environment env was lost and is replaced: lost",
		"WARNING: a lost worker of environment env could not be replaced; 1 worker left: no more",
		"FAILED", "ERROR: transform Count/Format failed in each of 4 attempts:\nstage Count + Count/Format: " + trace + "\nIts input is kept in /dead/letter",
	}
	if diff := cmp.Diff(want, w.follow(id)); diff != "" {
		t.Error(diff)
	}
}

func TestCulprit(t *testing.T) {
	tests := []struct{ text, want string }{
		{"while running 'Count'", "transform Count"},
		{"while running 'Count/Format'", "transform Count/Format"},
		{"in t2 of plan", "transform Count/Format"},
		{"Count, Count/Format, then Count", "transform Count"},
		{"first Count\n[while running 'Count/Format-7']", "transform Count/Format"},
		{"Counting xt2 t22", "one of the fused transforms Count, Count/Format"},
	}
	for _, tt := range tests {
		if got := culprit(fakeStage(), tt.text); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.text, got, tt.want)
		}
	}
}

func TestCancel(t *testing.T) {
	w := newWorld(t, Options{}, func(w *world) { w.engine.run = untilCancelled })
	defer w.close()
	id := w.start(pipeline(), nil)
	resp, err := w.jobs.Cancel(t.Context(), &jobpb.CancelJobRequest{JobId: id})
	if err != nil || resp.GetState() != jobpb.JobState_CANCELLED {
		t.Fatalf("%v, %v", resp, err)
	}
	got := w.states(id)
	if last := got[len(got)-2:]; last[0] != "CANCELLING" || last[1] != "CANCELLED" {
		t.Errorf("%v", got)
	}
	resp, err = w.jobs.Cancel(t.Context(), &jobpb.CancelJobRequest{JobId: id})
	if err != nil || resp.GetState() != jobpb.JobState_CANCELLED {
		t.Errorf("again: %v, %v", resp, err)
	}
	prep := w.prepare(pipeline(), nil).GetPreparationId()
	resp, err = w.jobs.Cancel(t.Context(), &jobpb.CancelJobRequest{JobId: prep})
	if err != nil || resp.GetState() != jobpb.JobState_CANCELLED {
		t.Errorf("prepared: %v, %v", resp, err)
	}
	if _, err := w.jobs.Run(t.Context(), &jobpb.RunJobRequest{PreparationId: prep}); status.Code(err) != codes.NotFound {
		t.Errorf("run after cancel: %v", err)
	}
}

// TestPreparationID holds what keeps Python's long jobs alive: there are no
// streams for a job that has not been run.
func TestPreparationID(t *testing.T) {
	w := newWorld(t, Options{}, nil)
	defer w.close()
	ctx := t.Context()
	id := w.prepare(pipeline(), nil).GetPreparationId()
	states, err := w.jobs.GetStateStream(ctx, &jobpb.GetJobStateRequest{JobId: id})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := states.Recv(); status.Code(err) != codes.NotFound {
		t.Errorf("state stream: %v", err)
	}
	messages, err := w.jobs.GetMessageStream(ctx, &jobpb.JobMessagesRequest{JobId: id})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := messages.Recv(); status.Code(err) != codes.NotFound {
		t.Errorf("message stream: %v", err)
	}
	s, err := w.jobs.GetState(ctx, &jobpb.GetJobStateRequest{JobId: id})
	if err != nil || s.GetState() != jobpb.JobState_STOPPED {
		t.Errorf("state: %v, %v", s, err)
	}
	if _, err := w.jobs.Run(ctx, &jobpb.RunJobRequest{PreparationId: id}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.jobs.Run(ctx, &jobpb.RunJobRequest{PreparationId: id}); status.Code(err) != codes.NotFound {
		t.Errorf("run twice: %v", err)
	}
}

func TestUnknownJobs(t *testing.T) {
	w := newWorld(t, Options{}, nil)
	defer w.close()
	ctx := t.Context()
	calls := map[string]func() error{
		"state":    func() error { _, err := w.jobs.GetState(ctx, &jobpb.GetJobStateRequest{JobId: "x"}); return err },
		"pipeline": func() error { _, err := w.jobs.GetPipeline(ctx, &jobpb.GetJobPipelineRequest{JobId: "x"}); return err },
		"metrics":  func() error { _, err := w.jobs.GetJobMetrics(ctx, &jobpb.GetJobMetricsRequest{JobId: "x"}); return err },
		"cancel":   func() error { _, err := w.jobs.Cancel(ctx, &jobpb.CancelJobRequest{JobId: "x"}); return err },
		"drain":    func() error { _, err := w.jobs.Drain(ctx, &jobpb.DrainJobRequest{JobId: "x"}); return err },
		"run":      func() error { _, err := w.jobs.Run(ctx, &jobpb.RunJobRequest{PreparationId: "x"}); return err },
	}
	for name, call := range calls {
		if err := call(); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "x") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	external := &pipepb.Environment{Urn: "beam:env:unheard_of:v1"}
	tests := []struct {
		name    string
		edit    func(*world, *pipepb.Pipeline)
		options map[string]any
		code    codes.Code
		want    []string
	}{
		{
			"unsupported", func(w *world, _ *pipepb.Pipeline) {
				w.translateErr = &translate.UnsupportedError{Causes: []string{"first cause", "second cause"}}
			}, nil, codes.Unimplemented, []string{"first cause", "second cause"},
		},
		{
			"invalid", func(w *world, _ *pipepb.Pipeline) {
				w.translateErr = &translate.InvalidError{Where: "transform e1", Err: errors.New("dangling \xff id")}
			}, nil, codes.InvalidArgument, []string{"transform e1", "dangling"},
		},
		{
			"environment", func(_ *world, p *pipepb.Pipeline) { p.Components.Environments["env"] = external }, nil,
			codes.InvalidArgument,
			[]string{"environment env", "beam:env:unheard_of:v1"},
		},
		{
			"option", nil,
			map[string]any{"beam:option:sdk_worker_parallelism:v1": "many"},
			codes.InvalidArgument,
			[]string{"sdk_worker_parallelism", `"many"`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := pipeline()
			w := newWorld(t, Options{}, func(w *world) {
				if tt.edit != nil {
					tt.edit(w, p)
				}
			})
			defer w.close()
			_, err := w.tryPrepare(p, tt.options)
			if status.Code(err) != tt.code {
				t.Fatalf("%v", err)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v does not say %q", err, part)
				}
			}
		})
	}
}

func TestPanicEndsOneJob(t *testing.T) {
	w := newWorld(t, Options{}, func(w *world) {
		w.engine.run = func(_ context.Context, x *fakeExecution) error {
			if x.opts.BundleBytes == 13 {
				panic("broken invariant")
			}
			return nil
		}
	})
	defer w.close()
	got := w.follow(w.start(pipeline(), map[string]any{"beam:option:gorunner_bundle_bytes:v1": 13}))
	if last := got[len(got)-1]; !strings.Contains(last, "broken invariant") || got[len(got)-2] != "FAILED" {
		t.Errorf("%q", got)
	}
	got = w.states(w.start(pipeline(), nil))
	if got[len(got)-1] != "DONE" {
		t.Errorf("the next job: %v", got)
	}
}

func TestPanicInACallEndsOneCall(t *testing.T) {
	w := newWorld(t, Options{}, nil)
	defer w.close()
	p := pipeline()
	w.translatePanic = true
	if _, err := w.tryPrepare(p, nil); status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "Prepare") {
		t.Errorf("%v", err)
	}
	w.translatePanic = false
	w.prepare(p, nil)
}

// garbage is a codec that sends bytes as they are.
type garbage struct{}

func (garbage) Name() string { return "proto" }

func (garbage) Marshal(v any) ([]byte, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("not bytes: %T", v)
	}
	return b, nil
}

func (garbage) Unmarshal([]byte, any) error { return nil }

func TestTruncatedProtoEndsOneCall(t *testing.T) {
	w := newWorld(t, Options{}, nil)
	defer w.close()
	whole := mustMarshal(&jobpb.PrepareJobRequest{Pipeline: pipeline(), JobName: "job"})
	for _, b := range [][]byte{whole[:len(whole)-3], {0xff, 0xff}} {
		err := w.conn.Invoke(t.Context(), "/org.apache.beam.model.job_management.v1.JobService/Prepare", b, nil, grpc.ForceCodec(garbage{}))
		if err == nil || !strings.Contains(err.Error(), "unmarshal") {
			t.Errorf("%x: %v", b, err)
		}
	}
	w.prepare(pipeline(), nil)
}

// TestSlowMessageReader has a client that opens the stream and does not read.
func TestSlowMessageReader(t *testing.T) {
	start := make(chan struct{})
	w := newWorld(t, Options{}, func(w *world) {
		w.engine.run = func(_ context.Context, x *fakeExecution) error {
			<-start
			for range 2000 {
				x.opts.Listener.Event(engine.BundleRetried{Err: errors.New(strings.Repeat("x", 10_000))})
			}
			return nil
		}
	})
	defer w.close()
	id := w.start(pipeline(), nil)
	stream, err := w.jobs.GetMessageStream(t.Context(), &jobpb.JobMessagesRequest{JobId: id})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	close(start)
	if got := w.states(id); got[len(got)-1] != "DONE" {
		t.Errorf("%v", got)
	}
}

func TestManyJobsAtOnce(t *testing.T) {
	w := newWorld(t, Options{}, func(w *world) {
		w.engine.run = func(ctx context.Context, x *fakeExecution) error {
			worker, err := x.opts.Host.StartWorker(ctx, "env")
			if err != nil {
				return err
			}
			if x.opts.MaxAttempts == 2 {
				return fmt.Errorf("failure of %s", worker.ID())
			}
			return worker.Stop(ctx)
		}
	})
	defer w.close()
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			id := w.start(pipeline(), map[string]any{"beam:option:gorunner_bundle_attempts:v1": i % 3})
			got := w.follow(id)
			last := got[len(got)-1]
			if i%3 == 2 && !strings.Contains(last, "failure of "+id) || i%3 != 2 && last != "DONE" {
				t.Errorf("job %d: %q", i, got)
			}
		})
	}
	wg.Wait()
}

func TestFinishedJobsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{MaxFinished: 2}}, nil)
		defer w.close()
		for _, tt := range []struct{ more, want int }{{5, 5}, {10, 15}, {10, 20}} {
			for range tt.more {
				w.follow(w.start(pipeline(), nil))
			}
			synctest.Wait()
			if n := len(w.server.Jobs()); n != tt.want {
				t.Errorf("%d jobs are kept just after their end, want %d", n, tt.want)
			}
		}
		time.Sleep(time.Minute)
		if n := len(w.server.Jobs()); n != 2 {
			t.Errorf("%d jobs are kept", n)
		}
	})
}

func TestLimits(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{MaxPrepared: 2, MaxRunning: 1}}, func(w *world) { w.engine.run = untilCancelled })
	defer w.close()
	ctx := t.Context()
	w.start(pipeline(), nil)
	second := w.prepare(pipeline(), nil).GetPreparationId()
	w.prepare(pipeline(), nil)
	if _, err := w.tryPrepare(pipeline(), nil); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("third preparation: %v", err)
	}
	if _, err := w.jobs.Run(ctx, &jobpb.RunJobRequest{PreparationId: second}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("second job: %v", err)
	}
}

func TestGetStateIsALongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := newWorld(t, Options{}, func(w *world) {
			w.engine.run = func(context.Context, *fakeExecution) error {
				<-release
				return nil
			}
		})
		defer w.close()
		id := w.start(pipeline(), nil)
		synctest.Wait()
		begin := time.Now()
		s, err := w.jobs.GetState(t.Context(), &jobpb.GetJobStateRequest{JobId: id})
		if took := time.Since(begin); err != nil || s.GetState() != jobpb.JobState_RUNNING || took != 2*time.Second {
			t.Errorf("%v, %v after %v", s, err, took)
		}
		begin = time.Now()
		time.AfterFunc(500*time.Millisecond, func() { close(release) })
		s, err = w.jobs.GetState(t.Context(), &jobpb.GetJobStateRequest{JobId: id})
		if took := time.Since(begin); err != nil || s.GetState() != jobpb.JobState_DONE || took > time.Second {
			t.Errorf("%v, %v after %v", s, err, took)
		}
		begin = time.Now()
		if _, err = w.jobs.GetState(t.Context(), &jobpb.GetJobStateRequest{JobId: id}); err != nil || time.Since(begin) > 0 {
			t.Errorf("finished: %v after %v", err, time.Since(begin))
		}
	})
}

func TestJobsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{Limits: Limits{PreparedTTL: time.Minute, FinishedTTL: time.Hour}}, nil)
		defer w.close()
		ctx := t.Context()
		done := w.start(pipeline(), nil)
		prep := w.prepare(pipeline(), nil).GetPreparationId()
		time.Sleep(59 * time.Second)
		if _, err := w.jobs.GetState(ctx, &jobpb.GetJobStateRequest{JobId: prep}); err != nil {
			t.Errorf("before its time: %v", err)
		}
		time.Sleep(2 * time.Second)
		if _, err := w.jobs.Run(ctx, &jobpb.RunJobRequest{PreparationId: prep}); status.Code(err) != codes.NotFound {
			t.Errorf("expired preparation: %v", err)
		}
		if _, err := w.jobs.GetState(ctx, &jobpb.GetJobStateRequest{JobId: done}); err != nil {
			t.Errorf("finished job before its time: %v", err)
		}
		time.Sleep(time.Hour)
		if _, err := w.jobs.GetState(ctx, &jobpb.GetJobStateRequest{JobId: done}); status.Code(err) != codes.NotFound {
			t.Errorf("finished job: %v", err)
		}
	})
}

func TestProgressIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, func(w *world) {
			w.engine.run = func(_ context.Context, x *fakeExecution) error {
				x.write(1000)
				time.Sleep(1500 * time.Millisecond)
				x.write(2048)
				time.Sleep(10 * time.Second) // nothing changes, nothing is said
				return nil
			}
		})
		got := w.follow(w.start(pipeline(), nil))
		want := []string{
			"STOPPED", "STARTING", "RUNNING",
			"BASIC: 0 of 1 stage done; read 0 elements (0 B), wrote 1000 elements (9.8 KiB); 1000 elements/s, 9.8 KiB/s",
			"BASIC: 0 of 1 stage done; read 0 elements (0 B), wrote 3048 elements (29.8 KiB); 2048 elements/s, 20.0 KiB/s",
			"DONE",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		w.close()
		if n := strings.Count(w.logs.String(), "progress:"); n != 2 {
			t.Errorf("%d lines of progress in the log", n)
		}
	})
}

func TestProgressTellsTheWatermark(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	at := func(w element.EventTime) engine.Status {
		return engine.Status{Stages: []engine.StageStatus{{Watermark: w}, {Watermark: element.MaxTime, Done: true}}}
	}
	tests := []struct {
		streaming bool
		watermark element.EventTime
		want      string
	}{
		{true, 998_500, "; watermark 1970-01-01T00:16:38.500Z, 1.5s behind"},
		{true, 2_000_000, "; watermark 1970-01-01T00:33:20.000Z"},
		{true, element.MinTime, "; no watermark yet"},
		{true, element.MaxTime, "wrote 0 elements (0 B)"},
		{false, 998_500, "wrote 0 elements (0 B)"},
	}
	for _, tt := range tests {
		p := (&job{streaming: tt.streaming}).progressOf(at(tt.watermark))
		if got := p.text(p, 0, now); !strings.HasSuffix(got, tt.want) {
			t.Errorf("%v: %q, want %q", tt.watermark, got, tt.want)
		}
	}
	unbounded := &plan.Plan{Edges: []*plan.Edge{{Bounded: true}, {}}}
	scripted := &plan.Plan{Edges: unbounded.Edges, Tests: []plan.Test{{}}}
	if !isStreaming(unbounded) || isStreaming(scripted) || isStreaming(&plan.Plan{Edges: unbounded.Edges[:1]}) {
		t.Error("wrong plans are streaming")
	}
}

// TestProgressGetsRarer: the reports of an endless job are few.
func TestProgressGetsRarer(t *testing.T) {
	const interval = time.Second
	var reports []time.Duration
	last := time.Duration(0)
	for age := interval; age <= 24*time.Hour; age += interval {
		if progressDue(age, age-last, interval) {
			reports, last = append(reports, age), age
		}
	}
	if n := len(reports); n > 1700 || reports[59] != time.Minute || last < 24*time.Hour-progressRarest {
		t.Errorf("%d reports in a day, the 60th after %v, the last after %v", n, reports[59], last)
	}
	if !progressDue(time.Hour, 2*time.Minute, 2*time.Minute) {
		t.Error("a long interval is not reported on")
	}
}

func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{IdleTimeout: time.Minute}, func(w *world) {
			w.engine.run = func(context.Context, *fakeExecution) error {
				time.Sleep(10 * time.Minute)
				return nil
			}
		})
		defer w.close()
		time.Sleep(50 * time.Second)
		w.follow(w.start(pipeline(), nil))
		time.Sleep(59 * time.Second)
		select {
		case <-w.server.Idle():
			t.Error("idle too soon")
		default:
		}
		time.Sleep(2 * time.Second)
		select {
		case <-w.server.Idle():
		default:
			t.Error("not idle")
		}
	})
}

func TestShutdownCancelsJobs(t *testing.T) {
	w := newWorld(t, Options{}, func(w *world) {
		w.engine.run = func(ctx context.Context, x *fakeExecution) error {
			if _, err := x.opts.Host.StartWorker(ctx, "env"); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		}
	})
	id := w.start(pipeline(), nil)
	w.prepare(pipeline(), nil)
	stream, err := w.jobs.GetStateStream(t.Context(), &jobpb.GetJobStateRequest{JobId: id})
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan []string, 1)
	go func() { read <- states(stream) }()
	w.close()
	if got := <-read; len(got) > 0 && got[len(got)-1] != "CANCELLED" {
		t.Errorf("%v", got)
	}
	if _, err := w.server.prepare(&jobpb.PrepareJobRequest{Pipeline: pipeline()}); status.Code(err) != codes.Unavailable {
		t.Errorf("prepare after shutdown: %v", err)
	}
}

func TestTemporaryDirectory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s, err := New((&world{}).deps(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.dir); err != nil {
		t.Error(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("temporary directory is left: %v", err)
	}
}

func TestPrepareWithoutPipeline(t *testing.T) {
	w := newWorld(t, Options{}, nil)
	defer w.close()
	_, err := w.jobs.Prepare(t.Context(), &jobpb.PrepareJobRequest{JobName: "job"})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v, want InvalidArgument", err)
	}
}

func TestTransformNames(t *testing.T) {
	stage := fakeStage()
	stage.Input, stage.Outputs = &plan.Input{Port: "in"}, []plan.Output{{Port: "out"}}
	part := &plan.Stage{Kind: &plan.Executable{Transforms: []plan.Transform{{ID: "t2/Merge", Name: "Count/Format"}}}}
	p := pipeline()
	p.Components.Transforms["nameless"] = &pipepb.PTransform{}
	got := transformNames(p, &plan.Plan{Stages: []*plan.Stage{{Kind: &plan.Impulse{}}, stage}, Functions: []*plan.Stage{part}})
	want := map[plan.TransformID]string{
		"t1": "Count", "t2": "Count/Format", "t2/Merge": "Count/Format", "nameless": "nameless", "in": "", "out": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
