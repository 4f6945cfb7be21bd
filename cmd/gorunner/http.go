package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/gorunner/gorunner/runner"
)

// newHandler serves what is to be known of the server over HTTP.
func newHandler(s *runner.Server) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&jobCollector{server: s},
	)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, indexPage) //nolint:errcheck // the client has gone
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte("ok\n")) //nolint:errcheck // the client has gone
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /api/jobs", func(w http.ResponseWriter, _ *http.Request) { writeJobs(w, s.Jobs()) })
	mux.HandleFunc("GET /debug/workers", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), workersTimeout)
		defer cancel()
		writeWorkers(w, s.Workers(ctx))
	})
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// indexPage says what there is.
const indexPage = `<!DOCTYPE html>
<meta charset="utf-8">
<title>gorunner</title>
<h1>gorunner</h1>
<ul>
<li><a href="/api/jobs">Jobs</a>: stages, watermarks, and what they wait for
<li><a href="/debug/workers">Workers</a>: what the SDK harnesses are doing
<li><a href="/metrics">Metrics</a> for Prometheus
<li><a href="/debug/pprof/">Profiles</a>
<li><a href="/healthz">Health</a>
</ul>
`

// workersTimeout is how long harnesses have to say what they are doing.
const workersTimeout = 5 * time.Second

func writeWorkers(w http.ResponseWriter, workers []runner.WorkerInfo) {
	var page strings.Builder
	for _, info := range workers {
		text := info.Status
		if info.Err != nil {
			text = info.Err.Error()
		}
		fmt.Fprintf(&page, "== worker %s of job %s, environment %s\n%s\n\n", info.Worker, info.Job, info.Environment, strings.TrimSpace(text))
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, page.String()) //nolint:errcheck // the client has gone
}

// jobJSON is a job in the JSON API.
type jobJSON struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	State       string    `json:"state"`
	Created     time.Time `json:"created"`
	Durability  string    `json:"durability"`
	Workers     int       `json:"workers"`
	Memory      usageJSON `json:"memory"`
	Disk        usageJSON `json:"disk"`
	ElementsIn  int64     `json:"elements_in"`
	BytesIn     int64     `json:"bytes_in"`
	ElementsOut int64     `json:"elements_out"`
	BytesOut    int64     `json:"bytes_out"`
	// Executed is from the first bundle of user code to the last commit.
	Executed float64 `json:"executed_seconds"`
	// Checkpoints are those of this process; none if it makes none.
	Checkpoints *checkpointsJSON `json:"checkpoints,omitempty"`
	Stages      []stageJSON      `json:"stages"`
}

// usageJSON is what data takes, in the JSON API.
type usageJSON struct {
	Used  int64            `json:"used_bytes"`
	Limit int64            `json:"limit_bytes,omitempty"`
	ByUse map[string]int64 `json:"by_use,omitempty"`
}

// stageJSON is a stage in the JSON API.
type stageJSON struct {
	Name        string `json:"name"`
	Done        bool   `json:"done"`
	Running     int    `json:"running_bundles"`
	Pending     int    `json:"pending_elements"`
	ElementsIn  int64  `json:"elements_in"`
	BytesIn     int64  `json:"bytes_in"`
	ElementsOut int64  `json:"elements_out"`
	BytesOut    int64  `json:"bytes_out"`
	Watermark   string `json:"watermark"`
	Why         string `json:"why,omitempty"`
}

func writeJobs(w http.ResponseWriter, jobs []runner.JobInfo) {
	out := make([]jobJSON, len(jobs))
	for i, j := range jobs {
		out[i] = jobJSON{
			ID: string(j.ID), Name: j.Name, State: j.State.String(), Created: j.Created,
			Durability: j.Durability.String(), Workers: j.Workers,
			ElementsIn: j.Progress.ElementsIn, BytesIn: j.Progress.BytesIn,
			ElementsOut: j.Progress.ElementsOut, BytesOut: j.Progress.BytesOut,
			Executed: j.Executed.Seconds(),
			Memory:   usageJSON(j.Memory), Disk: usageJSON(j.Disk),
			Checkpoints: checkpointsOf(j.Checkpoints),
			Stages:      []stageJSON{},
		}
		for _, st := range j.Stages {
			out[i].Stages = append(out[i].Stages, stageJSON{
				Name: st.Name, Done: st.Done, Running: st.Running, Pending: st.Pending,
				ElementsIn: st.ElementsIn, BytesIn: st.BytesIn, ElementsOut: st.ElementsOut, BytesOut: st.BytesOut,
				Watermark: st.Watermark.String(), Why: st.Why,
			})
		}
	}
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.Encode(out) //nolint:errcheck // the client has gone
}

// jobCollector offers the jobs to Prometheus.
type jobCollector struct{ server *runner.Server }

func (*jobCollector) jobs() *prometheus.Desc {
	return prometheus.NewDesc("gorunner_jobs", "Jobs that are running or kept, by state.", []string{"state"}, nil)
}

func (*jobCollector) elements() *prometheus.Desc {
	return prometheus.NewDesc("gorunner_job_elements", "Elements written by the stages of a running job.", []string{"job", "name"}, nil)
}

func (*jobCollector) bytes() *prometheus.Desc {
	return prometheus.NewDesc("gorunner_job_bytes", "Bytes written by the stages of a running job.", []string{"job", "name"}, nil)
}

func (*jobCollector) used(what string) *prometheus.Desc {
	return prometheus.NewDesc("gorunner_"+what+"_used_bytes", "What the data of all jobs takes of the "+what+".", nil, nil)
}

func (*jobCollector) limit(what string) *prometheus.Desc {
	return prometheus.NewDesc("gorunner_"+what+"_limit_bytes", "What the data of all jobs may take of the "+what+"; 0 is no limit.", nil, nil)
}

func (*jobCollector) jobUsed(what string) *prometheus.Desc {
	return prometheus.NewDesc("gorunner_job_"+what+"_used_bytes", "What the data of a running job takes of the "+what+", by use.", []string{"job", "name", "use"}, nil)
}

// Describe implements prometheus.Collector.
func (c *jobCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.jobs()
	ch <- c.elements()
	ch <- c.bytes()
	for _, what := range []string{"memory", "disk"} {
		ch <- c.used(what)
		ch <- c.limit(what)
		ch <- c.jobUsed(what)
	}
	for _, m := range checkpointMetrics() {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *jobCollector) Collect(ch chan<- prometheus.Metric) {
	states := map[string]int{}
	for _, j := range c.server.Jobs() {
		states[j.State.String()]++
		if j.State.Terminal() {
			continue
		}
		ch <- prometheus.MustNewConstMetric(c.elements(), prometheus.CounterValue, float64(j.Progress.ElementsOut), string(j.ID), j.Name)
		ch <- prometheus.MustNewConstMetric(c.bytes(), prometheus.CounterValue, float64(j.Progress.BytesOut), string(j.ID), j.Name)
		for what, usage := range map[string]runner.Usage{"memory": j.Memory, "disk": j.Disk} {
			for use, n := range usage.ByUse {
				ch <- prometheus.MustNewConstMetric(c.jobUsed(what), prometheus.GaugeValue, float64(n), string(j.ID), j.Name, use)
			}
		}
		collectCheckpoints(ch, &j)
	}
	memory, disk := c.server.Usage()
	for what, usage := range map[string]runner.Usage{"memory": memory, "disk": disk} {
		ch <- prometheus.MustNewConstMetric(c.used(what), prometheus.GaugeValue, float64(usage.Used))
		ch <- prometheus.MustNewConstMetric(c.limit(what), prometheus.GaugeValue, float64(usage.Limit))
	}
	for state, n := range states {
		ch <- prometheus.MustNewConstMetric(c.jobs(), prometheus.GaugeValue, float64(n), state)
	}
}
