package runner

import (
	"context"
	"errors"
	"strings"
	"testing"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// untilDrained runs until it is drained, and then until release is closed.
func untilDrained(release <-chan struct{}) func(context.Context, *fakeExecution) error {
	return func(ctx context.Context, x *fakeExecution) error {
		select {
		case <-ctx.Done():
			return nil
		case <-x.drained:
		}
		select {
		case <-ctx.Done():
		case <-release:
		}
		return nil
	}
}

// drain asks for a job to be drained and wants the answer.
func (w *world) drain(id string, want jobpb.JobState_Enum) {
	w.t.Helper()
	resp, err := w.jobs.Drain(w.t.Context(), &jobpb.DrainJobRequest{JobId: id})
	if err != nil || resp.GetState() != want {
		w.t.Errorf("drain: %v, %v, want %v", resp.GetState(), err, want)
	}
}

func (w *world) wantNotDrained(id, why string) {
	w.t.Helper()
	_, err := w.jobs.Drain(w.t.Context(), &jobpb.DrainJobRequest{JobId: id})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), why) {
		w.t.Errorf("drain: %v, want %q", err, why)
	}
}

func TestDrain(t *testing.T) {
	release := make(chan struct{})
	w := newWorld(t, Options{}, func(w *world) { w.engine.run = untilDrained(release) })
	defer w.close()
	id := w.start(pipeline(), nil)
	w.drain(id, jobpb.JobState_DRAINING) // waits for the job to run, if need be
	w.drain(id, jobpb.JobState_DRAINING)
	close(release)
	want := []string{
		"STOPPED", "STARTING", "RUNNING",
		"DRAINING", "BASIC: draining, because a client asked for it",
		"DRAINED", "ERROR: the job was drained: its sources were stopped, and what they had read was processed",
	}
	if diff := cmp.Diff(want, w.follow(id)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"STOPPED", "STARTING", "RUNNING", "DRAINING", "DRAINED"}, w.states(id)); diff != "" {
		t.Error(diff)
	}
	w.drain(id, jobpb.JobState_DRAINED)
	for agent, want := range map[string]jobpb.JobState_Enum{
		"grpc-java-netty/1.69.0": jobpb.JobState_DONE, "grpc-python/1.66": jobpb.JobState_DRAINED,
	} {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("user-agent", agent))
		e, err := (&jobService{server: w.server}).GetState(ctx, &jobpb.GetJobStateRequest{JobId: id})
		if err != nil || e.GetState() != want {
			t.Errorf("%s is told %v, %v, want %v", agent, e.GetState(), err, want)
		}
	}
}

func TestDrainOfAJobThatDoesNotRun(t *testing.T) {
	w := newWorld(t, Options{}, nil)
	defer w.close()
	w.wantNotDrained(w.prepare(pipeline(), nil).GetPreparationId(), "has not been run: cancel it instead")
	id := w.start(pipeline(), nil)
	w.states(id)
	w.wantNotDrained(id, "cannot be drained: it is DONE")
}

func TestCancelWhileDraining(t *testing.T) {
	w := newWorld(t, Options{}, func(w *world) { w.engine.run = untilDrained(nil) })
	defer w.close()
	id := w.start(pipeline(), nil)
	w.drain(id, jobpb.JobState_DRAINING)
	if _, err := w.jobs.Cancel(t.Context(), &jobpb.CancelJobRequest{JobId: id}); err != nil {
		t.Fatal(err)
	}
	if got := w.states(id); !strings.HasSuffix(strings.Join(got, " "), "DRAINING CANCELLING CANCELLED") {
		t.Errorf("%v", got)
	}
	w.wantNotDrained(id, "cannot be drained: it is CANCELLED")
}

func TestFailureWhileDraining(t *testing.T) {
	w := newWorld(t, Options{}, func(w *world) {
		w.engine.run = func(_ context.Context, x *fakeExecution) error {
			<-x.drained
			return errors.New("boom")
		}
	})
	defer w.close()
	id := w.start(pipeline(), nil)
	w.drain(id, jobpb.JobState_DRAINING)
	if got := strings.Join(w.follow(id), "; "); !strings.HasSuffix(got, "FAILED; ERROR: boom") {
		t.Error(got)
	}
}

// TestDrainFromTheStart: what was asked for with the job is no interruption, and
// the job is done at its end.
func TestDrainFromTheStart(t *testing.T) {
	w := newWorld(t, Options{}, func(w *world) {
		w.engine.run = func(_ context.Context, x *fakeExecution) error {
			if !x.opts.Drain {
				return errors.New("not drained")
			}
			return nil
		}
	})
	defer w.close()
	id := w.start(pipeline(), map[string]any{"beam:option:drain:v1": true})
	if diff := cmp.Diff([]string{"STOPPED", "STARTING", "RUNNING", "DONE"}, w.states(id)); diff != "" {
		t.Error(diff)
	}
}
