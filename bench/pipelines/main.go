// Command pipelines runs one workload of the benchmarks as a client of the Go
// SDK, which in LOOPBACK is the worker too, and prints how long the job took:
//
//	pipelines --workload=gbk --records=1000000 --keys=1000 --endpoint=127.0.0.1:8073 --environment_type=LOOPBACK
//
// Each workload comes down to one number, which says whether something was lost
// or counted twice, and which a job must have for it to count as run.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/io/filesystem/local"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal"
)

func init() {
	// The functions that see elements one by one are registered with their types:
	// called by reflection, they would be what is measured. The generic forms of
	// more parameters take minutes to compile.
	register.Combiner1[int](&sumFn{})
	beam.RegisterType(reflect.TypeFor[checkFn]())
	register.Function1x1(one)
	register.Function2x1(dropKey)
	register.Emitter1[int]()
	register.Emitter1[string]()
	register.Iter1[int]()
	register.Iter1[[]byte]()
}

// sizes are what the command line says about a workload.
type sizes struct {
	records, keys, valueBytes int
	// bundle is the number of elements that a streaming source emits at once.
	bundle int
	// shards is the number of parts that a streaming source is read in.
	shards int
	// windows is the number of windows that an element is in.
	windows int
	// stages is the length of a pipeline.
	stages int
	// input and words are the text of a word count and how many words it has.
	input string
	words int
}

// workloads build the pipelines.
func workloads() map[string]func(beam.Scope, sizes) {
	return map[string]func(beam.Scope, sizes){
		"pardo":     parDos,
		"gbk":       groupByKey,
		"reshuffle": reshuffle,
		"values":    bigValues,
		"combine":   combinePerKey,
		"wordcount": wordCount,
		"cogbk":     coGroupByKey,
		"sideinput": sideInput,
		"stateful":  stateful,
		"timers":    manyTimers,
		"streaming": streaming,
		"singles":   singles,
		"windows":   slidingWindows,
		"stages":    manyStages,
	}
}

func main() {
	var s sizes
	name := flag.String("workload", "", "which workload to run")
	flag.IntVar(&s.records, "records", 1_000_000, "number of records")
	flag.IntVar(&s.keys, "keys", 1000, "number of keys")
	flag.IntVar(&s.valueBytes, "value_bytes", 100, "size of a value")
	flag.IntVar(&s.bundle, "bundle", 1000, "elements that a streaming source emits at once")
	flag.IntVar(&s.shards, "shards", 4, "parts that a streaming source is read in")
	flag.IntVar(&s.windows, "windows", 10, "windows that an element is in")
	flag.IntVar(&s.stages, "stages", 10, "length of a pipeline")
	flag.StringVar(&s.input, "input", "", "text to count the words of")
	flag.IntVar(&s.words, "words", 0, "number of words in the text")
	flag.Parse()
	beam.Init()
	build, ok := workloads()[*name]
	if !ok {
		fmt.Fprintf(os.Stderr, "no workload %q, there are %q\n", *name, slices.Sorted(maps.Keys(workloads())))
		os.Exit(2)
	}
	p, root := beam.NewPipelineWithRoot()
	build(root, s)
	start := time.Now()
	result, err := beam.Run(context.Background(), "universal", p)
	seconds := time.Since(start).Seconds()
	if err == nil {
		err = checked(result)
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(map[string]float64{"seconds": seconds})
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "workload %s: %v\n", *name, err)
		os.Exit(1)
	}
}

// The counter of the results that were as they should be.
const (
	checkSpace = "bench"
	checkName  = "checked"
)

// checkFn fails unless what it sees is the number that the workload comes to.
type checkFn struct{ Want int }

// ProcessElement checks the result.
func (f *checkFn) ProcessElement(ctx context.Context, got int) error {
	if got != f.Want {
		return fmt.Errorf("the workload comes to %d, want %d", got, f.Want)
	}
	beam.NewCounter(checkSpace, checkName).Inc(ctx, 1)
	return nil
}

// wantSum fails the job unless the integers of col, which are in the global
// window, add up to n.
func wantSum(s beam.Scope, col beam.PCollection, n int) {
	beam.ParDo0(s, &checkFn{n}, beam.Combine(s, &sumFn{}, col))
}

// checked says whether the job has come to its number.
func checked(result beam.PipelineResult) error {
	n := int64(0)
	for _, c := range result.Metrics().AllMetrics().Counters() {
		if c.Namespace() == checkSpace && c.Name() == checkName {
			n += c.Result()
		}
	}
	if n != 1 {
		return fmt.Errorf("the result was checked %d times, want once", n)
	}
	return nil
}

// sumFn adds up integers.
type sumFn struct{}

// MergeAccumulators adds two sums.
func (*sumFn) MergeAccumulators(a, b int) int { return a + b }

func one(int) int { return 1 }

func dropKey(_, n int) int { return n }
