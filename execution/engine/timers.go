package engine

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/execution/watermark"
	"github.com/gorunner/gorunner/internal/invariants"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// timersPerBundle bounds the timers that one bundle fires, besides their bytes.
const timersPerBundle = 10_000

// timerChange is a timer that a bundle has set, or cleared if data is nil.
type timerChange struct{ timer timer.Timer }

// due returns the domain and key group of timers of the stage that are due and
// can fire, because the group is free. Unless can is nil, it says so of some
// groups only.
func (s *scheduler) due(st *stageState, can func(*stageState, element.KeyGroup) bool) (d plan.TimeDomain, g element.KeyGroup, ok bool) {
	if st.timers == nil || st.timers.Len() == 0 {
		return 0, 0, false
	}
	for _, d = range s.firingOrder(st) {
		for g = range st.timers.Due(d, s.dueBy(st, d)) {
			if !st.queue.Locked(g) && !st.lingers(g) && (can == nil || can(st, g)) {
				return d, g, true
			}
		}
	}
	return 0, 0, false
}

// lingers says whether timers of a key group that forget state wait, because a
// restriction may be left in a window that has expired: its watermark is its
// own, and it needs its state until it has ended.
func (st *stageState) lingers(g element.KeyGroup) bool {
	return st.forgetsLast && (st.queue.Blocks(g) > 0 || st.incoming.Blocks(g) > 0 ||
		slices.ContainsFunc(st.delayed, func(d delayedBlock) bool { return d.group == g }))
}

// fire makes work of the timers of one key group that are due, nil if there
// are none.
//
// Timers go in bundles of their own. What users have set in event time gives way
// once to the elements of the group: those came before the watermark did that
// let the timers fire, and may set them anew. The operators' own event timers
// go first, for the elements cannot be earlier. Timers in processing time,
// which may be due again and again, take turns with elements.
func (s *scheduler) fire(st *stageState) *work {
	d, g, ok := s.due(st, s.placed)
	if !ok || d != plan.EventTimeDomain && st.fired && s.leasable(st) {
		st.fired = false
		return nil
	}
	if d == plan.EventTimeDomain && st.env.id != native {
		if w := s.giveWay(st, g); w != nil {
			return w
		}
	}
	delete(st.gaveWay, g)
	st.fired = true
	if st.env.id == native {
		return s.fireGroups(st, d)
	}
	lease, free := st.queue.Lock(g)
	invariants.Assert(free, "stage %s: key group %d fires and is in another bundle", st.Name, g)
	w := &work{queue: st.queue, lease: lease, early: d != plan.EventTimeDomain && s.ending(st)}
	s.takeDue(st, w, d, g, timer.Limit{Timers: timersPerBundle, Bytes: s.config.bundleBytes})
	return w
}

// takeDue gives a piece of work the timers of a key group that are due, and
// returns the limit for others.
func (s *scheduler) takeDue(st *stageState, w *work, d plan.TimeDomain, g element.KeyGroup, limit timer.Limit) timer.Limit {
	due := s.dueBy(st, d)
	if until, ok := st.timers.ParkedDue(d, g, due); ok {
		w.parked = append(w.parked, parkedTimers{domain: d, group: g, until: until, limit: limit})
		limit.Timers -= int(min(st.timers.Parked(d, g).Count, int64(limit.Timers)))
		return limit
	}
	taken := st.timers.Take(d, g, due, limit)
	for _, t := range taken {
		limit.Bytes -= int64(len(t.Data))
	}
	limit.Timers -= len(taken)
	w.timers = append(w.timers, taken...)
	return limit
}

// fireGroups makes work of the timers of all key groups that are due and free:
// operators have many timers due at the same time, and little to do for each.
func (s *scheduler) fireGroups(st *stageState, d plan.TimeDomain) *work {
	w := &work{queue: st.queue}
	left := timer.Limit{Timers: timersPerBundle, Bytes: s.config.bundleBytes}
	for _, g := range slices.Collect(st.timers.Due(d, s.dueBy(st, d))) {
		if left.Timers <= 0 || left.Bytes <= 0 {
			break
		}
		if lease, free := st.queue.Lock(g); free {
			w.lease.Groups = append(w.lease.Groups, lease.Groups...)
			left = s.takeDue(st, w, d, g, left)
		}
	}
	return w
}

// giveWay makes work of the elements that the timers of a key group give way
// to: those that had come when the timers were first due. It returns nil if there
// are none left.
func (s *scheduler) giveWay(st *stageState, g element.KeyGroup) *work {
	blocks, began := st.gaveWay[g]
	if !began {
		blocks = st.queue.Blocks(g)
	}
	if blocks <= 0 {
		return nil
	}
	lease, ok := st.queue.LeaseGroup(g, s.limit(st, st.queue))
	if !ok {
		return nil
	}
	st.gaveWay[g] = blocks - len(lease.Blocks)
	return &work{queue: st.queue, lease: lease}
}

// apply makes the timers of a committed bundle true: what it set and cleared,
// what has changed in what is parked, and that those it was given have fired.
func (s *scheduler) apply(b *bundle, changes []timerChange, parked []parkedChange) {
	st := b.stage
	for _, t := range b.work.timers {
		s.ledger.clear(st, t)
	}
	for i := range changes {
		t := &changes[i].timer
		s.byOurClock(st, t)
		var old *timer.Timer
		if t.Data == nil {
			s.ledger.clear(st, t)
			old = st.timers.Remove(t.Name)
		} else {
			s.ledger.set(st, t)
			s.hold(st, t)
			old = st.timers.Put(t)
		}
		if old != nil {
			s.letGo(st, old)
		}
	}
	for _, p := range parked {
		s.park(st, p)
	}
	for _, t := range b.work.timers {
		s.letGo(st, t)
	}
	for g := range st.gaveWay {
		if !st.timers.IsDue(plan.EventTimeDomain, g, s.dueBy(st, plan.EventTimeDomain)) {
			delete(st.gaveWay, g) // what is due later gives way again
		}
	}
}

// byOurClock translates the processing time of a timer that an SDK has set: it
// knows the clock of the world alone, and meant a delay from now. Rounding is
// downwards: when the script has moved the clock by that delay, it is due. The
// delay ends at the latest where the clock does.
func (s *scheduler) byOurClock(st *stageState, t *timer.Timer) {
	if s.virtual() && st.env.id != native && t.Domain == plan.ProcessingTimeDomain && !s.never(t.Fire) {
		t.Fire = min(t.Fire-s.config.elapsed+element.EventTime((s.clock-s.now)/time.Millisecond)-1, s.lastTick())
	}
}

// hold lets a timer hold the stage back until it has fired: in event time by
// what it will emit then, in processing time by when.
func (s *scheduler) hold(st *stageState, t *timer.Timer) {
	s.timerBytes += timerFootprint(t)
	s.tracker.Hold(st.ID, watermark.Timed, t.Hold)
	if t.Domain != plan.EventTimeDomain {
		s.synchronized.Hold(st.ID, watermark.Timed, t.Fire)
	}
}

// letGo takes back what hold has done.
func (s *scheduler) letGo(st *stageState, t *timer.Timer) {
	s.timerBytes -= timerFootprint(t)
	s.tracker.Release(st.ID, watermark.Timed, t.Hold)
	if t.Domain != plan.EventTimeDomain {
		s.synchronized.Release(st.ID, watermark.Timed, t.Fire)
	}
}

// harnessTimers puts timers into the form in which a bundle has them: in
// order, neighbours of a family together.
func harnessTimers(timers []*timer.Timer) []harness.Timers {
	var out []harness.Timers
	for _, t := range timers {
		if n := len(out); n > 0 && out[n-1].Family == t.Family {
			out[n-1].Data = append(out[n-1].Data, t.Data...)
			continue
		}
		out = append(out, harness.Timers{Family: t.Family, Data: append([]byte(nil), t.Data...)})
	}
	return out
}

// timerCollector holds the timers that a bundle has written.
type timerCollector struct {
	mu sync.Mutex
	// changes come in the order in which they were written; guarded by mu.
	changes []timerChange
	// rest is the beginning of a timer, of each family; guarded by mu.
	rest [][]byte
}

func (c *timerCollector) write(family int, f *timerFamily, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	data = append(c.rest[family], data...)
	for len(data) > 0 {
		t, err := coder.CutTimer(data, f.spec.Key, f.window)
		if errors.Is(err, coder.ErrShort) {
			break
		}
		if err == nil {
			err = c.add(family, f, t)
		}
		if err != nil {
			return fmt.Errorf("timers %s of %s: %w", f.spec.Family, f.spec.Transform, err)
		}
		data = data[t.Size:]
	}
	c.rest[family] = data
	return nil
}

// put takes a timer that is whole.
func (c *timerCollector) put(family int, f *timerFamily, t coder.Timer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.add(family, f, t); err != nil {
		return fmt.Errorf("timers %s of %s: %w", f.spec.Family, f.spec.Transform, err)
	}
	return nil
}

// add takes a change for each window of the timer.
func (c *timerCollector) add(family int, f *timerFamily, t coder.Timer) error {
	windows, fire := t.Windows, t.Fire
	for range t.NumWindows {
		n, err := f.window.Measure(windows)
		if err != nil {
			return fmt.Errorf("window: %w", err)
		}
		if t.Fire, err = f.latest(fire, windows[:n]); err != nil {
			return err
		}
		change := timerChange{timer.Timer{
			Name:   timer.Name{Family: family, Key: string(t.Key), Tag: string(t.Tag), Window: string(windows[:n])},
			Group:  shuffle.KeyGroup(t.Key, f.groups),
			Domain: f.spec.Domain,
			Fire:   t.Fire,
			Hold:   min(t.Hold, element.MaxTime),
		}}
		if !t.Clear {
			one := t
			one.Windows, one.NumWindows = windows[:n], 1
			change.timer.Data = coder.PutTimer(nil, one)
		}
		c.changes = append(c.changes, change)
		windows = windows[n:]
	}
	return nil
}

// close returns the changes. It fails when the last timer is not whole.
func (c *timerCollector) close() ([]timerChange, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for family := range c.rest {
		if len(c.rest[family]) > 0 {
			return nil, fmt.Errorf("timers end within a timer of family %d: %w", family, coder.ErrShort)
		}
	}
	return c.changes, nil
}
