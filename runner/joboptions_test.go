package runner

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
)

func parse(t *testing.T, fields map[string]any) (jobOptions, error) {
	t.Helper()
	s, err := structpb.NewStruct(fields)
	if err != nil {
		t.Fatal(err)
	}
	return parseJobOptions(s)
}

func TestWorkers(t *testing.T) {
	cores := runtime.GOMAXPROCS(0)
	tests := []struct {
		option any // nil is absent
		server int
		want   int
	}{
		{nil, 0, 1},
		{nil, 3, 3},
		{nil, -1, cores},
		{"1", 3, 3}, // which every SDK sends by itself
		{"4", 3, 4},
		{4.0, 3, 4},
		{"0", 3, cores},
		{0, 0, cores},
		{"100000", 1, 256},
		{structpb.NewNullValue().AsInterface(), 2, 2},
	}
	for _, tt := range tests {
		for _, key := range []string{"beam:option:sdk_worker_parallelism:v1", "sdk_worker_parallelism"} {
			fields := map[string]any{"beam:option:other:v1": []any{"x"}}
			if tt.option != nil {
				fields[key] = tt.option
			}
			o, err := parse(t, fields)
			if err != nil {
				t.Fatal(err)
			}
			if got := o.workers(Options{Workers: tt.server}.withDefaults()); got != tt.want {
				t.Errorf("option %v, server %d: %d workers, want %d", tt.option, tt.server, got, tt.want)
			}
		}
	}
}

func TestOptions(t *testing.T) {
	o, err := parse(t, map[string]any{
		"beam:option:gorunner_bundle_bytes:v1":     "1000",
		"beam:option:gorunner_memory_bytes:v1":     "100000000000",
		"beam:option:gorunner_disk_bytes:v1":       1e12,
		"beam:option:gorunner_bundle_attempts:v1":  2,
		"beam:option:gorunner_worker_restarts:v1":  3.0,
		"gorunner_worker_restart_window_s":         5,
		"gorunner_on_poison":                       "park",
		"gorunner_max_parked":                      9,
		"beam:option:gorunner_worker_timeout_s:v1": "7",
		"beam:option:gorunner_checkpoint_ms:v1":    "20",
		"beam:option:gorunner_key_groups:v1":       "5",
		"beam:option:gorunner_disable_fusion:v1":   true,
		"beam:option:gorunner_worker_processes:v1": "4",
		"beam:option:gorunner_worker_python:v1":    "/py",
		"beam:option:drain:v1":                     true,
		"beam:option:streaming:v1":                 true,
		"beam:option:job_name:v1":                  "me",
	})
	want := jobOptions{
		name: "me", memory: 1e11, disk: 1e12, bundleBytes: 1000, bundleAttempts: 2, workerRestarts: 3, restartWindow: 5 * time.Second, park: true, maxParked: 9, workerTimeout: 7 * time.Second,
		checkpoint: 20 * time.Millisecond, drain: true, streaming: true, noFusion: true, keyGroups: 5,
		workerProcesses: 4, workerPython: "/py",
	}
	if err != nil || o != want {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := parse(t, map[string]any{"gorunner_key_groups": 1_000_000}); err != nil || o.keyGroups != maxKeyGroups {
		t.Errorf("%d key groups, %v", o.keyGroups, err)
	}
	fromGo := map[string]any{"options": map[string]any{"gorunner_bundle_bytes": "12", "drain": "the pool", "other": "x"}}
	if o, err := parse(t, map[string]any{"beam:option:go_options:v1": fromGo}); err != nil || o != (jobOptions{bundleBytes: 12}) {
		t.Errorf("options of a Go program: %+v, %v", o, err)
	}
	for _, bad := range []any{"x", "-1", -1, 1.5, 1e12, true, []any{}, ""} {
		if _, err := parse(t, map[string]any{"beam:option:gorunner_bundle_bytes:v1": bad}); err == nil ||
			!strings.Contains(err.Error(), "gorunner_bundle_bytes") {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if _, err := parse(t, map[string]any{"gorunner_on_poison": "ignore"}); err == nil || !strings.Contains(err.Error(), "fail or park") {
		t.Errorf("%v", err)
	}
	for value, want := range map[any]bool{true: true, "true": true, false: false, "False": false, nil: false} {
		if o, err := parse(t, map[string]any{"drain": value}); err != nil || o.drain != want {
			t.Errorf("%v: %v, %v", value, o.drain, err)
		}
	}
	for _, bad := range []any{"yes", 1, []any{}} {
		if _, err := parse(t, map[string]any{"drain": bad}); err == nil || !strings.Contains(err.Error(), "drain") {
			t.Errorf("%v: %v", bad, err)
		}
	}
	described := describeOptions()
	if len(described) != len(optionSpecs()) || described[0].GetName() == "" || described[0].GetDescription() == "" {
		t.Errorf("%v", described)
	}
}

func TestSlug(t *testing.T) {
	for in, want := range map[string]string{
		"": "job", "Word Count!": "word-count", "--a--b--": "a-b", "日本": "job", strings.Repeat("x", 100): strings.Repeat("x", 40),
		"../../etc": "etc",
	} {
		if got := slug(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestHumanBytes(t *testing.T) {
	for in, want := range map[float64]string{0: "0 B", 999: "999 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 3 << 30: "3.0 GiB", 200 << 20: "200 MiB"} {
		if got := humanBytes(in); got != want {
			t.Errorf("%v: %s, want %s", in, got, want)
		}
	}
}
