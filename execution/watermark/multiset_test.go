package watermark

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/element"
)

func TestMultiset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m multiset
		counts := make(map[element.EventTime]int)
		draw := func(t *rapid.T) element.EventTime {
			return element.EventTime(rapid.Int64Range(0, 300).Draw(t, "time"))
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				at := draw(t)
				m.add(at)
				counts[at]++
			},
			"remove": func(t *rapid.T) {
				at := draw(t)
				if got := m.remove(at); got != (counts[at] > 0) {
					t.Fatalf("remove(%v): got %v with a count of %d", at, got, counts[at])
				}
				counts[at] = max(counts[at]-1, 0)
			},
			"many": func(t *rapid.T) {
				for at := range element.EventTime(200) {
					m.add(at)
					m.remove(at)
				}
			},
			"": func(t *rapid.T) {
				want := element.MaxTime
				for at, n := range counts {
					if n > 0 {
						want = min(want, at)
					}
				}
				if got := m.min(); got != want {
					t.Fatalf("min: got %v, want %v", got, want)
				}
			},
		})
	})
}

// A hold that stays must not keep those above it that are long gone.
func TestMultisetForgets(t *testing.T) {
	var m multiset
	m.add(0)
	for at := element.EventTime(1); at < 100_000; at++ {
		m.add(at)
		m.remove(at)
	}
	if len(m.counts) > 200 || len(m.heap) > 200 {
		t.Errorf("%d counts and a heap of %d for one timestamp", len(m.counts), len(m.heap))
	}
	if got := m.min(); got != 0 {
		t.Errorf("min: got %v, want 0ms", got)
	}
}
