package trigger_test

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/trigger"
	"github.com/gorunner/gorunner/execution/trigger/triggertest"
	"github.com/gorunner/gorunner/plan"
)

func compile(t *rapid.T, tr plan.Trigger) *trigger.Machine {
	m, err := trigger.Compile(tr)
	if err != nil {
		t.Fatalf("%v: %v", tr, err)
	}
	return m
}

// player moves a state on at random and checks what holds of every trigger.
type player struct {
	m *trigger.Machine
	s trigger.State
	c trigger.Context
	// panes are the numbers of elements of the panes.
	panes []int
	since int
}

func newPlayer(m *trigger.Machine) *player {
	return &player{m: m, s: m.New(), c: trigger.Context{End: 9}}
}

func (p *player) step(t *rapid.T) {
	switch rapid.IntRange(0, 4).Draw(t, "step") {
	case 0:
		p.c.Watermark += element.EventTime(rapid.IntRange(1, 6).Draw(t, "watermark"))
	case 1:
		p.c.Processing += element.EventTime(rapid.IntRange(1, 3).Draw(t, "processing"))
	case 2:
		// Upstream lags behind.
		p.c.Synchronized = max(p.c.Synchronized, p.c.Processing-1)
	default:
		n := rapid.IntRange(1, 3).Draw(t, "elements")
		p.elements(n)
	}
	p.fire(t)
}

func (p *player) elements(n int) {
	if !p.m.Finished(&p.s) {
		p.since += n
	}
	p.m.Elements(&p.s, n, p.c)
}

func (p *player) fire(t *rapid.T) {
	for n := 0; p.m.Ready(&p.s, p.c); n++ {
		if n > 100 {
			t.Fatalf("fires without end")
		}
		if p.m.Finished(&p.s) {
			t.Fatalf("finished and ready")
		}
		p.m.Fire(&p.s, p.c)
		p.panes = append(p.panes, p.since)
		p.since = 0
	}
}

// play makes a few random steps.
func play(t *rapid.T, m *trigger.Machine) *player {
	p := newPlayer(m)
	for range rapid.IntRange(0, 20).Draw(t, "steps") {
		p.step(t)
	}
	return p
}

func TestStateSurvivesItsEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := compile(t, triggertest.Draw(t, 4))
		p := play(t, m)
		b := p.s.Append(nil)
		s, err := m.Decode(b)
		if err != nil || !reflect.DeepEqual(s, p.s) {
			t.Fatalf("%+v becomes %+v: %v", p.s, s, err)
		}
		if n := rapid.IntRange(0, len(b)-1).Draw(t, "truncated"); n < len(b) {
			if _, err := m.Decode(b[:n]); !errors.Is(err, trigger.ErrMalformed) {
				t.Fatalf("%x cut from %x: %v", b[:n], b, err)
			}
		}
		if _, err := m.Decode(append(slices.Clip(b), 0)); !errors.Is(err, trigger.ErrMalformed) {
			t.Fatalf("%x with one byte more: %v", b, err)
		}
		// Appending leaves alone what is there.
		if got := p.s.Append([]byte("x")); !bytes.Equal(got, append([]byte("x"), b...)) {
			t.Fatalf("got %x, want %x behind an x", got, b)
		}
	})
}

// A wake says all: between two steps nothing happens before its time, unless
// an element comes.
func TestWakeIsNotLate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := compile(t, triggertest.Draw(t, 4))
		p := play(t, m)
		w := m.Wake(&p.s, p.c)
		if w.Event != element.MaxTime && w.Event < p.c.Watermark ||
			w.Processing <= p.c.Processing || w.Synchronized <= p.c.Synchronized {
			t.Fatalf("at %+v wakes at %+v, which has been", p.c, w)
		}
		c := p.c
		c.Watermark = max(c.Watermark, min(w.Event, c.Watermark+100))
		c.Processing = min(w.Processing-1, c.Processing+100)
		c.Synchronized = min(w.Synchronized-1, c.Synchronized+100)
		if m.Ready(&p.s, c) {
			t.Fatalf("is ready at %+v, before it wakes at %+v", c, w)
		}
	})
}

// Whatever a trigger inside it does, a repeated one never drops anything.
func TestRepeatedNeverFinishes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := compile(t, plan.Repeat{Part: triggertest.Draw(t, 3)})
		p := play(t, m)
		q := play(t, m)
		merged := m.Merge([]trigger.State{p.s, q.s}, p.c)
		if m.Finished(&p.s) || m.Finished(&merged) {
			t.Fatalf("finished")
		}
	})
}

func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := compile(t, triggertest.Draw(t, 4))
		p, q := play(t, m), play(t, m)
		before := [][]byte{p.s.Append(nil), q.s.Append(nil)}
		merged := m.Merge([]trigger.State{p.s, q.s}, p.c)
		if !bytes.Equal(p.s.Append(nil), before[0]) || !bytes.Equal(q.s.Append(nil), before[1]) {
			t.Fatalf("what is merged has changed")
		}
		if swapped := m.Merge([]trigger.State{q.s, p.s}, p.c); !reflect.DeepEqual(swapped, merged) {
			t.Fatalf("the order makes a difference: %+v and %+v", merged, swapped)
		}
		if _, err := m.Decode(merged.Append(nil)); err != nil {
			t.Fatalf("%+v: %v", merged, err)
		}
		r := &player{m: m, s: merged, c: p.c}
		for range 5 {
			r.step(t)
		}
		if none := m.Merge(nil, p.c); !reflect.DeepEqual(none, m.New()) {
			t.Fatalf("nothing merged is %+v", none)
		}
	})
}

// A state that is alone remains as it is, unless its window has come to life
// again.
func TestMergeOfOneIsIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := compile(t, triggertest.Draw(t, 4))
		p := newPlayer(m)
		p.c.End = rapid.SampledFrom([]element.EventTime{-1, 1000}).Draw(t, "end")
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			p.step(t)
		}
		if got := m.Merge([]trigger.State{p.s}, p.c); !reflect.DeepEqual(got, p.s) {
			t.Fatalf("%+v becomes %+v", p.s, got)
		}
	})
}

// Fired one by one or all together, a count fires for all that came.
func TestRepeatedCountLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "n")
		m := compile(t, plan.Repeat{Part: plan.AfterCount{Elements: n}})
		p := newPlayer(m)
		sent := 0
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			k := rapid.IntRange(1, 7).Draw(t, "elements")
			sent += k
			p.elements(k)
			p.fire(t)
		}
		for _, pane := range p.panes {
			if pane < n {
				t.Fatalf("a pane of %d", pane)
			}
			sent -= pane
		}
		if sent != p.since || p.since >= n {
			t.Fatalf("%d left of which %d are known", sent, p.since)
		}
	})
}

// A trigger that is not early fires nothing before the end of the window.
func TestEarly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := triggertest.Draw(t, 4)
		if trigger.Early(tr) {
			t.Skip("may fire early")
		}
		p := newPlayer(compile(t, tr))
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			p.step(t)
			if p.c.Watermark <= p.c.End && len(p.panes) > 0 {
				t.Fatalf("fires at %+v", p.c)
			}
		}
	})
}
