package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/execution/watermark"
	"github.com/gorunner/gorunner/internal/invariants"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/state"
)

// Timers that are set while the budget is exceeded are parked: they go to the
// store of state, in the transaction of the bundle that sets them, and so to disk
// in the end. The scheduler gets to know how many there are of each domain and
// key group, when the first one is due and what they hold; it fires them as it
// does others, but the bundle loads them, again for each attempt. Nobody else
// touches them meanwhile, because a bundle has its key groups for itself: so it
// can look up which of them it sets anew or clears.
//
// A parked timer is an entry in each of three cells of its domain and key group,
// which are sorted: by its time, with all there is to know of it; by its hold; and
// by its name, with both of these.
//
//	time name   hold data
//	hold name   -
//	name        time hold

// parkedTimers are the parked timers that a bundle is to load.
type parkedTimers struct {
	domain plan.TimeDomain
	group  element.KeyGroup
	until  element.EventTime
	limit  timer.Limit
}

// parking says what becomes of timers that a bundle sets.
type parking struct {
	// may says that they may be parked, those of the key groups.
	may    bool
	groups []element.KeyGroup
	// parked are the groups of which some are, before what there is of each.
	parked []element.KeyGroup
	before map[parkedPlace]timer.Parked
}

// parkedChange is what a bundle has changed in what is parked.
type parkedChange struct {
	domain plan.TimeDomain
	group  element.KeyGroup
	// more is how many timers there are more, which may be less than none; first and
	// hold are as in timer.Parked.
	more        int64
	first, hold element.EventTime
}

// parking says what becomes of the timers that a bundle will set. Where scripts
// move the clock, and at the end of a drained job, the scheduler has its own ideas
// about each.
func (s *scheduler) parking(st *stageState, w *work) parking {
	if st.timers == nil {
		return parking{}
	}
	p := parking{may: !s.virtual() && !s.draining, groups: w.lease.Groups}
	for _, g := range w.lease.Groups {
		if !st.timers.Parks(g) {
			continue
		}
		p.parked = append(p.parked, g)
		for d := plan.EventTimeDomain; d <= plan.SynchronizedDomain; d++ {
			if before := st.timers.Parked(d, g); before.Count > 0 {
				if p.before == nil {
					p.before = make(map[parkedPlace]timer.Parked)
				}
				p.before[parkedPlace{d, g}] = before
			}
		}
	}
	return p
}

// park takes note of what is parked.
func (s *scheduler) park(st *stageState, c parkedChange) {
	before := st.timers.Parked(c.domain, c.group)
	now := timer.Parked{Count: before.Count + c.more, First: c.first, Hold: c.hold}
	invariants.Assert(now.Count >= 0, "stage %s has %d parked timers of group %d", st.Name, now.Count, c.group)
	s.ledger.park(st, c.domain, c.group, now)
	s.holdParked(st, c.domain, now)
	st.timers.Park(c.domain, c.group, now)
	s.letGoParked(st, c.domain, before)
}

func (s *scheduler) holdParked(st *stageState, d plan.TimeDomain, p timer.Parked) {
	if p.Count == 0 {
		return
	}
	s.tracker.Hold(st.ID, watermark.Timed, p.Hold)
	if d != plan.EventTimeDomain {
		s.synchronized.Hold(st.ID, watermark.Timed, p.First)
	}
}

func (s *scheduler) letGoParked(st *stageState, d plan.TimeDomain, p timer.Parked) {
	if p.Count == 0 {
		return
	}
	s.tracker.Release(st.ID, watermark.Timed, p.Hold)
	if d != plan.EventTimeDomain {
		s.synchronized.Release(st.ID, watermark.Timed, p.First)
	}
}

// unpark forgets what is parked of a stage.
func (s *scheduler) unpark(st *stageState) {
	for d := plan.EventTimeDomain; d <= plan.SynchronizedDomain; d++ {
		for g := range element.KeyGroup(st.timers.Groups()) {
			before := st.timers.Park(d, g, timer.Parked{})
			if before.Count > 0 {
				s.ledger.park(st, d, g, timer.Parked{})
			}
			s.letGoParked(st, d, before)
		}
	}
}

// parker changes what is parked, for a bundle.
type parker struct {
	txn    state.Txn
	stage  plan.StageID
	before map[parkedPlace]timer.Parked
	// touched are the domains and groups in the order in which they were, places
	// where they are.
	touched []*parkedGroup
	places  map[parkedPlace]int
}

type parkedPlace struct {
	domain plan.TimeDomain
	group  element.KeyGroup
}

// parkedGroup is what is parked of a domain and group: its three cells, and what
// has changed.
type parkedGroup struct {
	byTime, byHold, byName state.Cell
	// first and hold are not behind any timer's: there is nothing before them but what
	// is deleted, which may be much.
	first, hold element.EventTime
	change      parkedChange
}

// of finds what is parked of a domain and group.
func (p *parker) of(d plan.TimeDomain, g element.KeyGroup) *parkedGroup {
	place := parkedPlace{d, g}
	if i, ok := p.places[place]; ok {
		return p.touched[i]
	}
	if p.places == nil {
		p.places = make(map[parkedPlace]int)
	}
	cell := func(by string) state.Cell {
		return state.Cell{
			State: fmt.Sprintf("timers of stage %d by %s", p.stage, by),
			Key:   string(binary.BigEndian.AppendUint32(nil, uint32(g))), Window: string(byte(d)),
		}
	}
	at := &parkedGroup{
		byTime: cell("time"), byHold: cell("hold"), byName: cell("name"),
		first: element.MaxTime, hold: element.MaxTime,
		change: parkedChange{domain: d, group: g},
	}
	if before, some := p.before[place]; some {
		at.first, at.hold = before.First, before.Hold
	}
	p.places[place] = len(p.touched)
	p.touched = append(p.touched, at)
	return at
}

// put parks a timer. There is none of its name.
func (p *parker) put(t *timer.Timer) error {
	name := parkedName(&t.Name)
	fire, hold := parkedTime(t.Fire), parkedTime(t.Hold)
	at := p.of(t.Domain, t.Group)
	at.change.more++
	at.first, at.hold = min(at.first, t.Fire), min(at.hold, t.Hold)
	return errors.Join(
		p.txn.Replace(at.byTime, fire+name, append([]byte(hold), t.Data...)),
		p.txn.Replace(at.byHold, hold+name, []byte{1}),
		p.txn.Replace(at.byName, name, []byte(fire+hold)),
	)
}

// remove clears a timer, if it is parked.
func (p *parker) remove(t *timer.Timer) error {
	name := parkedName(&t.Name)
	at := p.of(t.Domain, t.Group)
	pieces, err := state.Get(p.txn, at.byName, name)
	if err != nil || len(pieces) == 0 {
		return err
	}
	times := string(slices.Concat(pieces...))
	if len(times) != 2*parkedTimeBytes {
		return fmt.Errorf("%w: %d bytes of times", errParked, len(times))
	}
	return p.clear(at, times[:parkedTimeBytes], times[parkedTimeBytes:], name)
}

func (p *parker) clear(at *parkedGroup, fire, hold, name string) error {
	at.change.more--
	return errors.Join(
		p.txn.Clear(at.byTime, fire+name),
		p.txn.Clear(at.byHold, hold+name),
		p.txn.Clear(at.byName, name),
	)
}

// take removes and returns the timers that are due, by the rules of
// [timer.Set.Take].
func (p *parker) take(w *parkedTimers) ([]*timer.Timer, error) {
	at := p.of(w.domain, w.group)
	var to string
	if w.until < element.MaxTime {
		to = parkedTime(w.until + 1)
	}
	var entry string
	var data []byte
	pick := picker{limit: w.limit, first: map[string]element.EventTime{}}
	err := p.txn.Scan(at.byTime, state.Place{Entry: parkedTime(at.first)}, to, func(piece state.Piece) bool {
		if piece.Entry != entry {
			if !pick.next(entry, data) {
				return false
			}
			entry, data = piece.Entry, nil
		}
		data = append(data, piece.Data...)
		return true
	})
	if pick.next(entry, data); err == nil {
		err = pick.err
	}
	for _, t := range pick.taken {
		t.Domain, t.Group = w.domain, w.group
		if err == nil {
			err = p.clear(at, parkedTime(t.Fire), parkedTime(t.Hold), parkedName(&t.Name))
		}
	}
	return pick.taken, err
}

// picker picks the timers of a bundle.
type picker struct {
	limit timer.Limit
	taken []*timer.Timer
	first map[string]element.EventTime // by key
	bytes int64
	later int
	err   error
}

// next looks at a timer, and says whether to go on. Without an entry there is
// none.
func (p *picker) next(entry string, data []byte) (more bool) {
	if p.limit.Full(len(p.taken), p.later, p.bytes) || p.err != nil {
		return false
	}
	if entry == "" {
		return true
	}
	t := &timer.Timer{}
	if p.err = readParked(entry, data, t); p.err != nil {
		return false
	}
	if at, seen := p.first[t.Key]; seen && at < t.Fire {
		p.later++
		return true
	}
	p.first[t.Key] = t.Fire
	p.taken = append(p.taken, t)
	p.bytes += int64(len(t.Data))
	return true
}

// close returns the changes, with what there is after them.
func (p *parker) close() (changes []parkedChange, err error) {
	for _, at := range p.touched {
		if at.change.first, err = p.first(at.byTime, at.first); err != nil {
			return nil, err
		}
		if at.change.hold, err = p.first(at.byHold, at.hold); err != nil {
			return nil, err
		}
		changes = append(changes, at.change)
	}
	return changes, nil
}

// first returns the first time of a cell, if it has one; there is none before from.
func (p *parker) first(cell state.Cell, from element.EventTime) (at element.EventTime, err error) {
	err = p.txn.Names(cell, parkedTime(from), "", func(name string) bool {
		at = readParkedTime(name)
		return false
	})
	return at, err
}

// Times are written so that they sort.
const (
	parkedTimeBytes = 8
	parkedTimeSign  = 1 << 63
)

func parkedTime(t element.EventTime) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(t)^parkedTimeSign))
}

func readParkedTime(s string) element.EventTime {
	return element.EventTime(binary.BigEndian.Uint64([]byte(s[:parkedTimeBytes])) ^ parkedTimeSign)
}

func parkedName(n *timer.Name) string {
	b := binary.AppendUvarint(nil, uint64(n.Family))
	for _, part := range []string{n.Key, n.Tag} {
		b = append(binary.AppendUvarint(b, uint64(len(part))), part...)
	}
	return string(append(b, n.Window...))
}

// errParked reports an entry that parks nothing.
var errParked = errors.New("malformed parked timer")

// readParked reads the entry of a timer in the cell by time.
func readParked(entry string, data []byte, t *timer.Timer) error {
	if len(entry) < parkedTimeBytes || len(data) < parkedTimeBytes {
		return fmt.Errorf("%w: %d bytes", errParked, len(entry)+len(data))
	}
	t.Fire, t.Hold = readParkedTime(entry), readParkedTime(string(data[:parkedTimeBytes]))
	t.Data = data[parkedTimeBytes:]
	rest := []byte(entry[parkedTimeBytes:])
	family, n := binary.Uvarint(rest)
	if n <= 0 {
		return fmt.Errorf("%w: family", errParked)
	}
	t.Family, rest = int(family), rest[n:]
	for _, part := range []*string{&t.Key, &t.Tag} {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return fmt.Errorf("%w: name", errParked)
		}
		*part, rest = string(rest[n:n+int(size)]), rest[n+int(size):]
	}
	t.Window = string(rest)
	return nil
}

// unpark loads the parked timers that a bundle is to fire.
func (x *execution) unpark(parked []parkedTimers) (timers []*timer.Timer, err error) {
	for i := range parked {
		some, err := x.parker().take(&parked[i])
		if err != nil {
			return nil, fmt.Errorf("load timers: %w", err)
		}
		timers = append(timers, some...)
	}
	return timers, nil
}

func (x *execution) parker() *parker {
	if x.txn == nil {
		x.txn = x.store.Begin()
	}
	if x.parks == nil {
		x.parks = &parker{txn: x.txn, stage: x.stage.ID, before: x.parking.before}
	}
	return x.parks
}

// park parks the timers that the bundle has set, if there is no memory for them,
// and brings what is parked up to date with all that it has set and cleared. What
// is parked is, for the scheduler, cleared.
func (x *execution) park(changes []timerChange) ([]parkedChange, error) {
	over := x.parking.may && x.out.pipe.spill.Over()
	if !over && len(x.parking.parked) == 0 && x.parks == nil {
		return nil, nil
	}
	parked := make(map[element.KeyGroup]bool)
	for _, g := range x.parking.parked {
		parked[g] = true
	}
	p := x.parker()
	for i := range changes {
		t := &changes[i].timer
		if parked[t.Group] {
			if err := p.remove(t); err != nil {
				return nil, fmt.Errorf("parked timers: %w", err)
			}
		}
		if t.Data == nil || !over || !slices.Contains(x.parking.groups, t.Group) {
			continue
		}
		if err := p.put(t); err != nil {
			return nil, fmt.Errorf("park timers: %w", err)
		}
		parked[t.Group], t.Data = true, nil
	}
	return p.close()
}
