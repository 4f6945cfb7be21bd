package main

import (
	"reflect"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/timers"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	register.Function2x0(inTime)
	register.Function2x1(countOnes)
	beam.RegisterType(reflect.TypeFor[wakeFn]())
	register.DoFn3x2[state.Provider, int, int, int, error](&countFn{})
}

// countFn counts the elements of a key in a value of state.
type countFn struct{ Count state.Value[int] }

// ProcessElement reads the value and writes it, which are three requests: to
// write is to clear and to append.
func (f *countFn) ProcessElement(sp state.Provider, _, _ int) (int, error) {
	n, _, err := f.Count.Read(sp)
	if err != nil {
		return 0, err
	}
	return n + 1, f.Count.Write(sp, n+1)
}

// stateful sums what the elements of each key counted: 1, 2, 3 and so on.
func stateful(s beam.Scope, z sizes) {
	counts := beam.ParDo(s, &countFn{state.MakeValueState[int]("count")}, pairs(s, z))
	of := func(n int) int { return n * (n + 1) / 2 }
	each, more := z.records/z.keys, z.records%z.keys
	wantSum(s, counts, (z.keys-more)*of(each)+more*of(each+1))
}

// wakeFn sets a timer for each element, and emits once for each that fires.
type wakeFn struct{ Wake timers.EventTime }

// ProcessElement sets the timer of the key.
func (f *wakeFn) ProcessElement(tp timers.Provider, key, _ int, _ func(int)) {
	f.Wake.Set(tp, time.UnixMilli(int64(key)))
}

// OnTimer emits.
func (f *wakeFn) OnTimer(_ timers.Provider, _ int, _ timers.Context, emit func(int)) { emit(1) }

// manyTimers has a timer of each key, all of which wait for the end of the input.
func manyTimers(s beam.Scope, z sizes) {
	wantSum(s, beam.ParDo(s, &wakeFn{timers.InEventTime("wake")}, pairs(s, z)), min(z.keys, z.records))
}

// streaming counts elements per key in windows of a second.
func streaming(s beam.Scope, z sizes) {
	elements := beam.ParDo(s, &pairFn{z.keys}, steps(s, z, z.bundle, z.shards))
	windowed := beam.WindowInto(s, window.NewFixedWindows(time.Second), elements)
	counts := beam.ParDo(s, dropKey, beam.CombinePerKey(s, &sumFn{}, windowed))
	wantSum(s, beam.WindowInto(s, window.NewGlobalWindows(), counts), z.records)
}

// singles has bundles of one element, each of which makes the next.
func singles(s beam.Scope, z sizes) {
	wantSum(s, beam.ParDo(s, one, steps(s, z, 1, 1)), z.records)
}

// slidingWindows counts elements that are each in several windows.
func slidingWindows(s beam.Scope, z sizes) {
	elements := beam.ParDo(s, &pairFn{z.keys}, beam.ParDo(s, inTime, source(s, z.records)))
	windowed := beam.WindowInto(s, window.NewSlidingWindows(time.Second, time.Duration(z.windows)*time.Second), elements)
	counts := beam.ParDo(s, countOnes, beam.GroupByKey(s, windowed))
	wantSum(s, beam.WindowInto(s, window.NewGlobalWindows(), counts), z.records*z.windows)
}

// manyStages is a long pipeline: a Reshuffle keeps two stages apart.
func manyStages(s beam.Scope, z sizes) {
	col := source(s, z.records)
	for range z.stages {
		col = beam.ParDo(s, addOne, beam.Reshuffle(s, col))
	}
	wantSum(s, beam.ParDo(s, one, col), z.records)
}

// inTime gives each integer its millisecond.
func inTime(i int, emit func(beam.EventTime, int)) { emit(mtime.FromMilliseconds(int64(i)), i) }

func countOnes(_ int, values func(*int) bool) int {
	n := 0
	for v := 0; values(&v); {
		n += v
	}
	return n
}
