package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// The simulator executes a random plan with the real scheduler, the real
// writers and the real grouping, on workers that fail, die, split and
// dawdle by the throw of seeded dice, all in one goroutine. Whatever the
// dice say, the terminal edges must hold exactly what a plain evaluation of
// the plan yields, and no watermark may go back.

const simSeeds = 300

func TestSimulation(t *testing.T) {
	hits := 0
	from, step, to := seedsOf(t, simSeeds)
	for seed := from; seed < to; seed += step {
		if err := simulate(seed, &hits); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	if hits == 0 {
		t.Error("no bundle has found state that another has left in its worker")
	}
}

func FuzzSimulation(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		if err := simulate(seed, new(int)); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	})
}

// simPlan is a plan whose Executable stages do what ops says; the input of
// those in ranges are restrictions.
type simPlan struct {
	plan   *plan.Plan
	ops    []simOp
	ranges map[plan.StageID]bool
}

// simOp turns an element into elements of the outputs.
type simOp func(value []byte) [][]byte

// pair encodes a KV of two byte strings.
func pair(k, v string) []byte {
	b := append([]byte{byte(len(k))}, k...)
	return append(append(b, byte(len(v))), v...)
}

func unpair(b []byte) (k, v string) {
	n := int(b[0])
	return string(b[1 : 1+n]), string(b[2+n:])
}

func global() *plan.Windowing {
	return &plan.Windowing{Fn: plan.GlobalWindows{}, Window: coder.Must(coder.GlobalWindow)}
}

// newSimPlan makes a random plan whose timers are of the first so many time
// domains.
func newSimPlan(r *rand.Rand, domains int) *simPlan {
	bytes := coder.Must(coder.Bytes)
	kv := coder.Must(coder.KV, bytes, bytes)
	grouped := coder.Must(coder.KV, bytes, coder.Must(coder.Iterable, bytes))
	s := &simPlan{plan: &plan.Plan{Environments: []plan.EnvironmentID{"a", "b"}, KeyGroups: 1 + r.IntN(8)}}
	edge := func(c *coder.Coder) plan.EdgeID {
		id := plan.EdgeID(len(s.plan.Edges))
		s.plan.Edges = append(s.plan.Edges, &plan.Edge{ID: id, Name: fmt.Sprintf("e%d", id), Value: c, Windowing: global(), Bounded: true})
		return id
	}
	stage := func(kind plan.Kind, in *plan.Input, op simOp, outs ...plan.EdgeID) *plan.Stage {
		st := &plan.Stage{ID: plan.StageID(len(s.plan.Stages)), Kind: kind, Input: in}
		st.Name = fmt.Sprintf("s%d", st.ID)
		for _, e := range outs {
			st.Outputs = append(st.Outputs, plan.Output{Edge: e})
		}
		if _, user := kind.(*plan.Executable); user {
			in.Port = "source"
			for i := range st.Outputs {
				st.Outputs[i].Port = plan.TransformID(fmt.Sprintf("sink%d", i))
			}
		}
		s.plan.Stages = append(s.plan.Stages, st)
		s.ops = append(s.ops, op)
		return st
	}
	executable := func(splittable bool) *plan.Executable {
		return &plan.Executable{
			Environment: s.plan.Environments[r.IntN(2)], Splittable: splittable,
			Transforms: []plan.Transform{{ID: "t", Name: "t", URN: "test"}},
		}
	}
	impulses := edge(bytes)
	stage(&plan.Impulse{}, nil, nil, impulses)
	source := edge(kv)
	n := 1 + r.IntN(60)
	stage(executable(false), &plan.Input{Edge: impulses}, func([]byte) [][]byte {
		var out [][]byte
		for i := range n {
			out = append(out, pair(strconv.Itoa(i%7), strconv.Itoa(i)))
		}
		return out
	}, source)
	edges := []plan.EdgeID{source}
	for range 1 + r.IntN(8) {
		in := edges[r.IntN(len(edges))]
		switch r.IntN(5) {
		case 4:
			out := edge(kv)
			kind := executable(false)
			kind.Timers = []plan.TimerSpec{{Transform: "t", Family: "f", Key: bytes, Domain: plan.TimeDomain(r.IntN(domains))}}
			kind.States = []plan.StateSpec{{Transform: "t", ID: "s"}}
			stage(kind, &plan.Input{Edge: in, Keyed: true}, tagged("timer"), out)
			edges = append(edges, out)
		case 0:
			mid, out := edge(grouped), edge(kv)
			stage(&plan.GroupByKey{Windowing: global(), Key: bytes, Value: bytes}, &plan.Input{Edge: in, Keyed: true}, nil, mid)
			stage(executable(false), &plan.Input{Edge: mid}, explode, out)
			edges = append(edges, out)
		case 1: // a flatten: an old edge gets another writer, if that makes no cycle
			out := edge(kv)
			stage(executable(false), &plan.Input{Edge: in}, tagged("x"), out)
			stage(executable(false), &plan.Input{Edge: edges[r.IntN(len(edges))]}, tagged("y"), out, out)
			edges = append(edges, out)
		case 2:
			out := edge(kv)
			stage(executable(true), &plan.Input{Edge: in}, tagged("sdf"), out)
			edges = append(edges, out)
		case 3:
			out := edge(kv)
			kind, keyed := executable(false), r.IntN(2) == 0
			if keyed && r.IntN(2) == 0 {
				kind.States = []plan.StateSpec{{Transform: "t", ID: "s"}}
			}
			st := stage(kind, &plan.Input{Edge: in, Keyed: keyed}, tagged("m"), out)
			if r.IntN(2) == 0 {
				st.SideInputs = []plan.SideInput{{Edge: edges[r.IntN(len(edges))], Transform: "t", Tag: "i"}}
			}
			edges = append(edges, out)
		}
	}
	for _, e := range edges { // what nobody reads is not kept
		stage(executable(false), &plan.Input{Edge: e}, func([]byte) [][]byte { return nil })
	}
	return s
}

func tagged(tag string) simOp {
	return func(b []byte) [][]byte {
		k, v := unpair(b)
		if len(v) > 100 {
			v = v[:100]
		}
		return [][]byte{pair(k, v+tag)}
	}
}

// explode turns a key with its values into pairs.
func explode(b []byte) [][]byte {
	k := string(b[1 : 1+b[0]])
	rest := b[1+len(k)+4:]
	var out [][]byte
	for len(rest) > 0 {
		n := int(rest[0])
		out = append(out, pair(k, string(rest[1:1+n])))
		rest = rest[1+n:]
	}
	return out
}

// keepsTimers says whether the stage has timer families.
func keepsTimers(s *plan.Stage) bool {
	k, ok := s.Kind.(*plan.Executable)
	return ok && len(k.Timers) > 0
}

// expect evaluates the plan without a runner: the multiset of each edge.
//
// What the sources of endless plans have written is given.
func (s *simPlan) expect(sources map[plan.EdgeID]map[string]int) []map[string]int {
	edges := make([]map[string]int, len(s.plan.Edges))
	for i := range edges {
		edges[i] = map[string]int{}
	}
	for edge, written := range sources {
		maps.Copy(edges[edge], written)
	}
	for i, st := range s.plan.Stages {
		out := map[string]int{}
		if s.ranges[st.ID] {
			continue
		}
		switch st.Kind.(type) {
		case *plan.TestSource, *plan.View:
			continue
		case *plan.TimeSort:
			maps.Copy(out, edges[st.Input.Edge])
		case *plan.Impulse:
			out["\x00"] = 1
		case *plan.GroupByKey:
			// Grouping and the explosion behind it together change nothing but
			// the order: the grouped edge itself is not compared.
			maps.Copy(edges[st.Outputs[0].Edge], edges[st.Input.Edge])
			continue
		case *plan.Executable:
			for v, n := range edges[st.Input.Edge] {
				if keepsTimers(st) {
					n = 1 // the same key and value set the same timer
				}
				if isGrouped(s.plan.Edges[st.Input.Edge]) {
					out[v] += n
					continue
				}
				for _, w := range s.ops[i]([]byte(v)) {
					out[string(w)] += n
				}
			}
		}
		for _, o := range st.Outputs {
			for v, n := range out {
				edges[o.Edge][v] += n
			}
		}
	}
	return edges
}

func isGrouped(e *plan.Edge) bool {
	return e.Value.Kind() == coder.KV && e.Value.Component(1).Kind() == coder.Iterable
}

// sim is the world around the scheduler.
type sim struct {
	*simPlan
	rand    *rand.Rand
	sched   *scheduler
	pipes   []*pipe
	now     time.Duration
	wake    time.Duration
	facts   []fact // that will come, in any order
	running map[harness.BundleID]*simBundle
	workers map[harness.WorkerID]*simWorker
	// spill gets the memory of input that nobody refers to any more.
	spill *shuffle.Spill
	// committed counts what reached each edge.
	committed  []map[string]int
	watermarks []element.EventTime
	lastWorker int
	deaths     int
	result     order

	operators map[plan.StageID]operator
	store     state.Store
	caches    *simCaches
	// memory is the job's budget. How short of room it is, dice say.
	memory *shuffle.Budget
	views  *views
	// stream is what a simulation of endless input needs besides, else nil.
	stream *simStream
	// config is the scheduler's, disk where the job stores, journal what is known of
	// it in another process; nil if there is none.
	config  config
	disk    *simDisk
	journal *simJournal
}

type simWorker struct {
	env  plan.EnvironmentID
	dead bool
}

// simBundle is a bundle in a harness: element number at is next.
type simBundle struct {
	*execution
	order startBundle
	at    int64
	asked *splitBundle // the split that is ordered
	spent bool         // its end is among the facts
	// current is the restriction being executed, left what was left of others.
	current *simRange
	left    []harness.Residual
}

var errSim = errors.New("by the dice")

// simulate adds to hits how often bundles have found state that was kept.
func simulate(seed uint64, hits *int) error {
	r := rand.New(rand.NewPCG(seed, 42))
	s, err := newSim(r, newSimPlan(r, 2), config{
		workers: 1 + r.IntN(3), maxAttempts: 10, maxWorkerRestarts: 100,
		bundleBytes: int64(1 + r.IntN(400)), splitInterval: 10, idleInterval: 10, slots: 1 + r.IntN(3), bundleTime: time.Duration(r.IntN(3) * 20),
	})
	if err != nil {
		return err
	}
	defer func() {
		if s.sched.config.workers > 1 {
			*hits += s.caches.hits
		}
	}()
	return s.run()
}

func newSim(r *rand.Rand, p *simPlan, c config) (*sim, error) {
	s := &sim{
		simPlan: p, rand: r, store: state.NewMemory(), caches: newSimCaches(),
		running: map[harness.BundleID]*simBundle{}, workers: map[harness.WorkerID]*simWorker{nativeID: {}},
	}
	s.pipes = newPipes(s.plan)
	s.memory = shuffle.NewBudget(nil, []int64{0, 1, 1000, 10_000}[r.IntN(4)])
	s.disk, s.config = &simDisk{}, c
	s.spill = &shuffle.Spill{
		Memory: s.memory, Disk: s.disk, StoreMin: 1, Free: shuffle.NewPool(s.memory), Lasting: r.IntN(2) == 0,
	}
	for _, p := range s.pipes[:len(s.plan.Stages)] {
		p.spill, p.account = s.spill, s.memory.Account("output")
	}
	s.sched = newScheduler(s.plan, c)
	s.views = newViews(s.plan, s.memory.Account("views"), 1)
	var err error
	if s.operators, err = newOperators(s.plan, Options{}.withDefaults(), s.spill, nil); err != nil {
		return nil, err
	}
	for range s.plan.Edges {
		s.committed = append(s.committed, map[string]int{})
	}
	s.watermarks = make([]element.EventTime, len(s.plan.Stages))
	for i := range s.watermarks {
		s.watermarks[i] = element.MinTime
	}
	return s, s.plan.Validate()
}

// run lets everything happen until the job ends.
func (s *sim) run() error {
	if s.journal != nil {
		s.sched.ledger = newLedger(s.plan, 1)
	}
	orders := s.sched.start()
	s.journal.commit(s, nil)
	if err := s.obey(orders); err != nil {
		return err
	}
	s.facts = append(s.facts, workerReady{env: native, id: nativeID, slots: 2})
	for steps := 0; ; steps++ {
		if s.result != nil {
			if over, err := s.over(); err != nil || over {
				return errors.Join(err, s.judge())
			}
			continue
		}
		if steps > 200_000 {
			return errors.New("no end in sight")
		}
		if err := s.turn(); err != nil {
			return err
		}
	}
}

// turn lets one thing happen.
func (s *sim) turn() error {
	if s.stream == nil {
		s.now += time.Duration(s.rand.IntN(8))
	} else if err := s.disturb(); err != nil || s.result != nil {
		return err
	}
	if s.journal.ends(s.rand) {
		return s.restart()
	}
	if err := s.journal.work(s.rand); err != nil {
		return err
	}
	choices := len(s.facts) + len(s.running)
	if choices == 0 && s.wake == 0 {
		return errors.New("stuck: nothing runs, nothing is to come")
	}
	if s.wake != 0 && (choices == 0 || s.wake <= s.now && s.rand.IntN(2) == 0) {
		s.now = max(s.now, s.wake)
		s.wake = 0
		return s.tell(tick{})
	}
	if choices == 0 {
		return nil
	}
	i := s.rand.IntN(choices)
	if i < len(s.facts) {
		f := s.facts[i]
		s.facts = slices.Delete(s.facts, i, i+1)
		return s.tell(f)
	}
	ids := slices.Sorted(maps.Keys(s.running))
	return s.progress(s.running[ids[i-len(s.facts)]])
}

func (s *sim) tell(f fact) error {
	var committed state.Txn
	if done, ok := f.(bundleDone); ok {
		b := s.running[done.id]
		s.updateCaches(done.id, true)
		delete(s.running, done.id)
		b.out.release()
		if b.out.pipe.consumes {
			s.spill.Give(b.order.input)
		}
		committed = b.txn
		if err := s.showViews(b, &done); err != nil {
			return err
		}
		for i, o := range b.stage.Outputs {
			if int(b.stage.ID) >= len(s.plan.Stages) {
				break // what a function writes is no output of a stage
			}
			if err := s.count(b.stage, o.Edge, &done.outputs[i]); err != nil {
				return err
			}
		}
	}
	if failed, ok := f.(bundleFailed); ok {
		s.updateCaches(failed.id, false)
		s.running[failed.id].txn.Drop()
		delete(s.running, failed.id)
	}
	if s.memory.Limit() > 0 && s.rand.IntN(10) == 0 {
		p := pressureChanged{pressure(s.rand.IntN(int(full) + 1))}
		if err := s.obey(s.sched.step(s.now, p)); err != nil {
			return err
		}
	}
	if _, drains := f.(drainAsked); drains {
		s.journal.did(func(w *simWorld) { w.drained = true })
		s.stream.drained = true // not before: what was started above was not to be truncated
	}
	orders := s.sched.step(s.now, f)
	s.memory.Account("queues").Set(s.sched.resident)
	if err := s.checkWatermarks(); err != nil {
		return err
	}
	seq := s.journal.commit(s, committed)
	if committed != nil {
		if err := committed.Apply(uint64(seq)); err != nil {
			return err
		}
	}
	return s.obey(orders)
}

// checkWatermarks checks that no watermark has gone back.
func (s *sim) checkWatermarks() error {
	for i := range s.watermarks {
		at := s.sched.tracker.Output(plan.StageID(i))
		if at < s.watermarks[i] {
			return fmt.Errorf("watermark of stage %d went back from %v to %v", i, s.watermarks[i], at)
		}
		s.watermarks[i] = at
	}
	return nil
}

// count adds committed output to its edge.
func (s *sim) count(stage *plan.Stage, edge plan.EdgeID, out *shuffle.Output) error {
	blocks := out.Plain
	if blocks == nil {
		blocks = slices.Concat(out.Keyed...)
	}
	layout := shuffle.EdgeLayout(s.plan.Edges[edge])
	for i := range blocks {
		b, err := blocks[i].InMemory()
		if err != nil {
			return err
		}
		for data := b.Data; len(data) > 0; {
			e, err := layout.Cut(data)
			if err != nil {
				return err
			}
			value := string(e.Value)
			s.committed[edge][value]++
			s.journal.did(func(w *simWorld) { w.committed[edge][value]++ })
			if err := s.written(stage, &e); err != nil {
				return err
			}
			data = data[e.Size:]
		}
	}
	return nil
}

func (s *sim) obey(orders []order) error {
	for _, o := range orders {
		switch o := o.(type) {
		case startWorker:
			s.lastWorker++
			id := harness.WorkerID(fmt.Sprintf("w%d", s.lastWorker))
			s.workers[id] = &simWorker{env: o.env}
			s.facts = append(s.facts, workerReady{env: o.env, id: id, slots: 1 + s.rand.IntN(6)})
		case startBundle:
			var err error
			if o.input, _, err = load(o.input); err != nil {
				return err
			}
			if err := errors.Join(s.checkStart(&o), s.checkComplete(s.plan.Stage(o.stage))); err != nil {
				return fmt.Errorf("bundle %d of stage %s: %w", o.id, s.plan.Stage(o.stage).Name, err)
			}
			x := s.execution(&o)
			if x.loaded, err = x.unpark(o.parked); err != nil {
				return err
			}
			o.timers = slices.Concat(x.loaded, o.timers)
			s.running[o.id] = &simBundle{order: o, execution: x}
			if err := s.checkCaches(o.id); err != nil {
				return fmt.Errorf("bundle %d of stage %s: %w", o.id, s.plan.Stage(o.stage).Name, err)
			}
		case splitBundle:
			if b := s.running[o.id]; b != nil {
				b.asked = &o
			}
		case measureIdle:
			s.facts = append(s.facts, idleMeasured{idle: s.rand.Float64(), busy: s.rand.Float64(), over: s.sched.config.idleInterval * time.Duration(s.rand.IntN(2))})
		case wakeAt:
			s.wake = o.at
		case finishJob, failJob:
			s.result = o
		case stageFinished:
			s.views.stageFinished(o.stage)
		case forgetWindows:
			s.forgetWindows(o)
		case bundleRetried, halveWork, parkElement, elementPutAside, workerReplaced, workerMissing, mapWindows:
		}
	}
	return nil
}

func (s *sim) execution(o *startBundle) *execution {
	x := &execution{
		id: o.id, stage: s.plan.Stage(o.stage), layout: s.pipes[o.stage].input, groups: s.plan.KeyGroups,
		out: newCollector(s.pipes[o.stage]), share: newShare(o.input), txn: s.store.Begin(),
		parking: o.parking,
	}
	x.state = &bundleState{txn: x.txn, stage: x.stage, input: o.input}
	return x
}

// progress lets a bundle do something: an element, its end, a split, or fail.
func (s *sim) progress(b *simBundle) error {
	w := s.workers[b.order.worker]
	switch {
	case b.spent:
		return nil
	case b.asked != nil:
		return s.splitAt(b)
	case w.dead:
		return s.end(b, bundleFailed{id: b.order.id, err: harness.ErrWorkerLost, lost: true})
	case s.rand.IntN(40) == 0 && b.order.attempt < 2:
		return s.end(b, bundleFailed{id: b.order.id, err: errSim})
	case b.order.worker != nativeID && s.rand.IntN(200) == 0 && s.deaths < 20 && b.order.attempt < 2:
		s.deaths++
		w.dead = true
		s.facts = append(s.facts, workerGone{id: b.order.worker, err: harness.ErrWorkerLost})
		return s.end(b, bundleFailed{id: b.order.id, err: harness.ErrWorkerLost, lost: true})
	}
	if run := s.operators[b.stage.ID]; run != nil {
		hb := &harness.Bundle{
			ID: b.id, Stage: b.stage, Input: b.order.input, Timers: harnessTimers(b.order.timers), Output: b.out, State: b.state,
			Time: b.order.time,
		}
		op, err := newOperation(hb)
		if err != nil {
			return err
		}
		if err := run(context.Background(), op); err != nil {
			return err
		}
		if op.dropped > 0 {
			return fmt.Errorf("stage %s drops %d elements", b.stage.Name, op.dropped)
		}
		return s.finish(b)
	}
	switch {
	case b.at < b.share.own && s.ranges[b.stage.ID]:
		return s.claim(b)
	case b.at < b.share.own:
		return s.process(b)
	}
	if err := s.fire(b); err != nil {
		return err
	}
	return s.finish(b)
}

func (s *sim) end(b *simBundle, f fact) error {
	b.spent = true
	s.facts = append(s.facts, f)
	return nil
}

func (s *sim) finish(b *simBundle) error {
	b.result.Residuals = b.left
	f, err := b.finish(&harness.Bundle{})
	if err == nil {
		err = b.txn.Settle()
	}
	if err != nil {
		return err
	}
	return s.end(b, f)
}

// process executes the next element, after checking that the side inputs are
// complete.
func (s *sim) process(b *simBundle) error {
	for _, side := range s.sched.bundles[b.id].stage.sides {
		if !side.finished {
			return fmt.Errorf("stage %s runs before its side input from %s is complete", b.stage.Name, side.Name)
		}
	}
	e, head, err := b.next()
	if err != nil {
		return err
	}
	b.at++
	switch {
	case keepsTimers(b.stage) && s.stream != nil:
		return s.setStreamTimer(b, &e)
	case keepsTimers(b.stage):
		return s.setTimer(b.stage, b.out, e, s.rand)
	}
	for _, v := range s.ops[b.stage.ID](e.Value) {
		for out := range b.stage.Outputs {
			if err := b.out.Write(out, slices.Concat(head, v)); err != nil {
				return err
			}
		}
	}
	return nil
}

// next returns the element that is next, and its header.
func (b *simBundle) next() (e shuffle.Element, head []byte, err error) {
	_, rest, err := b.layout.SplitAt(b.share.input, b.at, b.at)
	if err != nil {
		return e, nil, err
	}
	e, err = b.layout.Cut(rest[0].Data)
	return e, rest[0].Data[:e.Size-len(e.Value)], err
}

// fire emits what the timers of a bundle stand for.
func (s *sim) fire(b *simBundle) error {
	last := map[string]element.EventTime{}
	for _, t := range b.order.timers {
		if at, seen := last[t.Key]; seen && at != t.Fire {
			return fmt.Errorf("bundle %d fires timers of key %q at %v and %v", b.order.id, t.Key, at, t.Fire)
		}
		last[t.Key] = t.Fire
		if err := s.fired(b.stage, b.out, coder.Timer{Key: []byte(t.Key), Tag: []byte(t.Tag), Windows: []byte(t.Window), Hold: t.Hold}); err != nil {
			return err
		}
	}
	return nil
}

// setTimer sets a timer named by the value for the key of an element, after
// it has set and cleared another one, which must leave nothing behind.
func (s *simPlan) setTimer(st *plan.Stage, out harness.Output, e shuffle.Element, r *rand.Rand) error {
	_, v := unpair(e.Value)
	t := coder.Timer{Key: e.Key(), Tag: []byte("none"), NumWindows: 1, Fire: 5, Pane: []byte{0}}
	data := coder.PutTimer(nil, t)
	t.Clear = true
	data = coder.PutTimer(data, t)
	t.Clear, t.Tag = false, []byte(v)
	// Event timers fire when the input is complete, which no element comes
	// after. Processing-time timers fire in their own time: far enough away that
	// the input is there, and what the timers of earlier stages emit.
	t.Fire = element.MaxTime - element.EventTime(len(v)%3)
	if k, ok := st.Kind.(*plan.Executable); ok && k.Timers[0].Domain == plan.ProcessingTimeDomain {
		t.Fire = element.EventTime(1_000_000*(1+int(st.ID)) + len(v)%3)
	}
	t.Hold = element.EventTime(r.IntN(1000))
	data = coder.PutTimer(data, t)
	cut := r.IntN(len(data))
	if err := out.WriteTimers(0, data[:cut]); err != nil {
		return err
	}
	return out.WriteTimers(0, data[cut:])
}

// fired emits an element for a timer.
func (s *simPlan) fired(st *plan.Stage, out harness.Output, t coder.Timer) error {
	head := coder.PutHeader(nil, element.Header{
		Timestamp: t.Hold, Windows: t.Windows, NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring},
	})
	value := slices.Concat(t.Key, []byte{byte(len(t.Tag))}, t.Tag)
	for _, v := range s.ops[st.ID](value) {
		for i := range st.Outputs {
			if err := out.Write(i, slices.Concat(head, v)); err != nil {
				return err
			}
		}
	}
	return nil
}

// splitAt gives back some of what the bundle has not begun, and what is left of
// the restriction that it is in; sometimes the split comes too late, or wants
// nothing.
func (s *sim) splitAt(b *simBundle) error {
	b.asked = nil
	left := b.share.own - b.at
	if left <= 0 || s.rand.IntN(4) == 0 {
		return s.tell(bundleSplit{id: b.order.id})
	}
	var split harness.Split
	if b.current != nil {
		split = harness.Split{
			LastPrimary: b.at - 1, FirstResidual: b.at + 1,
			Primaries: [][]byte{b.current.primary()}, Residuals: []harness.Residual{b.current.residual(s.rand)},
		}
		b.current.end = b.current.at
	} else {
		cut := b.at + s.rand.Int64N(left+1)
		split = harness.Split{LastPrimary: cut - 1, FirstResidual: cut}
	}
	f, err := b.cut(split, 1+s.rand.IntN(3))
	if err != nil {
		return err
	}
	b.last(&f)
	if !b.stage.Input.Keyed {
		for i := range f.rest {
			f.rest[i].delay = time.Duration(s.rand.IntN(3) * 20)
		}
	}
	return s.tell(f)
}

// judge compares what was committed with what should have been.
func (s *sim) judge() error {
	if f, failed := s.result.(failJob); failed {
		return fmt.Errorf("job failed: %w", f.err)
	}
	if s.sched.resident != 0 || s.sched.timerBytes != 0 {
		return fmt.Errorf("the job has ended and holds %d bytes of blocks, %d of timers", s.sched.resident, s.sched.timerBytes)
	}
	sources, err := s.stream.sources(s)
	if err != nil {
		return err
	}
	for i, want := range s.expect(sources) {
		if isGrouped(s.plan.Edges[i]) {
			continue
		}
		if got := s.committed[i]; !maps.Equal(got, want) {
			return fmt.Errorf("edge %d: got %v, want %v", i, got, want)
		}
	}
	return nil
}
