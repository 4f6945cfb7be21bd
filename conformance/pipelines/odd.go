package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/timers"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/log"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
)

func init() {
	// Not by package register, see the other init functions.
	for _, fn := range []any{tenGroups, verbose, large, size, sizeOf, sizes, plusOne, structKey, structGroup, allOf} {
		beam.RegisterFunction(fn)
	}
	for _, t := range []reflect.Type{
		reflect.TypeFor[everyState](), reflect.TypeFor[loopBriefly](), reflect.TypeFor[pieces](),
		reflect.TypeFor[failsAt](), reflect.TypeFor[point](),
	} {
		beam.RegisterType(t)
	}
}

// longChain has a thousand transforms, and five thousand with --size=5.
func longChain(s beam.Scope, c config) {
	n := 1000 * c.size
	numbers := integers(s, 3)
	for i := range n {
		numbers = beam.ParDo(s, plusOne, numbers)
		if i%500 == 499 {
			numbers = beam.Reshuffle(s, numbers)
		}
	}
	passert.Equals(s, numbers, n, n+1, n+2)
}

func plusOne(i int) int { return i + 1 }

// sideOfSide reads a side input that was made with a side input, and so on.
func sideOfSide(s beam.Scope, _ config) {
	view := integers(s, 2) // sum 1
	for range 20 {
		view = beam.ParDo(s, addAll, integers(s, 2), beam.SideInput{Input: view})
	}
	// The sum of the two becomes twice the sum before, and one.
	passert.Equals(s, view, 1<<20-1, 1<<20)
}

func tenGroups(key string, a, b, c, d, e, f, g, h, i, j func(*int) bool) string {
	text := key
	for _, values := range []func(*int) bool{a, b, c, d, e, f, g, h, i, j} {
		text += strings.TrimPrefix(joinSorted("", values), " ")
	}
	return text
}

// tenInputs groups ten collections at once.
func tenInputs(s beam.Scope, _ config) {
	var inputs []beam.PCollection
	for i := range 10 {
		inputs = append(inputs, beam.ParDo(s, parity, integers(s, i%3)))
	}
	passert.Equals(s, beam.ParDo(s, tenGroups, beam.CoGroupByKey(s, inputs...)),
		"even[][0][0][][0][0][][0][0][]", "odd[][][1][][][1][][][1][]")
}

// oddNames has names that a file system or a format might not like.
func oddNames(s beam.Scope, _ config) {
	c := integers(s, 1)
	names := []string{"ü/ñ", "日本語", "🦆", "a\nb", " ", "%s %d", `"quoted"`, "../..", "\t", "\x00", strings.Repeat("a", 500)}
	for _, name := range names {
		c = beam.Reshuffle(s.Scope(name), beam.ParDo(s.Scope(name), plusOne, c))
	}
	passert.Equals(s, c, len(names))
}

// manyWindows has elements that are in ten thousand windows each.
func manyWindows(s beam.Scope, _ config) {
	windowed := beam.WindowInto(s, window.NewSlidingWindows(time.Second, 10_000*time.Second), beam.ParDo(s, stamp, integers(s, 3)))
	sums := beam.DropKey(s, beam.CombinePerKey(s, sum, beam.ParDo(s, constantKey, windowed)))
	counts := beam.ParDo(s, keyValue, beam.CombinePerKey(s, sum, beam.ParDo(s, allOf, beam.WindowInto(s, window.NewGlobalWindows(), sums))))
	passert.Equals(s, counts, "0=1", "1=1", "2=1", "3=9999")
}

func allOf(i int) (string, int) { return fmt.Sprint(i, "="), 1 }

// large is a value of a hundred megabytes.
func large(i int) (int, []byte) {
	b := make([]byte, 100<<20)
	b[len(b)-1] = byte(i)
	return i, b
}

func size(i int, values func(*[]byte) bool) string {
	return "grouped " + sizes(i, values)
}

func sizes(i int, values func(*[]byte) bool) string {
	text := fmt.Sprint(i)
	for v := []byte(nil); values(&v); {
		text += fmt.Sprint(" ", len(v), " ", v[len(v)-1])
	}
	return text
}

func sizeOf(_ int, v []byte) string { return fmt.Sprint("shuffled ", len(v), " ", v[len(v)-1]) }

// largeValue sends a value of a hundred megabytes everywhere.
func largeValue(s beam.Scope, _ config) {
	values := beam.Reshuffle(s, beam.ParDo(s, large, integers(s, 2)))
	passert.Equals(s, beam.ParDo(s, sizeOf, values), "shuffled 104857600 0", "shuffled 104857600 1")
	passert.Equals(s, beam.ParDo(s, size, beam.GroupByKey(s, values)), "grouped 0 104857600 0", "grouped 1 104857600 1")
	read := beam.ParDo(s, sizes, integers(s, 1), beam.SideInput{Input: beam.DropKey(s, beam.ParDo(s, large, integers(s, 1)))})
	passert.Equals(s, read, "0 104857600 0")
}

// point is a key with fields.
type point struct {
	X int
	S string
}

func structKey(i int) (point, int) { return point{i % 2, "ü🦆"}, i }

func structGroup(p point, values func(*int) bool) string {
	return joinSorted(fmt.Sprint(p.X, p.S), values)
}

// structKeys groups by a struct.
func structKeys(s beam.Scope, _ config) {
	got := beam.ParDo(s, structGroup, beam.GroupByKey(s, beam.ParDo(s, structKey, integers(s, 5))))
	passert.Equals(s, got, "0ü🦆[0 2 4]", "1ü🦆[1 3]")
}

// verbose logs more than anybody reads.
func verbose(ctx context.Context, i int) int {
	log.Warn(ctx, strings.Repeat("x", 5<<20))
	for j := range 5000 {
		log.Debugf(ctx, "line %d", j)
	}
	return i
}

// logs has a long line and many lines in the log.
func logs(s beam.Scope, _ config) {
	passert.Equals(s, beam.ParDo(s, verbose, beam.Reshuffle(s, integers(s, 3))), 0, 1, 2)
}

// everyState keeps the values of a key in state of each kind.
type everyState struct {
	Value state.Value[int]
	Bag   state.Bag[int]
	Sum   state.Combining[int, int, int]
	Map   state.Map[string, int]
	Set   state.Set[int]
}

// ProcessElement emits what all of them know, once there are ten values.
func (f *everyState) ProcessElement(p state.Provider, key string, i int, emit func(string)) error {
	n, _, err1 := f.Value.Read(p)
	err := errors.Join(err1, f.Value.Write(p, n+1), f.Bag.Add(p, i), f.Sum.Add(p, i), f.Map.Put(p, fmt.Sprint(i%4), i), f.Set.Add(p, i%3))
	if err != nil || n < 9 {
		return err
	}
	bag, _, err1 := f.Bag.Read(p)
	total, _, err2 := f.Sum.Read(p)
	keys, _, err3 := f.Map.Keys(p)
	set, _, err4 := f.Set.Keys(p)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	slices.Sort(keys)
	slices.Sort(set)
	emit(fmt.Sprint(key, len(bag), total, keys, set))
	return errors.Join(f.Value.Clear(p), f.Bag.Clear(p), f.Sum.Clear(p), f.Map.Clear(p), f.Set.Clear(p))
}

// allState has two thousand keys with state of each kind.
func allState(s beam.Scope, _ config) {
	const n = 2000
	keys := beam.ParDo(s, tenKeys, beam.Reshuffle(s, integers(s, 10*n)))
	fn := &everyState{
		state.MakeValueState[int]("ü/value"), state.MakeBagState[int]("bag 🦆"),
		state.MakeCombiningState[int, int, int]("sum", sum), state.MakeMapState[string, int]("map"), state.MakeSetState[int]("set"),
	}
	want := make([]string, n)
	for i := range want {
		want[i] = fmt.Sprint("key", i, "=", 10, 55, []string{"0", "1", "2", "3"}, []int{0, 1, 2})
	}
	passert.EqualsList(s, beam.ParDo(s, fn, keys), want)
}

// loopBriefly sets timers that set themselves again, in both time domains, and
// counts how often they have fired.
type loopBriefly struct {
	Event      timers.EventTime
	Processing timers.ProcessingTime
	Events     state.Value[int]
	Others     state.Value[int]
}

const loops = 20

// ProcessElement sets both timers.
func (f *loopBriefly) ProcessElement(_ state.Provider, tp timers.Provider, _ string, _ int, _ func(string)) {
	f.Event.Set(tp, time.UnixMilli(0))
	f.Processing.Set(tp, time.Now())
}

// OnTimer sets the timer again, but not for ever.
func (f *loopBriefly) OnTimer(_ context.Context, ts beam.EventTime, sp state.Provider, tp timers.Provider, key string, timer timers.Context, emit func(string)) error {
	cell := f.Others
	if timer.Family == f.Event.Family {
		cell = f.Events
	}
	n, _, err := cell.Read(sp)
	if err := errors.Join(err, cell.Write(sp, n+1)); err != nil {
		return err
	}
	switch {
	case n+1 == loops:
		emit(key + timer.Family)
	case timer.Family == f.Event.Family:
		f.Event.Set(tp, ts.ToTime().Add(time.Second))
	default:
		f.Processing.Set(tp, time.Now())
	}
	return nil
}

// timersOfBoth has timers in both domains that loop.
func timersOfBoth(s beam.Scope, _ config) {
	fn := &loopBriefly{
		timers.InEventTime("event"), timers.InProcessingTime("processing"),
		state.MakeValueState[int]("events"), state.MakeValueState[int]("others"),
	}
	passert.Equals(s, beam.ParDo(s, fn, beam.ParDo(s, parity, integers(s, 2))),
		"evenevent", "evenprocessing", "oddevent", "oddprocessing")
}

// pieces emits an element as often as it says, in pieces, some of them empty,
// each of which leaves what comes after its first step for later.
type pieces struct{ tracked }

// CreateInitialRestriction is called for each element.
func (*pieces) CreateInitialRestriction(n int) offsetrange.Restriction {
	return offsetrange.Restriction{Start: 0, End: int64(n)}
}

// SplitRestriction makes many small ones.
func (*pieces) SplitRestriction(_ int, r offsetrange.Restriction) []offsetrange.Restriction {
	return append(r.EvenSplits(5), offsetrange.Restriction{Start: r.End, End: r.End})
}

// RestrictionSize is the number of steps left.
func (*pieces) RestrictionSize(_ int, r offsetrange.Restriction) float64 { return r.Size() }

// ProcessElement takes one step.
func (*pieces) ProcessElement(rt *sdf.LockRTracker, n int, emit func(int)) sdf.ProcessContinuation {
	r, ok := rt.GetRestriction().(offsetrange.Restriction)
	if !ok || !rt.TryClaim(r.Start) {
		return sdf.StopProcessing()
	}
	emit(n)
	return sdf.ResumeProcessingIn(0)
}

// splitsItself has a splittable function after a splittable function.
func splitsItself(s beam.Scope, _ config) {
	steps := beam.ParDo(s, &pieces{}, beam.ParDo(s, &pieces{}, integers(s, 20)))
	counts := beam.ParDo(s, keyValue, beam.CombinePerKey(s, sum, beam.ParDo(s, allOf, steps)))
	var want []any
	for i := 1; i < 20; i++ {
		want = append(want, fmt.Sprint(i, "=", i*i))
	}
	passert.Equals(s, counts, want...)
}

// failsAt fails at a point of its life.
type failsAt struct{ Point string }

func (f *failsAt) at(point string) error {
	if f.Point == point {
		return fmt.Errorf("it is enough, ü🦆, at %s (error 4715)", point)
	}
	return nil
}

// Setup may fail.
func (f *failsAt) Setup() error { return f.at("setup") }

// StartBundle may fail.
func (f *failsAt) StartBundle(func(int)) error { return f.at("start") }

// ProcessElement may fail.
func (f *failsAt) ProcessElement(i int, emit func(int)) error {
	emit(i)
	return f.at("process")
}

// FinishBundle may fail.
func (f *failsAt) FinishBundle(func(int)) error { return f.at("finish") }

// Teardown may fail, which is of no consequence.
func (f *failsAt) Teardown() error { return f.at("teardown") }

// failingAt returns a pipeline that fails at a point of the life of a DoFn.
func failingAt(point string) func(beam.Scope, config) {
	return func(s beam.Scope, _ config) {
		passert.Equals(s, beam.ParDo(s.Scope("Outer"), &failsAt{point}, integers(s, 3)), 0, 1, 2)
	}
}
