package windowing_test

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/windowing"
	"github.com/gorunner/gorunner/plan"
)

const ms = time.Millisecond

func TestExpiry(t *testing.T) {
	const far = element.EndOfGlobalWindow
	tests := []struct {
		end      element.EventTime
		lateness time.Duration
		want     element.EventTime
	}{
		{9, 0, 9},
		{9, 5 * ms, 14},
		{9, 5*ms - 1, 13},
		{-20, 5 * ms, -15},
		{9, -5 * ms, 9},
		{far, 0, far},
		{far, time.Hour, far},
		{far - 5, 3 * ms, far - 2},
		{far - 5, math.MaxInt64, far},
		{element.MinTime, math.MaxInt64, element.MinTime + math.MaxInt64/1000000},
		{far + 5, time.Hour, far + 5},
		{element.MaxTime, 0, element.MaxTime - 1},
		{element.MaxTime, math.MaxInt64, element.MaxTime - 1},
	}
	for _, test := range tests {
		if got := windowing.Expiry(test.end, test.lateness); got != test.want {
			t.Errorf("end %v, lateness %v: got %v, want %v", test.end, test.lateness, got, test.want)
		}
	}
}

// interval is an encoded interval window.
func interval(start, end element.EventTime) []byte {
	return windowing.Interval{Start: start, End: end}.Append(nil)
}

func strategy(fn plan.WindowFn) *plan.Windowing {
	kind := coder.IntervalWindow
	switch fn.(type) {
	case plan.GlobalWindows:
		kind = coder.GlobalWindow
	case plan.CustomWindows:
		kind = coder.CustomWindow
	case plan.FixedWindows, plan.SlidingWindows, plan.Sessions:
	}
	return &plan.Windowing{Fn: fn, Window: coder.Must(kind)}
}

func TestMapper(t *testing.T) {
	fixed := strategy(plan.FixedWindows{Size: 10 * ms})
	global := strategy(plan.GlobalWindows{})
	custom := strategy(plan.CustomWindows{URN: "custom"})
	tests := []struct {
		name       string
		main, side *plan.Windowing
		window     []byte
		want       []byte
	}{
		{"everything is in the global window", fixed, global, interval(0, 10), nil},
		{"the global window too", global, global, nil, nil},
		{"the same windows", fixed, fixed, interval(10, 20), interval(10, 20)},
		{
			"a larger window", fixed, strategy(plan.FixedWindows{Size: 60 * ms}),
			interval(-10, 0), interval(-60, 0),
		},
		{
			"a smaller window is the last", fixed, strategy(plan.FixedWindows{Size: 3 * ms}),
			interval(0, 10), interval(9, 12),
		},
		{
			"windows with an offset", fixed, strategy(plan.FixedWindows{Size: 10 * ms, Offset: 23 * ms}),
			interval(-10, 0), interval(-7, 3),
		},
		{
			"windows with an offset before the epoch", fixed, strategy(plan.FixedWindows{Size: 10 * ms, Offset: -3 * ms}),
			interval(0, 10), interval(7, 17),
		},
		{
			"of sliding windows the earliest", fixed, strategy(plan.SlidingWindows{Size: 20 * ms, Period: 5 * ms}),
			interval(0, 10), interval(-10, 10),
		},
		{
			"of sliding windows with an offset", fixed,
			strategy(plan.SlidingWindows{Size: 20 * ms, Period: 5 * ms, Offset: 101 * ms}),
			interval(0, 10), interval(-9, 11),
		},
		{
			"sliding windows with gaps", fixed, strategy(plan.SlidingWindows{Size: 5 * ms, Period: 20 * ms}),
			interval(0, 10), interval(20, 25),
		},
		{
			"from sessions", strategy(plan.Sessions{Gap: time.Minute}), fixed,
			interval(3, 25), interval(20, 30),
		},
		{
			"from windows of the user's own", custom, fixed,
			append(coder.PutTime(nil, 25), 2, 'h', 'i'), interval(20, 30),
		},
		{
			"from the global window", global, strategy(plan.FixedWindows{Size: time.Second}),
			nil, interval(9223371950454000, 9223371950455000),
		},
	}
	for _, test := range tests {
		m, ok := windowing.Mapper(test.main, test.side)
		if !ok {
			t.Errorf("%s: no mapper", test.name)
			continue
		}
		if got, err := m(test.window); err != nil || !bytes.Equal(got, test.want) {
			t.Errorf("%s: got %x, want %x: %v", test.name, got, test.want, err)
		}
	}
	for _, side := range []*plan.Windowing{custom, strategy(plan.Sessions{Gap: ms})} {
		if _, ok := windowing.Mapper(fixed, side); ok {
			t.Errorf("%v has a mapper", side.Fn)
		}
	}
	m, _ := windowing.Mapper(fixed, fixed)
	if _, err := m([]byte("short")); !errors.Is(err, coder.ErrShort) {
		t.Errorf("malformed window: %v", err)
	}
}

// The mapped window is one that the side input's WindowFn gives the time.
func TestMappedWindowHoldsTheTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 50).Draw(t, "size")
		period := rapid.Int64Range(1, size).Draw(t, "period")
		offset := rapid.Int64Range(-100, 100).Draw(t, "offset")
		end := rapid.Int64Range(-200, 200).Draw(t, "end")
		last := end - 1
		want := windowing.Interval{Start: math.MaxInt64}
		for start := offset - 1000*period; start <= last; start += period {
			if start+size > last {
				want = windowing.Interval{Start: element.EventTime(start), End: element.EventTime(start + size)}
				break
			}
		}
		fns := []plan.WindowFn{plan.SlidingWindows{
			Size: time.Duration(size) * ms, Period: time.Duration(period) * ms, Offset: time.Duration(offset) * ms,
		}}
		if size == period {
			fns = append(fns, plan.FixedWindows{Size: time.Duration(size) * ms, Offset: time.Duration(offset) * ms})
		}
		for _, fn := range fns {
			m, ok := windowing.Mapper(strategy(plan.FixedWindows{}), strategy(fn))
			if !ok {
				t.Fatalf("no mapper for %v", fn)
			}
			b, err := m(interval(element.EventTime(end-7), element.EventTime(end)))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := windowing.ReadInterval(b); err != nil || got != want {
				t.Fatalf("%v at %d: got %v, want %v: %v", fn, last, got, want, err)
			}
		}
	})
}

func drawWindows(t *rapid.T) [][]byte {
	windows := make([][]byte, rapid.IntRange(0, 12).Draw(t, "windows"))
	for i := range windows {
		start := element.EventTime(rapid.IntRange(-50, 50).Draw(t, "start"))
		windows[i] = interval(start, start+element.EventTime(rapid.IntRange(1, 20).Draw(t, "size")))
	}
	return windows
}

func read(t *rapid.T, b []byte) windowing.Interval {
	i, err := windowing.ReadInterval(b)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestMergeIntervals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		windows := drawWindows(t)
		merged, err := windowing.MergeIntervals(windows)
		if err != nil {
			t.Fatal(err)
		}
		var from [][]byte
		var before windowing.Interval
		for i, m := range merged {
			whole := read(t, m.Window)
			if i > 0 && whole.Start < before.End {
				t.Fatalf("%v follows %v", whole, before)
			}
			before = whole
			checkMerged(t, whole, m.From)
			from = append(from, m.From...)
		}
		slices.SortFunc(windows, bytes.Compare)
		slices.SortFunc(from, bytes.Compare)
		if !slices.EqualFunc(windows, from, bytes.Equal) {
			t.Fatalf("asked for %x, got %x", windows, from)
		}
	})
}

// checkMerged holds that the parts cover the whole and nothing else, without
// gaps.
func checkMerged(t *rapid.T, whole windowing.Interval, from [][]byte) {
	parts := make([]windowing.Interval, len(from))
	for i, b := range from {
		parts[i] = read(t, b)
	}
	slices.SortFunc(parts, func(a, b windowing.Interval) int { return cmp.Compare(a.Start, b.Start) })
	end := parts[0].End
	for _, p := range parts[1:] {
		if p.Start >= end {
			t.Fatalf("%v does not touch what comes before, up to %v", p, end)
		}
		end = max(end, p.End)
	}
	if want := (windowing.Interval{Start: parts[0].Start, End: end}); whole != want {
		t.Fatalf("%v is merged into %v", parts, whole)
	}
}

// The order of what is merged makes no difference, nor does merging in steps.
func TestMergeIntervalsInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		windows := drawWindows(t)
		at := rapid.IntRange(0, len(windows)).Draw(t, "at")
		var steps [][]byte
		for _, part := range [][][]byte{windows[:at], windows[at:]} {
			for _, m := range mergeAll(t, part) {
				steps = append(steps, m.Window)
			}
		}
		slices.Reverse(steps)
		once, twice := mergeAll(t, windows), mergeAll(t, steps)
		if !slices.EqualFunc(once, twice, func(a, b windowing.Merged) bool { return bytes.Equal(a.Window, b.Window) }) {
			t.Fatalf("%v and %v", once, twice)
		}
	})
}

func mergeAll(t *rapid.T, windows [][]byte) []windowing.Merged {
	merged, err := windowing.MergeIntervals(windows)
	if err != nil {
		t.Fatal(err)
	}
	return merged
}

func TestMergeIntervalsEdges(t *testing.T) {
	merged, err := windowing.MergeIntervals([][]byte{interval(10, 20), interval(0, 10), interval(-5, 0)})
	if err != nil || len(merged) != 3 {
		t.Errorf("neighbours: %v, %v", merged, err)
	}
	if merged, err = windowing.MergeIntervals(nil); err != nil || len(merged) != 0 {
		t.Errorf("nothing: %v, %v", merged, err)
	}
	if _, err = windowing.MergeIntervals([][]byte{interval(0, 1), nil}); !errors.Is(err, coder.ErrShort) {
		t.Errorf("malformed: %v", err)
	}
}

func TestTimes(t *testing.T) {
	tests := []struct {
		how        plan.OutputTime
		a, b, want element.EventTime
	}{
		{plan.EndOfWindow, 3, 5, 9},
		{plan.Latest, 3, 5, 5},
		{plan.Earliest, 3, 5, 3},
		{plan.Latest, 3, 15, 9},
		{plan.Earliest, 12, 15, 9},
	}
	for _, test := range tests {
		a, b := windowing.OutputTime(test.how, test.a, 9), windowing.OutputTime(test.how, test.b, 9)
		if got := windowing.CombineTimes(test.how, a, b); got != test.want || windowing.CombineTimes(test.how, b, a) != got {
			t.Errorf("%v of %v and %v: got %v, want %v", test.how, test.a, test.b, got, test.want)
		}
	}
}

// FuzzReadInterval reads intervals from outside: what is read is what is
// written, and never longer than time itself.
func FuzzReadInterval(f *testing.F) {
	f.Add(interval(0, 10))
	f.Add(interval(-10, 10))
	f.Add(interval(math.MinInt64, math.MaxInt64))
	f.Add(append(interval(0, 10), 0))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := windowing.ReadInterval(b)
		if err != nil {
			if !errors.Is(err, coder.ErrMalformed) && !errors.Is(err, coder.ErrShort) {
				t.Fatal(err)
			}
			return
		}
		if i.End < i.Start {
			t.Fatalf("%x ends before it starts: %v", b, i)
		}
		again, err := windowing.ReadInterval(i.Append(nil))
		if err != nil || again != i {
			t.Fatalf("%v becomes %v: %v", i, again, err)
		}
		if _, err := windowing.MergeIntervals([][]byte{b, interval(0, 10)}); err != nil {
			t.Fatal(err)
		}
	})
}
