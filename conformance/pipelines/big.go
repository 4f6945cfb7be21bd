package main

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
)

func init() {
	register.Function1x2(fatValue)
	register.Function1x2(bigValue)
	register.Function2x1(digest)
	register.Function2x1(describe)
	register.Function1x2(withNothing)
	register.Function1x2(withBlank)
	register.Function2x1(countNothing)
	register.Iter1[[]byte]()
	beam.RegisterCoder(nothingType, encodeNothing, decodeNothing)
}

// The sizes of the hot key's values: together many messages, however large a
// runner makes its messages.
const (
	fatBytes = 1 << 10
	fatCount = 40_000
)

func fatValue(i int) (string, []byte) {
	return "hot", bytes.Repeat([]byte{byte(i)}, fatBytes)
}

// digest reads the values of a key.
func digest(key string, values func(*[]byte) bool) string {
	count, total := 0, 0
	for v := []byte(nil); values(&v); count++ {
		total += len(v) * int(v[0])
	}
	return fmt.Sprint(key, count, " ", total)
}

// hotKey has one key with more values than fit into a message.
func hotKey(s beam.Scope, c config) {
	n := fatCount * c.size
	total := 0
	for i := range n {
		total += fatBytes * int(byte(i))
	}
	hot := beam.ParDo(s, digest, beam.GroupByKey(s, beam.ParDo(s, fatValue, integers(s, n))))
	passert.Equals(s, hot, fmt.Sprint("hot", n, " ", total))
}

const bigBytes = 1 << 20

func bigValue(i int) (int, []byte) {
	value := make([]byte, bigBytes)
	for j := range value {
		value[j] = byte(i + j>>10)
	}
	return i, value
}

func describe(i int, value []byte) string {
	_, want := bigValue(i)
	if !bytes.Equal(value, want) {
		return fmt.Sprintf("%d: %d bytes with checksum %x are not the right ones", i, len(value), crc32.ChecksumIEEE(value))
	}
	return "right"
}

// bigValues sends 500 values of 1 MB through a Reshuffle.
func bigValues(s beam.Scope, c config) {
	n := 500 * c.size
	values := beam.ParDo(s, bigValue, beam.Reshuffle(s, integers(s, n)))
	rights := beam.ParDo(s, describe, beam.Reshuffle(s, values))
	want := make([]string, n)
	for i := range want {
		want[i] = "right"
	}
	passert.EqualsList(s, rights, want)
}

// nothing is a key that encodes to no bytes at all.
type nothing struct{}

var nothingType = reflect.TypeFor[nothing]() //nolint:gochecknoglobals // a constant in all but name

func encodeNothing(nothing) []byte          { return nil }
func decodeNothing([]byte) (nothing, error) { return nothing{}, nil }

func withNothing(i int) (nothing, int) { return nothing{}, i }

func countNothing(_ nothing, values func(*int) bool) string { return joinSorted("nothing", values) }

// emptyKeys groups by a key of zero bytes, and by the empty string.
func emptyKeys(s beam.Scope, _ config) {
	grouped := beam.ParDo(s, countNothing, beam.GroupByKey(s, beam.ParDo(s, withNothing, integers(s, 3))))
	passert.Equals(s, grouped, "nothing[0 1 2]")
	blank := beam.ParDo(s, joinSorted, beam.GroupByKey(s, beam.ParDo(s, withBlank, integers(s, 3))))
	passert.Equals(s, blank, "[0 1 2]")
}

func withBlank(i int) (string, int) { return "", i }
