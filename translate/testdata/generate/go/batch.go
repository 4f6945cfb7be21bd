package main

import (
	"fmt"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/typex"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/io/filesystem/local" // the scheme of textio's paths
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/textio"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/stats"
)

func numbers(s beam.Scope) beam.PCollection {
	return beam.ParDo(s, emitNumbers, beam.Impulse(s))
}

func impulseParDo(s beam.Scope) {
	col := beam.ParDo(s, double, numbers(s))
	beam.ParDo(s, keepEven, col)
}

func wordcount(s beam.Scope) {
	lines := textio.Read(s, "input/*.txt")
	counted := stats.Count(s, beam.ParDo(s, extractWords, lines))
	textio.Write(s, "output/counts.txt", beam.ParDo(s, formatCount, counted))
}

func groupByKey(s beam.Scope) {
	pairs := beam.ParDo(s, pairWithLength, words(s))
	beam.ParDo(s, formatGroup, beam.GroupByKey(s, pairs))
}

func gbkTwoConsumers(s beam.Scope) {
	grouped := beam.GroupByKey(s, beam.ParDo(s, pairWithLength, words(s)))
	beam.ParDo(s, formatGroup, grouped)
	again := beam.GroupByKey(s, beam.ParDo(s, countGroup, grouped))
	beam.ParDo(s, formatGroup, again)
}

func combineLiftable(s beam.Scope) {
	pairs := beam.ParDo(s, pairWithLength, words(s))
	beam.CombinePerKey(s, &meanFn{}, pairs)
	stats.SumPerKey(s, pairs)
}

func combineGlobally(s beam.Scope) {
	beam.Combine(s, &meanFn{}, numbers(s))
}

// flattenSingle shows that the Go SDK drops a Flatten of one input.
func flattenSingle(s beam.Scope) {
	beam.ParDo(s, double, beam.Flatten(s, numbers(s)))
}

// flattenOfRoots flattens impulses, and flattens flattened collections.
func flattenOfRoots(s beam.Scope) {
	a := beam.Flatten(s, beam.Impulse(s), beam.Impulse(s))
	b := beam.Flatten(s, beam.Impulse(s), a)
	grouped := beam.GroupByKey(s, beam.ParDo(s, keyByParity, beam.ParDo(s, emitNumbers, b)))
	beam.ParDo(s, sumOfGroup, grouped)
}

func sumOfGroup(_ int, values func(*int) bool) int {
	var n, sum int
	for values(&n) {
		sum += n
	}
	return sum
}

func reshuffleWindowed(s beam.Scope) {
	col := beam.ParDo(s, emitTimestamped, beam.Impulse(s))
	col = beam.WindowInto(s, window.NewFixedWindows(3*time.Second), col)
	keyed := beam.Reshuffle(s, beam.ParDo(s, keyByParity, beam.Reshuffle(s, col)))
	beam.ParDo(s, sumOfGroup, beam.GroupByKey(s, keyed))
}

// unusedOutputs leaves two of three outputs without a consumer, and ends in a
// ParDo that has none.
func unusedOutputs(s beam.Scope) {
	_, large, _ := beam.ParDo3(s, emitThree, numbers(s))
	beam.ParDo0(s, swallow, large)
}

func swallow(int) {}

func sideInputSingleton(s beam.Scope) {
	side := beam.Create(s, 42)
	beam.ParDo(s, addSingleton, numbers(s), beam.SideInput{Input: side})
}

// sideInputDiamond reads one PCollection as main and as side input.
func sideInputDiamond(s beam.Scope) {
	col := numbers(s)
	beam.ParDo(s, addAll, col, beam.SideInput{Input: col})
}

// sideInputChain must not be fused through: each ParDo waits for the one before.
func sideInputChain(s beam.Scope) {
	main := numbers(s)
	side := beam.ParDo(s, double, main)
	for range 3 {
		side = beam.ParDo(s, addAll, main, beam.SideInput{Input: side})
	}
}

func sdfBounded(s beam.Scope) {
	beam.ParDo(s, double, beam.ParDo(s, &rangeFn{}, beam.Create(s, 100, 1000)))
}

// customCoder has the custom coder in key, value and element position.
func customCoder(s beam.Scope) {
	temperatures := beam.ParDo(s, toTemperature, numbers(s))
	keyed := beam.AddFixedKey(s, temperatures)
	grouped := beam.GroupByKey(s, keyed)
	beam.ParDo(s, firstTemperature, grouped)
	byTemperature := beam.GroupByKey(s, beam.SwapKV(s, keyed))
	beam.ParDo(s, sumOfTemperature, byTemperature)
	beam.ParDo(s, fromTemperature, beam.Reshuffle(s, temperatures))
}

func firstTemperature(_ int, values func(*temperature) bool) temperature {
	var t temperature
	values(&t)
	return t
}

func sumOfTemperature(_ temperature, values func(*int) bool) int { return sumOfGroup(0, values) }

func rowCoder(s beam.Scope) {
	people := beam.ParDo(s, toPerson, words(s))
	grouped := beam.GroupByKey(s, beam.ParDo(s, cityOf, people))
	beam.ParDo(s, firstPerson, grouped)
}

func fixedKey(s beam.Scope) {
	keyed := beam.AddFixedKey(s, numbers(s))
	beam.ParDo(s, sumOfGroup, beam.GroupByKey(s, keyed))
}

func nestedComposites(s beam.Scope) {
	outer := s.Scope("Outer")
	middle := outer.Scope("Middle")
	inner := middle.Scope("Inner")
	col := beam.ParDo(inner, double, numbers(inner))
	col = beam.ParDo(middle, double, col)
	pairs := beam.ParDo(inner, keyByParity, col)
	summed := stats.SumPerKey(outer, pairs)
	beam.DropKey(s.Scope("Outer"), summed)
}

func partition(s beam.Scope) {
	parts := beam.Partition(s, 3, remainder, numbers(s))
	beam.ParDo(s, double, parts[0])
	beam.ParDo(s, keepEven, parts[1])
	beam.ParDo(s, double, beam.Flatten(s, parts[1], parts[2]))
}

// big has more than two hundred transforms: chains, joins and groupings.
func big(s beam.Scope) {
	const branches, depth = 10, 17
	var ends []beam.PCollection
	source := numbers(s)
	for b := range branches {
		branch := s.Scope(fmt.Sprintf("Branch%d", b))
		col := source
		for range depth {
			col = beam.ParDo(branch, double, col)
		}
		grouped := beam.GroupByKey(branch, beam.ParDo(branch, keyByParity, col))
		ends = append(ends, beam.ParDo(branch, sumOfGroup, grouped))
	}
	beam.ParDo(s, double, beam.Flatten(s, ends...))
}

// externalUnexpanded asks for a transform that no runner knows.
func externalUnexpanded(s beam.Scope) {
	out := beam.External(s, "example:transform:unknown:v1", []byte("payload"),
		[]beam.PCollection{numbers(s)}, []beam.FullType{typex.New(intType)}, true)
	beam.ParDo(s, double, out[0])
}
