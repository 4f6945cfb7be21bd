package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
	"github.com/gorunner/gorunner/state/statetest"
)

// Simulations in which the process ends between any two steps, again and again.
// What goes on is a new scheduler, which knows nothing but what was durable: of the
// last commits some are lost, as many as a slow disk has not written. Then, too, each
// element counts once, no watermark goes back behind what was durable, and side
// inputs hold what they did.

// simSeedsVariable says how many seeds are simulated, instead of the few that are
// always, and of which part of them: "100000" or "100000/3/8" for every eighth from
// the third on.
const simSeedsVariable = "GORUNNER_SIM_SEEDS"

// seedsOf returns the seeds of a simulation.
func seedsOf(t *testing.T, few uint64) (from, step, to uint64) {
	t.Helper()
	text := os.Getenv(simSeedsVariable)
	switch {
	case text != "":
		if _, err := fmt.Sscanf(text, "%d/%d/%d", &to, &from, &step); err == nil {
			return from, max(step, 1), to
		}
		to, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s=%s: give a number of seeds, or number/first/step", simSeedsVariable, text)
		}
		return 0, 1, to
	case testing.Short():
		return 0, 1, few / 10
	}
	return 0, 1, few
}

func TestSimulationOfEnds(t *testing.T) {
	for name, make := range map[string]func(seed uint64) (*sim, error){"bounded": newSimOfEnds, "endless": newStreamSim} {
		t.Run(name, func(t *testing.T) {
			ends, lost, runs := 0, 0, 0
			from, step, to := seedsOf(t, simSeeds)
			for seed := from; seed < to; seed += step {
				s, err := make(seed)
				if err == nil {
					s.keepJournal()
					err = s.run()
					ends += s.journal.ended
					lost += s.journal.lost
				}
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				runs++
			}
			t.Logf("%d simulations with %d ends, in which %d commits were lost", runs, ends, lost)
			if ends < runs || lost < runs {
				t.Errorf("only %d ends with %d lost commits in %d simulations", ends, lost, runs)
			}
		})
	}
}

func newSimOfEnds(seed uint64) (*sim, error) {
	r := rand.New(rand.NewPCG(seed, 43))
	return newSim(r, newSimPlan(r, 2), config{
		workers: 1 + r.IntN(3), maxAttempts: 10, maxWorkerRestarts: 100,
		bundleBytes: int64(1 + r.IntN(400)), splitInterval: 10, idleInterval: 10, slots: 1 + r.IntN(3), bundleTime: time.Duration(r.IntN(3) * 20),
	})
}

// keepJournal gives the simulation a journal, and what it takes to lose some of it.
func (s *sim) keepJournal() {
	s.journal = &simJournal{
		rows: simRows{}, disk: s.disk, chance: 20 + s.rand.IntN(200), lag: []int{1, 2, 10, 50}[s.rand.IntN(4)],
		durable: newSimWorld(s.plan), epoch: s.config.epoch,
		numbers: map[element.Number]bool{},
	}
	s.openState(1)
	s.views.last()
}

// simJournal has what is known of a job in another process.
type simJournal struct {
	rows  simRows
	state statetest.Table
	disk  *simDisk
	ended int
	// chance is how rarely the process ends: one turn in so many. lag is how rarely
	// the disk gets something done: one turn in so many.
	chance, lag int
	// pending are commits that are handed over and not durable, in order; next is
	// what belongs to the one to come.
	pending []*simCommit
	next    simCommit
	// last is the number of the last commit, written that of the last durable one.
	last, written journal.Seq
	// durable is the world as of the last durable commit, lost counts the commits
	// that ended with their process.
	durable *simWorld
	lost    int
	epoch   element.EventTime
	// numbers are those of all blocks that were ever queued, again one that was so
	// twice.
	numbers map[element.Number]bool
	again   element.Number
}

// simCommit is a commit, and what the world has seen of it.
type simCommit struct {
	*journal.Commit
	deeds []func(*simWorld)
}

// simWorld is what there is to be seen of a job.
type simWorld struct {
	committed  []map[string]int
	watermarks []element.EventTime
	shown      map[plan.StageID]map[string]string
	sorted     map[string]element.EventTime
	drained    bool
	// clock is the processing time.
	clock element.EventTime
}

func newSimWorld(p *plan.Plan) *simWorld {
	w := &simWorld{shown: map[plan.StageID]map[string]string{}, sorted: map[string]element.EventTime{}}
	for range p.Edges {
		w.committed = append(w.committed, map[string]int{})
	}
	for range p.Stages {
		w.watermarks = append(w.watermarks, element.MinTime)
	}
	return w
}

// did notes what a commit does to the world.
func (j *simJournal) did(deed func(*simWorld)) {
	if j != nil {
		j.next.deeds = append(j.next.deeds, deed)
	}
}

func (j *simJournal) ends(r *rand.Rand) bool {
	return j != nil && j.ended < endsMax && r.IntN(j.chance) == 0
}

// endsMax bounds how often a process ends, so that jobs do.
const endsMax = 20

// commit hands over what a step has changed, with the state of a bundle that is
// committed, and returns the number. What is written is made of it only later: nobody
// may change it meanwhile.
func (j *simJournal) commit(s *sim, of state.Txn) journal.Seq {
	if j == nil {
		return 0
	}
	c := s.sched.changes()
	if c == nil {
		c = &journal.Commit{}
	}
	for i := range c.Queued {
		n := c.Queued[i].Number
		if j.numbers[n] {
			j.again = n
		}
		j.numbers[n] = true
	}
	s.views.changes(c)
	if of != nil {
		c.State = of.Changes()
	}
	marks, clock := slices.Clone(s.watermarks), j.epoch+element.EventTime(s.now/time.Millisecond)
	j.did(func(w *simWorld) { w.watermarks, w.clock = marks, clock })
	j.next.Commit = c
	next := j.next
	j.pending, j.next = append(j.pending, &next), simCommit{}
	j.last++
	return j.last
}

// write makes the first so many pending commits durable.
func (j *simJournal) write(n int) error {
	for _, c := range j.pending[:n] {
		changes, err := c.Changes()
		if err != nil {
			return err
		}
		b := j.state.Batch()
		if err := errors.Join(changes.Apply(j.rows), c.State.Apply(b), b.Commit()); err != nil {
			return err
		}
		j.written++
		for _, deed := range c.deeds {
			deed(j.durable)
		}
	}
	j.pending = slices.Delete(j.pending, 0, n)
	return nil
}

// work lets the disk get something done, or not.
func (j *simJournal) work(r *rand.Rand) error {
	if j == nil || len(j.pending) == 0 || r.IntN(j.lag) > 0 {
		return nil
	}
	return j.write(1 + r.IntN(len(j.pending)))
}

// over says whether a job that is done may say so: all must be durable. Sometimes
// its process ends before.
func (s *sim) over() (bool, error) {
	j := s.journal
	if j == nil {
		return true, nil
	}
	if j.again != 0 {
		return true, fmt.Errorf("block %d was queued twice, in one or two of %d processes", j.again, j.ended+1)
	}
	if len(j.pending) > 0 && s.rand.IntN(4) == 0 && j.ended < endsMax {
		s.result = nil
		return false, s.restart()
	}
	return true, j.write(len(j.pending))
}

// image reads everything.
func (r simRows) image(at func(element.Place) (element.Stored, error)) (*journal.Image, error) {
	m := &journal.Image{}
	keys := slices.Sorted(maps.Keys(r))
	for _, kind := range journal.Kinds() {
		for _, k := range keys {
			if k < string(kind[0]) || k >= string(kind[1]) {
				continue
			}
			if err := m.Read([]byte(k), r[k], at); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

// restart ends the process and starts another.
func (s *sim) restart() error {
	j := s.journal
	j.ended++
	for _, b := range s.running {
		b.txn.Drop()
		b.out.release()
	}
	if len(j.pending) > 0 { // of what was under way some has still been written
		if err := j.write(s.rand.IntN(len(j.pending) + 1)); err != nil {
			return err
		}
	}
	j.lost += len(j.pending)
	j.pending, j.next, j.last = nil, simCommit{}, j.written
	s.returnTo(j.durable)
	clear(s.running)
	clear(s.workers)
	s.workers[nativeID] = &simWorker{}
	s.caches, s.facts, s.wake = newSimCaches(), nil, 0
	s.spill.Free = shuffle.NewPool(s.memory)
	m, err := j.rows.image(j.disk.at)
	if err != nil {
		return err
	}
	c := s.config
	c.life = uint64(j.ended + 1)
	if s.stream == nil {
		// The clock goes back, too: what is expected of timers of processing time is
		// true only of those that fire after all input has come.
		c.epoch = max(j.epoch, j.durable.clock)
		j.epoch, s.now = c.epoch, 0
	}
	s.openState(c.life)
	s.views = newViews(s.plan, s.memory.Account("views"), c.life)
	s.views.last()
	s.views.restore(m)
	s.sched = newScheduler(s.plan, c)
	s.sched.ledger = newLedger(s.plan, c.life)
	var orders []order
	if len(j.rows) == 0 {
		orders = s.sched.start()
	} else {
		orders = s.sched.resume(m)
	}
	j.commit(s, nil)
	if err := s.obey(orders); err != nil {
		return fmt.Errorf("start %d: %w", j.ended, err)
	}
	if s.result == nil {
		s.facts = append(s.facts, workerReady{env: native, id: nativeID, slots: 2})
	}
	return s.checkWatermarks()
}

// returnTo makes the world what it was.
func (s *sim) returnTo(w *simWorld) {
	for i := range s.committed {
		s.committed[i] = maps.Clone(w.committed[i])
	}
	s.watermarks = slices.Clone(w.watermarks)
	if s.stream != nil {
		s.stream.shown = map[plan.StageID]map[string]string{}
		for view, windows := range w.shown {
			s.stream.shown[view] = maps.Clone(windows)
		}
		s.stream.sorted, s.stream.drained = maps.Clone(w.sorted), w.drained || s.config.drain
	}
}

// openState opens the state as this process has it.
func (s *sim) openState(life uint64) {
	j := s.journal
	room := []int64{0, 1 << 30}[s.rand.IntN(2)]
	s.store = state.New(state.Params{
		Over: func(used int64) bool { return used > room }, BatchBytes: 100, LoadBytes: 50,
		Lasting: &state.Lasting{
			Table: &j.state, Epoch: life, Durable: func() uint64 { return uint64(j.written) },
			Wait: func(_ context.Context, seq uint64) error {
				return j.write(int(max(journal.Seq(seq), j.written) - j.written))
			},
		},
	})
}

// simRows implements state.Batch.
type simRows map[string][]byte

func (r simRows) Set(key, value []byte) error {
	r[string(key)] = slices.Clone(value)
	return nil
}

func (r simRows) Delete(key []byte) error {
	delete(r, string(key))
	return nil
}

func (r simRows) DeleteRange(from, to []byte) error {
	maps.DeleteFunc(r, func(k string, _ []byte) bool { return k >= string(from) && k < string(to) })
	return nil
}

func (r simRows) Len() int      { return len(r) }
func (r simRows) Commit() error { return nil }
func (r simRows) Close() error  { return nil }

// simDisk keeps what is stored, and where it is.
type simDisk struct {
	fakeDisk
	all []element.Stored
}

type simStored struct {
	element.Stored
	place element.Place
}

func (s *simStored) Place() (element.Place, error) { return s.place, nil }

func (d *simDisk) Store(parts ...[]byte) (element.Stored, error) {
	inner, err := d.fakeDisk.Store(parts...)
	if err != nil {
		return nil, err
	}
	s := &simStored{inner, element.Place{File: uint64(len(d.all)), Size: uint32(inner.Size())}}
	d.all = append(d.all, s)
	return s, nil
}

func (d *simDisk) at(p element.Place) (element.Stored, error) {
	if p.File >= uint64(len(d.all)) || d.all[p.File].Size() != int(p.Size) {
		return nil, fmt.Errorf("nothing was stored at %+v", p)
	}
	return d.all[p.File], nil
}
