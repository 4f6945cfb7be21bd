package jobdb_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
	"github.com/gorunner/gorunner/state"
)

// BenchmarkState reads and replaces values of 16 bytes, in bundles of a thousand
// elements. The state lasts, or not, and all of it fits in memory, or a fifth; some
// keys are used much more often than others.
func BenchmarkState(b *testing.B) {
	const keys, cellBytes = 200_000, 72
	for _, lasts := range []bool{false, true} {
		for _, fits := range []int64{100, 20} {
			if !lasts && fits < 100 {
				continue
			}
			b.Run(fmt.Sprintf("lasts=%v/fits=%d%%", lasts, fits), func(b *testing.B) {
				p := state.Params{Over: func(used int64) bool { return fits < 100 && used > fits*keys*cellBytes/100 }}
				commit := func(txn state.Txn) error { return txn.Apply(0) }
				if lasts {
					d, err := jobdb.Open(jobdb.Params{Dir: b.TempDir()})
					if err != nil {
						b.Fatal(err)
					}
					defer d.Close()
					p.Lasting = &state.Lasting{
						Table: d.State(), Epoch: d.Epoch(), Durable: func() uint64 { return uint64(d.Durable()) },
						Wait: func(ctx context.Context, seq uint64) error { return d.Wait(ctx, journal.Seq(seq)) },
					}
					commit = func(txn state.Txn) error {
						seq, err := d.Append(b.Context(), &journal.Commit{State: txn.Changes()})
						if err != nil {
							return err
						}
						return txn.Apply(uint64(seq))
					}
				}
				benchState(b, state.New(p), keys, commit)
			})
		}
	}
}

func benchState(b *testing.B, s state.Store, keys uint64, commit func(state.Txn) error) {
	b.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(r, 1.2, 10, keys-1)
	key, value := make([]byte, 8), make([]byte, 16)
	bundle := func(next func() uint64) {
		txn := s.Begin()
		for range 1000 {
			binary.BigEndian.PutUint64(key, next()*0x9e3779b97f4a7c15)
			cell := state.Cell{Transform: "t", State: "s", Key: string(key)}
			if _, err := txn.Value(cell, ""); err != nil {
				b.Fatal(err)
			}
			_ = txn.ClearAll(cell)
			_ = txn.Append(cell, "", value)
		}
		if err := txn.Settle(); err != nil {
			b.Fatal(err)
		}
		if err := commit(txn); err != nil {
			b.Fatal(err)
		}
	}
	at := uint64(0)
	for range keys / 1000 {
		bundle(func() uint64 { at++; return at % keys })
	}
	b.ReportAllocs()
	before := cpu()
	bundles := 0
	for b.Loop() {
		bundle(zipf.Uint64)
		bundles++
	}
	b.ReportMetric(float64(cpu()-before)/float64(bundles*3000), "cpu-ns/request")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(bundles*3000), "ns/request")
}

func cpu() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
