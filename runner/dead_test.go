package runner

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/gorunner/gorunner/blob/checkpoints"
	"github.com/gorunner/gorunner/execution/checkpoint"
)

// TestParkedElementsAreInCheckpoints: each cut has those that are there by then.
func TestParkedElementsAreInCheckpoints(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dead")
	others := []checkpoints.Other{{Kind: checkpoint.Description, Name: "job"}}
	if got, err := withDead(others, dir); err != nil || len(got) != 1 {
		t.Errorf("before any is parked: %v, %v", got, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"parked-7.jsonl", "failed-1.jsonl", ".new-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := withDead(others, dir)
	want := checkpoints.Other{Kind: checkpoint.DeadLetter, Name: "parked-7.jsonl", Path: filepath.Join(dir, "parked-7.jsonl")}
	if err != nil || len(got) != 2 || got[1] != want {
		t.Errorf("%v, %v; want the last to be %v", got, err, want)
	}
}

// TestParkingNeedsADirectoryThatStays: what is put aside must not go with the server.
func TestParkingNeedsADirectoryThatStays(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s, err := New((&world{}).deps(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	options, err := structpb.NewStruct(map[string]any{"gorunner_on_poison": "park"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.prepare(&jobpb.PrepareJobRequest{Pipeline: pipeline(), PipelineOptions: options})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("got %v", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestDeadLettersOutliveTheServer: also those of a job that ends with its server.
func TestDeadLettersOutliveTheServer(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	dir := filepath.Join(data, jobsName, "j")
	letter := filepath.Join(dir, "dead", "parked-1.jsonl")
	other := filepath.Join(dir, "spill")
	for i := range 2 {
		s, err := New((&world{}).deps(), Options{DataDir: data})
		if err != nil {
			t.Fatal(err)
		}
		s.resumeJobs()
		s.running.Wait()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			break
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(letter), 0o700), os.WriteFile(letter, nil, 0o600), os.WriteFile(other, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(letter); err != nil {
		t.Errorf("dead letter: %v", err)
	}
	if _, err := os.Stat(other); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what else was left is there: %v", err)
	}
}
