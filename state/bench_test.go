package state_test

import (
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/gorunner/gorunner/state"
)

// A bag that grows bundle by bundle must not cost more the larger it is.
func BenchmarkAppend(b *testing.B) {
	value := make([]byte, 100)
	m := state.NewMemory()
	cell := state.Cell{State: "s"}
	b.ReportAllocs()
	for b.Loop() {
		txn := m.Begin()
		if err := txn.Append(cell, "", value); err != nil {
			b.Fatal(err)
		}
		if err := txn.Apply(0); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKeys is a stateful DoFn: for each of a million keys, in bundles of a
// thousand, a value is read and replaced, and another is added to a bag.
func BenchmarkKeys(b *testing.B) {
	const keys, perBundle = 1_000_000, 1000
	store := state.NewMemory()
	key := make([]byte, 8)
	value := make([]byte, 16)
	element := func(txn state.Txn, n int) {
		binary.BigEndian.PutUint64(key, uint64(n)*2654435761%keys)
		count := state.Cell{Transform: "transform", State: "count", Key: string(key), Window: ""}
		bag := state.Cell{Transform: "transform", State: "bag", Key: string(key), Window: ""}
		if _, err := state.Get(txn, count, ""); err != nil {
			b.Fatal(err)
		}
		if err := txn.ClearAll(count); err != nil {
			b.Fatal(err)
		}
		if err := txn.Append(count, "", value); err != nil {
			b.Fatal(err)
		}
		if err := txn.Append(bag, "", value[:1]); err != nil {
			b.Fatal(err)
		}
	}
	n := 0
	bundle := func() {
		txn := store.Begin()
		for range perBundle {
			element(txn, n)
			n++
		}
		if err := txn.Apply(0); err != nil {
			b.Fatal(err)
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range keys / perBundle {
		bundle()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportAllocs()
	bundles := 0
	for b.Loop() {
		bundle()
		bundles++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(bundles*perBundle*4), "ns/request")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(2*keys), "B/cell")
	b.ReportMetric(float64(after.HeapObjects-before.HeapObjects)/(2*keys), "objects/cell")
	runtime.KeepAlive(store)
}
