package main

import (
	"fmt"
	"reflect"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window/trigger"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/timers"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/teststream"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/periodic"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/stats"
)

var intType = reflect.TypeFor[int]()

func init() {
	register.Function1x0(swallow)
	register.Function2x1(sumOfGroup)
	register.Function2x1(firstTemperature)
	register.Function2x1(sumOfTemperature)
	register.Function1x2(keyImpulse)
	register.Iter1[temperature]()
	register.Function1x2(keyFloat)
}

func keyImpulse([]byte) (string, int) { return "tick", 1 }

func keyFloat(f float64) (string, int) { return "key", int(f) }

// periodicImpulse is an unbounded splittable DoFn with a watermark estimator.
func periodicImpulse(s beam.Scope) {
	start := time.UnixMilli(0)
	ticks := periodic.Impulse(s, start, start.Add(time.Hour), time.Second, true)
	stats.SumPerKey(s, beam.ParDo(s, keyImpulse, ticks))
}

func combineTriggered(s beam.Scope) {
	events := beam.ParDo(s, emitTimestamped, beam.Impulse(s))
	pairs := beam.ParDo(s, keyByParity, events)
	for name, t := range ordered(
		"Always", trigger.Trigger(trigger.Always()),
		"AfterCount", trigger.AfterCount(2),
		"Repeat", trigger.Repeat(trigger.AfterCount(2)),
	) {
		scope := s.Scope(name)
		windowed := beam.WindowInto(scope, window.NewFixedWindows(4*time.Second), pairs, beam.Trigger(t))
		stats.SumPerKey(scope, windowed)
	}
}

// ordered iterates over pairs in the order in which they are given.
func ordered(pairs ...any) func(yield func(string, trigger.Trigger) bool) {
	return func(yield func(string, trigger.Trigger) bool) {
		for i := 0; i < len(pairs); i += 2 {
			if !yield(pairs[i].(string), pairs[i+1].(trigger.Trigger)) {
				return
			}
		}
	}
}

// triggersAll groups one TestStream under each trigger that the SDK can build.
func triggersAll(s beam.Scope) {
	config := teststream.NewConfig()
	must(config.AddElements(1000, 1.0, 2.0, 3.0))
	must(config.AdvanceWatermark(11000))
	config.AdvanceProcessingTime(5000)
	must(config.AddElements(12000, 4.0))
	must(config.AdvanceWatermarkToInfinity())
	pairs := beam.ParDo(s, keyFloat, teststream.Create(s, config))

	count := trigger.AfterCount(2)
	delayed := trigger.AfterProcessingTime().PlusDelay(5 * time.Second)
	aligned := trigger.AfterProcessingTime().AlignedTo(time.Minute, time.UnixMilli(0)).PlusDelay(time.Second)
	for name, t := range ordered(
		"Default", trigger.Default(),
		"Always", trigger.Always(),
		"AfterCount", count,
		"AfterProcessingTime", delayed,
		"AfterProcessingTimeAligned", aligned,
		"AfterSynchronizedProcessingTime", trigger.AfterSynchronizedProcessingTime(),
		"AfterEndOfWindow", trigger.AfterEndOfWindow().EarlyFiring(count).LateFiring(trigger.AfterCount(1)),
		"AfterAll", trigger.AfterAll([]trigger.Trigger{count, delayed}),
		"AfterAny", trigger.AfterAny([]trigger.Trigger{count, delayed}),
		"AfterEach", trigger.AfterEach([]trigger.Trigger{count, trigger.Always()}),
		"OrFinally", trigger.OrFinally(trigger.Always(), count),
		"Never", trigger.Never(),
		"Repeat", trigger.Repeat(trigger.AfterAny([]trigger.Trigger{count, delayed})),
	) {
		scope := s.Scope(name)
		windowed := beam.WindowInto(scope, window.NewFixedWindows(10*time.Second), pairs, beam.Trigger(t))
		beam.ParDo(scope, formatGroup, beam.GroupByKey(scope, windowed))
	}
}

func latenessAccumulating(s beam.Scope) {
	pairs := beam.ParDo(s, keyByParity, beam.ParDo(s, emitTimestamped, beam.Impulse(s)))
	t := trigger.AfterEndOfWindow().EarlyFiring(trigger.AfterCount(3)).LateFiring(trigger.AfterCount(1))
	for i, fn := range []*window.Fn{
		window.NewGlobalWindows(),
		window.NewFixedWindows(time.Minute),
		window.NewSlidingWindows(time.Minute, time.Hour),
		window.NewSessions(10 * time.Minute),
	} {
		scope := s.Scope(fmt.Sprintf("%d_%s", i, fn.Kind))
		accumulating := beam.WindowInto(scope, fn, pairs,
			beam.Trigger(t), beam.PanesAccumulate(), beam.AllowedLateness(2*time.Hour))
		beam.ParDo(scope, sumOfGroup, beam.GroupByKey(scope, accumulating))
		discarding := beam.WindowInto(scope, fn, pairs,
			beam.Trigger(t), beam.PanesDiscard(), beam.AllowedLateness(time.Millisecond))
		beam.ParDo(scope, sumOfGroup, beam.GroupByKey(scope, discarding))
	}
}

func timersBothDomains(s beam.Scope) {
	pairs := beam.ParDo(s, pairWithLength, words(s))
	windowed := beam.WindowInto(s, window.NewFixedWindows(time.Minute), pairs)
	beam.ParDo(s, &everyTimerFn{
		Flush:   timers.InEventTime("flush"),
		Expire:  timers.InEventTime("expire"),
		Timeout: timers.InProcessingTime("timeout"),
		Buffer:  state.MakeBagState[int]("buffer"),
		Count:   state.MakeValueState[int]("count"),
	}, windowed)
}

// statefulChain has two stateful ParDos in a row whose keys are the same: no
// shuffle lies between them in the proto.
func statefulChain(s beam.Scope) {
	pairs := beam.ParDo(s, pairWithLength, words(s))
	first := beam.ParDo(s, &runningSumFn{Sum: state.MakeValueState[int]("first")}, pairs)
	second := beam.ParDo(s, &runningSumFn{Sum: state.MakeValueState[int]("second")}, first)
	beam.ParDo(s, formatCount, second)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
