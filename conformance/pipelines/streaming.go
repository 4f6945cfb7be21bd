package main

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/timers"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
)

func init() {
	// Not by package register: its generic forms of so many parameters take
	// minutes to compile.
	beam.RegisterType(reflect.TypeFor[statefulSteps]())
	beam.RegisterType(reflect.TypeFor[loop]())
	beam.RegisterType(reflect.TypeFor[slowSum]())
	register.DoFn3x1[*sdf.LockRTracker, []byte, func(string, int64), sdf.ProcessContinuation](&endless{})
	register.Function2x1(maximum)
	register.Function2x1(keyValue)
	register.Function1x2(hugeKey)
	register.Function2x1(describeKey)
	register.Function1x2(tenKeys)
	register.Emitter2[string, int]()
	register.Emitter2[string, int64]()
	register.Emitter1[string]()
}

// tracked has what the splittable functions here share: restrictions of
// offsets.
type tracked struct{}

// CreateTracker is called for each restriction.
func (tracked) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(offsetrange.NewTracker(r))
}

// statefulSteps takes as many steps as an element says, one a bundle, and
// counts the steps of all elements of a key.
type statefulSteps struct {
	tracked
	Count state.Value[int]
}

// CreateInitialRestriction is called for each element.
func (*statefulSteps) CreateInitialRestriction(_ string, steps int) offsetrange.Restriction {
	return offsetrange.Restriction{Start: 0, End: int64(steps)}
}

// SplitRestriction leaves the restriction as it is.
func (*statefulSteps) SplitRestriction(_ string, _ int, r offsetrange.Restriction) []offsetrange.Restriction {
	return []offsetrange.Restriction{r}
}

// RestrictionSize is the number of steps left.
func (*statefulSteps) RestrictionSize(_ string, _ int, r offsetrange.Restriction) float64 {
	return r.Size()
}

// ProcessElement takes one step.
func (f *statefulSteps) ProcessElement(rt *sdf.LockRTracker, sp state.Provider, key string, _ int, emit func(string, int)) sdf.ProcessContinuation {
	r, ok := rt.GetRestriction().(offsetrange.Restriction)
	if !ok || !rt.TryClaim(r.Start) {
		return sdf.StopProcessing()
	}
	n, _, err := f.Count.Read(sp)
	if err != nil {
		panic(err)
	}
	if err := f.Count.Write(sp, n+1); err != nil {
		panic(err)
	}
	emit(key, n+1)
	return sdf.ResumeProcessingIn(10 * time.Millisecond)
}

func maximum(a, b int) int { return max(a, b) }

func keyValue(key string, value int) string { return fmt.Sprint(key, value) }

// tenKeys makes a key for each ten integers.
func tenKeys(i int) (string, int) { return fmt.Sprint("key", i/10, "="), i%10 + 1 }

// statefulSDF has elements of a key share state while they are taken step by
// step, and each step is counted once.
func statefulSDF(s beam.Scope, _ config) {
	keyed := beam.ParDo(s, tenKeys, integers(s, 30))
	steps := beam.ParDo(s, &statefulSteps{Count: state.MakeValueState[int]("count")}, beam.Reshuffle(s, keyed))
	most := beam.ParDo(s, keyValue, beam.CombinePerKey(s, maximum, steps))
	passert.Equals(s, most, "key0=55", "key1=55", "key2=55")
}

// endless counts on for ever, unless it is drained.
type endless struct{ tracked }

// CreateInitialRestriction has no end to speak of.
func (*endless) CreateInitialRestriction(_ []byte) offsetrange.Restriction {
	return offsetrange.Restriction{Start: 0, End: 1 << 60}
}

// SplitRestriction leaves the restriction as it is.
func (*endless) SplitRestriction(_ []byte, r offsetrange.Restriction) []offsetrange.Restriction {
	return []offsetrange.Restriction{r}
}

// RestrictionSize is the number of steps left.
func (*endless) RestrictionSize(_ []byte, r offsetrange.Restriction) float64 { return r.Size() }

// TruncateRestriction lets one more number through.
func (*endless) TruncateRestriction(rt *sdf.LockRTracker, _ []byte) offsetrange.Restriction {
	r, ok := rt.GetRestriction().(offsetrange.Restriction)
	if !ok {
		return offsetrange.Restriction{}
	}
	return offsetrange.Restriction{Start: r.Start, End: r.Start + 1}
}

// ProcessElement emits a number every ten milliseconds.
func (*endless) ProcessElement(rt *sdf.LockRTracker, _ []byte, emit func(string, int64)) sdf.ProcessContinuation {
	r, ok := rt.GetRestriction().(offsetrange.Restriction)
	if !ok || !rt.TryClaim(r.Start) {
		return sdf.StopProcessing()
	}
	emit("k", r.Start)
	return sdf.ResumeProcessingIn(10 * time.Millisecond)
}

// loop sets timers that set themselves again, in both time domains.
type loop struct {
	Event      timers.EventTime
	Processing timers.ProcessingTime
}

// ProcessElement sets both timers.
func (f *loop) ProcessElement(tp timers.Provider, _ string, _ int64, emit func(string)) {
	f.Event.Set(tp, time.UnixMilli(0))
	f.Processing.Set(tp, time.Now().Add(20*time.Millisecond))
	emit("element")
}

// OnTimer sets the timer again.
func (f *loop) OnTimer(_ context.Context, ts beam.EventTime, tp timers.Provider, _ string, timer timers.Context, emit func(string)) {
	switch timer.Family {
	case f.Event.Family:
		f.Event.Set(tp, ts.ToTime().Add(time.Second))
	case f.Processing.Family:
		f.Processing.Set(tp, time.Now().Add(20*time.Millisecond))
	}
	emit(timer.Family)
}

// looping never ends by itself: its source has no end, and its timers loop. Who
// drains it sees it end.
func looping(s beam.Scope, _ config) {
	numbers := beam.ParDo(s, &endless{}, beam.Impulse(s))
	beam.ParDo(s, &loop{Event: timers.InEventTime("event"), Processing: timers.InProcessingTime("processing")}, numbers)
}

// slowSum takes a while for each element, and emits the sum of a key when a
// timer fires.
type slowSum struct {
	Sum  state.Value[int]
	Fire timers.EventTime
}

// ProcessElement adds an element.
func (f *slowSum) ProcessElement(sp state.Provider, tp timers.Provider, _ string, value int, _ func(string, int)) {
	<-time.After(time.Millisecond)
	n, _, err := f.Sum.Read(sp)
	if err != nil {
		panic(err)
	}
	if err := f.Sum.Write(sp, n+value); err != nil {
		panic(err)
	}
	f.Fire.Set(tp, time.UnixMilli(1))
}

// OnTimer emits the sum.
func (f *slowSum) OnTimer(_ context.Context, _ beam.EventTime, sp state.Provider, _ timers.Provider, key string, _ timers.Context, emit func(string, int)) {
	n, _, err := f.Sum.Read(sp)
	if err != nil {
		panic(err)
	}
	emit(key, n)
}

// splitTimers gives a runner time to split bundles of a stage that has timers.
func splitTimers(s beam.Scope, _ config) {
	keyed := beam.ParDo(s, tenKeys, integers(s, 2000))
	sums := beam.ParDo(s, &slowSum{Sum: state.MakeValueState[int]("sum"), Fire: timers.InEventTime("fire")}, keyed)
	var want []any
	for i := range 200 {
		want = append(want, fmt.Sprint("key", i, "=", 55))
	}
	passert.Equals(s, beam.ParDo(s, keyValue, sums), want...)
}

// hugeKeyBytes is the size of the largest key.
const hugeKeyBytes = 100 << 20

func hugeKey(i int) (string, int) {
	return strings.Repeat(fmt.Sprint(i%2), hugeKeyBytes/(1+i%2*9)), i
}

func describeKey(key string, values func(*int) bool) string {
	return joinSorted(fmt.Sprint(len(key), key[:1]), values)
}

// hugeKeys has keys of 100 and of 10 MB.
func hugeKeys(s beam.Scope, _ config) {
	got := beam.ParDo(s, describeKey, beam.GroupByKey(s, beam.ParDo(s, hugeKey, integers(s, 4))))
	passert.Equals(s, got, "1048576000[0 2]", "104857601[1 3]")
}
