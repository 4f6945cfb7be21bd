package engine

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// TestExpirations holds that a bundle sets one timer for each key and window of
// its input, for a millisecond after the window and its lateness.
func TestExpirations(t *testing.T) {
	bytes := coder.Must(coder.Bytes)
	window := coder.Must(coder.IntervalWindow)
	interval := func(end element.EventTime, size uint64) []byte {
		return binary.AppendUvarint(coder.PutTime(nil, end), size)
	}
	data := []byte{}
	add := func(kv []byte, windows ...[]byte) {
		h := element.Header{NumWindows: len(windows), Pane: []byte{0}}
		for _, w := range windows {
			h.Windows = append(h.Windows, w...)
		}
		data = append(coder.PutHeader(data, h), kv...)
	}
	add(pair("a", "1"), interval(100, 100), interval(150, 100))
	add(pair("a", "2"), interval(100, 100))
	add(pair("b", "3"), interval(100, 100))
	for _, test := range []struct {
		lateness time.Duration
		fire     []element.EventTime
	}{
		{0, []element.EventTime{100, 150, 100}},
		{20 * time.Millisecond, []element.EventTime{120, 170, 120}},
		{math.MaxInt64, []element.EventTime{
			100 + math.MaxInt64/1_000_000, 150 + math.MaxInt64/1_000_000, 100 + math.MaxInt64/1_000_000,
		}},
	} {
		p := &plan.Plan{KeyGroups: 4, Edges: []*plan.Edge{{
			Value:     coder.Must(coder.KV, bytes, bytes),
			Windowing: &plan.Windowing{Fn: plan.CustomWindows{}, Window: window, AllowedLateness: test.lateness},
		}}}
		p.Stages = []*plan.Stage{{Input: &plan.Input{Keyed: true}, Kind: &plan.Executable{Timers: []plan.TimerSpec{
			{Transform: "t", Family: "user", Key: bytes}, {Transform: "t", Family: "expires", Key: bytes, Expiration: true},
		}}}}
		block, err := newPipes(p)[0].input.MakeBlock(data)
		if err != nil {
			t.Fatal(err)
		}
		changes, err := newPipes(p)[0].endings(nil, []element.Block{block}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var fire []element.EventTime
		for _, c := range changes {
			fire = append(fire, c.timer.Fire)
			cut, err := coder.CutTimer(c.timer.Data, bytes, window)
			if err != nil {
				t.Fatal(err)
			}
			if cut.Fire != c.timer.Fire || cut.Hold != c.timer.Hold || string(cut.Key) != c.timer.Key ||
				string(cut.Windows) != c.timer.Window || c.timer.Family != 1 || c.timer.Group != shuffle.KeyGroup(cut.Key, 4) {
				t.Errorf("timer %+v is encoded as %+v", c.timer, cut)
			}
		}
		if diff := cmp.Diff(test.fire, fire); diff != "" {
			t.Errorf("lateness %v: (-want +got)\n%s", test.lateness, diff)
		}
	}
}

// TestSift holds which timers of a bundle a harness gets.
func TestSift(t *testing.T) {
	p := statefulPlan(500 * time.Millisecond)
	due := func(family int, d plan.TimeDomain, window int) *timer.Timer {
		return &timer.Timer{Name: timer.Name{Family: family, Key: "k", Window: interval(window)}, Domain: d}
	}
	timers := []*timer.Timer{
		due(eventFamily, plan.EventTimeDomain, 1), due(processingFamily, plan.ProcessingTimeDomain, 1),
		due(expiresFamily, plan.EventTimeDomain, 1), due(forgetsFamily, plan.EventTimeDomain, 1),
		due(processingFamily, plan.ProcessingTimeDomain, 2),
	}
	for _, test := range []struct {
		watermark element.EventTime
		bounded   bool
		want      []*timer.Timer
		forget    []scope
	}{
		{watermark: 1499, want: slices.Concat(timers[:3], timers[4:]), forget: []scope{{"k", interval(1)}}},
		{watermark: 1500, want: []*timer.Timer{timers[0], timers[2], timers[4]}, forget: []scope{{"k", interval(1)}}},
		{watermark: element.MaxTime, bounded: true, want: timers},
	} {
		p.Edges[0].Bounded = test.bounded
		fire, forget, err := newPipes(p)[0].sift(timers, test.watermark)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(test.want, fire) || !slices.Equal(test.forget, forget) {
			t.Errorf("watermark %v: got %v, forget %v", test.watermark, fire, forget)
		}
	}
	timers[1].Window = "?"
	p.Edges[0].Bounded = false
	if _, _, err := newPipes(p)[0].sift(timers, 0); !errors.Is(err, coder.ErrShort) {
		t.Errorf("broken window: got error %v", err)
	}
}

// TestForget holds that state that a bundle writes is forgotten two milliseconds
// after its window, all cells of the key in that window and no others.
func TestForget(t *testing.T) {
	b := &harness.Bundle{}
	x := prepared(t, b)
	key := func(state, window string) harness.UserStateKey {
		return harness.UserStateKey{Transform: "t", State: state, Key: []byte("\x01k"), Window: []byte(window)}
	}
	write := func(key harness.UserStateKey) {
		if err := x.state.Append(t.Context(), key, []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
	write(key("one", interval(1)))
	write(key("two", interval(1)))
	write(key("one", interval(2)))
	f, err := x.finish(b)
	if err != nil {
		t.Fatal(err)
	}
	var want []timerChange
	for n, fire := range []element.EventTime{1001, 2001} {
		want = append(want, timerChange{timer.Timer{
			Name:  timer.Name{Family: forgetsFamily, Key: "\x01k", Window: interval(n + 1)},
			Group: shuffle.KeyGroup([]byte("\x01k"), testGroups), Domain: plan.EventTimeDomain,
			Fire: fire, Hold: element.MaxTime, Data: []byte{},
		}})
	}
	if diff := cmp.Diff(want, f.timers, cmp.AllowUnexported(timerChange{}), cmpopts.IgnoreUnexported(timer.Timer{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	x.out, x.state.written = newCollector(x.out.pipe), &scopes{}
	if err := x.prepare(b, []*timer.Timer{&want[0].timer}); err != nil {
		t.Fatal(err)
	}
	if !x.spent(b) {
		t.Errorf("the harness gets %v", b.Timers)
	}
	if f, err = x.finish(b); err != nil || len(f.timers) > 0 {
		t.Errorf("got timers %v, error %v", f.timers, err)
	}
	for _, k := range []harness.UserStateKey{key("one", interval(1)), key("two", interval(1)), key("one", interval(2))} {
		page, _, err := x.state.Get(t.Context(), k, nil)
		if kept := string(k.Window) == interval(2); err != nil || (len(page) > 0) != kept {
			t.Errorf("state %s in window %q: got %q, error %v", k.State, k.Window, page, err)
		}
	}
}
