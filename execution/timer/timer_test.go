package timer_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
)

const groups = 4

// groupOf is the key group of the test's keys.
func groupOf(key string) element.KeyGroup { return element.KeyGroup(len(key) % groups) }

// model is the set as its description has it: a list in the order of setting.
type model struct {
	set  *timer.Set
	list []*timer.Timer
	// parked is what is parked of each domain and group.
	parked [3][groups]timer.Parked
}

func (m *model) find(n timer.Name) int {
	return slices.IndexFunc(m.list, func(t *timer.Timer) bool { return t.Name == n })
}

// drop takes a timer out of the list, nil if it is not in it.
func (m *model) drop(n timer.Name) *timer.Timer {
	i := m.find(n)
	if i < 0 {
		return nil
	}
	t := m.list[i]
	m.list = slices.Delete(m.list, i, i+1)
	return t
}

// due lists what is due of a group, in order.
func (m *model) due(d plan.TimeDomain, g element.KeyGroup, limit element.EventTime) []*timer.Timer {
	var due []*timer.Timer
	for _, t := range m.list {
		if t.Domain == d && t.Group == g && t.Fire <= limit {
			due = append(due, t)
		}
	}
	slices.SortStableFunc(due, func(a, b *timer.Timer) int { return cmp.Compare(a.Fire, b.Fire) })
	return due
}

func drawName(t *rapid.T) timer.Name {
	return timer.Name{
		Family: rapid.IntRange(0, 2).Draw(t, "family"),
		Key:    rapid.SampledFrom([]string{"", "a", "b", "cc", "ddd", "eeeee"}).Draw(t, "key"),
		Tag:    rapid.SampledFrom([]string{"", "t"}).Draw(t, "tag"),
		Window: rapid.SampledFrom([]string{"", "w"}).Draw(t, "window"),
	}
}

func drawTime(t *rapid.T) element.EventTime {
	return element.EventTime(rapid.OneOf(
		rapid.Int64Range(-2, 9),
		rapid.SampledFrom([]int64{int64(element.MinTime), int64(element.MaxTime)}),
	).Draw(t, "time"))
}

func drawDomain(t *rapid.T) plan.TimeDomain {
	return rapid.SampledFrom([]plan.TimeDomain{plan.EventTimeDomain, plan.ProcessingTimeDomain, plan.SynchronizedDomain}).Draw(t, "domain")
}

func (m *model) put(t *rapid.T) {
	x := &timer.Timer{Name: drawName(t), Fire: drawTime(t), Data: make([]byte, rapid.IntRange(1, 9).Draw(t, "size"))}
	x.Group, x.Domain = groupOf(x.Key), plan.TimeDomain(x.Family)
	want := m.drop(x.Name)
	m.list = append(m.list, x)
	if got := m.set.Put(x); got != want {
		t.Fatalf("put of %+v replaced %v, want %v", x.Name, got, want)
	}
}

func (m *model) remove(t *rapid.T) {
	n := drawName(t)
	if got, want := m.set.Remove(n), m.drop(n); got != want {
		t.Fatalf("remove of %+v: got %v, want %v", n, got, want)
	}
}

// take checks what is taken against everything that is due: a key's timers are
// of its earliest time, in order, and the least possible is left out.
func (m *model) take(t *rapid.T) {
	d, by := drawDomain(t), drawTime(t)
	g := element.KeyGroup(rapid.IntRange(0, groups-1).Draw(t, "group"))
	limit := timer.Limit{
		Timers: rapid.IntRange(0, 4).Draw(t, "timers"),
		Bytes:  rapid.Int64Range(0, 40).Draw(t, "bytes"),
	}
	until, parked := m.set.ParkedDue(d, g, by)
	if p := m.parked[d][g]; p.Count > 0 {
		before := by
		if all := m.due(d, g, element.MaxTime); len(all) > 0 {
			before = min(before, all[0].Fire)
		}
		if parked != (p.First <= before) || parked && until != before {
			t.Fatalf("parked timers %+v: due %v until %v", p, parked, until)
		}
		by = min(by, p.First)
	} else if parked {
		t.Fatal("nothing is parked, but due")
	}
	var want []*timer.Timer
	var bytes int64
	first := map[string]element.EventTime{}
	for _, x := range m.due(d, g, by) {
		if len(want) > 0 && (len(want) >= limit.Timers || bytes >= limit.Bytes) {
			break
		}
		if at, seen := first[x.Key]; seen && at != x.Fire {
			continue
		}
		first[x.Key] = x.Fire
		want = append(want, x)
		bytes += int64(len(x.Data))
	}
	for _, x := range want {
		m.drop(x.Name)
	}
	if got := m.set.Take(d, g, by, limit); !slices.Equal(got, want) {
		t.Fatalf("took %v, want %v", got, want)
	}
}

func (m *model) park(t *rapid.T) {
	d, g := drawDomain(t), element.KeyGroup(rapid.IntRange(0, groups-1).Draw(t, "group"))
	p := timer.Parked{Count: rapid.Int64Range(0, 3).Draw(t, "count"), First: drawTime(t)}
	if before := m.set.Park(d, g, p); before != m.parked[d][g] {
		t.Fatalf("parked before: %+v, want %+v", before, m.parked[d][g])
	}
	m.parked[d][g] = p
}

// firsts are when the first timers of a group are due, nothing if it has none.
func (m *model) firsts(d plan.TimeDomain, g element.KeyGroup) (at []element.EventTime) {
	if all := m.due(d, g, element.MaxTime); len(all) > 0 {
		at = append(at, all[0].Fire)
	}
	if p := m.parked[d][g]; p.Count > 0 {
		at = append(at, p.First)
	}
	return at
}

func (m *model) check(t *rapid.T) {
	total := len(m.list)
	for d := range m.parked {
		for _, p := range m.parked[d] {
			total += int(p.Count)
		}
	}
	if got := m.set.Len(); got != total {
		t.Fatalf("%d timers, want %d", got, total)
	}
	for g := range element.KeyGroup(groups) {
		parks := slices.ContainsFunc(m.parked[:], func(p [groups]timer.Parked) bool { return p[g].Count > 0 })
		if got := m.set.Parks(g); got != parks {
			t.Fatalf("group %d parks: %v", g, got)
		}
	}
	by := drawTime(t)
	for d := plan.EventTimeDomain; d <= plan.SynchronizedDomain; d++ {
		got := slices.Collect(m.set.Due(d, by))
		var want []element.KeyGroup
		earliest, next, waits := element.MaxTime, element.MaxTime, false
		for g := range element.KeyGroup(groups) {
			all := m.firsts(d, g)
			switch {
			case len(all) == 0:
			case slices.Min(all) <= by:
				want = append(want, g)
				earliest = min(earliest, slices.Min(all))
			default:
				next, waits = min(next, slices.Min(all)), true
			}
			if due := len(all) > 0 && slices.Min(all) <= by; m.set.IsDue(d, g, by) != due {
				t.Fatalf("group %d is due: %v", g, !due)
			}
		}
		if len(got) > 0 && slices.Min(m.firsts(d, got[0])) != earliest {
			t.Fatalf("group %d comes first, but not its timer", got[0])
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Fatalf("due by %v: got groups %v, want %v", by, got, want)
		}
		if at, ok := m.set.NextAfter(d, by); ok != waits || ok && at != next {
			t.Fatalf("next after %v: got %v and %v, want %v and %v", by, at, ok, next, waits)
		}
		for g := range m.set.Due(d, by) { // one may stop at any
			if g == want[0] {
				break
			}
		}
	}
}

func TestSetAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{set: timer.NewSet(groups)}
		t.Repeat(map[string]func(*rapid.T){"put": m.put, "remove": m.remove, "take": m.take, "park": m.park, "": m.check})
	})
}

// A key with many timers does not make every Take look at all of them, and
// keys behind it come in their turn.
func TestTakeEndsEarlyAmongTimersOfOneKey(t *testing.T) {
	const many = 1000
	s := timer.NewSet(1)
	for i := range many {
		s.Put(&timer.Timer{Name: timer.Name{Key: "hot", Tag: fmt.Sprint(i)}, Fire: element.EventTime(i)})
	}
	s.Put(&timer.Timer{Name: timer.Name{Key: "other"}, Fire: 50})
	s.Put(&timer.Timer{Name: timer.Name{Key: "behind"}, Fire: many})
	limit := timer.Limit{Timers: 10, Bytes: 1 << 20}
	var fired []string
	for round := range many {
		last := element.MinTime
		keys := map[string]bool{}
		for _, x := range s.Take(plan.EventTimeDomain, 0, element.MaxTime, limit) {
			if x.Fire < last || keys[x.Key] {
				t.Fatalf("round %d: timer of %s at %v comes after %v", round, x.Key, x.Fire, last)
			}
			last, keys[x.Key] = x.Fire, true
			if x.Key != "hot" {
				fired = append(fired, fmt.Sprint(x.Key, " in round ", round))
			}
		}
		if !keys["hot"] {
			t.Fatalf("round %d without the hot key", round)
		}
	}
	// Then a hundred timers of the hot key come between.
	want := []string{"other in round 0", "behind in round 899"}
	if !slices.Equal(fired, want) || s.Len() != 0 {
		t.Errorf("fired %v, want %v; %d timers are left", fired, want, s.Len())
	}
}

func BenchmarkPutAndTake(b *testing.B) {
	for _, keys := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			const spread = 64
			r := rand.New(rand.NewPCG(1, 2))
			s := timer.NewSet(spread)
			names := make([]string, keys)
			for i := range names {
				names[i] = fmt.Sprint("key", i)
			}
			set := func(i int, at element.EventTime) {
				s.Put(&timer.Timer{Name: timer.Name{Key: names[i]}, Group: element.KeyGroup(i % spread), Fire: at})
			}
			for i := range keys {
				set(i, element.EventTime(r.IntN(1000)))
			}
			limit := timer.Limit{Timers: 100, Bytes: 1 << 20}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				// One timer fires, and is set again.
				at, _ := s.NextAfter(plan.EventTimeDomain, element.MinTime)
				for g := range s.Due(plan.EventTimeDomain, at) {
					for _, x := range s.Take(plan.EventTimeDomain, g, at, limit) {
						x.Fire += element.EventTime(r.IntN(1000))
						s.Put(x)
						n++
					}
					break
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(max(n, 1)), "ns/timer")
		})
	}
}

// What the scheduler asks at every dispatch, of a stage with nothing due.
func BenchmarkNothingDue(b *testing.B) {
	s := timer.NewSet(64)
	for i := range 100_000 {
		s.Put(&timer.Timer{Name: timer.Name{Key: fmt.Sprint(i)}, Group: element.KeyGroup(i % 64), Fire: 1000})
	}
	b.ReportAllocs()
	for b.Loop() {
		for g := range s.Due(plan.EventTimeDomain, 999) {
			b.Fatalf("group %d is due", g)
		}
		if _, ok := s.NextAfter(plan.EventTimeDomain, 999); !ok {
			b.Fatal("nothing is to come")
		}
	}
}
