package engine

import (
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/trigger"
	"github.com/gorunner/gorunner/plan"
)

// Where a trigger waits for the end of the window, nothing comes of elements that
// a GroupByKey takes in before: it would keep them in its state, to read them
// again with every bundle that has more of their key. So they wait in the queue
// instead, until upstream has come to the end of a window of theirs or of one in
// state. Then one bundle takes all of them in, knows how far event time will have
// come with that (harness.Time.Ahead), and fires what has ended at once: such a
// window never gets into the state.
//
//	elements ─▶ queue ──upstream is past the end of a window──▶ bundle ─▶ panes
//	              ├─────── config.patience is over ─────────────▶ bundle ─▶ state
//	              ├─────── there is enough for a full bundle ───────▶
//	              └─────── nothing else runs in the job ────────────▶
//
// The last three are because what waits holds the watermark of the stage by its
// own time, which is earlier than that of its panes. So it is only what holds it
// behind upstream that has to go on when patience is over.

// gathered is what is known of the elements in the queue of a patient stage.
type gathered struct {
	// end is the earliest that a window of theirs has; stale says that it has
	// to be looked for. until is when they have held the watermark for long enough.
	end   element.EventTime
	stale bool
	until time.Duration
}

// windowingOfPanes is the windowing of a stage that fires panes while input
// comes; nil if it is another.
func windowingOfPanes(stage *plan.Stage) *plan.Windowing {
	switch k := stage.Kind.(type) {
	case *plan.GroupByKey:
		if k.Streaming {
			return k.Windowing
		}
	case *plan.View:
		return k.Windowing
	case *plan.Impulse, *plan.TestSource, *plan.TimeSort, *plan.Executable:
	}
	return nil
}

// gather takes account of a block that comes to a patient stage.
func (s *scheduler) gather(st *stageState, b *element.Block) {
	if st.queue.Count() == 0 {
		st.gathered = gathered{end: element.MaxTime, until: s.now + s.config.patience}
	}
	st.gathered.end = min(st.gathered.end, b.MinEnd)
}

// firstEnd returns the earliest end of a window of what is in the queue.
func (st *stageState) firstEnd() element.EventTime {
	switch g := &st.gathered; {
	case st.queue.Count() == 0:
		return element.MaxTime
	case g.stale:
		g.end, g.stale = element.MaxTime, false
		st.queue.Each(func(b *element.Block) { g.end = min(g.end, b.MinEnd) })
	}
	return st.gathered.end
}

// isPatient says whether elements of a stage can wait for the end of their window.
func isPatient(stage *plan.Stage) bool {
	w := windowingOfPanes(stage)
	return w != nil && !trigger.Early(w.Trigger)
}

// ripe says whether it is time to execute what waits for a stage.
func (s *scheduler) ripe(st *stageState) bool {
	if !st.patient || len(st.retries) > 0 || s.impatient(st) {
		return true
	}
	if _, _, firing := s.due(st, nil); firing || st.running > 0 {
		return firing
	}
	upstream := s.tracker.Upstream(st.ID)
	if upstream > st.firstEnd() || s.overdue(st) {
		return true
	}
	// What waits may have to merge with what would end by now.
	fire, some := st.timers.NextAfter(plan.EventTimeDomain, element.MinTime-1)
	return st.merging() && some && fire < upstream
}

func (st *stageState) merging() bool { return plan.Merging(windowingOfPanes(st.Stage).Fn) }

// impatient says that a stage executes whatever waits for it, ripe or not.
func (s *scheduler) impatient(st *stageState) bool {
	return s.pressure > relaxed || st.queue.Bytes() >= s.nativeBytes()
}

// holds says that the stage holds the watermark back.
func (s *scheduler) holds(st *stageState) bool {
	return s.tracker.Input(st.ID) < s.tracker.Upstream(st.ID)
}

// overdue says that what waits for the stage has held the watermark long enough.
func (s *scheduler) overdue(st *stageState) bool { return s.now >= st.gathered.until && s.holds(st) }

// patienceEnds returns when a stage has waited enough, 0 if none waits.
func (s *scheduler) patienceEnds() time.Duration {
	var next time.Duration
	for _, st := range s.patient {
		if st.running == 0 && st.queue.Available() && s.holds(st) && !s.ripe(st) {
			next = earlier(next, st.gathered.until)
		}
	}
	return next
}

// leaves says which blocks in the queue of a patient stage go on waiting while
// others are executed: those of windows that have not ended upstream, or, if some are
// overdue, those that do not hold the watermark. It is nil if none do. Windows that
// merge must have come together before one is fired.
func (s *scheduler) leaves(st *stageState) func(*element.Block) bool {
	upstream := s.tracker.Upstream(st.ID)
	switch {
	case st.running > 0 || st.merging() || s.impatient(st):
	case s.overdue(st):
		return func(b *element.Block) bool { return b.MinTime >= upstream }
	case upstream > st.firstEnd():
		return func(b *element.Block) bool { return b.MinEnd >= upstream }
	}
	return nil
}

// ahead returns how far event time will have come for windows once a bundle is
// executed that takes what has been leased. It is as far as upstream has come if
// nothing of those windows is left in the queue, in other bundles or in ones to be
// tried again: what comes
// from now on is late before that.
//
// The watermark itself may be held back, by what is left or such late elements.
// But bundles that follow are not told of an earlier time, or they might fire
// again what has expired.
func (s *scheduler) ahead(st *stageState, w *work) element.EventTime {
	st.gathered.stale = true
	upstream := s.tracker.Upstream(st.ID)
	switch {
	case windowingOfPanes(st.Stage) == nil || len(w.lease.Blocks) == 0, st.running > 0, len(st.retries) > 0:
	case st.queue.Count() == 0, st.patient && !st.merging() && upstream <= st.firstEnd():
		return upstream
	}
	return element.MinTime
}

// patientFrom lets patience begin anew.
func (s *scheduler) patientFrom(st *stageState) { st.gathered.until = s.now + s.config.patience }

// reach lets event time come for windows as far as it has upstream, where what
// waits is in none that ends before.
func (s *scheduler) reach() {
	for _, st := range s.patient {
		upstream := s.tracker.Upstream(st.ID)
		if !s.holds(st) {
			s.patientFrom(st)
		}
		if upstream > st.reached && st.running == 0 && len(st.retries) == 0 && !st.merging() && upstream <= st.firstEnd() {
			st.reached = upstream
			st.mark()
		}
	}
}
