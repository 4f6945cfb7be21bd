package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// maxRecoveryTries is how often in a row an act of a recovery may fail.
const maxRecoveryTries = 8

// Recovered is what a recovery has found.
type Recovered struct {
	// Base is the newest whole entry, from which to restore; nil if there is none.
	Base *Entry
	// Entries are all checkpoints and savepoints that were found, by slot.
	Entries []*Entry
	// End is the entry that says that the job has ended, nil if it has not.
	End *Entry
	// Problems tell people what was found damaged, if anything.
	Problems []string

	claim     Entry
	broken    []Slot
	sweepable bool
}

// Epoch is the one that was claimed.
func (r *Recovered) Epoch() Epoch { return r.claim.Epoch }

// Recovery finds the newest entry of a job's log, claims the slot behind it, and
// then, when no other runner can add anything, chooses the newest entry whose
// files are all there. It belongs to one goroutine.
//
//	latest, list ──▶ read on from the later of both ──▶ claim ──▶ read all kept ──▶ check
//	                        ▲        until a slot is free │ taken                     │ whole
//	                        └────────────────────────────┘                          done
type Recovery struct {
	out Recovered
	err error

	// asked are acts whose outcome is to come, tries counts failures in a row.
	asked int
	tries int

	// start is the slot at which reading begins, listed are those of a list.
	start  Slot
	listed []Slot
	// known are the entries that were read, seen the slots that were asked for.
	known map[Slot]*Entry
	seen  map[Slot]bool
	// claimed is set once the claim is there.
	claimed bool
	// lineage, if it is not empty, is that of which the newest entry must be.
	lineage  string
	rejected map[Slot]bool
	done     bool
}

// NewRecovery begins to recover a job for a runner, whose name no other process
// has ever used.
func NewRecovery(job JobID, runner string) *Recovery {
	return &Recovery{
		out:   Recovered{claim: Entry{Job: job, Kind: Claim, Runner: runner}, sweepable: true},
		known: make(map[Slot]*Entry), seen: make(map[Slot]bool), rejected: make(map[Slot]bool),
	}
}

// Expect makes the recovery fail with ErrTaken, without a claim, if the newest
// entry is of another lineage than the runner. Whoever goes on with what he has on
// his own disk must not overtake another who went on from the store.
func (r *Recovery) Expect() { r.lineage = Lineage(r.out.claim.Runner) }

// ErrTaken says that a runner of another lineage has the job.
var ErrTaken = errors.New("another runner has taken the job over")

// newest is the last entry that was read, nil if there is none.
func (r *Recovery) newest() *Entry {
	var newest *Entry
	for _, e := range r.known {
		if newest == nil || e.Slot > newest.Slot {
			newest = e
		}
	}
	return newest
}

// Begin returns the first acts.
func (r *Recovery) Begin() []Act { return r.ask(ReadLatest{}, ListLog{}) }

func (r *Recovery) ask(acts ...Act) []Act {
	r.asked += len(acts)
	return acts
}

// Result returns what was found, once no more acts come, or why nothing was.
func (r *Recovery) Result() (*Recovered, error) {
	switch {
	case r.err != nil:
		return nil, r.err
	case !r.done:
		return nil, errors.New("checkpoint: the recovery is not complete")
	}
	return &r.out, nil
}

// Reject says that the base turned out not to be what was written, and goes on to
// look for an older one.
func (r *Recovery) Reject(problem string) []Act {
	slot := r.out.Base.Slot
	r.damaged("entry %d: %s", slot, problem)
	r.rejected[slot] = true
	r.out.broken = append(r.out.broken, slot)
	r.out.Base, r.done = nil, false
	return r.choose()
}

func (r *Recovery) damaged(format string, args ...any) {
	r.out.Problems = append(r.out.Problems, fmt.Sprintf(format, args...))
}

// Step takes the outcome of an act and returns what is to be done next. An act
// that has failed is asked for again: whoever carries it out waits a little.
func (r *Recovery) Step(o Outcome) []Act {
	r.asked--
	if r.err != nil || r.done {
		return nil
	}
	if o.Result == Failed || o.Result == Refused || o.Result == Foreign {
		return r.again(o)
	}
	r.tries = 0
	switch act := o.Act.(type) {
	case ReadLatest:
		if o.Result == Damaged {
			r.damaged("%s: %s", Latest, o.Problem)
		}
		r.start = max(r.start, o.Slot)
		return r.begin()
	case ListLog:
		r.list(o.Names)
		return r.begin()
	case ReadEntry:
		r.read(act.Slot, o)
		switch {
		case r.claimed:
			return r.readKept()
		case o.Result == Absent && act.Slot > r.start:
			return r.claim(act.Slot)
		case o.Result == OK && o.Entry.Runner == r.out.claim.Runner:
			return r.claimMade(act.Slot)
		}
		return r.ask(ReadEntry{Slot: act.Slot + 1})
	case PutEntry:
		if o.Result == Exists {
			return r.ask(ReadEntry{Slot: act.Entry.Slot}) // by an earlier try, perhaps
		}
		return r.claimMade(act.Entry.Slot)
	case CheckFiles:
		return r.checked(act.Entry, o)
	case TakeCut, Upload, ReleaseCut, PutLatest, ListData, Delete, Report, Fenced:
		r.err = fmt.Errorf("checkpoint: outcome of %T, which was not asked for", act)
	}
	return nil
}

// list notes the slots of what a listing has shown.
func (r *Recovery) list(names []BlobName) {
	for _, name := range names {
		if slot, ok := SlotOf(name); ok {
			r.listed = append(r.listed, slot)
			r.start = max(r.start, slot)
		}
	}
}

// again asks for an act again that has failed, unless there is no hope.
func (r *Recovery) again(o Outcome) []Act {
	if r.tries++; o.Result != Failed || r.tries >= maxRecoveryTries {
		r.err = fmt.Errorf("checkpoint: recover job %s: %T: %s", r.out.claim.Job, o.Act, o.Problem)
		return nil
	}
	return r.ask(o.Act)
}

// begin reads on from the latest slot that is known.
func (r *Recovery) begin() []Act {
	if r.asked > 0 {
		return nil
	}
	return r.ask(ReadEntry{Slot: max(r.start, 1)})
}

// read keeps what was found in a slot.
func (r *Recovery) read(slot Slot, o Outcome) {
	r.seen[slot] = true
	switch {
	case o.Result == Absent:
		return
	case o.Result == Damaged:
		r.damaged("entry %d: %s", slot, o.Problem)
	case o.Entry.Job != r.out.claim.Job:
		r.damaged("entry %d is of job %s", slot, o.Entry.Job)
	default:
		r.known[slot] = o.Entry
		return
	}
	// What it refers to is not known, and so what is garbage is not either.
	r.out.sweepable = false
}

// older are the slots of entries that may be needed, as far as is known.
func (r *Recovery) older() []Slot {
	slots := slices.Clone(r.listed)
	for slot, e := range r.known {
		slots = append(append(slots, slot), e.Kept...)
	}
	slots = slices.DeleteFunc(slots, func(s Slot) bool {
		e := r.known[s]
		return e != nil && !e.restorable() || s >= r.out.claim.Slot
	})
	slices.Sort(slots)
	return slices.Compact(slots)
}

func (r *Recovery) claim(slot Slot) []Act {
	if last := r.newest(); r.lineage != "" && last != nil && Lineage(last.Runner) != r.lineage {
		r.err = fmt.Errorf("checkpoint: job %s: %w: entry %d is of %s", r.out.claim.Job, ErrTaken, last.Slot, last.Runner)
		return nil
	}
	e := &r.out.claim
	e.Slot, e.Epoch = slot, Epoch(slot)
	e.Kept = r.older()
	made := *e
	return r.ask(PutEntry{Entry: &made})
}

func (r *Recovery) claimMade(slot Slot) []Act {
	r.claimed = true
	delete(r.known, slot)
	r.out.claim.Slot, r.out.claim.Epoch = slot, Epoch(slot)
	return r.readKept()
}

// readKept reads what was not read yet and may be needed, then chooses.
func (r *Recovery) readKept() []Act {
	var acts []Act
	for _, slot := range r.older() {
		if !r.seen[slot] {
			r.seen[slot] = true
			acts = append(acts, ReadEntry{Slot: slot})
		}
	}
	if len(acts) > 0 || r.asked > 0 {
		return r.ask(acts...)
	}
	for _, e := range r.known {
		switch {
		case e.restorable():
			r.out.Entries = append(r.out.Entries, e)
		case e.Kind == Ended && (r.out.End == nil || e.Slot > r.out.End.Slot):
			r.out.End = e
		}
	}
	slices.SortFunc(r.out.Entries, func(a, b *Entry) int { return cmp.Compare(a.Slot, b.Slot) })
	return r.choose()
}

// choose has the newest entry checked that was not found wanting.
func (r *Recovery) choose() []Act {
	for _, e := range slices.Backward(r.out.Entries) {
		if !r.rejected[e.Slot] {
			return r.ask(CheckFiles{Entry: e})
		}
	}
	r.done = true
	return nil
}

func (r *Recovery) checked(e *Entry, o Outcome) []Act {
	if o.Result == OK {
		r.out.Base, r.done = e, true
		return nil
	}
	r.damaged("entry %d: %s", e.Slot, o.Problem)
	r.rejected[e.Slot] = true
	r.out.broken = append(r.out.broken, e.Slot)
	return r.choose()
}
