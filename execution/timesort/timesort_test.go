package timesort_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/timesort"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

func layout() *shuffle.Layout {
	bytes := coder.Must(coder.Bytes)
	return &shuffle.Layout{Value: coder.Must(coder.KV, bytes, bytes), Window: coder.Must(coder.GlobalWindow)}
}

// item is an element of one-byte key and one-byte value.
type item struct {
	key, id byte
	at      element.EventTime
}

func encode(data []byte, it item) []byte {
	data = coder.PutHeader(data, element.Header{Timestamp: it.at, NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring}})
	return append(data, 1, it.key, 1, it.id)
}

func decode(t interface{ Fatal(args ...any) }, blocks []element.Block) (items []item) {
	for i := range blocks {
		b := &blocks[i]
		least, count := element.MaxTime, 0
		if err := layout().Each(b, func(e *shuffle.Element, _ []byte) error {
			items = append(items, item{e.Value[1], e.Value[3], e.Header.Timestamp})
			least = min(least, e.Header.Timestamp)
			count++
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if least != b.MinTime || count != b.Count {
			t.Fatal("block of", b.Count, "elements from", b.MinTime, "has", count, "from", least)
		}
	}
	return items
}

// stage is a sorter with its state, its timers and its watermark.
type stage struct {
	sorter    *timesort.Sorter
	store     state.Store
	timers    map[string]timesort.Timer
	watermark element.EventTime
	dropped   int64
}

func newStage(lateness time.Duration) *stage {
	return &stage{
		sorter:    timesort.New(timesort.Params{Name: "sort", Layout: layout(), Lateness: lateness, BlockBytes: 30}),
		store:     state.NewMemory(),
		timers:    make(map[string]timesort.Timer),
		watermark: element.MinTime,
	}
}

// run executes a bundle with the items and the timers that are due.
func (s *stage) run(items []item) (out []element.Block, err error) {
	b := &timesort.Bundle{Watermark: s.watermark, State: s.store.Begin()}
	for _, it := range items {
		b.Input = append(b.Input, element.Block{Data: encode(nil, it), Count: 1, MinTime: it.at})
	}
	for _, key := range s.keys() {
		if t := s.timers[key]; t.Fire < s.watermark || s.watermark == element.MaxTime {
			b.Due = append(b.Due, t)
			delete(s.timers, key)
		}
	}
	b.Set = func(t timesort.Timer) error { s.timers[string(t.Key)] = t; return nil }
	b.Emit = func(b element.Block) error { out = append(out, b); return nil }
	if err := s.sorter.Run(context.Background(), b); err != nil {
		return nil, err
	}
	s.dropped += b.Dropped
	return out, b.State.Apply(0)
}

func (s *stage) keys() (keys []string) {
	for key := range s.timers {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// TestScripts runs the scripts of testdata:
//
//	new [lateness=MS]
//	bundle [KEY@TIME ...]
//	watermark TIME
//
// A bundle has the elements of its arguments, numbered from a on, and the timers
// that are due. It prints what is emitted, and the timers that are set then.
func TestScripts(t *testing.T) {
	var s *stage
	next := byte('a')
	datadriven.RunTest(t, "testdata/scripts", func(t *testing.T, d *datadriven.TestData) string {
		t.Helper()
		var items []item
		switch d.Cmd {
		case "new":
			ms := 0
			d.MaybeScanArgs(t, "lateness", &ms)
			s, next = newStage(time.Duration(ms)*time.Millisecond), 'a'
			return ""
		case "watermark":
			s.watermark = parse(t, d.CmdArgs[0].Key)
		case "bundle":
			for _, arg := range d.CmdArgs {
				key, at, _ := strings.Cut(arg.Key, "@")
				items = append(items, item{key[0], next, parse(t, at)})
				next++
			}
		default:
			d.Fatalf(t, "unknown command %s", d.Cmd)
		}
		out, err := s.run(items)
		if err != nil {
			return err.Error() + "\n"
		}
		var b strings.Builder
		for _, it := range decode(t, out) {
			fmt.Fprintf(&b, "%c at %v in key %c\n", it.id, it.at, it.key)
		}
		for _, key := range s.keys() {
			fmt.Fprintf(&b, "timer of key %s at %v holds %v\n", key[1:], s.timers[key].Fire, s.timers[key].Hold)
		}
		if s.dropped > 0 {
			fmt.Fprintf(&b, "%d dropped\n", s.dropped)
		}
		return b.String()
	})
}

func parse(t *testing.T, text string) element.EventTime {
	t.Helper()
	if text == "inf" {
		return element.MaxTime
	}
	var at element.EventTime
	if _, err := fmt.Sscan(text, &at); err != nil {
		t.Fatalf("time %q: %v", text, err)
	}
	return at
}

// TestOrder holds that, however elements come and the watermark advances, each
// that is not too late is emitted once, when the watermark has passed it by the
// lateness and not before, and after all earlier ones of its key.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]int{1, 1000, 4096, 100_000}).Draw(t, "unit")
		lateness := unit * rapid.IntRange(0, 3).Draw(t, "lateness")
		s := newStage(time.Duration(lateness) * time.Millisecond)
		passed := func(at element.EventTime) bool {
			return s.watermark == element.MaxTime || at+element.EventTime(lateness) < s.watermark
		}
		var kept, got []item
		last := make(map[byte]item)
		var dropped int64
		step := func(items []item) {
			for _, it := range items {
				if passed(it.at) {
					dropped++
				} else {
					kept = append(kept, it)
				}
			}
			out, err := s.run(items)
			if err != nil {
				t.Fatal(err)
			}
			for _, it := range decode(t, out) {
				before, ok := last[it.key]
				if ok && (before.at > it.at || before.at == it.at && before.id > it.id) || !passed(it.at) {
					t.Fatalf("%+v is emitted after %+v at watermark %v", it, before, s.watermark)
				}
				last[it.key] = it
				got = append(got, it)
			}
			holds := make(map[string]element.EventTime)
			for _, it := range kept {
				if slices.Contains(got, it) {
					continue
				}
				key := string([]byte{1, it.key})
				if at, ok := holds[key]; !ok || it.at < at {
					holds[key] = it.at
				}
				if passed(it.at) {
					t.Fatalf("%+v waits at watermark %v", it, s.watermark)
				}
			}
			for key, at := range holds {
				if timer, ok := s.timers[key]; !ok || timer.Hold != at || timer.Fire != at+element.EventTime(lateness) {
					t.Fatalf("key %q waits from %v on, its timer is %+v", key, at, timer)
				}
			}
			if len(holds) != len(s.timers) || s.dropped != dropped {
				t.Fatalf("timers %+v for %v, %d dropped, want %d", s.timers, holds, s.dropped, dropped)
			}
		}
		for n := range rapid.IntRange(1, 20).Draw(t, "bundles") {
			var items []item
			for range rapid.IntRange(0, 3).Draw(t, "elements") {
				items = append(items, item{
					key: rapid.SampledFrom([]byte("ab")).Draw(t, "key"),
					id:  byte(n*10 + len(items)), at: element.EventTime(unit * rapid.IntRange(-10, 10).Draw(t, "at")),
				})
			}
			step(items)
			s.watermark = max(s.watermark, element.EventTime(unit*rapid.IntRange(-10, 15).Draw(t, "watermark")))
			step(nil)
		}
		s.watermark = element.MaxTime
		step(nil)
		if len(got) != len(kept) {
			t.Fatalf("%d of %d elements were emitted", len(got), len(kept))
		}
	})
}

func TestErrors(t *testing.T) {
	s := newStage(0)
	b := &timesort.Bundle{State: s.store.Begin(), Watermark: element.MinTime}
	b.Input = []element.Block{{Data: []byte("no element"), Count: 1}}
	if err := s.sorter.Run(t.Context(), b); !errors.Is(err, coder.ErrShort) {
		t.Errorf("malformed input: got error %v", err)
	}
	refused := errors.New("refused")
	b = &timesort.Bundle{State: s.store.Begin(), Watermark: element.MinTime, Input: []element.Block{{Data: encode(nil, item{'k', 'v', 5}), Count: 1}}}
	b.Set = func(timesort.Timer) error { return refused }
	if err := s.sorter.Run(t.Context(), b); !errors.Is(err, refused) {
		t.Errorf("timer refused: got error %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(refused)
	if err := s.sorter.Run(ctx, b); !errors.Is(err, refused) {
		t.Errorf("abandoned: got error %v", err)
	}
	if _, err := s.run([]item{{'k', 'v', 5}}); err != nil {
		t.Fatal(err)
	}
	s.watermark = element.MaxTime
	b = &timesort.Bundle{State: s.store.Begin(), Watermark: element.MaxTime, Due: []timesort.Timer{{Key: []byte{1, 'k'}}}}
	b.Emit = func(element.Block) error { return refused }
	if err := s.sorter.Run(t.Context(), b); !errors.Is(err, refused) {
		t.Errorf("output refused: got error %v", err)
	}
}

// BenchmarkTick measures how the watermark passes one element of a key with many
// that wait.
func BenchmarkTick(b *testing.B) {
	for _, waiting := range []int{100, 100_000} {
		b.Run(fmt.Sprint("waiting=", waiting), func(b *testing.B) {
			s := newStage(0)
			var items []item
			for i := range waiting {
				items = append(items, item{'k', 'v', element.EventTime(i * 10)})
			}
			if _, err := s.run(items); err != nil {
				b.Fatal(err)
			}
			s.watermark = 0
			b.ReportAllocs()
			for b.Loop() {
				at := s.watermark + element.EventTime(waiting*10)
				s.watermark += 10
				if out, err := s.run([]item{{'k', 'v', at}}); err != nil || len(out) != 1 {
					b.Fatal(len(out), err)
				}
			}
		})
	}
}
