package main

import (
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window/trigger"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/timers"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/teststream"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/periodic"
)

func init() {
	register.Function3x0(countSides)
	register.DoFn6x0[*sdf.LockRTracker, state.Provider, timers.Provider, string, int, func(string, int)](&statefulRangeFn{})
	register.Emitter2[string, int]()
	register.Iter1[[]byte]()
}

func countSides(n int, side func(*[]byte) bool, emit func(int)) {
	var b []byte
	for side(&b) {
		n++
	}
	emit(n)
}

func numberStream(s beam.Scope) beam.PCollection {
	config := teststream.NewConfig()
	must(config.AddElements(1000, 1, 2, 3))
	must(config.AdvanceWatermark(5000))
	must(config.AddElements(6000, 4))
	must(config.AdvanceWatermarkToInfinity())
	return teststream.Create(s, config)
}

// streamingSessions merges sessions over the life of a key.
func streamingSessions(s beam.Scope) {
	pairs := beam.ParDo(s, keyByParity, numberStream(s))
	windowed := beam.WindowInto(s, window.NewSessions(3*time.Second), pairs,
		beam.Trigger(trigger.AfterEndOfWindow().LateFiring(trigger.AfterCount(1))),
		beam.AllowedLateness(time.Minute), beam.PanesAccumulate())
	beam.ParDo(s, sumOfGroup, beam.GroupByKey(s, windowed))
}

// streamingSideInput reads a side input that a periodic source changes.
func streamingSideInput(s beam.Scope) {
	main := beam.WindowInto(s, window.NewFixedWindows(10*time.Second), numberStream(s))
	start := time.UnixMilli(0)
	ticks := periodic.Impulse(s, start, start.Add(time.Hour), time.Minute, false)
	latest := beam.WindowInto(s, window.NewGlobalWindows(), ticks, beam.Trigger(trigger.Repeat(trigger.AfterCount(1))))
	counted := beam.ParDo(s, countSides, main, beam.SideInput{Input: latest})
	beam.ParDo(s, double, counted)
}

// statefulRangeFn is a splittable DoFn with state and timers.
type statefulRangeFn struct {
	Sum   state.Value[int]
	Alarm timers.EventTime
}

func (*statefulRangeFn) CreateInitialRestriction(_ string, n int) offsetrange.Restriction {
	return offsetrange.Restriction{Start: 0, End: int64(n)}
}

func (*statefulRangeFn) SplitRestriction(_ string, _ int, r offsetrange.Restriction) []offsetrange.Restriction {
	return r.EvenSplits(2)
}

func (*statefulRangeFn) RestrictionSize(_ string, _ int, r offsetrange.Restriction) float64 {
	return r.Size()
}

func (*statefulRangeFn) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(offsetrange.NewTracker(r))
}

func (f *statefulRangeFn) ProcessElement(
	rt *sdf.LockRTracker, sp state.Provider, tp timers.Provider, key string, _ int, emit func(string, int),
) {
	for i := rt.GetRestriction().(offsetrange.Restriction).Start; rt.TryClaim(i); i++ {
		sum, _, err := f.Sum.Read(sp)
		must(err)
		must(f.Sum.Write(sp, sum+int(i)))
		f.Alarm.Set(tp, time.UnixMilli(i))
		emit(key, sum)
	}
}

func (f *statefulRangeFn) OnTimer(sp state.Provider, _ timers.Provider, key string, _ timers.Context, emit func(string, int)) {
	sum, _, err := f.Sum.Read(sp)
	must(err)
	emit(key, sum)
}

// sdfStateful is a splittable DoFn with state.
func sdfStateful(s beam.Scope) {
	pairs := beam.ParDo(s, pairWithLength, words(s))
	beam.ParDo(s, formatCount, beam.ParDo(s, &statefulRangeFn{
		Sum: state.MakeValueState[int]("sum"), Alarm: timers.InEventTime("alarm"),
	}, pairs))
}
