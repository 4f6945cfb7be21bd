package engine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/shuffle"
)

// Simulations in which the process ends between any two steps, again and again.
// What goes on is a new scheduler, which knows nothing but what was committed.
// Then, too, each element counts once, and no watermark goes back.

func TestSimulationOfEnds(t *testing.T) {
	seeds := uint64(simSeeds)
	if testing.Short() {
		seeds = 30
	}
	for name, make := range map[string]func(seed uint64) (*sim, error){"bounded": newSimOfEnds, "endless": newStreamSim} {
		ends := 0
		for seed := range seeds {
			s, err := make(seed)
			if err == nil {
				s.journal = &simJournal{rows: simRows{}, disk: s.disk, chance: 20 + s.rand.IntN(200)}
				err = s.run()
				ends += s.journal.ended
			}
			if err != nil {
				t.Fatalf("%s, seed %d: %v", name, seed, err)
			}
		}
		if ends < int(seeds) {
			t.Errorf("%s: only %d ends in %d simulations", name, ends, seeds)
		}
	}
}

func newSimOfEnds(seed uint64) (*sim, error) {
	r := rand.New(rand.NewPCG(seed, 43))
	return newSim(r, newSimPlan(r, 2), config{
		workers: 1 + r.IntN(3), maxAttempts: 10, maxWorkerRestarts: 100,
		bundleBytes: int64(1 + r.IntN(400)), splitInterval: 10, idleInterval: 10, slots: 1 + r.IntN(3), bundleTime: time.Duration(r.IntN(3) * 20),
	})
}

// simJournal has what is known of a job in another process.
type simJournal struct {
	rows  simRows
	disk  *simDisk
	ended int
	// chance is how rarely the process ends: one turn in so many.
	chance int
}

// endsMax bounds how often a process ends, so that jobs do.
const endsMax = 20

func (j *simJournal) ends(r *rand.Rand) bool {
	return j != nil && j.ended < endsMax && r.IntN(j.chance) == 0
}

// commit writes what a fact has changed.
func (j *simJournal) commit(s *sim, f fact, orders []order) error {
	if j == nil {
		return nil
	}
	c := s.sched.changes()
	if c == nil {
		c = &journal.Commit{}
	}
	if done, ok := f.(bundleDone); ok {
		for _, w := range done.shown {
			c.Shown = append(c.Shown, journal.Shown{View: s.ending, Window: string(w)})
		}
	}
	for _, o := range orders {
		if o, ok := o.(forgetWindows); ok {
			for _, w := range o.windows {
				c.Shown = append(c.Shown, journal.Shown{View: o.view, Window: w, Forgotten: true})
			}
		}
	}
	changes, err := c.Changes()
	if err != nil {
		return err
	}
	return changes.Apply(j.rows)
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
	s.journal.ended++
	for _, b := range s.running {
		b.txn.Drop()
		b.out.release()
	}
	clear(s.running)
	clear(s.workers)
	s.workers[nativeID] = &simWorker{}
	s.caches, s.facts, s.wake = newSimCaches(), nil, 0
	s.spill.Free = shuffle.NewPool(s.memory)
	m, err := s.journal.rows.image(s.journal.disk.at)
	if err != nil {
		return err
	}
	c := s.config
	if s.stream == nil { // which tells the time by now alone
		c.epoch += element.EventTime(s.now / time.Millisecond)
		s.now = 0
	}
	s.sched = newScheduler(s.plan, c)
	s.sched.ledger = newLedger(s.plan)
	if err := s.obey(s.sched.resume(m)); err != nil {
		return fmt.Errorf("start %d: %w", s.journal.ended, err)
	}
	if s.result == nil {
		s.facts = append(s.facts, workerReady{env: native, id: nativeID, slots: 2})
	}
	return nil
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

func (d *simDisk) StoreAll(all [][]byte) ([]element.Stored, error) { return storeEach(d, all) }

func (d *simDisk) at(p element.Place) (element.Stored, error) {
	if p.File >= uint64(len(d.all)) || d.all[p.File].Size() != int(p.Size) {
		return nil, fmt.Errorf("nothing was stored at %+v", p)
	}
	return d.all[p.File], nil
}
