package trigger_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/trigger"
	"github.com/gorunner/gorunner/execution/trigger/triggertest"
	"github.com/gorunner/gorunner/plan"
)

// machines are what states of all kinds are decoded for.
func machines(tb testing.TB) []*trigger.Machine {
	tb.Helper()
	var ms []*trigger.Machine
	for _, s := range []string{
		"default",
		"repeat(count(300))",
		"eow(early=delay(1s), late=count(2))",
		"each(count(2), all(count(3), sync), or_finally(repeat(any(count(4), delay(2s))), eow))",
	} {
		tr, err := triggertest.Parse(s)
		if err != nil {
			tb.Fatal(err)
		}
		m, err := trigger.Compile(tr)
		if err != nil {
			tb.Fatal(err)
		}
		ms = append(ms, m)
	}
	return ms
}

// FuzzDecode feeds states from outside: they are refused, or are the encoding
// of a state with which every question has an answer.
func FuzzDecode(f *testing.F) {
	ms := machines(f)
	for i, m := range ms {
		s := m.New()
		c := trigger.Context{End: 9}
		for range 5 {
			f.Add(uint8(i), s.Append(nil))
			m.Elements(&s, 1, c)
			if m.Ready(&s, c) {
				m.Fire(&s, c)
			}
			c.Watermark += 4
			c.Processing += 1000
		}
	}
	f.Fuzz(func(t *testing.T, i uint8, b []byte) {
		m := ms[int(i)%len(ms)]
		s, err := m.Decode(b)
		if err != nil {
			if !errors.Is(err, trigger.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if got := s.Append(nil); !bytes.Equal(got, b) {
			t.Fatalf("%x becomes %x", b, got)
		}
		for _, c := range []trigger.Context{
			{End: 9},
			{End: 9, Watermark: 10, Processing: 5000, Synchronized: 5000},
			{End: 9, Watermark: element.MaxTime, Processing: element.MaxTime, Synchronized: element.MaxTime},
		} {
			m.Wake(&s, c)
			m.Elements(&s, 1, c)
			for n := 0; m.Ready(&s, c); n++ {
				if n > 100 || m.Finished(&s) {
					t.Fatalf("%x: fires without end", b)
				}
				m.Fire(&s, c)
			}
			m.Merge([]trigger.State{s, m.New()}, c)
		}
	})
}

func TestCompileRefuses(t *testing.T) {
	nest := func(n int) plan.Trigger {
		var tr plan.Trigger = plan.AlwaysTrigger{}
		for range n - 1 {
			tr = plan.Repeat{Part: tr}
		}
		return tr
	}
	for _, tr := range []plan.Trigger{
		nest(trigger.MaxDepth + 1),
		plan.AfterAny{Parts: make([]plan.Trigger, 1)},
		plan.OrFinally{Main: plan.AlwaysTrigger{}},
		plan.Repeat{},
		plan.AfterAll{},
	} {
		if _, err := trigger.Compile(tr); err == nil {
			t.Errorf("%T is compiled", tr)
		}
	}
	wide := func(n int) plan.Trigger {
		parts := make([]plan.Trigger, n)
		for i := range parts {
			parts[i] = plan.AlwaysTrigger{}
		}
		return plan.AfterAny{Parts: parts}
	}
	for _, tr := range []plan.Trigger{nest(trigger.MaxDepth + 1), wide(trigger.MaxNodes)} {
		if _, err := trigger.Compile(tr); !errors.Is(err, trigger.ErrTooLarge) {
			t.Errorf("got %v", err)
		}
	}
	for _, tr := range []plan.Trigger{nest(trigger.MaxDepth), wide(trigger.MaxNodes - 1), nil} {
		if _, err := trigger.Compile(tr); err != nil {
			t.Error(err)
		}
	}
}

// The state of most triggers is small, since there is one for each window of
// each key.
func TestStateIsSmall(t *testing.T) {
	m := machines(t)[0]
	s := m.New()
	c := trigger.Context{End: 9}
	m.Elements(&s, 1, c)
	if got := s.Append(nil); len(got) != 1 {
		t.Errorf("default trigger: %x", got)
	}
	for i, m := range machines(t) {
		b := m.New()
		if got := b.Append(nil); strings.Trim(string(got), "\x00") != "" {
			t.Errorf("machine %d begins with %x", i, got)
		}
	}
	one := []byte{1}
	allocs := testing.AllocsPerRun(100, func() {
		s, err := m.Decode(one)
		if err != nil || m.Ready(&s, c) {
			t.Error("not a default trigger")
		}
		m.Elements(&s, 1, c)
		m.Wake(&s, c)
	})
	if allocs > 0 {
		t.Errorf("an element costs %v allocations", allocs)
	}
}
