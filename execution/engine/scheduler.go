package engine

import (
	"cmp"
	"slices"
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/execution/watermark"
	"github.com/gorunner/gorunner/internal/invariants"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// scheduler decides which bundle to execute next and where. It is pure: facts
// go in, orders come out, and equal facts at equal times give equal orders.
// It has no goroutine, lock, clock or I/O; the driver owns it.
//
// Its users may assume:
//
//  1. Every element of an edge is, for each consumer, in exactly one place: in
//     one of the consumer's queues, at its gate, in a retry, delayed, or in one
//     running bundle.
//  2. A key group of a keyed stage is in at most one running bundle.
//  3. Output of a bundle reaches queues only with its bundleDone, in the same
//     step in which its input is given up.
//  4. Watermarks are monotone, and a stage is finished once: when its output
//     watermark is element.MaxTime.
//  5. Work that can go on does, in the end, whatever other stages have to do.
type scheduler struct {
	plan   *plan.Plan
	config config
	// ledger notes what outlives the process; nil if nothing does.
	ledger  *ledger
	tracker *watermark.Tracker
	// synchronized derives how far timers hold synchronized processing time, by
	// the processing times at which they fire. It is ahead of the clock when no
	// timer waits.
	synchronized *watermark.Tracker
	stages       []*stageState
	envs         []*environment
	workers      map[harness.WorkerID]*worker
	bundles      map[harness.BundleID]*bundle
	// examined are the works that are halved or parked just now, by the bundles that
	// have failed.
	examined map[harness.BundleID]*examination
	// quarantined is the number of works that wait in quarantine.
	quarantined int
	// consumers lists for each edge the stages whose main input it is.
	consumers [][]*stageState
	// gated lists the stages with gates; asking counts their open questions.
	gated  []*stageState
	asking int
	// timed lists the stages with timers, patient those that let elements wait.
	timed, patient []*stageState

	now time.Duration // since the start of the job, as of this step
	// busyTime is from the first bundle of user code to the last commit.
	busyTime timeSpan
	// clock is the processing time since then: now, unless scripts move it.
	clock      time.Duration
	tests      tests
	orders     []order
	lastBundle harness.BundleID
	// toCheckpoint lists the running bundles that have a time for it, in the
	// order in which they got one.
	toCheckpoint []*bundle
	unfinished   int
	delayed      int // blocks in all stages' delayed
	// resident is the memory that blocks take which are queued, at gates, delayed
	// or leased, timed that of the timers that are set.
	resident, timerBytes int64
	// pressure is what is known of the room that is left. Sources that it holds
	// back go on at heldBack; 0 if there are none. relieving is the number of
	// running bundles that are no source's.
	pressure  pressure
	heldBack  time.Duration
	relieving int
	wake      time.Duration // the last wakeAt ordered, 0 for none
	measured  time.Duration // the last measureIdle ordered
	ended     bool
	// draining says that the job is drained, truncating lists the stages whose
	// input is truncated.
	draining   bool
	truncating []*stageState
}

// config is what the scheduler takes from Options.
type config struct {
	// slots is how many bundles an environment executes at a time in any case.
	workers, slots, maxAttempts, maxWorkerRestarts int
	// restartWindow is the time in which maxWorkerRestarts counts; 0 is the whole of
	// the job. restartDelay is what a restart waits that follows a barren one.
	restartWindow, restartDelay, restartDelayMax time.Duration
	environmentWorkers                           map[plan.EnvironmentID]int // where not workers
	bundleBytes                                  int64
	// park says that elements which keep failing are put aside, up to maxParked of a
	// stage.
	park      bool
	maxParked int
	// memory is the budget; 0 is none.
	memory int64
	// bundleTime is what a bundle is to take at most; 0 for no matter how long.
	bundleTime time.Duration
	// idleInterval is the time between two looks at how busy the machine is.
	splitInterval, checkpointInterval, idleInterval time.Duration
	patience                                        time.Duration // see patience.go; 0 is none
	drain                                           bool          // from the job's start
	// epoch is the processing time at the start of the job, in milliseconds.
	epoch element.EventTime
	// elapsed is for how long the job was in other processes, in milliseconds, if
	// processing time goes by scripts: epoch is then that of the first.
	elapsed element.EventTime
	// life counts the processes that have had the job, from 1; 0 if there is only one
	// ever. What workers are told names it: they may outlive a process.
	life uint64
}

// native is the environment of the stages that the runner executes itself.
const native plan.EnvironmentID = ""

// stageState is what the scheduler knows of a stage.
type stageState struct {
	*plan.Stage
	env   *environment
	place int // among the stages of env
	// queue holds what is to be executed, incoming what comes: the same, unless
	// the job is drained and what comes has to be truncated first, by the
	// function truncate if there is one.
	queue, incoming *shuffle.Queue
	truncate        plan.StageID
	// hold is how queued blocks hold the watermark.
	hold watermark.Kind
	// upstream writes the main input, sides the side inputs that are complete
	// before the stage begins.
	upstream, sides []*stageState
	// gate is not nil where the stage reads views that are shown window by
	// window, viewed where it shows one.
	gate    *gate
	viewed  *viewGate
	retries []*work
	delayed []delayedBlock // by due
	timers  *timer.Set     // nil if the stage has none
	// alarm is when the next timers are due by the clock, 0 if there are none.
	alarm      time.Duration
	alarmStale bool
	fired      bool // the last work was timers
	// forgetsLast says that the timers, which are the runner's own, forget the
	// state of restrictions: see lingers.
	forgetsLast bool
	// gaveWay are the key groups with due timers that let elements go first, with
	// the number of blocks that are left of those.
	gaveWay map[element.KeyGroup]int
	running int
	demand  demand
	pace    pace
	// gathered is what patient stages know of what waits in the queue, reached how
	// far event time has come for windows, if farther than the watermark.
	patient  bool
	gathered gathered
	reached  element.EventTime
	finished bool
	// source says that the stage brings data into the job.
	source bool
	// splittable elements are leased few at a time.
	splittable bool
	// unbounded elements are checkpointed after a while.
	unbounded bool
	// endless stages have work without end: their input is unbounded, or an
	// element of it may be. served is the last bundle of such a stage.
	endless bool
	served  harness.BundleID
	// examined is the number of its works that are; parked counts the elements that
	// were put aside.
	examined, parked int
	elementsIn       int64
	bytesIn          int64
	// What was committed.
	elementsOut, bytesOut int64
}

// work is a lease with its history.
type work struct {
	// lease is of queue.
	queue  *shuffle.Queue
	lease  shuffle.Lease
	timers []*timer.Timer
	// ahead is how far event time has come for windows once the work is done.
	ahead element.EventTime
	// parked are timers that are loaded when the bundle starts.
	parked []parkedTimers
	// early says that the timers fire before their time, whatever it is.
	early bool
	// function is executed instead of the stage, if it is not 0.
	function plan.StageID
	// truncated says that the work was, or needs not be.
	truncated bool
	attempts  int
	// suspicion is not nil once the work is examined: see poison.go.
	suspicion *suspicion
	// avoid is the worker that was lost with the work.
	avoid harness.WorkerID
}

// fires says that the work is timers, and so has no elements.
func (w *work) fires() bool { return len(w.timers)+len(w.parked) > 0 }

// bundle is a running bundle.
type bundle struct {
	id     harness.BundleID
	stage  *stageState
	worker *worker
	work   *work
	began  time.Duration
	// alone says that its worker is in quarantine.
	alone bool
	// asked is the request to split that is open, nil if none is.
	asked *splitTimes
	// fraction is what it was asked to keep.
	fraction float64
	// halve is when the bundle may be split for an idle slot, checkpoint when it
	// is to be checkpointed.
	halve, checkpoint splitTimes
}

func newScheduler(p *plan.Plan, c config) *scheduler {
	s := &scheduler{
		plan: p, config: c,
		workers:    make(map[harness.WorkerID]*worker),
		bundles:    make(map[harness.BundleID]*bundle),
		examined:   make(map[harness.BundleID]*examination),
		consumers:  make([][]*stageState, len(p.Edges)),
		unfinished: len(p.Stages),
		measured:   -c.idleInterval,
		lastBundle: harness.BundleID(max(c.life, 1)-1) << 32, // numbers are those of one bundle ever
	}
	envs := map[plan.EnvironmentID]*environment{}
	for _, id := range append([]plan.EnvironmentID{native}, p.Environments...) {
		envs[id] = &environment{id: id}
		s.envs = append(s.envs, envs[id])
	}
	writers := make([][]*stageState, len(p.Edges))
	upstream := make([][]plan.StageID, len(p.Stages))
	for i, stage := range p.Stages {
		st := newStageState(p, stage)
		st.env = envs[environmentOf(stage)]
		st.place = len(st.env.stages)
		st.env.stages = append(st.env.stages, st)
		if st.place%64 == 0 {
			st.env.ready = append(st.env.ready, 0)
		}
		st.env.endless = st.env.endless || st.endless
		if fn := mergeFunction(stage); fn != 0 {
			env := envs[environmentOf(p.Stage(fn))]
			env.callers = append(env.callers, st)
		}
		if in := stage.Input; in != nil {
			st.upstream = distinct(writers[in.Edge])
			s.consumers[in.Edge] = append(s.consumers[in.Edge], st)
		}
		for _, side := range stage.SideInputs {
			if side.View == 0 {
				st.sides = append(st.sides, writers[side.Edge]...)
			}
		}
		st.sides = distinct(st.sides)
		st.source = isSource(st)
		for _, u := range st.upstream {
			upstream[i] = append(upstream[i], u.ID)
		}
		for _, out := range stage.Outputs {
			writers[out.Edge] = append(writers[out.Edge], st)
		}
		s.stages = append(s.stages, st)
		if st.timers != nil {
			s.timed = append(s.timed, st)
		}
		if st.patient = st.patient && c.patience > 0; st.patient {
			s.patient = append(s.patient, st)
		}
	}
	s.gated = newGates(p, s.stages)
	s.tracker, s.synchronized = watermark.New(upstream), watermark.NewRelaxed(upstream)
	return s
}

func newStageState(p *plan.Plan, stage *plan.Stage) *stageState {
	st := &stageState{Stage: stage, demand: demandOf(stage), patient: isPatient(stage), reached: element.MinTime}
	groups := 0
	if stage.Input != nil && stage.Input.Keyed {
		groups = p.KeyGroups
	}
	switch k := stage.Kind.(type) {
	case *plan.Impulse, *plan.TestSource, *plan.TimeSort:
	case *plan.View:
		groups = 1 // which is in one bundle at a time
	case *plan.GroupByKey:
		if !k.Streaming {
			st.hold = watermark.Buffered
		}
	case *plan.Executable:
		st.splittable, st.unbounded, st.truncate = k.Splittable, k.Unbounded, k.Truncate
		if k.TimeSorted {
			st.hold = watermark.Buffered // what is complete can be sorted
		}
	}
	st.endless = st.unbounded || stage.Input != nil && !p.Edges[stage.Input.Edge].Bounded
	st.queue = shuffle.NewQueue(groups)
	st.incoming = st.queue
	if families := timerFamilies(p, stage); len(families) > 0 {
		st.timers = timer.NewSet(groups)
		st.gaveWay = map[element.KeyGroup]int{}
		st.forgetsLast = st.splittable && families[0].forgets
	}
	return st
}

// environmentOf says which workers execute the stage.
func environmentOf(stage *plan.Stage) plan.EnvironmentID {
	switch k := stage.Kind.(type) {
	case *plan.Executable:
		return k.Environment
	case *plan.Impulse, *plan.TestSource, *plan.GroupByKey, *plan.View, *plan.TimeSort:
	}
	return native
}

// busy says whether the stage has work, besides timers.
func (st *stageState) busy() bool {
	return st.running > 0 || st.examined > 0 || len(st.retries) > 0 || len(st.delayed) > 0 || st.pending() > 0
}

// pending is the number of elements that wait for a bundle.
func (st *stageState) pending() int64 {
	n := st.queue.Count() + st.gate.waiting()
	if st.truncates() {
		n += st.incoming.Count()
	}
	return n
}

// distinct returns the stages without repetitions, in order of id.
func distinct(stages []*stageState) []*stageState {
	out := slices.Clone(stages)
	slices.SortFunc(out, func(a, b *stageState) int { return cmp.Compare(a.ID, b.ID) })
	return slices.Compact(out)
}

// start gives the first orders of the job.
func (s *scheduler) start() []order {
	for _, st := range s.stages {
		if _, impulse := st.Kind.(*plan.Impulse); impulse {
			// What it has yet to emit stands in its queue as one element, so that
			// it needs no other rule.
			s.push(st, element.Unkeyed, element.Block{Count: 1, MinTime: element.MinTime})
		}
	}
	s.startTests()
	for _, t := range s.tests.scripts {
		s.ledger.play(s, t) // from now on the job has its clock
	}
	if s.config.drain {
		s.drain()
	}
	s.startWorkers()
	return s.finishStep()
}

func (s *scheduler) startWorkers() {
	for _, env := range s.envs {
		if env.id == native {
			continue
		}
		for range s.config.workersOf(env.id) {
			s.startWorker(env)
		}
	}
}

// step takes a fact and returns what is to be done now.
func (s *scheduler) step(now time.Duration, f fact) []order {
	s.now = now
	if !s.virtual() {
		s.clock = now
	}
	if s.ended {
		return nil
	}
	switch f := f.(type) {
	case workerReady:
		s.addWorker(f)
	case workerGone:
		s.dropWorker(f)
	case workerRefused:
		s.refuseWorker(f)
	case bundleDone:
		s.commit(f)
	case bundleFailed:
		s.retry(f)
	case bundleSplit:
		s.split(f)
	case bundleFull:
		s.full(f)
	case workHalved:
		s.halved(f)
	case elementParked:
		s.parkedOne(f)
	case windowsMapped:
		s.answered(f)
	case drainAsked:
		s.drain()
	case pressureChanged:
		s.pressure, s.heldBack = f.to, 0
	case idleMeasured:
		s.adapt(f)
	case taskPanicked:
		s.fail(f.err)
	case tick:
		s.wake = 0
	}
	return s.finishStep()
}

// finishStep draws the conclusions of a step: who is finished, what to start.
func (s *scheduler) finishStep() []order {
	for !s.ended {
		s.advance()
		s.ask()
		if s.unfinished == 0 {
			s.orders = append(s.orders, finishJob{})
			s.ended = true
			break
		}
		s.dispatch()
		if !s.virtual() || !s.quiet() || !s.playOn() {
			break
		}
	}
	orders := s.orders
	s.orders = nil
	return orders
}

// advance lets time pass: what was delayed until now is released, and
// watermarks follow their holds.
func (s *scheduler) advance() {
	s.release()
	s.wakeTimers()
	s.discard()
	for again := true; again; again = s.discard() || s.dropUnreachable() {
		for _, id := range s.synchronized.Advance() {
			s.stages[id].mark()
		}
		for _, id := range s.tracker.Advance() {
			st := s.stages[id]
			st.mark()
			s.ledger.touch(st)
			s.openGates(st)
			if s.tracker.Output(id) == element.MaxTime {
				s.finish(st)
			}
		}
	}
}

func (s *scheduler) finish(st *stageState) {
	invariants.Assert(!st.finished && !st.busy() && (st.timers == nil || st.timers.Len() == 0), "stage %s is finished and has work", st.Name)
	st.finished = true
	s.ledger.touch(st)
	s.unfinished--
	s.orders = append(s.orders, stageFinished{st.ID})
}

func (s *scheduler) fail(err error) {
	if !s.ended {
		s.orders = append(s.orders, failJob{err})
		s.ended = true
	}
}

// push queues a block, which holds the watermark from now on.
func (s *scheduler) push(st *stageState, g element.KeyGroup, b element.Block) {
	if st.patient {
		s.gather(st, &b)
	}
	s.enter(st, st.hold, place{group: g}, &b)
	st.incoming.Push(g, b)
	st.mark()
}
