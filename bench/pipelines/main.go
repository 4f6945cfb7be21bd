// Command pipelines runs one workload of the benchmarks as a client of the Go
// SDK, which in LOOPBACK is the worker too, and prints how long the job took:
//
//	pipelines --workload=gbk --records=1000000 --keys=1000 --endpoint=127.0.0.1:8073 --environment_type=LOOPBACK
//
// Each workload checks that nothing was lost or counted twice.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/io/filesystem/local"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/textio"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
)

func init() {
	register.DoFn3x1[*sdf.LockRTracker, []byte, func(int), error](&sourceFn{})
	register.DoFn1x2[int, int, []byte](&recordFn{})
	register.Function1x2(pairFn)
	register.Function2x1(countValues)
	register.Function2x1(dropKey)
	register.Function1x1(one)
	register.Function1x2(pairWithOne)
	register.Function2x1(countOf)
	register.Function2x0(extractWords)
	register.Emitter1[int]()
	register.Emitter1[string]()
	register.Iter1[[]byte]()
	register.Combiner1[int](&sumFn{})
}

// sizes are what the command line says about a workload.
type sizes struct {
	records, keys, valueBytes int
	// input and words are the text of a word count and how many words it has.
	input string
	words int
}

func workloads() map[string]func(beam.Scope, sizes) {
	return map[string]func(beam.Scope, sizes){
		"gbk":       groupByKey,
		"reshuffle": reshuffle,
		"combine":   combinePerKey,
		"wordcount": wordCount,
	}
}

func main() {
	var s sizes
	name := flag.String("workload", "", "which workload to run")
	flag.IntVar(&s.records, "records", 1_000_000, "number of records")
	flag.IntVar(&s.keys, "keys", 1000, "number of keys")
	flag.IntVar(&s.valueBytes, "value_bytes", 100, "size of a value")
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
	_, err := beam.Run(context.Background(), "universal", p)
	report := struct {
		Seconds float64 `json:"seconds"`
		Error   string  `json:"error,omitempty"`
	}{Seconds: time.Since(start).Seconds()}
	if err != nil {
		report.Error = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		fmt.Fprintln(os.Stderr, "write report:", err)
		os.Exit(1)
	}
}

// sourceShards is the number of parts that the source is split into before it
// is read, like the files of a data set.
const sourceShards = 16

// sourceFn is a splittable source of the integers below N.
type sourceFn struct{ N int }

// CreateInitialRestriction returns all integers.
func (f *sourceFn) CreateInitialRestriction(_ []byte) offsetrange.Restriction {
	return offsetrange.Restriction{Start: 0, End: int64(f.N)}
}

// SplitRestriction cuts a restriction into shards.
func (f *sourceFn) SplitRestriction(_ []byte, r offsetrange.Restriction) []offsetrange.Restriction {
	return r.EvenSplits(sourceShards)
}

// RestrictionSize returns the number of integers.
func (f *sourceFn) RestrictionSize(_ []byte, r offsetrange.Restriction) float64 { return r.Size() }

// CreateTracker returns a tracker that may be split while it is read.
func (f *sourceFn) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(offsetrange.NewTracker(r))
}

// ProcessElement emits the integers of a restriction.
func (f *sourceFn) ProcessElement(rt *sdf.LockRTracker, _ []byte, emit func(int)) error {
	r, ok := rt.GetRestriction().(offsetrange.Restriction)
	if !ok {
		return fmt.Errorf("restriction is a %T", rt.GetRestriction())
	}
	for i := r.Start; rt.TryClaim(i); i++ {
		emit(int(i))
	}
	return nil
}

func source(s beam.Scope, n int) beam.PCollection {
	return beam.ParDo(s, &sourceFn{n}, beam.Impulse(s))
}

// recordFn makes a keyed record of an integer.
type recordFn struct{ Keys, ValueBytes int }

// ProcessElement spreads the integers over the keys.
func (f *recordFn) ProcessElement(i int) (int, []byte) {
	value := make([]byte, f.ValueBytes)
	for j := range min(8, len(value)) {
		value[j] = byte(i >> (8 * j))
	}
	return i % f.Keys, value
}

func countValues(_ int, values func(*[]byte) bool) int {
	n := 0
	for v := []byte(nil); values(&v); {
		n++
	}
	return n
}

func one(int) int { return 1 }

func dropKey(_, n int) int { return n }

// sumFn adds up integers.
type sumFn struct{}

// MergeAccumulators adds two sums.
func (*sumFn) MergeAccumulators(a, b int) int { return a + b }

// wantSum fails the job unless the integers of col add up to n.
func wantSum(s beam.Scope, col beam.PCollection, n int) {
	passert.Equals(s, beam.Combine(s, &sumFn{}, col), n)
}

func groupByKey(s beam.Scope, z sizes) {
	records := beam.ParDo(s, &recordFn{z.keys, z.valueBytes}, source(s, z.records))
	wantSum(s, beam.ParDo(s, countValues, beam.GroupByKey(s, records)), z.records)
}

func reshuffle(s beam.Scope, z sizes) {
	wantSum(s, beam.ParDo(s, one, beam.Reshuffle(s, source(s, z.records))), z.records)
}

// keyCount is a constant of the workload because a function has no parameters.
const keyCount = 1000

func pairFn(i int) (int, int) { return i % keyCount, 1 }

func combinePerKey(s beam.Scope, z sizes) {
	sums := beam.CombinePerKey(s, &sumFn{}, beam.ParDo(s, pairFn, source(s, z.records)))
	wantSum(s, beam.ParDo(s, dropKey, sums), z.records)
}

func extractWords(line string, emit func(string)) {
	for word := range strings.FieldsSeq(line) {
		emit(word)
	}
}

func wordCount(s beam.Scope, z sizes) {
	words := beam.ParDo(s, extractWords, textio.Read(s, z.input))
	counts := beam.CombinePerKey(s, &sumFn{}, beam.ParDo(s, pairWithOne, words))
	wantSum(s, beam.ParDo(s, countOf, counts), z.words)
}

func pairWithOne(word string) (string, int) { return word, 1 }

func countOf(_ string, n int) int { return n }
