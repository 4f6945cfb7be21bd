package group

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// A frame is read as it was written.
func TestRunRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		small := rapid.SliceOfN(rapid.Byte(), 0, 40)
		w := runWriter{room: newRoom(nil), sizes: runSizes{
			frame: rapid.IntRange(1, 200).Draw(t, "frame"), inline: rapid.IntRange(1, 30).Draw(t, "inline"), chunk: 10,
		}}
		var want []record
		for range rapid.IntRange(0, 10).Draw(t, "records") {
			v := small.Draw(t, "values")
			r := record{
				key: small.Draw(t, "key"), window: small.Draw(t, "window"),
				earliest: element.EventTime(rapid.Int64().Draw(t, "earliest")),
				latest:   element.EventTime(rapid.Int64().Draw(t, "latest")),
				values: values{
					pieces: []piece{{data: v}}, bytes: len(v), total: rapid.Int64Min(0).Draw(t, "count"),
				},
			}
			if err := w.add(&r); err != nil {
				t.Fatal(err)
			}
			want = append(want, r)
		}
		run, err := w.close()
		if err != nil {
			t.Fatal(err)
		}
		for _, frame := range run.frames {
			for rest := frame.Data; len(rest) > 0; want = want[1:] {
				r, n, err := cutRecord(rest)
				if err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
				var v []byte
				for range r.chunks {
					v = append(v, run.chunks[0].Data...)
					run.chunks = run.chunks[1:]
				}
				v = append(v, r.inline...)
				is := want[0]
				if !bytes.Equal(r.key, is.key) || !bytes.Equal(r.window, is.window) || r.earliest != is.earliest ||
					r.latest != is.latest || r.count != is.values.total || !bytes.Equal(v, is.values.pieces[0].data) {
					t.Fatalf("got %+v with values %x, want %+v", r, v, is)
				}
			}
		}
		if len(want) > 0 || len(run.chunks) > 0 {
			t.Fatalf("%d records and %d chunks missing", len(want), len(run.chunks))
		}
	})
}

// A run may be anything that a disk returns.
func FuzzCutRecord(f *testing.F) {
	w := runWriter{room: newRoom(nil), sizes: sizesFor(0, 100)}
	for _, n := range []int{3, 300} {
		r := record{key: []byte("key"), window: []byte("window"), values: values{
			pieces: []piece{{data: make([]byte, n)}}, bytes: n, total: 3,
		}}
		if err := w.add(&r); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(w.frame)
	f.Fuzz(func(t *testing.T, data []byte) {
		for rest := data; len(rest) > 0; {
			r, n, err := cutRecord(rest)
			if err != nil {
				if !errors.Is(err, shuffle.ErrDisk) && !errors.Is(err, coder.ErrShort) {
					t.Fatal(err)
				}
				break
			}
			if n < len(r.key)+len(r.window)+len(r.inline) || n > len(rest) || r.chunks < 0 || r.count < 0 {
				t.Fatalf("record of %d bytes: %+v", n, r)
			}
			rest = rest[n:]
		}
		// As frame of a run, it is read to the end or to the error.
		run := &sortedRun{frames: []element.Chunk{{Data: data}}, chunks: make([]element.Chunk, 2)}
		records := 0
		err := mergeSome(t.Context(), newRoom(nil), []*sortedRun{run}, func(*record) error {
			records++
			return nil
		})
		if err != nil && !errors.Is(err, shuffle.ErrDisk) {
			t.Fatalf("after %d records: %v", records, err)
		}
	})
}

// Entries come in the order of the hashes of their keys, each key's together.
func TestHashedOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab := newTable(0, 1<<20)
		n := rapid.SampledFrom([]int{0, 1, 3, 50, 3000}).Draw(t, "entries")
		for i := range n {
			key := []byte{byte(i % 251), byte(i / 600)}
			at := tab.keep(key)
			tab.add([]byte{byte(i % 7)}, key, at, 0, at)
		}
		all := tab.hashed()
		if len(all) != len(tab.entries) {
			t.Fatalf("%d of %d entries", len(all), len(tab.entries))
		}
		sorted := slices.IsSortedFunc(all, func(a, b hashed) int {
			switch {
			case a.hash < b.hash:
				return -1
			case a.hash > b.hash:
				return 1
			}
			x, y := &tab.entries[a.entry], &tab.entries[b.entry]
			if c := bytes.Compare(tab.at(x.key), tab.at(y.key)); c != 0 {
				return c
			}
			return bytes.Compare(tab.at(x.window), tab.at(y.window))
		})
		if !sorted {
			t.Fatal("not in order")
		}
	})
}

// Where nothing is grouped in parts, more values than a table takes are an error.
func TestIndexBoundsValues(t *testing.T) {
	x := indexer{layout: shuffle.Layout{
		Value:  coder.Must(coder.KV, coder.Must(coder.Bytes), coder.Must(coder.Bytes)),
		Window: coder.Must(coder.GlobalWindow),
	}}
	x.prepare()
	one := coder.PutHeader(nil, element.Header{NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring}})
	input := []element.Block{{Data: slices.Repeat(append(one, 0, 0), 6), Count: 6}}
	for limit, fits := range map[int]bool{5: false, 6: true} {
		x.valuesMax = limit
		if _, err := x.index(t.Context(), input); fits != (err == nil) || !fits && !errors.Is(err, errTooMany) {
			t.Errorf("limit %d: got error %v", limit, err)
		}
	}
}
