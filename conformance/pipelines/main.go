// Command pipelines runs one of our own pipelines, each of which checks its own
// result, and reports how it went: one JSON object a line on standard output.
//
//	pipelines --pipeline=hotkey --endpoint=127.0.0.1:8073 --environment_type=LOOPBACK
//
// It is also the worker of these pipelines in environments that start one.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/metrics"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal"
)

// config is what the command line says.
type config struct {
	name             string
	repeat, parallel int
	// marker is a file that pipelines leave traces in.
	marker string
	// size scales the pipelines that have one.
	size int
}

// result is what is reported of a job.
type result struct {
	Pipeline string  `json:"pipeline"`
	Error    string  `json:"error,omitempty"`
	Seconds  float64 `json:"seconds"`
	// Metrics by name; of steps that share a name the last one counts.
	Counters      map[string]both[int64]                     `json:"counters,omitempty"`
	Distributions map[string]both[metrics.DistributionValue] `json:"distributions,omitempty"`
	Gauges        map[string]both[int64]                     `json:"gauges,omitempty"`
}

// both is a metric as attempted and as committed.
type both[T any] struct {
	Attempted T      `json:"attempted"`
	Committed T      `json:"committed"`
	Step      string `json:"step"`
}

// pipelines returns all pipelines by name.
func pipelines() map[string]func(beam.Scope, config) {
	return map[string]func(beam.Scope, config){
		"tiny":        tiny,
		"usererror":   userError,
		"userpanic":   userPanic,
		"badcoder":    badCoder,
		"workerkill":  workerKill,
		"flaky":       flaky,
		"stall":       stall,
		"hotkey":      hotKey,
		"emptykeys":   emptyKeys,
		"bigvalues":   bigValues,
		"unused":      unusedOutputs,
		"empty":       emptyCollections,
		"diamond":     diamond,
		"flatten":     flattenTwice,
		"fixed":       fixedWindows,
		"sliding":     slidingWindows,
		"sessions":    sessions,
		"cogbk":       coGroup,
		"panes":       panes,
		"combine":     combine,
		"mapview":     mapView,
		"metrics":     allMetrics,
		"statefulsdf": statefulSDF,
		"looping":     looping,
		"splittimers": splitTimers,
		"hugekeys":    hugeKeys,

		"longchain":   longChain,
		"sideofside":  sideOfSide,
		"teninputs":   tenInputs,
		"oddnames":    oddNames,
		"manywindows": manyWindows,
		"largevalue":  largeValue,
		"structkeys":  structKeys,
		"logs":        logs,
		"allstate":    allState,
		"loops":       timersOfBoth,
		"splits":      splitsItself,

		"fails-setup":    failingAt("setup"),
		"fails-start":    failingAt("start"),
		"fails-process":  failingAt("process"),
		"fails-finish":   failingAt("finish"),
		"fails-teardown": failingAt("teardown"),
	}
}

func main() {
	var c config
	flag.StringVar(&c.name, "pipeline", "", "which pipeline to run")
	flag.IntVar(&c.repeat, "repeat", 1, "how often to run it")
	flag.IntVar(&c.parallel, "parallel", 1, "how many jobs to run at the same time")
	flag.IntVar(&c.size, "size", 1, "scale of the pipeline's data")
	flag.StringVar(&c.marker, "marker", "", "file that some pipelines leave traces in")
	// Flags that are set are pipeline options, and these are for the runner.
	flag.Int("gorunner_bundle_bytes", 0, "bytes of input of a bundle")
	flag.Int("gorunner_key_groups", 0, "partitions of keyed input")
	flag.Int("gorunner_checkpoint_ms", 0, "milliseconds between checkpoints")
	flag.Bool("gorunner_disable_fusion", false, "make a stage of every transform")
	flag.Parse()
	beam.Init() // does not return in a worker
	build, ok := pipelines()[c.name]
	if !ok {
		fmt.Fprintf(os.Stderr, "no pipeline %q, there are %q\n", c.name, slices.Sorted(maps.Keys(pipelines())))
		os.Exit(2)
	}
	runAll(c, build)
}

// runAll runs the jobs and prints a line for each as it ends.
func runAll(c config, build func(beam.Scope, config)) {
	out := json.NewEncoder(os.Stdout)
	results := make(chan result)
	todo := make(chan struct{})
	var workers sync.WaitGroup
	for range c.parallel {
		workers.Go(func() {
			for range todo {
				results <- run(c, build)
			}
		})
	}
	go func() {
		for range c.repeat {
			todo <- struct{}{}
		}
		close(todo)
		workers.Wait()
		close(results)
	}()
	for r := range results {
		if err := out.Encode(r); err != nil {
			fmt.Fprintln(os.Stderr, "write result:", err)
			os.Exit(1)
		}
	}
}

func run(c config, build func(beam.Scope, config)) result {
	p, s := beam.NewPipelineWithRoot()
	build(s, c)
	r := result{Pipeline: c.name}
	start := time.Now()
	pr, err := beam.Run(context.Background(), "universal", p)
	r.Seconds = time.Since(start).Seconds()
	if err != nil {
		r.Error = err.Error()
		return r
	}
	if pr != nil {
		r.addMetrics(pr.Metrics().AllMetrics())
	}
	return r
}

func (r *result) addMetrics(all metrics.QueryResults) {
	r.Counters = map[string]both[int64]{}
	for _, m := range all.Counters() {
		r.Counters[m.Name()] = both[int64]{m.Attempted, m.Committed, m.Transform()}
	}
	r.Distributions = map[string]both[metrics.DistributionValue]{}
	for _, m := range all.Distributions() {
		r.Distributions[m.Name()] = both[metrics.DistributionValue]{m.Attempted, m.Committed, m.Transform()}
	}
	r.Gauges = map[string]both[int64]{}
	for _, m := range all.Gauges() {
		r.Gauges[m.Name()] = both[int64]{m.Attempted.Value, m.Committed.Value, m.Transform()}
	}
}
