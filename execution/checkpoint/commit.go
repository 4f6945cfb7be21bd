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
	_, read := o.Act.(ReadEntry)
	switch {
	case !read && o.Result == OK, read && o.Result == OK && bytes.Equal(o.Entry.Encode(), a.entry.Encode()):
		c.committed()
	case read && o.Result == OK && o.Entry.Runner == c.self.Runner && o.Entry.Kind == Ended:
		a.entry = o.Entry // by an earlier attempt
		c.committed()
	case read && o.Result == OK && o.Entry.Runner == c.self.Runner:
		c.adopt(now, o.Entry)
	case read && o.Result == OK:
		c.fenced = true
		c.do(Fenced{By: o.Entry})
	case read && o.Result == Foreign: // nobody else takes a slot of ours
		c.fenced = true
		c.do(Fenced{})
	case !read && o.Result == Exists:
		c.do(ReadEntry{Slot: a.entry.Slot})
	case !read && o.Result == Refused && a.tries == 0:
		a.problem = fmt.Sprintf("put entry %d: %s", a.entry.Slot, o.Problem)
		c.giveUp(now)
	default:
		// It is not known what is there: the same entry is put again, and who waits for
		// it is told so.
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
