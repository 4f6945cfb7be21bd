package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gorunner/gorunner/blob/checkpoints"
	"github.com/gorunner/gorunner/runner"
)

// checkpointsJSON is how checkpoints are getting on, in the JSON API.
type checkpointsJSON struct {
	Made     int64           `json:"made"`
	Failed   int64           `json:"failed"`
	Uploaded int64           `json:"uploaded_bytes"`
	Problem  string          `json:"problem,omitempty"`
	Last     *checkpointJSON `json:"last,omitempty"`
}

// checkpointJSON is a checkpoint or savepoint, in the JSON API.
type checkpointJSON struct {
	URI      string    `json:"uri"`
	Kind     string    `json:"kind"`
	Made     time.Time `json:"made"`
	Bytes    int64     `json:"bytes"`
	Uploaded int64     `json:"uploaded_bytes"`
	Took     float64   `json:"took_seconds"`
}

func checkpointsOf(s *checkpoints.Status) *checkpointsJSON {
	if s == nil {
		return nil
	}
	out := &checkpointsJSON{Made: s.Made, Failed: s.Failed, Uploaded: s.Uploaded, Problem: s.Problem}
	if l := s.Last; l != nil {
		out.Last = &checkpointJSON{URI: l.URI, Kind: string(l.Kind), Made: l.Made, Bytes: l.Bytes, Uploaded: l.Uploaded, Took: l.Took.Seconds()}
	}
	return out
}

// checkpointMetric is something that Prometheus is told of a job's checkpoints.
type checkpointMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	// value is told unless there is none.
	value func(*checkpoints.Status) (float64, bool)
}

func checkpointMetrics() []checkpointMetric {
	desc := func(what, help string) *prometheus.Desc {
		return prometheus.NewDesc("gorunner_job_checkpoint"+what, help, []string{"job", "name"}, nil)
	}
	always := func(value func(*checkpoints.Status) int64) func(*checkpoints.Status) (float64, bool) {
		return func(s *checkpoints.Status) (float64, bool) { return float64(value(s)), true }
	}
	last := func(value func(*checkpoints.Info) float64) func(*checkpoints.Status) (float64, bool) {
		return func(s *checkpoints.Status) (float64, bool) {
			if s.Last == nil {
				return 0, false
			}
			return value(s.Last), true
		}
	}
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	return []checkpointMetric{
		{desc("s_made", "Checkpoints and savepoints that were made of a running job."), counter, always(func(s *checkpoints.Status) int64 { return s.Made })},
		{desc("s_failed", "How often something has failed in making them."), counter, always(func(s *checkpoints.Status) int64 { return s.Failed })},
		{desc("s_uploaded_bytes", "What was stored for them."), counter, always(func(s *checkpoints.Status) int64 { return s.Uploaded })},
		{desc("_last_time_seconds", "When the last one was made, in Unix time."), gauge, last(func(i *checkpoints.Info) float64 { return float64(i.Made.UnixMilli()) / 1000 })},
		{desc("_last_duration_seconds", "How long the last one took."), gauge, last(func(i *checkpoints.Info) float64 { return i.Took.Seconds() })},
		{desc("_last_bytes", "What the last one has in all."), gauge, last(func(i *checkpoints.Info) float64 { return float64(i.Bytes) })},
	}
}

// collectCheckpoints tells of those of a job, if it makes any.
func collectCheckpoints(ch chan<- prometheus.Metric, j *runner.JobInfo) {
	if j.Checkpoints == nil {
		return
	}
	for _, m := range checkpointMetrics() {
		if v, ok := m.value(j.Checkpoints); ok {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, v, string(j.ID), j.Name)
		}
	}
}
