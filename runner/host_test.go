package runner

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/fnapi"
	"github.com/gorunner/gorunner/fnapi/environment"
	"github.com/gorunner/gorunner/runner/artifact"
)

// startOne is an engine that starts one worker, hands it to f, and ends.
func startOne(f func(context.Context, harness.Worker) error) func(context.Context, *fakeExecution) error {
	return func(ctx context.Context, x *fakeExecution) error {
		w, err := x.opts.Host.StartWorker(ctx, "env")
		if err != nil {
			return err
		}
		return f(ctx, w)
	}
}

func noMore(context.Context, harness.Worker) error { return nil }

func TestStreamingIsTranslated(t *testing.T) {
	w := newWorld(t, Options{}, func(w *world) { w.engine.run = startOne(noMore) })
	defer w.close()
	for value, want := range map[any]bool{true: true, "true": true, false: false} {
		w.start(pipeline(), map[string]any{"beam:option:streaming:v1": value})
		if w.translated.Streaming != want {
			t.Errorf("%v: %+v", value, w.translated)
		}
	}
}

func TestWorkerIsToldAll(t *testing.T) {
	w := newWorld(t, Options{MaxSlots: 3, Endpoint: "host:1"}, func(w *world) { w.engine.run = startOne(noMore) })
	defer w.close()
	id := w.start(pipeline(), map[string]any{"beam:option:x:v1": "y"})
	if got := w.states(id); got[len(got)-1] != "DONE" {
		t.Fatal(got)
	}
	spec := w.workers[0].spec
	p := spec.Provision
	if spec.JobID != id || spec.Environment != "env" || spec.Slots != 3 || spec.Capabilities[0] != "cap" ||
		len(spec.Descriptors) != 1 || spec.Endpoint != "host:1" {
		t.Errorf("%+v", spec)
	}
	if p.GetPipelineOptions().GetFields()["beam:option:x:v1"].GetStringValue() != "y" ||
		p.GetRetrievalToken() != artifact.NoneStaged {
		t.Errorf("%v", p)
	}
	launch := w.processes[0].launch
	want := environment.Endpoints{Control: "host:1", Logging: "host:1", Artifact: "host:1", Provision: "host:1", Status: "host:1"}
	if launch.Endpoints != want || launch.WorkerID != spec.ID || !strings.Contains(launch.Dir, id) ||
		launch.Environment.GetUrn() != environment.URNProcess || !slices.Equal(launch.Capabilities, fnapi.Capabilities()) {
		t.Errorf("%+v", launch)
	}
}

// TestWorkerStatus: the workers of running jobs say what they do, the others have
// nothing to say.
func TestWorkerStatus(t *testing.T) {
	asked := make(chan []WorkerInfo, 2)
	w := newWorld(t, Options{}, nil)
	w.engine.run = func(ctx context.Context, x *fakeExecution) error {
		for range 2 {
			worker, err := x.opts.Host.StartWorker(ctx, "env")
			if err != nil {
				return err
			}
			asked <- w.server.Workers(ctx)
			if err := worker.Stop(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	defer w.close()
	id := w.start(pipeline(), map[string]any{"beam:option:job_name:v1": "it"})
	w.states(id)
	for range 2 {
		got := <-asked
		if len(got) != 1 || got[0].Job != JobID(id) || got[0].Worker == "" || got[0].Environment != "env" ||
			got[0].Status != "busy with it" || got[0].Err != nil {
			t.Errorf("%+v", got)
		}
	}
	if got := w.server.Workers(t.Context()); len(got) > 0 {
		t.Errorf("workers of a job that has ended: %+v", got)
	}
}

func TestWorkersThatDoNotCome(t *testing.T) {
	tests := []struct {
		name string
		edit func(*world)
		opts map[string]any
		want []string
	}{
		{
			"cannot be launched", func(w *world) {
				w.onLaunch = func(*fakeProcess) error { return errors.New("no such command: boot") }
			}, nil, []string{"start worker of environment env", "no such command: boot"},
		},
		{
			"dies at its start", func(w *world) {
				w.onLaunch = func(p *fakeProcess) error {
					p.tail = []string{"loading", "cannot find module x"}
					p.exit(errors.New("exit status 3"))
					return nil
				}
				w.onExpect = func(*fakeWorker) {}
			}, nil, []string{"before it connected", "exit status 3", "loading\ncannot find module x"},
		},
		{
			"is lost", func(w *world) {
				w.onExpect = func(f *fakeWorker) { f.Kill(errors.New("garbage on the control stream")) }
			}, nil, []string{"before it was ready", "garbage on the control stream"},
		},
		{
			"says nothing", func(w *world) {
				w.onExpect = func(f *fakeWorker) {
					f.spec.Logs(fnapi.LogEntry{Worker: f.ID(), Message: "waiting for Godot\n", Severity: slog.LevelInfo})
					f.spec.Logs(fnapi.LogEntry{Worker: f.ID(), Message: "\n", Severity: slog.LevelInfo})
				}
			}, nil, []string{"did not connect within 1m0s", "last log lines:\nwaiting for Godot"},
		},
		{
			"says nothing for as long as the job wants", func(w *world) { w.onExpect = func(*fakeWorker) {} },
			map[string]any{"beam:option:gorunner_worker_timeout_s:v1": "5"},
			[]string{"did not connect within 5s"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Options{}, func(w *world) {
					w.engine.run = startOne(noMore)
					tt.edit(w)
				})
				defer w.close()
				got := w.follow(w.start(pipeline(), tt.opts))
				last := got[len(got)-1]
				if got[len(got)-2] != "FAILED" {
					t.Fatalf("%q", got)
				}
				for _, part := range tt.want {
					if !strings.Contains(last, part) {
						t.Errorf("%q does not say %q", last, part)
					}
				}
			})
		})
	}
}

func TestCancelWhileAWorkerStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, func(w *world) {
			w.engine.run = startOne(noMore)
			w.onExpect = func(*fakeWorker) {}
		})
		defer w.close()
		id := w.start(pipeline(), nil)
		synctest.Wait()
		begin := time.Now()
		if _, err := w.jobs.Cancel(t.Context(), &jobpb.CancelJobRequest{JobId: id}); err != nil {
			t.Fatal(err)
		}
		w.states(id)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestDeadProcessLosesItsWorker holds that the engine learns of it.
func TestDeadProcessLosesItsWorker(t *testing.T) {
	w := newWorld(t, Options{}, func(w *world) {
		w.engine.run = startOne(func(_ context.Context, worker harness.Worker) error {
			w.mu.Lock()
			p := w.processes[0]
			w.mu.Unlock()
			p.exit(errors.New("killed by signal 9"))
			<-worker.Done()
			return worker.Err()
		})
	})
	defer w.close()
	got := w.follow(w.start(pipeline(), nil))
	if last := got[len(got)-1]; !strings.Contains(last, "process ended: killed by signal 9") {
		t.Errorf("%q", got)
	}
}

func TestWorkerLogs(t *testing.T) {
	w := newWorld(t, Options{}, func(w *world) {
		w.engine.run = startOne(func(_ context.Context, worker harness.Worker) error {
			hosted, ok := worker.(*hostedWorker)
			if !ok {
				t.Fatalf("%T", worker)
			}
			fake, ok := hosted.Worker.(*fakeWorker)
			if !ok {
				t.Fatalf("%T", hosted.Worker)
			}
			log := func(i string, l slog.Level, transform, text, trace string) {
				fake.spec.Logs(fnapi.LogEntry{
					Worker: worker.ID(), Instruction: i, Severity: l, Transform: "t2", Message: text, Trace: trace, Location: "f.py:3",
				})
				_ = transform
			}
			log("i1", slog.LevelDebug, "t2", "fine", "")
			log("i1", slog.LevelInfo, "t2", "hello\n", "")
			log("i1", slog.LevelError, "t2", "bad", "Traceback\n  line")
			log("", slog.LevelInfo, "", "of no bundle", "")
			return nil
		})
	})
	got := w.follow(w.start(pipeline(), nil))
	want := []string{
		"STOPPED", "STARTING", "RUNNING",
		"DEBUG: [Count/Format] fine", "BASIC: [Count/Format] hello", "WARNING: [Count/Format] bad\nTraceback\n  line",
		"DONE",
	}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%q", got)
	}
	w.close()
	logs := w.logs.String()
	if strings.Contains(logs, "of no bundle") {
		t.Errorf("what harnesses say of themselves is for debugging:\n%s", logs)
	}
	for _, part := range []string{
		`level=INFO msg="log from SDK worker"`, "sdk.msg=hello transform=Count/Format location=f.py:3",
		`level=ERROR msg="log from SDK worker"`, "worker.ID=" + string(w.workers[0].ID()),
	} {
		if !strings.Contains(logs, part) {
			t.Errorf("the server's log does not say %s:\n%s", part, logs)
		}
	}
}

func TestArtifactsReachWorkers(t *testing.T) {
	dep := &pipepb.ArtifactInformation{
		TypeUrn:     "beam:artifact:type:file:v1",
		TypePayload: mustMarshal(&pipepb.ArtifactFilePayload{Path: "/client/lib.jar"}),
		RoleUrn:     "role",
	}
	jar := &pipepb.ArtifactInformation{TypeUrn: "beam:artifact:type:unheard_of:v1"}
	docker := &pipepb.Environment{
		Urn: environment.URNContainer, Payload: mustMarshal(&pipepb.DockerPayload{ContainerImage: "i"}),
		Dependencies: []*pipepb.ArtifactInformation{jar},
	}
	external := &pipepb.Environment{
		Urn:          environment.URNExternal,
		Payload:      mustMarshal(&pipepb.ExternalPayload{Endpoint: &pipepb.ApiServiceDescriptor{Url: "h:1"}}),
		Dependencies: []*pipepb.ArtifactInformation{jar},
	}
	anyOf := func(alternatives ...*pipepb.Environment) *pipepb.Environment {
		return &pipepb.Environment{
			Urn: environment.URNAnyOf, Payload: mustMarshal(&pipepb.AnyOfEnvironmentPayload{Environments: alternatives}),
			Dependencies: []*pipepb.ArtifactInformation{jar},
		}
	}
	tests := []struct {
		name  string
		env   *pipepb.Environment
		stage bool
	}{
		{"process before container", anyOf(docker, processEnvironment(dep)), true},
		{"external has its files", anyOf(docker, external), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, Options{}, func(w *world) { w.engine.run = startOne(noMore) })
			defer w.close()
			p := pipeline()
			p.Components.Environments["env"] = tt.env
			prep := w.prepare(p, nil)
			run := &jobpb.RunJobRequest{PreparationId: prep.GetPreparationId()}
			if tt.stage {
				if _, err := w.jobs.Run(t.Context(), run); status.Code(err) != codes.FailedPrecondition ||
					!strings.Contains(err.Error(), "/client/lib.jar") {
					t.Errorf("run before staging: %v", err)
				}
			}
			asked := w.stage(prep.GetStagingSessionToken(), "content")
			if (asked == 1) != tt.stage {
				t.Errorf("asked for %d artifacts", asked)
			}
			resp, err := w.jobs.Run(t.Context(), run)
			if err != nil {
				t.Fatal(err)
			}
			if got := w.follow(resp.GetJobId()); got[len(got)-1] != "DONE" {
				t.Fatalf("%q", got)
			}
			provision := w.workers[0].spec.Provision
			if (len(provision.GetDependencies()) == 1) != tt.stage ||
				(provision.GetRetrievalToken() != artifact.NoneStaged) != tt.stage {
				t.Errorf("%v", provision)
			}
		})
	}
}

// stage offers the content for whatever is asked for, and counts.
func (w *world) stage(token, content string) (asked int) {
	w.t.Helper()
	stream, err := jobpb.NewArtifactStagingServiceClient(w.conn).ReverseArtifactRetrievalService(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := stream.Send(&jobpb.ArtifactResponseWrapper{StagingToken: token}); err != nil {
		w.t.Fatal(err)
	}
	for {
		_, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return asked
		}
		if err != nil {
			w.t.Fatal(err)
		}
		asked++
		err = stream.Send(&jobpb.ArtifactResponseWrapper{
			IsLast: true,
			Response: &jobpb.ArtifactResponseWrapper_GetArtifactResponse{
				GetArtifactResponse: &jobpb.GetArtifactResponse{Data: []byte(content)},
			},
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}
