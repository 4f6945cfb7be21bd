package engine

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/state"
)

// parkedModel is what is parked of one group of a domain, by name.
type parkedModel map[timer.Name]timer.Timer

func (m parkedModel) sorted() []timer.Timer {
	return slices.SortedFunc(maps.Values(m), func(a, b timer.Timer) int {
		return cmp.Or(cmp.Compare(a.Fire, b.Fire), cmp.Compare(parkedName(&a.Name), parkedName(&b.Name)))
	})
}

func drawParked(t *rapid.T) timer.Timer {
	at := rapid.OneOf(rapid.Int64Range(-2, 9), rapid.SampledFrom([]int64{int64(element.MinTime), int64(element.MaxTime)}))
	text := rapid.SampledFrom([]string{"", "a", "b", "\x00", "a\x00b"})
	return timer.Timer{
		Name:  timer.Name{Family: rapid.IntRange(0, 200).Draw(t, "family"), Key: text.Draw(t, "key"), Tag: text.Draw(t, "tag"), Window: text.Draw(t, "window")},
		Group: 3, Domain: plan.ProcessingTimeDomain,
		Fire: element.EventTime(at.Draw(t, "fire")), Hold: element.EventTime(at.Draw(t, "hold")),
		Data: make([]byte, rapid.IntRange(0, 3).Draw(t, "size")),
	}
}

// take is what a bundle gets.
func (m parkedModel) take(w *parkedTimers) (taken []timer.Timer) {
	first := map[string]element.EventTime{}
	var bytes int64
	for _, t := range m.sorted() {
		if t.Fire > w.until || len(taken) > 0 && (len(taken) >= w.limit.Timers || bytes >= w.limit.Bytes) {
			break
		}
		if at, seen := first[t.Key]; seen && at != t.Fire {
			continue
		}
		first[t.Key] = t.Fire
		taken = append(taken, t)
		bytes += int64(len(t.Data))
	}
	for _, t := range taken {
		delete(m, t.Name)
	}
	return taken
}

// before is what the scheduler knows of it.
func (m parkedModel) before() map[parkedPlace]timer.Parked {
	if len(m) == 0 {
		return nil
	}
	c := m.want(0)
	return map[parkedPlace]timer.Parked{{c.domain, c.group}: {Count: c.more, First: c.first, Hold: c.hold}}
}

func (m parkedModel) want(before int) parkedChange {
	c := parkedChange{domain: plan.ProcessingTimeDomain, group: 3, more: int64(len(m) - before)}
	for i, t := range m.sorted() {
		if i == 0 {
			c.first, c.hold = t.Fire, t.Hold
		}
		c.hold = min(c.hold, t.Hold)
	}
	return c
}

// Whatever bundles park, clear and fire, some of them in vain, what is parked is
// what a plain map would have.
func TestParkingAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := state.NewMemory()
		model := parkedModel{}
		for range rapid.IntRange(1, 10).Draw(t, "bundles") {
			p, now := &parker{txn: store.Begin(), stage: 1, before: model.before()}, maps.Clone(model)
			if rapid.Bool().Draw(t, "fires") {
				w := &parkedTimers{
					domain: plan.ProcessingTimeDomain, group: 3, until: drawParked(t).Fire,
					limit: timer.Limit{Timers: rapid.IntRange(1, 4).Draw(t, "timers"), Bytes: rapid.Int64Range(1, 6).Draw(t, "bytes")},
				}
				taken, err := p.take(w)
				if err != nil {
					t.Fatal(err)
				}
				var got []timer.Timer
				for _, one := range taken {
					got = append(got, *one)
				}
				if diff := gocmp.Diff(now.take(w), got, cmpopts.IgnoreUnexported(timer.Timer{}), cmpopts.EquateEmpty()); diff != "" {
					t.Fatal(diff)
				}
			}
			for range rapid.IntRange(0, 5).Draw(t, "changes") {
				one := drawParked(t)
				if err := p.remove(&one); err != nil {
					t.Fatal(err)
				}
				delete(now, one.Name)
				if rapid.Bool().Draw(t, "set") {
					if err := p.put(&one); err != nil {
						t.Fatal(err)
					}
					now[one.Name] = one
				}
			}
			changes, err := p.close()
			if err != nil {
				t.Fatal(err)
			}
			if len(changes) > 0 || len(now) != len(model) {
				if diff := gocmp.Diff([]parkedChange{now.want(len(model))}, changes, gocmp.AllowUnexported(parkedChange{})); diff != "" {
					t.Fatal(diff)
				}
			}
			if rapid.Bool().Draw(t, "fails") {
				p.txn.Drop()
				continue
			}
			if err := p.txn.Apply(0); err != nil {
				t.Fatal(err)
			}
			model = now
		}
	})
}

func FuzzReadParked(f *testing.F) {
	name := timer.Name{Family: 300, Key: "k", Tag: "t", Window: "w"}
	f.Add(parkedTime(7)+parkedName(&name), []byte(parkedTime(-7)+"data"))
	f.Add("", []byte{})
	f.Fuzz(func(t *testing.T, entry string, data []byte) {
		var got, again timer.Timer
		if err := readParked(entry, data, &got); err != nil {
			if !errors.Is(err, errParked) {
				t.Fatal(err)
			}
			return
		}
		if err := readParked(parkedTime(got.Fire)+parkedName(&got.Name), []byte(parkedTime(got.Hold)+string(got.Data)), &again); err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(got, again, cmpopts.IgnoreUnexported(timer.Timer{})); diff != "" {
			t.Fatal(diff)
		}
	})
}
