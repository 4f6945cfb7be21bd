package main

import (
	"encoding/binary"
	"strings"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/textio"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	register.DoFn1x2[int, int, []byte](&recordFn{})
	register.DoFn1x2[int, int, int](&pairFn{})
	register.DoFn1x1[int, []byte](&valueFn{})
	register.DoFn2x1[int, func(int) func(*int) bool, int](&lookUpFn{})
	register.Function1x1(size)
	register.Function1x1(addOne)
	register.Function2x1(countValues)
	register.Function3x1(countBoth)
	register.Function1x2(pairWithOne)
	register.Function1x2(pairWithItself)
	register.Function2x1(countOf)
	register.Function2x0(extractWords)
}

// parDos has five transforms behind the source that all become one stage.
func parDos(s beam.Scope, z sizes) {
	col := source(s, z.records)
	const transforms = 5
	for range transforms - 1 {
		col = beam.ParDo(s, addOne, col)
	}
	wantSum(s, beam.ParDo(s, one, col), z.records)
}

func addOne(n int) int { return n + 1 }

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

func groupByKey(s beam.Scope, z sizes) {
	records := beam.ParDo(s, &recordFn{z.keys, z.valueBytes}, source(s, z.records))
	wantSum(s, beam.ParDo(s, countValues, beam.GroupByKey(s, records)), z.records)
}

func reshuffle(s beam.Scope, z sizes) {
	wantSum(s, beam.ParDo(s, one, beam.Reshuffle(s, source(s, z.records))), z.records)
}

// valueFn makes a value of an integer.
type valueFn struct{ Bytes int }

// ProcessElement makes a value.
func (f *valueFn) ProcessElement(i int) []byte {
	return binary.AppendUvarint(make([]byte, 0, f.Bytes), uint64(i))[:f.Bytes]
}

func size(value []byte) int { return len(value) }

func bigValues(s beam.Scope, z sizes) {
	values := beam.ParDo(s, &valueFn{z.valueBytes}, source(s, z.records))
	wantSum(s, beam.ParDo(s, size, beam.Reshuffle(s, values)), z.records*z.valueBytes)
}

// pairFn gives an integer a key and a one.
type pairFn struct{ Keys int }

// ProcessElement makes the pair.
func (f *pairFn) ProcessElement(i int) (int, int) { return i % f.Keys, 1 }

func pairs(s beam.Scope, z sizes) beam.PCollection {
	return beam.ParDo(s, &pairFn{z.keys}, source(s, z.records))
}

func combinePerKey(s beam.Scope, z sizes) {
	sums := beam.CombinePerKey(s, &sumFn{}, pairs(s, z))
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

// coGroupByKey joins two collections of as many records each.
func coGroupByKey(s beam.Scope, z sizes) {
	joined := beam.CoGroupByKey(s, pairs(s.Scope("left"), z), pairs(s.Scope("right"), z))
	wantSum(s, beam.ParDo(s, countBoth, joined), 2*z.records)
}

func countBoth(_ int, left, right func(*int) bool) int {
	n := 0
	for v := 0; left(&v); {
		n += v
	}
	for v := 0; right(&v); {
		n += v
	}
	return n
}

// lookUpFn looks every element up in a map of the keys.
type lookUpFn struct{ Keys int }

// ProcessElement is 1 if the map has what it should.
func (f *lookUpFn) ProcessElement(i int, get func(int) func(*int) bool) int {
	const stride = 7919 // so that neighbours are not looked up one after the other
	key, found := i*stride%f.Keys, 0
	if values := get(key); values(&found) && found == key {
		return 1
	}
	return 0
}

func pairWithItself(i int) (int, int) { return i, i }

func sideInput(s beam.Scope, z sizes) {
	entries := beam.ParDo(s, pairWithItself, source(s.Scope("map"), z.keys))
	main := beam.Reshuffle(s, source(s.Scope("main"), z.records))
	found := beam.ParDo(s, &lookUpFn{z.keys}, main, beam.SideInput{Input: entries})
	wantSum(s, found, z.records)
}
