package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
)

func init() {
	register.Function1x1(double)
	register.Function1x2(parity)
	register.Function2x1(joinSorted)
	register.Function3x0(split)
	register.Function3x1(addBoth)
	register.Function2x1(addAll)
	register.Function2x1(sum)
	register.Function2x1(keyed)
	register.Function3x1(coGrouped)
	register.Function2x1(lookUp)
	register.DoFn2x0[[]byte, func(int)](&rangeFn{})
	register.Emitter1[int]()
	register.Iter1[int]()
	register.Iter1[string]()
}

// rangeFn emits the integers from 0 to N.
type rangeFn struct{ N int }

// ProcessElement is called once, for the impulse.
func (f *rangeFn) ProcessElement(_ []byte, emit func(int)) {
	for i := range f.N {
		emit(i)
	}
}

// integers returns a collection of the integers from 0 to n.
func integers(s beam.Scope, n int) beam.PCollection {
	return beam.ParDo(s.Scope("Integers"), &rangeFn{n}, beam.Impulse(s))
}

func double(i int) int { return 2 * i }

func parity(i int) (string, int) {
	if i%2 == 0 {
		return "even", i
	}
	return "odd", i
}

// joinSorted formats a key and its values, in an order that does not depend on
// how they arrived.
func joinSorted(key string, values func(*int) bool) string {
	var all []int
	for v := 0; values(&v); {
		all = append(all, v)
	}
	slices.Sort(all)
	return fmt.Sprint(key, all)
}

// tiny is the smallest pipeline that has two stages and a shuffle.
func tiny(s beam.Scope, _ config) {
	grouped := beam.GroupByKey(s, beam.ParDo(s, parity, beam.ParDo(s, double, integers(s, 4))))
	passert.Equals(s, beam.ParDo(s, joinSorted, grouped), "even[0 2 4 6]")
}

func split(i int, even, odd func(int)) {
	if i%2 == 0 {
		even(i)
	} else {
		odd(i)
	}
}

// unusedOutputs has outputs and collections that nobody consumes.
func unusedOutputs(s beam.Scope, _ config) {
	even, _ := beam.ParDo2(s, split, integers(s, 10))
	beam.GroupByKey(s, beam.ParDo(s, parity, even))
	beam.ParDo(s, double, even)
	passert.Equals(s, even, 0, 2, 4, 6, 8)
}

func addBoth(i int, a, b func(*int) bool) int {
	for _, it := range []func(*int) bool{a, b} {
		for v := 0; it(&v); {
			i += v
		}
	}
	return i
}

func addAll(i int, a func(*int) bool) int {
	for v := 0; a(&v); {
		i += v
	}
	return i
}

func sum(a, b int) int { return a + b }

// emptyCollections sends nothing through everything.
func emptyCollections(s beam.Scope, _ config) {
	nothing := integers(s.Scope("Nothing"), 0)
	passert.Empty(s, nothing)
	grouped := beam.ParDo(s, joinSorted, beam.GroupByKey(s, beam.ParDo(s, parity, nothing)))
	passert.Empty(s, grouped)
	passert.Empty(s, beam.Flatten(s, nothing, beam.ParDo(s, double, nothing)))
	passert.Empty(s, beam.Reshuffle(s, nothing))
	passert.Empty(s, beam.ParDo(s, addAll, nothing, beam.SideInput{Input: integers(s, 3)}))
	three := integers(s.Scope("Three"), 3)
	passert.Equals(s, beam.ParDo(s, addAll, three, beam.SideInput{Input: nothing}), 0, 1, 2)
	passert.Equals(s, beam.Flatten(s, nothing, three), 0, 1, 2)
}

// diamond reads collections as main and as side inputs that stem from one.
func diamond(s beam.Scope, _ config) {
	root := integers(s, 4) // sum 6
	left := beam.ParDo(s, double, root)
	right := beam.ParDo(s, addAll, root, beam.SideInput{Input: root}) // 6 7 8 9, sum 30
	joined := beam.ParDo(s, addBoth, left, beam.SideInput{Input: right}, beam.SideInput{Input: left})
	passert.Equals(s, joined, 42, 44, 46, 48)
	again := beam.ParDo(s, addAll, joined, beam.SideInput{Input: joined})
	passert.Equals(s, again, 222, 224, 226, 228)
}

// flattenTwice has a collection twice among the inputs of a Flatten.
func flattenTwice(s beam.Scope, _ config) {
	root := integers(s, 3)
	both := beam.Flatten(s, root, beam.ParDo(s, double, root), root)
	passert.Equals(s, both, 0, 1, 2, 0, 2, 4, 0, 1, 2)
	passert.Equals(s, beam.ParDo(s, joinSorted, beam.GroupByKey(s, beam.ParDo(s, parity, both))),
		"even[0 0 0 2 2 2 4]", "odd[1 1]")
}

func keyed(key string, i int) string { return fmt.Sprint(key, i) }

func coGrouped(key string, a, b func(*int) bool) string {
	return joinSorted(key, a) + strings.TrimPrefix(joinSorted(key, b), key)
}

// coGroup joins two collections, one of which lacks a key.
func coGroup(s beam.Scope, _ config) {
	a := beam.ParDo(s, parity, integers(s.Scope("A"), 5))
	b := beam.ParDo(s, parity, beam.ParDo(s, double, integers(s.Scope("B"), 3)))
	joined := beam.ParDo(s, coGrouped, beam.CoGroupByKey(s, a, b))
	passert.Equals(s, joined, "even[0 2 4][0 2 4]", "odd[1 3][]")
}

// combine combines per key and globally, of something and of nothing.
func combine(s beam.Scope, c config) {
	n := 1000 * c.size
	perKey := beam.CombinePerKey(s, sum, beam.ParDo(s, parity, integers(s, n)))
	even := n / 2 * (n/2 - 1)
	passert.Equals(s, beam.ParDo(s, keyed, perKey), fmt.Sprint("even", even), fmt.Sprint("odd", even+n/2))
	passert.Equals(s, beam.Combine(s, sum, integers(s, n)), n*(n-1)/2)
}

func lookUp(i int, view func(string) func(*int) bool) string {
	return joinSorted(fmt.Sprint(i), view("odd")) + joinSorted("", view("neither"))
}

// mapView looks up keys of a side input, one of which is missing.
func mapView(s beam.Scope, _ config) {
	view := beam.ParDo(s, parity, integers(s.Scope("View"), 6))
	found := beam.ParDo(s, lookUp, integers(s, 2), beam.SideInput{Input: view})
	passert.Equals(s, found, "0[1 3 5][]", "1[1 3 5][]")
}
