package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

const testGroups = 8

// timedCollector collects the timers of two families, of event time and of
// processing time, in interval windows.
func timedCollector() *collector {
	family := func(name string, d plan.TimeDomain) timerFamily {
		return timerFamily{
			spec:   plan.TimerSpec{Transform: "t", Family: name, Domain: d, Key: coder.Must(coder.Bytes)},
			window: coder.Must(coder.IntervalWindow),
			groups: testGroups,
		}
	}
	return newCollector(&pipe{families: []timerFamily{
		family("e", plan.EventTimeDomain), family("p", plan.ProcessingTimeDomain),
	}})
}

// interval is an encoded window that ends at 1000 times n and is 1 ms long.
func interval(n int) string { return string(coder.PutTime(nil, element.EventTime(1000*n))) + "\x01" }

func someTimer(key, tag string, windows ...string) coder.Timer {
	return coder.Timer{
		Key: []byte(key), Tag: []byte(tag), Windows: []byte(strings.Join(windows, "")), NumWindows: len(windows),
		Fire: 7, Hold: 5, Pane: []byte{coder.PaneOnlyFiring},
	}
}

// Timers may be cut anywhere; each becomes one change for each of its windows,
// in the order in which they were written.
func TestTimersAreCollected(t *testing.T) {
	cleared := someTimer("\x01k", "", interval(2))
	cleared.Clear = true
	var data []byte
	for _, x := range []coder.Timer{someTimer("\x01k", "a", interval(1), interval(2)), cleared, someTimer("\x00", "b", interval(1))} {
		data = coder.PutTimer(data, x)
	}
	name := func(key, tag, window string) timer.Name {
		return timer.Name{Family: 1, Key: key, Tag: tag, Window: window}
	}
	change := func(n timer.Name) timer.Timer {
		return timer.Timer{
			Name: n, Group: shuffle.KeyGroup([]byte(n.Key), testGroups), Domain: plan.ProcessingTimeDomain, Fire: 7, Hold: 5,
			Data: coder.PutTimer(nil, someTimer(n.Key, n.Tag, n.Window)),
		}
	}
	clearing := change(name("\x01k", "", interval(2)))
	clearing.Fire, clearing.Hold, clearing.Data = 0, 0, nil
	want := []timer.Timer{
		change(name("\x01k", "a", interval(1))), change(name("\x01k", "a", interval(2))),
		clearing, change(name("\x00", "b", interval(1))),
	}
	for at := range data {
		c := timedCollector()
		for _, part := range [][]byte{data[:at], data[at:]} {
			part = slices.Clone(part)
			if err := c.WriteTimers(1, part); err != nil {
				t.Fatal(err)
			}
			clear(part) // it belongs to the caller
		}
		_, changes, err := c.close()
		if err != nil {
			t.Fatal(err)
		}
		var got []timer.Timer
		for _, x := range changes {
			got = append(got, x.timer)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(timer.Timer{})); diff != "" {
			t.Fatalf("cut at %d (-want +got):\n%s", at, diff)
		}
	}
}

// A user's timer of event time fires when its window expires, if not before;
// what it is told of its time is no other.
func TestTimersFireBeforeTheirWindowExpires(t *testing.T) {
	set := func(user bool, d plan.TimeDomain) []element.EventTime {
		c := newCollector(&pipe{families: []timerFamily{{
			spec:   plan.TimerSpec{Transform: "t", Family: "f", Domain: d, Key: coder.Must(coder.Bytes)},
			window: coder.Must(coder.IntervalWindow), lateness: 50 * time.Millisecond, groups: testGroups, user: user,
		}}})
		far := someTimer("\x01k", "", interval(1), interval(2))
		far.Fire = 2000
		if err := c.WriteTimers(0, coder.PutTimer(nil, far)); err != nil {
			t.Fatal(err)
		}
		_, changes, err := c.close()
		if err != nil {
			t.Fatal(err)
		}
		var fire []element.EventTime
		for _, x := range changes {
			told, err := coder.CutTimer(x.timer.Data, coder.Must(coder.Bytes), coder.Must(coder.IntervalWindow))
			if err != nil || told.Fire != x.timer.Fire {
				t.Errorf("told %v, fires at %v, error %v", told.Fire, x.timer.Fire, err)
			}
			fire = append(fire, x.timer.Fire)
		}
		return fire
	}
	tests := []struct {
		user   bool
		domain plan.TimeDomain
		want   []element.EventTime // in windows that end at 999 and 1999
	}{
		{true, plan.EventTimeDomain, []element.EventTime{1049, 2000}},
		{true, plan.ProcessingTimeDomain, []element.EventTime{2000, 2000}},
		{false, plan.EventTimeDomain, []element.EventTime{2000, 2000}},
	}
	for _, tt := range tests {
		if got := set(tt.user, tt.domain); !slices.Equal(got, tt.want) {
			t.Errorf("user %t, %v: fire at %v, want %v", tt.user, tt.domain, got, tt.want)
		}
	}
}

func TestTimersThatCannotBeCollected(t *testing.T) {
	c := timedCollector()
	for _, family := range []int{-1, 2} {
		if err := c.WriteTimers(family, nil); err == nil {
			t.Errorf("timers of family %d are taken", family)
		}
	}
	bad := someTimer("\x01k", "")
	bad.NumWindows = -1
	if err := c.WriteTimers(0, coder.PutTimer(nil, bad)); !errors.Is(err, coder.ErrMalformed) || !strings.Contains(err.Error(), "timers e of t") {
		t.Errorf("error %v, want one about malformed timers e of t", err)
	}
	c = timedCollector()
	whole := coder.PutTimer(nil, someTimer("\x01k", "", interval(1)))
	if err := c.WriteTimers(1, whole[:len(whole)-1]); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.close(); !errors.Is(err, coder.ErrShort) {
		t.Errorf("error %v at the end within a timer, want ErrShort", err)
	}
}

func TestHarnessTimers(t *testing.T) {
	var timers []*timer.Timer
	for i, family := range []int{0, 0, 1, 0} {
		timers = append(timers, &timer.Timer{Name: timer.Name{Family: family}, Data: fmt.Append(nil, i, ";")})
	}
	want := []harness.Timers{
		{Family: 0, Data: []byte("0;1;")}, {Family: 1, Data: []byte("2;")}, {Family: 0, Data: []byte("3;")},
	}
	if diff := cmp.Diff(want, harnessTimers(timers)); diff != "" {
		t.Errorf("timers (-want +got):\n%s", diff)
	}
	if got := string(timers[0].Data); got != "0;" {
		t.Errorf("the first timer has become %q: it may be fired again", got)
	}
}

// A bundle fires as many bytes of timers as it may have of elements, and one
// timer in any case.
func TestTimersOfABundleAreBounded(t *testing.T) {
	s, st := timedScheduler(1, 25)
	for i := range 5 {
		st[0].timers.Put(&timer.Timer{Name: timer.Name{Key: fmt.Sprint(i)}, Domain: plan.ProcessingTimeDomain, Data: make([]byte, 10*i*i)})
	}
	var got []int
	for {
		w := s.fire(st[0])
		if w == nil {
			break
		}
		got = append(got, len(w.timers))
		st[0].queue.Settle(w.lease)
	}
	if want := []int{3, 1, 1}; !slices.Equal(got, want) { // 0+10+40, 90, 160
		t.Errorf("bundles of %v timers, want %v", got, want)
	}
}

// timedScheduler has so many stages with timers, and workers for them.
func timedScheduler(stages int, bundleBytes int64) (*scheduler, []*stageState) {
	p := &plan.Plan{KeyGroups: 64, Environments: []plan.EnvironmentID{"go"}}
	p.Edges = []*plan.Edge{{Value: coder.Must(coder.Bytes), Windowing: global()}}
	p.Stages = []*plan.Stage{{Kind: &plan.Impulse{}, Outputs: []plan.Output{{}}}}
	for i := range stages {
		p.Stages = append(p.Stages, &plan.Stage{
			ID:    plan.StageID(i + 1),
			Kind:  &plan.Executable{Environment: "go", Timers: []plan.TimerSpec{{Domain: plan.ProcessingTimeDomain}}},
			Input: &plan.Input{Keyed: true},
		})
	}
	s := newScheduler(p, config{workers: 1, slots: 2, maxAttempts: 1, bundleBytes: bundleBytes, splitInterval: time.Second})
	s.start()
	s.step(0, workerReady{id: "w", env: "go", slots: 2})
	return s, s.stages[1:]
}

// What any fact costs when many stages have timers, none of them due.
func BenchmarkDispatchOf1000StagesWithTimers(b *testing.B) {
	s, stages := timedScheduler(1000, 1<<20)
	for _, st := range stages {
		for g := range element.KeyGroup(64) {
			st.timers.Put(&timer.Timer{
				Name: timer.Name{Key: fmt.Sprint(g)}, Group: g, Domain: plan.ProcessingTimeDomain, Fire: 1_000_000,
			})
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		s.step(0, tick{})
	}
}
