package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/timers"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	register.Function2x0(emitNumbers)
	register.Function1x1(double)
	register.Function2x0(keepEven)
	register.Function2x0(extractWords)
	register.Function2x1(formatCount)
	register.Function1x2(pairWithLength)
	register.Function2x1(formatGroup)
	register.Function2x2(countGroup)
	register.Function4x0(emitThree)
	register.Function2x1(addSingleton)
	register.Function3x0(addAll)
	register.Function2x0(emitTimestamped)
	register.Function1x2(keyByParity)
	register.Function1x1(remainder)
	register.Function1x1(toTemperature)
	register.Function1x1(fromTemperature)
	register.Function1x1(toPerson)
	register.Function1x2(cityOf)
	register.Function2x1(firstPerson)
	register.Combiner3[mean, int, float64](&meanFn{})
	register.DoFn3x0[*sdf.LockRTracker, int, func(int)](&rangeFn{})
	register.DoFn4x2[state.Provider, timers.Provider, string, int, string, int](&everyTimerFn{})
	register.DoFn3x2[state.Provider, string, int, string, int](&runningSumFn{})
	register.Emitter1[int]()
	register.Emitter1[string]()
	register.Emitter2[beam.EventTime, int]()
	register.Iter1[int]()
	register.Iter1[person]()
	beam.RegisterCoder(temperatureType, encodeTemperature, decodeTemperature)
}

func emitNumbers(_ []byte, emit func(int)) {
	for i := range 10 {
		emit(i)
	}
}

func double(n int) int { return 2 * n }

func keepEven(n int, emit func(int)) {
	if n%2 == 0 {
		emit(n)
	}
}

func extractWords(line string, emit func(string)) {
	for _, w := range strings.Fields(line) {
		emit(w)
	}
}

func formatCount(w string, n int) string { return fmt.Sprintf("%s: %d", w, n) }

func pairWithLength(w string) (string, int) { return w, len(w) }

func formatGroup(w string, values func(*int) bool) string {
	var n, sum int
	for values(&n) {
		sum += n
	}
	return formatCount(w, sum)
}

func countGroup(w string, values func(*int) bool) (string, int) {
	var n, count int
	for values(&n) {
		count++
	}
	return w, count
}

func emitThree(n int, small, large func(int), text func(string)) {
	small(n)
	large(n * 1000)
	text(fmt.Sprint(n))
}

func addSingleton(n, side int) int { return n + side }

func addAll(n int, side func(*int) bool, emit func(int)) {
	var v int
	for side(&v) {
		n += v
	}
	emit(n)
}

func emitTimestamped(_ []byte, emit func(beam.EventTime, int)) {
	for i := range 10 {
		emit(mtime.FromMilliseconds(int64(i)*1000), i)
	}
}

func keyByParity(n int) (int, int) { return n % 2, n }

func remainder(n int) int { return n % 3 }

// mean is an accumulator that differs from both input and output.
type mean struct {
	Sum, Count int
}

type meanFn struct{}

func (*meanFn) CreateAccumulator() mean { return mean{} }

func (*meanFn) AddInput(a mean, n int) mean { return mean{a.Sum + n, a.Count + 1} }

func (*meanFn) MergeAccumulators(a, b mean) mean { return mean{a.Sum + b.Sum, a.Count + b.Count} }

func (*meanFn) ExtractOutput(a mean) float64 { return float64(a.Sum) / float64(a.Count) }

// rangeFn is a bounded splittable DoFn: it counts up to its element.
type rangeFn struct{}

func (*rangeFn) CreateInitialRestriction(n int) offsetrange.Restriction {
	return offsetrange.Restriction{Start: 0, End: int64(n)}
}

func (*rangeFn) SplitRestriction(_ int, r offsetrange.Restriction) []offsetrange.Restriction {
	return r.EvenSplits(4)
}

func (*rangeFn) RestrictionSize(_ int, r offsetrange.Restriction) float64 { return r.Size() }

func (*rangeFn) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(offsetrange.NewTracker(r))
}

func (*rangeFn) ProcessElement(rt *sdf.LockRTracker, _ int, emit func(int)) {
	for i := rt.GetRestriction().(offsetrange.Restriction).Start; rt.TryClaim(i); i++ {
		emit(int(i))
	}
}

// everyTimerFn has two event-time families, one processing-time family and
// state beside them.
type everyTimerFn struct {
	Flush   timers.EventTime
	Expire  timers.EventTime
	Timeout timers.ProcessingTime
	Buffer  state.Bag[int]
	Count   state.Value[int]
}

func (f *everyTimerFn) ProcessElement(sp state.Provider, tp timers.Provider, key string, n int) (string, int) {
	if err := f.Buffer.Add(sp, n); err != nil {
		panic(err)
	}
	f.Flush.Set(tp, time.UnixMilli(1000))
	f.Expire.Set(tp, time.UnixMilli(2000), timers.WithTag("late"))
	f.Timeout.Set(tp, time.Now().Add(time.Second))
	return key, n
}

func (f *everyTimerFn) OnTimer(_ context.Context, sp state.Provider, _ timers.Provider, key string, t timers.Context) (string, int) {
	n, _, err := f.Count.Read(sp)
	if err != nil {
		panic(err)
	}
	return key + t.Family, n
}

// runningSumFn keeps the sum of a key's values.
type runningSumFn struct {
	Sum state.Value[int]
}

func (f *runningSumFn) ProcessElement(sp state.Provider, key string, n int) (string, int) {
	sum, _, err := f.Sum.Read(sp)
	if err != nil {
		panic(err)
	}
	if err := f.Sum.Write(sp, sum+n); err != nil {
		panic(err)
	}
	return key, sum + n
}
