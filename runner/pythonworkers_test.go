package runner

import (
	"context"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/gorunner/gorunner/fnapi/environment"
	"github.com/gorunner/gorunner/plan"
)

// pythonPipeline is one of a client in Python that is its own worker pool.
func pythonPipeline() *pipepb.Pipeline {
	p := pipeline()
	p.Components.Environments["env"] = &pipepb.Environment{
		Urn: environment.URNExternal,
		Payload: mustMarshal(&pipepb.ExternalPayload{
			Endpoint: &pipepb.ApiServiceDescriptor{Url: "localhost:1"},
		}),
		Capabilities: []string{"beam:version:sdk_base:apache/beam_python3.11_sdk:2.77.0"},
	}
	return p
}

func TestWorkerProcesses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		server  int
		options map[string]any
		want    string // the kinds of three workers
		workers int    // of the environment
	}{
		{"none", 0, nil, "external external external", 0},
		{"the job's", 0, map[string]any{"gorunner_worker_processes": 3}, "external process process", 3},
		{"the server's", 2, nil, "external process process", 2},
		{"the job's before the server's", 5, map[string]any{"gorunner_worker_processes": "2"}, "external process process", 2},
		{"not one", 5, map[string]any{"gorunner_worker_processes": 1}, "external external external", 0},
		{"beside two of the client", 0, map[string]any{
			"gorunner_worker_processes": 3, "sdk_worker_parallelism": 2,
		}, "external external process", 3},
		{"at most", 0, map[string]any{"gorunner_worker_processes": 1e6}, "external process process", 256},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, Options{WorkerProcesses: tt.server}, nil)
			defer w.close()
			given := make(chan map[plan.EnvironmentID]int, 1)
			w.engine.run = func(ctx context.Context, x *fakeExecution) error {
				given <- x.opts.EnvironmentWorkers
				for range 3 {
					if _, err := x.opts.Host.StartWorker(ctx, "env"); err != nil {
						return err
					}
				}
				return nil
			}
			options := map[string]any{"gorunner_worker_python": "/bin/sh"}
			for name, v := range tt.options {
				options[name] = v
			}
			id := w.start(pythonPipeline(), options)
			if got := w.states(id); got[len(got)-1] != "DONE" {
				t.Fatal(got)
			}
			if got := (<-given)["env"]; got != tt.workers {
				t.Errorf("%d workers, want %d", got, tt.workers)
			}
			var kinds []string
			for _, p := range w.processes {
				_, kind, _ := strings.Cut(p.launch.Environment.GetUrn(), "beam:env:")
				kinds = append(kinds, strings.TrimSuffix(kind, ":v1"))
			}
			if got := strings.Join(kinds, " "); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestWorkerProcessesOfNobody(t *testing.T) {
	w := newWorld(t, Options{WorkerProcesses: 2}, nil)
	defer w.close()
	if _, err := w.tryPrepare(pipeline(), nil); err != nil {
		t.Errorf("the server's setting is for those whom it concerns: %v", err)
	}
	_, err := w.tryPrepare(pipeline(), map[string]any{"gorunner_worker_processes": 2})
	if err == nil || !strings.Contains(err.Error(), "gorunner_worker_processes") {
		t.Errorf("%v", err)
	}
	_, err = w.tryPrepare(pythonPipeline(), map[string]any{"gorunner_worker_python": 7})
	if err == nil || !strings.Contains(err.Error(), "gorunner_worker_python") {
		t.Errorf("%v", err)
	}
}
