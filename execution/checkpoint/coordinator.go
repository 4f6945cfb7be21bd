package checkpoint

import (
	"fmt"
	"slices"
	"time"

	"github.com/gorunner/gorunner/internal/invariants"
)

// Config says when checkpoints are made and how long they are kept.
type Config struct {
	// Interval is the time from one checkpoint's beginning to the next's; 0 is only
	// on request.
	Interval time.Duration
	// Keep is how many checkpoints are kept; at least 1.
	Keep int
	// MaxUploads is how many files are uploaded at once; at least 1.
	MaxUploads int
	// RetryMin is how long what has failed waits for its next try. It doubles with
	// each failure in a row, up to RetryMax.
	RetryMin, RetryMax time.Duration
	// MaxTries is how often a requested checkpoint is tried until that is reported.
	MaxTries int
}

// DefaultConfig is made for jobs that may lose some seconds' work.
func DefaultConfig() Config {
	return Config{
		Interval: time.Minute, Keep: 3, MaxUploads: 8,
		RetryMin: time.Second, RetryMax: time.Minute, MaxTries: 5,
	}
}

// maxDelete is how many objects one act deletes.
const maxDelete = 1000

// phase is what a checkpoint under way waits for.
type phase int

const (
	idle phase = iota
	cutting
	uploading
	// committing lasts until it is known what is in the slot.
	committing
	pointing
)

// Coordinator makes the checkpoints of a job in one epoch and deletes what is not
// needed any more. It belongs to one goroutine.
type Coordinator struct {
	cfg Config
	// self is what all entries of this epoch have in common; its slot is the next.
	self Entry

	phase  phase
	fenced bool
	acts   []Act

	attempt attempt
	// requests wait for a checkpoint that is not begun, by the order of arrival.
	requests []request
	// dueAt is when the next checkpoint begins, zero for never.
	dueAt time.Time
	// failures counts those in a row, of checkpoints; after the last nothing begins
	// before retryAt.
	failures int
	retryAt  time.Time

	// end is that of the job, once it is known. No checkpoint begins then. ended
	// says that there is an entry of it.
	end   *End
	ended bool

	// latest is the slot that Latest is known to have, or a later one.
	latest Slot
	// entries are those that may exist and are not claims, by slot.
	entries []*kept
	files   files
	collect collector
}

type request struct {
	id    RequestID
	kind  EntryKind
	tries int
}

// kept is an entry that counts.
type kept struct {
	*Entry
	// doomed is an entry that is to be deleted, or is perhaps deleted.
	doomed bool
	// broken is one whose files are not all there.
	broken bool
}

// attempt is a checkpoint under way.
type attempt struct {
	kind     EntryKind
	number   int // of cuts in this epoch
	requests []request
	plan     Fingerprint
	// files are those of the cut, with their blobs; each holds a reference.
	files []File
	// waiting are to be uploaded, running is how many are, stored are those that
	// have been, failed that may or may not have been.
	waiting []File
	running int
	stored  []File
	failed  []File
	problem string
	// cut says that there is one that was not released.
	cut   bool
	entry *Entry
	// retryAt is when the entry is put again, zero if that is under way. tries counts
	// those of which it is not known what has become of them.
	retryAt time.Time
	tries   int
}

// NewCoordinator begins the epoch that a recovery has claimed. Its first acts are
// those of the first Step.
func NewCoordinator(cfg Config, now time.Time, r *Recovered) *Coordinator {
	c := &Coordinator{cfg: cfg, self: r.claim, files: newFiles()}
	c.self.Kept = nil
	c.self.Slot++
	for _, e := range r.Entries {
		k := &kept{Entry: e, broken: slices.Contains(r.broken, e.Slot)}
		c.entries = append(c.entries, k)
		c.files.hold(e.Files)
		if !k.broken {
			c.files.know(e.Files)
		}
	}
	c.collect.list = r.sweepable
	c.schedule(now)
	// From here on no entry before the claim is needed to find the newest one.
	c.phase = pointing
	c.do(PutLatest{Slot: r.claim.Slot})
	return c
}

// Epoch is that of the coordinator.
func (c *Coordinator) Epoch() Epoch { return c.self.Epoch }

// AssumeEnded makes the coordinator one that only deletes, of a job whose log says
// that it has ended. It is called before the first Step.
func (c *Coordinator) AssumeEnded() { c.end, c.ended = &End{Keep: true}, true }

// Ended reports whether the job has ended, and nothing is left to do.
func (c *Coordinator) Ended() bool {
	return c.ended && c.phase == idle && !c.collect.running && !c.hasGarbage()
}

// Step takes an event and returns what is to be done. Time does not go back.
func (c *Coordinator) Step(now time.Time, event Event) []Act {
	if c.fenced {
		return nil
	}
	switch e := event.(type) {
	case Tick:
	case Request:
		c.requests = append(c.requests, request{id: e.ID, kind: e.Kind})
	case Forget:
		for _, k := range c.entries {
			if k.Slot == e.Slot && k.Kind == Savepoint {
				k.doomed = true
			}
		}
	case End:
		c.end = &e
	case Outcome:
		c.outcome(now, e)
	}
	if !c.fenced {
		c.advance(now)
	}
	acts := c.acts
	c.acts = nil
	return acts
}

// Wake returns when the next Tick is due, if one is.
func (c *Coordinator) Wake() (time.Time, bool) {
	var at time.Time
	earliest := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if c.fenced {
		return at, false
	}
	switch {
	case c.phase != idle || c.ended:
	case c.end != nil:
		earliest(c.retryAt)
	default:
		earliest(c.dueAt)
		if len(c.requests) > 0 {
			earliest(c.retryAt)
		}
	}
	earliest(c.attempt.retryAt)
	earliest(c.collect.retryAt)
	return at, !at.IsZero()
}

func (c *Coordinator) do(act Act) { c.acts = append(c.acts, act) }

func (c *Coordinator) outcome(now time.Time, o Outcome) {
	switch act := o.Act.(type) {
	case TakeCut:
		c.cutTaken(o)
	case Upload:
		c.uploaded(act.File, o)
	case PutEntry, ReadEntry:
		c.settle(now, o)
	case PutLatest:
		c.pointed(act.Slot, o)
	case Delete:
		c.deleted(now, act, o)
	case ListData:
		c.listed(now, o)
	case ReleaseCut, ReadLatest, ListLog, CheckFiles, Report, Fenced:
		invariants.Assert(false, "outcome of %T, which was not asked for", act)
	}
}

// advance does what can be done now.
func (c *Coordinator) advance(now time.Time) {
	switch c.phase {
	case idle:
		c.begin(now)
	case cutting, pointing:
	case uploading:
		c.upload(now)
	case committing:
		if t := c.attempt.retryAt; !t.IsZero() && !now.Before(t) {
			c.attempt.retryAt = time.Time{}
			c.do(PutEntry{Entry: c.attempt.entry})
		}
	}
	c.delete(now)
}

// begin begins a checkpoint if it is time, or somebody has asked.
func (c *Coordinator) begin(now time.Time) {
	if c.end != nil {
		c.beginEnd(now)
		return
	}
	due := !c.dueAt.IsZero() && !now.Before(c.dueAt)
	if (!due && len(c.requests) == 0) || now.Before(c.retryAt) {
		return
	}
	kind := Checkpoint
	for _, r := range c.requests {
		if r.kind == Savepoint {
			kind = Savepoint
		}
	}
	c.attempt = attempt{kind: kind, number: c.attempt.number + 1, requests: c.requests}
	c.requests = nil
	c.phase = cutting
	c.schedule(now)
	c.do(TakeCut{Kind: kind})
}

// jobEnded says why there is no checkpoint any more.
const jobEnded = "the job has ended"

// beginEnd writes down that the job has ended, and answers who waits for a
// checkpoint.
func (c *Coordinator) beginEnd(now time.Time) {
	if len(c.requests) > 0 {
		report := Report{Problem: jobEnded}
		for _, r := range c.requests {
			report.Requests = append(report.Requests, r.id)
		}
		c.requests = nil
		c.do(report)
	}
	if c.ended || now.Before(c.retryAt) {
		return
	}
	c.attempt = attempt{kind: Ended, number: c.attempt.number + 1}
	c.put(now)
}

// schedule says when the next checkpoint begins, after one that begins now.
func (c *Coordinator) schedule(now time.Time) {
	c.dueAt = time.Time{}
	if c.cfg.Interval > 0 {
		c.dueAt = now.Add(c.cfg.Interval)
	}
}

func (c *Coordinator) cutTaken(o Outcome) {
	a := &c.attempt
	c.phase, a.cut = uploading, true
	if o.Result != OK {
		a.problem = "take a cut: " + o.Problem
		return
	}
	if err := checkFiles(o.Cut.Files); err != nil {
		a.problem = fmt.Sprintf("take a cut: %v", err)
		return
	}
	a.plan = o.Cut.Plan
	a.files = slices.Clone(o.Cut.Files)
	for i := range a.files {
		f := &a.files[i]
		if known, ok := c.files.known[f.id()]; ok {
			f.Blob = known
			continue
		}
		f.Blob = dataBlob(c.self.Epoch, a.number, f.id())
		a.waiting = append(a.waiting, *f)
	}
	c.files.hold(a.files)
}

func (c *Coordinator) uploaded(f File, o Outcome) {
	a := &c.attempt
	a.running--
	if o.Result == OK {
		a.stored = append(a.stored, f)
		c.files.know([]File{f})
		return
	}
	a.failed = append(a.failed, f)
	a.problem = fmt.Sprintf("upload %s %s: %s", f.Kind, f.Name, o.Problem)
}

// upload keeps uploads going, ends them, or gives up once none is under way.
func (c *Coordinator) upload(now time.Time) {
	a := &c.attempt
	if c.end != nil && a.problem == "" {
		a.problem = jobEnded
	}
	if a.problem != "" {
		if a.running == 0 {
			c.giveUp(now)
		}
		return
	}
	for len(a.waiting) > 0 && a.running < c.cfg.MaxUploads {
		c.do(Upload{File: a.waiting[0]})
		a.waiting = a.waiting[1:]
		a.running++
	}
	if a.running > 0 {
		return
	}
	c.releaseCut()
	c.put(now)
}

func (c *Coordinator) releaseCut() {
	if c.attempt.cut {
		c.attempt.cut = false
		c.do(ReleaseCut{})
	}
}

// giveUp ends an attempt. What it has stored is there for the next one; what
// perhaps was stored is garbage.
func (c *Coordinator) giveUp(now time.Time) {
	a := &c.attempt
	c.releaseCut()
	c.files.release(a.files)
	c.files.forget(a.failed)
	c.phase = idle
	c.failures++
	c.retryAt = now.Add(c.backoff(c.failures))
	if c.cfg.Interval > 0 {
		c.dueAt = c.retryAt
	}
	if c.end != nil && a.kind != Ended {
		c.retryAt = now // that of the job does not wait
	}
	report := Report{Problem: a.problem}
	for _, r := range a.requests {
		if r.tries++; r.tries >= c.cfg.MaxTries {
			report.Requests = append(report.Requests, r.id)
		} else {
			c.requests = append(c.requests, r)
		}
	}
	if a.problem == jobEnded && len(report.Requests) == 0 {
		return // nothing has failed, and whoever waits yet is answered with the end
	}
	c.do(report)
}

// backoff is how long to wait after so many failures.
func (c *Coordinator) backoff(failures int) time.Duration {
	wait := c.cfg.RetryMin
	for range failures - 1 {
		if wait *= 2; wait >= c.cfg.RetryMax {
			return c.cfg.RetryMax
		}
	}
	return wait
}

// pointed ends a checkpoint. If Latest could not be put the next one puts it, and
// nothing is deleted until then.
func (c *Coordinator) pointed(slot Slot, o Outcome) {
	c.phase = idle
	if o.Result != OK {
		c.do(Report{Problem: fmt.Sprintf("put %s: %s", Latest, o.Problem)})
		return
	}
	c.latest = slot
	c.retain()
}

// retain dooms the checkpoints that are one too many.
func (c *Coordinator) retain() {
	keep := max(1, c.cfg.Keep)
	if c.ended && !c.end.Keep {
		keep = 0
	}
	for _, k := range slices.Backward(c.entries) {
		switch {
		case k.Kind != Checkpoint || k.doomed:
		case k.broken || keep == 0:
			k.doomed = true
		default:
			keep--
		}
	}
}
