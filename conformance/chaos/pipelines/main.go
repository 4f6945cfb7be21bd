// Command pipelines runs one of the pipelines that are run while processes are
// killed. Each writes files into a directory, whose lines are the same however
// often something was executed, if each element has counted once:
//
//	pipelines --pipeline=gbk --out=/tmp/x --size=100000 --endpoint=127.0.0.1:8073 --environment_type=LOOPBACK
//
// It prints the counters that were committed.
//
// It is also the worker of these pipelines in environments that start one.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/io/filesystem/local"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal"
)

// config is what the command line says.
type config struct {
	// in is a text file, out a directory.
	in, out string
	size    int
}

func pipelines() map[string]func(beam.Scope, config) {
	return map[string]func(beam.Scope, config){
		"wordcount": wordCount,
		"gbk":       groupByKey,
		"stateful":  stateful,
		"sessions":  sessions,
		"sdf":       restrictions,
		"side":      sideInputs,
		"streaming": streaming,
	}
}

func main() {
	var c config
	name := flag.String("pipeline", "", "which pipeline to run")
	flag.StringVar(&c.in, "in", "", "text file to read")
	flag.StringVar(&c.out, "out", "", "directory to write to")
	flag.IntVar(&c.size, "size", 1000, "number of elements")
	// Flags that are set are pipeline options, and these are for the runner.
	flag.Int("gorunner_memory_bytes", 0, "bytes of data in memory")
	flag.Int("gorunner_bundle_bytes", 0, "bytes of input of a bundle")
	flag.Int("gorunner_bundle_attempts", 0, "how often a bundle is tried")
	flag.Int("gorunner_worker_restarts", 0, "how many workers are replaced")
	flag.Parse()
	beam.Init() // does not return in a worker
	build, ok := pipelines()[*name]
	if !ok {
		fmt.Fprintf(os.Stderr, "no pipeline %q, there are %q\n", *name, slices.Sorted(maps.Keys(pipelines())))
		os.Exit(2)
	}
	p, s := beam.NewPipelineWithRoot()
	build(s, c)
	result, err := beam.Run(context.Background(), "universal", p)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, m := range result.Metrics().AllMetrics().Counters() {
		if m.Namespace() == "chaos" {
			fmt.Println("counter", m.Name(), m.Committed)
		}
	}
}
