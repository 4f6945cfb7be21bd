package pebblestore_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
	"github.com/gorunner/gorunner/state/pebblestore"
)

// BenchmarkKeys reads and replaces values of 100 bytes, in bundles of a thousand,
// while all of them, or a fifth, fits in memory. Some keys are used much more
// often than others, or all alike.
func BenchmarkKeys(b *testing.B) {
	const keys, cellBytes = 200_000, 152
	for _, skewed := range []bool{true, false} {
		for _, fits := range []int64{100, 20} {
			b.Run(fmt.Sprintf("skewed=%v/fits=%d%%", skewed, fits), func(b *testing.B) {
				disk := shuffle.NewBudget(nil, 0)
				p := pebblestore.Params{Dir: b.TempDir(), Disk: disk.Account("state")}
				limit := int64(keys * cellBytes * 2)
				if fits < 100 {
					limit = fits * keys * cellBytes / 100
				}
				s := state.New(state.Params{
					Over: func(used int64) bool { return used > limit },
					Open: func() (state.Table, error) { return pebblestore.Open(p) },
				})
				bench(b, s, keys, skewed)
				b.ReportMetric(float64(disk.Used())/keys, "disk-B/key")
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

func bench(b *testing.B, s state.Store, keys uint64, skewed bool) {
	b.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(r, 1.2, 10, keys-1)
	key, value := make([]byte, 8), make([]byte, 100)
	bundle := func(next func() uint64) {
		txn := s.Begin()
		for range 1000 {
			binary.BigEndian.PutUint64(key, next()*0x9e3779b97f4a7c15)
			cell := state.Cell{Transform: "t", State: "s", Key: string(key)}
			_, err := state.Get(txn, cell, "")
			if err == nil {
				err = txn.ClearAll(cell)
			}
			if err == nil {
				err = txn.Append(cell, "", value)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		if err := txn.Settle(); err != nil {
			b.Fatal(err)
		}
		if err := txn.Apply(0); err != nil {
			b.Fatal(err)
		}
	}
	at := uint64(0)
	for range keys / 1000 {
		bundle(func() uint64 { at++; return at % keys })
	}
	next := func() uint64 { return r.Uint64N(keys) }
	if skewed {
		next = zipf.Uint64
	}
	b.ReportAllocs()
	bundles := 0
	for b.Loop() {
		bundle(next)
		bundles++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(bundles*3000), "ns/request")
}
