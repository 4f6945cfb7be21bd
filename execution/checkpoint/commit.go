package checkpoint

import (
	"bytes"
	"fmt"
	"time"
)

// put puts the entry of the attempt.
func (c *Coordinator) put(now time.Time) {
	a := &c.attempt
	e := c.self
	e.Kind, e.Plan, e.Files, e.Made = a.kind, a.plan, a.files, now.UTC().Round(0)
	e.Kept = nil
	for _, k := range c.entries {
		e.Kept = append(e.Kept, k.Slot)
	}
	a.entry = &e
	c.phase = committing
	c.do(PutEntry{Entry: a.entry})
}

// settle finds out what is in the slot of the entry that is being put.
func (c *Coordinator) settle(now time.Time, o Outcome) {
	a := &c.attempt
	switch _, read := o.Act.(ReadEntry); {
	case read:
		c.found(now, o)
	case o.Result == OK:
		c.committed()
	case o.Result == Exists:
		c.do(ReadEntry{Slot: a.entry.Slot})
	case o.Result == Refused && a.tries == 0:
		a.problem = fmt.Sprintf("put entry %d: %s", a.entry.Slot, o.Problem)
		c.giveUp(now)
	default:
		c.putAgain(now, o)
	}
}

// found looks at what is in the slot.
func (c *Coordinator) found(now time.Time, o Outcome) {
	a := &c.attempt
	switch {
	case o.Result == Foreign: // nobody else takes a slot of ours
		c.fenced = true
		c.do(Fenced{})
	case o.Result != OK:
		c.putAgain(now, o)
	case o.Entry.Runner != c.self.Runner:
		c.fenced = true
		c.do(Fenced{By: o.Entry})
	case bytes.Equal(o.Entry.Encode(), a.entry.Encode()), o.Entry.Kind == Ended:
		a.entry = o.Entry // of an end, perhaps that of an earlier attempt
		c.committed()
	default:
		c.adopt(now, o.Entry)
	}
}

// putAgain puts the same entry again, as it is not known what is there, and tells
// who waits for it so.
func (c *Coordinator) putAgain(now time.Time, o Outcome) {
	a := &c.attempt
	c.failures++
	a.tries++
	a.retryAt = now.Add(c.backoff(c.failures))
	report := Report{Problem: fmt.Sprintf("put entry %d: %v: %s", a.entry.Slot, o.Result, o.Problem)}
	if a.tries >= c.cfg.MaxTries {
		for _, r := range a.requests {
			report.Requests = append(report.Requests, r.id)
		}
		a.requests = nil
	}
	c.do(report)
}

// adopt enters what an earlier attempt has put, although it was told otherwise, and
// puts the entry of this one behind. The files of the other are there: none are
// garbage before an entry is known to be committed.
func (c *Coordinator) adopt(now time.Time, e *Entry) {
	c.self.Slot++
	c.entries = append(c.entries, &kept{Entry: e})
	c.files.hold(e.Files)
	c.attempt.tries = 0
	c.put(now)
}

func (c *Coordinator) committed() {
	a := &c.attempt
	c.failures = 0
	c.self.Slot++
	if a.kind == Ended {
		c.ended = true
	} else {
		c.entries = append(c.entries, &kept{Entry: a.entry}) // with the references of the attempt
	}
	c.files.collect()
	report := Report{Entry: a.entry}
	for _, r := range a.requests {
		report.Requests = append(report.Requests, r.id)
	}
	c.do(report)
	c.phase = pointing
	c.do(PutLatest{Slot: a.entry.Slot})
}
