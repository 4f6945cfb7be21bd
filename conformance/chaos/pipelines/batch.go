package main

import (
	"fmt"
	"hash/fnv"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/timers"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/textio"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/stats"
)

func init() {
	register.Function2x0(extractWords)
	register.Function2x1(formatCount)
	register.Function1x2(record)
	register.Function2x1(digest)
	register.Function1x2(keyOf)
	register.Function2x1(formatPair)
	register.Function1x1(formatInt)
	beam.RegisterType(reflect.TypeFor[countFn]())
	beam.RegisterType(reflect.TypeFor[lookUpFn]())
}

func write(s beam.Scope, c config, lines beam.PCollection) {
	textio.Write(s, filepath.Join(c.out, "out"), lines)
}

func extractWords(line string, emit func(string)) {
	for word := range strings.FieldsSeq(line) {
		emit(word)
	}
}

func formatCount(word string, n int) string { return fmt.Sprint(word, ": ", n) }

func wordCount(s beam.Scope, c config) {
	words := beam.ParDo(s, extractWords, textio.Read(s, c.in))
	write(s, c, beam.ParDo(s, formatCount, stats.Count(s, words)))
}

const keys = 500

// record is an integer with bytes that follow from it.
func record(i int) (int, []byte) {
	value := fmt.Appendf(make([]byte, 0, 128), "%d:", i)
	for len(value) < 100 {
		value = append(value, byte('a'+(i+len(value))%26))
	}
	return i * 7919 % keys, value
}

// digest has all values of a key in it, whatever their order.
func digest(key int, values func(*[]byte) bool) string {
	n, sum := 0, uint64(0)
	for v := []byte(nil); values(&v); n++ {
		h := fnv.New64a()
		h.Write(v)
		sum += h.Sum64()
	}
	return fmt.Sprintf("%d: %d values, %016x", key, n, sum)
}

func groupByKey(s beam.Scope, c config) {
	write(s, c, beam.ParDo(s, digest, beam.GroupByKey(s, beam.ParDo(s, record, source(s, c.size)))))
}

func keyOf(i int) (int, int) { return i * 7919 % keys, i }

// countFn keeps what it sees of a key in a value and a bag, and emits what it has
// when a timer fires.
type countFn struct {
	Sum  state.Value[int]
	All  state.Bag[int]
	Fire timers.EventTime
}

// ProcessElement adds an element.
func (f *countFn) ProcessElement(sp state.Provider, tp timers.Provider, _, value int, _ func(int, string)) error {
	sum, _, err := f.Sum.Read(sp)
	if err != nil {
		return err
	}
	if err := f.Sum.Write(sp, sum+value); err != nil {
		return err
	}
	f.Fire.Set(tp, time.UnixMilli(1))
	return f.All.Add(sp, value)
}

// OnTimer emits.
func (f *countFn) OnTimer(sp state.Provider, _ timers.Provider, key int, _ timers.Context, emit func(int, string)) error {
	sum, _, err := f.Sum.Read(sp)
	if err != nil {
		return err
	}
	all, _, err := f.All.Read(sp)
	if err != nil {
		return err
	}
	again, seen := 0, map[int]bool{}
	for _, v := range all {
		again += v
		seen[v] = true
	}
	emit(key, fmt.Sprintf("sum %d, bag of %d, %d different, sum %d", sum, len(all), len(seen), again))
	return nil
}

func formatPair(key int, text string) string { return fmt.Sprint(key, ": ", text) }

func stateful(s beam.Scope, c config) {
	f := &countFn{state.MakeValueState[int]("sum"), state.MakeBagState[int]("all"), timers.InEventTime("fire")}
	counts := beam.ParDo(s, f, beam.ParDo(s, keyOf, source(s, c.size)))
	write(s, c, beam.ParDo(s, formatPair, counts))
}

// lookUpFn looks every element up in a map, and in a list.
type lookUpFn struct{}

// ProcessElement says what it has found.
func (*lookUpFn) ProcessElement(i int, get func(int) func(*[]byte) bool, list func(*int) bool) string {
	n, sum := 0, uint64(0)
	values := get(i % keys)
	for v := []byte(nil); values(&v); n++ {
		h := fnv.New64a()
		h.Write(v)
		sum += h.Sum64()
	}
	total := 0
	for v := 0; list(&v); {
		total += v
	}
	return fmt.Sprintf("%d: %d values, %016x, list %d", i, n, sum, total)
}

func sideInputs(s beam.Scope, c config) {
	integers := source(s, c.size)
	view := beam.ParDo(s, record, integers)
	small := beam.Reshuffle(s, source(s, 100))
	main := beam.Reshuffle(s, source(s, 2*keys))
	write(s, c, beam.ParDo(s, &lookUpFn{}, main, beam.SideInput{Input: view}, beam.SideInput{Input: small}))
}

func formatInt(i int) string { return fmt.Sprint(i) }

// restrictions has splittable functions that leave something for later, again
// and again.
func restrictions(s beam.Scope, c config) {
	f := stepsFn{tracked: tracked{N: c.size, Shards: 7}, Step: 50, Pause: 5}
	lines := beam.ParDo(s, formatInt, beam.Reshuffle(s, steps(s, f)))
	write(s, c, lines)
}
