package engine

import (
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/watermark"
	"github.com/gorunner/gorunner/internal/invariants"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// The rules by which bundles are cut, in shares of config.bundleBytes.
const (
	// A lease is an even share of the queue for each slot, but not below
	// this: harnesses pay for small bundles.
	leaseShareMin = 8
	// What bundles ask for costs more than the bundles do: those that wait are
	// more at a time, and may be as small as this.
	waitingShareMin = 512
	// A queue with this share is worth a bundle while upstream still writes.
	worthwhileShare = 2
	// A stage pauses while a consumer has this many bundles' worth waiting.
	backlogBundles = 8
	// So does one of the runner's own where memory is short: it is fast enough, and
	// what it reads is on disk, while what it writes is not.
	backlogTight = 2
)

// urgency says how good a reason there must be to start a bundle.
type urgency int

const (
	// worthwhile bundles are full, or as full as they will ever be. Beside endless
	// stages, for which there is always a reason, all are.
	worthwhile urgency = iota
	// possible bundles are small: better than an idle slot.
	possible
	// necessary bundles go on although a consumer is behind, because nothing
	// else runs.
	necessary
)

// dispatch fills the free slots of every environment, the stages farthest
// downstream first: what is nearly done frees memory.
func (s *scheduler) dispatch() {
	wake := s.restart()
	s.reach()
	for _, env := range s.envs {
		s.isolate(env)
		s.fill(env, possible)
		wake = earlier(wake, s.splitForIdle(env))
	}
	for _, env := range s.envs {
		if len(s.bundles) == 0 {
			s.fill(env, necessary)
		}
	}
	wake = earlier(wake, s.patienceEnds())
	wake = earlier(wake, s.watchIdle())
	wake = earlier(wake, s.checkpointDue())
	if s.pressure == full && s.heldBack > s.now {
		wake = earlier(wake, s.heldBack)
	}
	if !s.virtual() {
		wake = earlier(wake, s.nextDue())
	}
	if wake != s.wake && wake != 0 {
		s.wake = wake
		s.orders = append(s.orders, wakeAt{wake})
	}
	if invariants.Enabled {
		s.checkReady()
	}
}

// fill starts bundles of an environment for which there is a reason of the urgency
// or a better one.
func (s *scheduler) fill(env *environment, last urgency) {
	for env.free() > 0 {
		st := s.choose(env, last)
		if st == nil {
			return
		}
		s.startNext(st)
	}
}

// nextDue returns when the first delayed block or processing-time timer is
// due, 0 if there is none.
func (s *scheduler) nextDue() time.Duration {
	var next time.Duration
	if s.delayed > 0 {
		for _, st := range s.stages {
			if len(st.delayed) > 0 {
				next = earlier(next, st.delayed[0].due)
			}
		}
	}
	for _, st := range s.timed {
		next = earlier(next, s.alarmOf(st))
	}
	return next
}

// earlier is the smaller of two times of which 0 is none.
func earlier(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func (s *scheduler) choose(env *environment, last urgency) *stageState {
	if s.pressure > relaxed {
		if st, held := s.relieve(env); st != nil || held {
			return st
		}
	}
	for u := worthwhile; u <= last && (u < necessary || len(s.bundles) == 0); u++ {
		if st := s.chooseOf(env, u, anyStage); st != nil {
			return st
		}
	}
	return nil
}

func anyStage(*stageState) bool { return true }

// chooseOf picks a stage of some for which there is a reason of the urgency: of those
// with an end the farthest downstream, of those without the one that was served
// longest ago, and of these two the same. So none waits for ever.
func (s *scheduler) chooseOf(env *environment, u urgency, some func(*stageState) bool) *stageState {
	var batch, endless *stageState
	for st := s.nextReady(env, len(env.stages)); st != nil; st = s.nextReady(env, st.place) {
		switch {
		case !st.endless && batch != nil, !some(st), !s.startable(st, u), !s.hasSlot(st):
		case !st.endless && !env.endless:
			return st
		case !st.endless:
			batch = st
		case endless == nil || st.served < endless.served:
			endless = st
		}
	}
	if batch == nil || endless != nil && endless.served < env.served {
		return endless
	}
	return batch
}

// startable says whether there is a reason of the urgency to start a bundle of a
// stage that has work.
func (s *scheduler) startable(st *stageState, u urgency) bool {
	if !finished(st.sides) {
		return false
	}
	complete := finished(st.upstream)
	if st.hold == watermark.Buffered && !complete {
		return false
	}
	if u < necessary && (s.backlogged(st) || !s.ripe(st)) {
		return false
	}
	if u > worthwhile || complete || st.splittable || st.env.endless || len(st.retries) > 0 ||
		st.queue.Bytes() >= s.config.bundleBytes/worthwhileShare {
		return true
	}
	_, _, firing := s.due(st, nil)
	return firing
}

// hasSlot says whether a bundle of the stage, for which there is reason, may be
// started besides those that are running.
func (s *scheduler) hasSlot(st *stageState) bool {
	idle := s.idle(st.env, st.demand) > 0
	st.env.width.short = st.env.width.short || !idle
	return idle && s.executable(st)
}

// finished says whether all the stages are.
func finished(stages []*stageState) bool {
	for _, st := range stages {
		if !st.finished {
			return false
		}
	}
	return true
}

// backlogged says whether a consumer that could go on has too much waiting.
func (s *scheduler) backlogged(st *stageState) bool {
	most := int64(backlogBundles)
	if st.env.id == native && s.pressure > relaxed {
		most = backlogTight
	}
	for _, out := range st.Outputs {
		for _, c := range s.consumers[out.Edge] {
			if c.hold != watermark.Buffered && finished(c.sides) && c.queue.Bytes() > most*s.config.bundleBytes {
				return true
			}
		}
	}
	return false
}

func (s *scheduler) startNext(st *stageState) {
	work := s.take(st)
	st.mark()
	s.startOn(st, work, s.workerFor(st, work))
}

// startOn starts a bundle of the stage on a worker.
func (s *scheduler) startOn(st *stageState, work *work, w *worker) {
	s.lastBundle++
	s.began(st)
	b := &bundle{
		id: s.lastBundle, stage: st, worker: w, work: work, began: s.now,
		halve: splitTimes{next: s.now + s.config.splitInterval},
	}
	s.bundles[b.id] = b
	st.env.bundles = append(st.env.bundles, b)
	st.env.running[st.demand]++
	if st.env.id != native {
		s.busyTime.begin(s.now)
	}
	st.running++
	w.used++
	if st.endless {
		st.served = b.id
	} else {
		st.env.served = b.id
	}
	if st.unbounded && work.function == 0 {
		s.checkpointFrom(b, s.now+s.config.checkpointInterval)
	}
	s.checkpointToTruncate(b)
	executes := st.ID
	if work.function != 0 {
		executes = work.function
	}
	s.orders = append(s.orders, startBundle{
		id: b.id, stage: executes, worker: w.id, input: work.lease.Blocks, timers: work.timers, early: work.early,
		parked: work.parked, parking: s.parking(st, work),
		time: s.timeOf(st, work), stateCache: s.stateCache(st, work), attempt: work.attempts,
	})
}

// take returns the stage's next work: a retry, or a lease from its queue.
func (s *scheduler) take(st *stageState) *work {
	if len(st.retries) > 0 {
		w := st.retries[0]
		st.retries = st.retries[1:]
		return w
	}
	w := s.lease(st)
	w.ahead = s.ahead(st, w)
	w.truncated = s.draining && w.function == 0
	// Besides its elements the work itself holds the stage back from its end,
	// for splits may leave it without an element.
	s.tracker.Hold(st.ID, watermark.Running, element.MaxTime)
	for i := range w.lease.Blocks {
		at := w.lease.Blocks[i].MinTime
		s.tracker.Hold(st.ID, watermark.Running, at)
		s.tracker.Release(st.ID, st.hold, at)
	}
	return w
}

// lease makes the stage's next work: restrictions to truncate, timers to fire,
// or what is in the queue.
func (s *scheduler) lease(st *stageState) *work {
	if st.truncates() && st.incoming.Available() {
		return &work{queue: st.incoming, function: st.truncate, lease: st.incoming.Lease(s.limit(st, st.incoming))}
	}
	if w := s.fire(st); w != nil {
		return w
	}
	limit := s.limit(st, st.queue)
	if s.sticky(st) {
		owner := s.ownerOfNext(st)
		limit.Only = func(g element.KeyGroup) bool { return st.env.owner(g) == owner }
	}
	if st.patient {
		if limit.Leave = s.leaves(st); s.overdue(st) {
			s.patientFrom(st)
		}
	}
	return &work{queue: st.queue, lease: st.queue.Lease(limit)}
}

// limit says how much of a queue a bundle gets: an even share for each slot,
// within the bounds that harnesses work well with, and that time sets.
func (s *scheduler) limit(st *stageState, queue *shuffle.Queue) shuffle.Limit {
	slots := int64(max(1, s.most(st.env, st.demand)))
	share := (queue.Bytes() + slots - 1) / slots
	most := s.config.bundleBytes
	if st.env.id == native {
		// No harness pays for its bundles, and somebody waits for their output.
		most = s.nativeBytes()
	}
	if s.config.memory > 0 {
		most = max(1, min(most, s.config.memory/leasedShare/slots))
	}
	l := shuffle.Limit{
		Bytes: min(max(share, s.leaseMin(st.demand)), most),
		// What waits for its input to be complete needs all of a key in one bundle.
		Parts: st.hold != watermark.Buffered,
	}
	if st.splittable {
		// Half a share, because one restriction may take far longer than another.
		l.Elements = max(1, queue.Count()/(2*slots))
	}
	if st.unbounded && queue == st.queue {
		// One after the other would wait for nothing but its checkpoint, and not all
		// harnesses can be checkpointed within a later one.
		l.Elements = 1
	}
	s.shorten(st, &l, queue.Count(), slots)
	return l
}

// nativeBytes is what a bundle of the runner's own stages gets at most.
func (s *scheduler) nativeBytes() int64 { return max(1, s.config.bundleBytes/leaseShareMin) }

// leaseMin is what an even share is not below, in bytes.
func (s *scheduler) leaseMin(d demand) int64 {
	if d == computing {
		return s.config.bundleBytes / leaseShareMin
	}
	return s.config.bundleBytes / waitingShareMin
}

// status returns the scheduler's part of the picture of the stages.
func (s *scheduler) status() []StageStatus {
	out := make([]StageStatus, len(s.stages))
	for i, st := range s.stages {
		out[i] = StageStatus{
			Stage: st.ID, Name: st.Name, Done: st.finished, Running: st.running,
			Pending: int(st.pending()), ElementsIn: st.elementsIn, BytesIn: st.bytesIn,
			Watermark: s.tracker.Output(st.ID),
		}
		if out[i].Watermark < element.MaxTime {
			out[i].Why = s.explain(st.ID)
		}
	}
	return out
}

func (s *scheduler) explain(id plan.StageID) string {
	r, ok := s.tracker.Explain(id)
	if !ok {
		return ""
	}
	return r.Kind.String() + " of stage " + s.stages[r.Stage].Name + " at " + r.At.String()
}
