package engine

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/execution/windowing"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// TestScheduler runs the scripts of testdata/scheduler. A script makes a plan,
// tells the scheduler facts and shows its orders:
//
//	plan [workers=N] [slots=N] [bundle-bytes=N] [bundle-time=MS] [attempts=N] [restarts=N] [window=MS] [backoff=MS] [interval=MS] [patience=MS] [epoch=MS] [clocks] [windows] [drain] [park=N]
//	    NAME impulse | test | gbk IN [streaming] | view IN | sort IN
//	    NAME exec ENV IN [keyed] [timers] [state] [splittable] [unbounded] [truncated] [side=EDGE[/VIEW]], each [-> OUT...]
//	    script, then each event: NAME=COUNTxBYTES@TIME | NAME@TIME | clock+MS
//	ready WORKER ENV SLOTS          gone WORKER          refused ENV
//	done BUNDLE [OUT=COUNTxBYTES[@TIME[~END]]...] [left=COUNT:DELAY_MS[@TIME]...] [shown=TIME] [TIMER...] [parked=DOMAIN/GROUP/MORE[@FIRST:HOLD]]
//	failed BUNDLE [lost] [fatal]    refuse BUNDLE
//	halved BUNDLE N N [lost]        parked BUNDLE
//	split BUNDLE keep=N rest=N[/GROUP][:DELAY_MS][@TIME]... [freed=GROUP]       full BUNDLE
//	tick                            drain                       idle PERCENT [asleep]
//	pressure relaxed|tight|full
//	status                          memory
//
// Facts take now=MS; time stands still otherwise. A TIMER is event=KEY@FIRE:HOLD
// or processing=... or synchronized=..., or KEY alone to clear it; KEY/TAG names a tag.
// An edge *NAME is unbounded. A key begins with the digit of its group. Times are milliseconds or max. With
// "windows" all edges are in windows of 10 ms, and elements and what is shown in
// the one that the time is in.
func TestScheduler(t *testing.T) {
	datadriven.Walk(t, "testdata/scheduler", func(t *testing.T, path string) {
		t.Helper()
		s := &script{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			return s.run(t, d)
		})
	})
}

type script struct {
	sched *scheduler
	plan  *plan.Plan
	now   time.Duration
	// clocks says to print what the clocks of bundles show.
	clocks    bool
	windowing *plan.Windowing
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	if d.HasArg("now") {
		var ms int
		d.ScanArgs(t, "now", &ms)
		s.now = time.Duration(ms) * time.Millisecond
	}
	arg := func(i int) string { return d.CmdArgs[i].Key }
	bundle := func() harness.BundleID {
		id, err := strconv.Atoi(arg(0))
		if err != nil {
			d.Fatalf(t, "bundle: %v", err)
		}
		return harness.BundleID(id)
	}
	switch d.Cmd {
	case "plan":
		return s.plans(t, d)
	case "ready":
		slots, err := strconv.Atoi(arg(2))
		if err != nil {
			d.Fatalf(t, "slots: %v", err)
		}
		env := plan.EnvironmentID(arg(1))
		if env == "native" {
			env = native
		}
		return s.step(workerReady{id: harness.WorkerID(arg(0)), env: env, slots: slots})
	case "gone":
		return s.step(workerGone{id: harness.WorkerID(arg(0)), err: errors.New("gone")})
	case "refused":
		return s.step(workerRefused{env: plan.EnvironmentID(arg(0)), err: errors.New("refused"), ended: d.HasArg("ended")})
	case "done":
		if s.sched.bundles[bundle()] == nil {
			d.Fatalf(t, "bundle %d is not running", bundle())
		}
		return s.step(s.done(t, d, bundle()))
	case "failed":
		return s.step(bundleFailed{id: bundle(), err: errors.New("failed"), lost: d.HasArg("lost"), fatal: d.HasArg("fatal")})
	case "halved":
		f := workHalved{id: bundle(), lost: d.HasArg("lost")}
		for i := range f.halves {
			n, err := strconv.Atoi(arg(i + 1))
			if err != nil {
				d.Fatalf(t, "half: %v", err)
			}
			f.halves[i] = portion{blocks: blocks(n, 1, element.MinTime), groups: []element.KeyGroup{0}}
		}
		return s.step(f)
	case "parked":
		return s.step(elementParked{id: bundle(), failure: &BundleError{Err: errors.New("failed")}})
	case "pressure":
		return s.step(pressureChanged{map[string]pressure{"relaxed": relaxed, "tight": tight, "full": full}[arg(0)]})
	case "memory":
		return fmt.Sprintf("%d bytes of blocks, %d of timers\n", s.sched.resident, s.sched.timerBytes)
	case "refuse":
		return s.step(bundleSplit{id: bundle()})
	case "split":
		return s.step(s.split(t, d, bundle()))
	case "full":
		return s.step(bundleFull{id: bundle()})
	case "tick":
		return s.step(tick{})
	case "idle":
		percent, err := strconv.Atoi(arg(0))
		if err != nil {
			d.Fatalf(t, "share: %v", err)
		}
		busy := 1.0
		if d.HasArg("asleep") {
			busy = 0
		}
		return s.step(idleMeasured{idle: float64(percent) / 100, busy: busy, over: s.sched.config.idleInterval})
	case "drain":
		return s.step(drainAsked{})
	case "status":
		return s.status()
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return ""
}

// blocks makes a block of count elements and so many bytes for each, the
// earliest of that time, in a window of 10 ms.
func blocks(count, bytes int, from element.EventTime) []element.Block {
	end := from
	if from >= 0 {
		end = from/10*10 + 9
	}
	return []element.Block{{Data: make([]byte, count*bytes), Count: count, MinTime: from, MinEnd: end}}
}

// times are those that a script names.
func times(t *testing.T, s string) element.EventTime {
	t.Helper()
	if s == "max" {
		return element.MaxTime
	}
	ms, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("time: %v", err)
	}
	return element.EventTime(ms)
}

// parseTimer makes a change of KEY@FIRE:HOLD, or of KEY.
func parseTimer(t *testing.T, d plan.TimeDomain, s string) timerChange {
	t.Helper()
	name, at, set := strings.Cut(s, "@")
	key, tag, _ := strings.Cut(name, "/")
	c := timerChange{timer.Timer{
		Name: timer.Name{Family: int(d), Key: key, Tag: tag}, Group: element.KeyGroup(key[0] - '0'), Domain: d,
	}}
	if set {
		fire, hold, _ := strings.Cut(at, ":")
		c.timer.Fire, c.timer.Hold, c.timer.Data = times(t, fire), times(t, hold), []byte(s)
	}
	return c
}

// windowOf encodes the window that a time is in.
func (s *script) windowOf(at element.EventTime) []byte {
	if _, global := s.windowing.Fn.(plan.GlobalWindows); global {
		return nil
	}
	start := at - at%10
	return windowing.Interval{Start: start, End: start + 10}.Append(nil)
}

func (s *script) done(t *testing.T, d *datadriven.TestData, id harness.BundleID) fact {
	t.Helper()
	f := bundleDone{id: id}
	st := s.sched.bundles[id].stage
	outputs := st.Outputs
	if s.sched.bundles[id].work.function != 0 {
		outputs = []plan.Output{{Edge: st.Input.Edge}}
	}
	f.outputs = make([]shuffle.Output, len(outputs))
	for _, a := range d.CmdArgs[1:] {
		what, at, timed := strings.Cut(a.Vals[0], "@")
		from := element.MinTime
		switch a.Key {
		case "now":
			continue
		case "requests":
			n, err := strconv.ParseInt(what, 10, 64)
			if err != nil {
				d.Fatalf(t, "requests: %v", err)
			}
			f.requests = n
			continue
		case "shown":
			f.shown = append(f.shown, s.windowOf(times(t, what)))
			continue
		case "parked":
			f.parked = append(f.parked, parseParked(t, a.Vals[0]))
			continue
		case "event":
			f.timers = append(f.timers, parseTimer(t, plan.EventTimeDomain, a.Vals[0]))
			continue
		case "processing":
			f.timers = append(f.timers, parseTimer(t, plan.ProcessingTimeDomain, a.Vals[0]))
			continue
		case "synchronized":
			f.timers = append(f.timers, parseTimer(t, plan.SynchronizedDomain, a.Vals[0]))
			continue
		}
		at, end, ends := strings.Cut(at, "~")
		if timed {
			from = times(t, at)
		}
		if a.Key == "left" {
			f.residuals = append(f.residuals, parseResidual(t, st, a.Vals[0]))
			continue
		}
		count, bytes, _ := strings.Cut(what, "x")
		n, err1 := strconv.Atoi(count)
		size, err2 := strconv.Atoi(bytes)
		i := slices.IndexFunc(outputs, func(o plan.Output) bool { return s.plan.Edges[o.Edge].Name == a.Key })
		if i < 0 || err1 != nil || err2 != nil {
			d.Fatalf(t, "bad output %s", a)
		}
		for range n {
			f.outputs[i].Plain = append(f.outputs[i].Plain, blocks(1, size, from)...)
		}
		f.outputs[i].Keyed = make([][]element.Block, s.plan.KeyGroups)
		for g := range min(n, s.plan.KeyGroups) {
			f.outputs[i].Keyed[g] = blocks(n/min(n, s.plan.KeyGroups), size, from)
		}
		for _, blocks := range append(f.outputs[i].Keyed, f.outputs[i].Plain[len(f.outputs[i].Plain)-n:]) {
			for j := range blocks {
				blocks[j].Window = s.windowOf(from)
				if ends {
					blocks[j].MinEnd = times(t, end)
				}
			}
		}
	}
	return f
}

// parseResidual makes a residual of COUNT:DELAY_MS@TIME; in a stage that is
// keyed, of group G with /G behind the count.
func parseResidual(t *testing.T, st *stageState, s string) residual {
	t.Helper()
	what, at, timed := strings.Cut(s, "@")
	from := element.MinTime
	if timed {
		from = times(t, at)
	}
	what, delay, _ := strings.Cut(what, ":")
	count, group, _ := strings.Cut(what, "/")
	n, _ := strconv.Atoi(count)
	ms, _ := strconv.Atoi(delay)
	r := residual{block: blocks(n, 1, from)[0], group: element.Unkeyed, delay: time.Duration(ms) * time.Millisecond}
	if st.Input.Keyed {
		g, err := strconv.Atoi(group)
		if err != nil {
			t.Fatalf("group: %v", err)
		}
		r.group = element.KeyGroup(g)
	}
	return r
}

// parseParked reads the number of a domain, a group, how many timers there are
// more, and what is first.
func parseParked(t *testing.T, s string) parkedChange {
	t.Helper()
	s, first, _ := strings.Cut(s, "@")
	var c parkedChange
	if _, err := fmt.Sscanf(s, "%d/%d/%d", &c.domain, &c.group, &c.more); err != nil {
		t.Fatal(err)
	}
	if first != "" {
		at, hold, _ := strings.Cut(first, ":")
		c.first, c.hold = times(t, at), times(t, hold)
	}
	return c
}

func (s *script) split(t *testing.T, d *datadriven.TestData, id harness.BundleID) fact {
	t.Helper()
	f := bundleSplit{id: id, ok: true}
	for _, a := range d.CmdArgs[1:] {
		switch a.Key {
		case "keep":
			n, err := strconv.Atoi(a.Vals[0])
			if err != nil {
				t.Fatal(err)
			}
			f.keep = blocks(n, 1, element.MinTime)
		case "rest":
			f.rest = append(f.rest, parseResidual(t, s.sched.bundles[id].stage, a.Vals[0]))
		case "freed":
			for _, v := range a.Vals {
				g, err := strconv.Atoi(v)
				if err != nil {
					t.Fatal(err)
				}
				f.freed = append(f.freed, element.KeyGroup(g))
			}
		}
	}
	return f
}

// plans makes the plan of the input and starts a scheduler for it.
func (s *script) plans(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	c := config{workers: 1, slots: 100, idleInterval: 100 * time.Millisecond, maxAttempts: 4, maxWorkerRestarts: 2, bundleBytes: 80, splitInterval: 100 * time.Millisecond, checkpointInterval: 50 * time.Millisecond}
	bundleBytes := int(c.bundleBytes)
	d.MaybeScanArgs(t, "workers", &c.workers)
	d.MaybeScanArgs(t, "bundle-bytes", &bundleBytes)
	d.MaybeScanArgs(t, "slots", &c.slots)
	var bundleTime int
	d.MaybeScanArgs(t, "bundle-time", &bundleTime)
	c.bundleTime = time.Duration(bundleTime) * time.Millisecond
	d.MaybeScanArgs(t, "attempts", &c.maxAttempts)
	d.MaybeScanArgs(t, "restarts", &c.maxWorkerRestarts)
	var window, backoff int
	d.MaybeScanArgs(t, "window", &window)
	d.MaybeScanArgs(t, "backoff", &backoff)
	c.restartWindow, c.restartDelay, c.restartDelayMax = ms(window), ms(backoff), 4*ms(backoff)
	c.bundleBytes = int64(bundleBytes)
	c.drain = d.HasArg("drain")
	d.MaybeScanArgs(t, "park", &c.maxParked)
	c.park = c.maxParked > 0
	var epoch, patience int
	d.MaybeScanArgs(t, "patience", &patience)
	c.patience = ms(patience)
	d.MaybeScanArgs(t, "epoch", &epoch)
	c.epoch = element.EventTime(epoch)
	s.plan, s.clocks, s.windowing = &plan.Plan{KeyGroups: 4}, d.HasArg("clocks"), global()
	if d.HasArg("windows") {
		s.windowing = &plan.Windowing{Fn: plan.FixedWindows{Size: 10 * time.Millisecond}, Window: coder.Must(coder.IntervalWindow)}
	}
	kv := coder.Must(coder.KV, coder.Must(coder.Bytes), coder.Must(coder.Bytes))
	edges := map[string]plan.EdgeID{}
	var truncated []*plan.Stage
	edge := func(name string) plan.EdgeID {
		id, ok := edges[name]
		if !ok {
			id = plan.EdgeID(len(s.plan.Edges))
			edges[name] = id
			s.plan.Edges = append(s.plan.Edges, &plan.Edge{ID: id, Name: name, Value: kv, Windowing: s.windowing, Bounded: !strings.HasPrefix(name, "*")})
		}
		return id
	}
	for line := range strings.Lines(d.Input) {
		left, right, _ := strings.Cut(strings.TrimSpace(line), "->")
		words := strings.Fields(left)
		if words[0] == "script" {
			s.plan.Tests = append(s.plan.Tests, s.test(t, words[1:]))
			continue
		}
		st := &plan.Stage{ID: plan.StageID(len(s.plan.Stages)), Name: words[0]}
		for _, out := range strings.Fields(right) {
			st.Outputs = append(st.Outputs, plan.Output{Edge: edge(out)})
		}
		switch words[1] {
		case "impulse":
			st.Kind = &plan.Impulse{}
		case "test":
			st.Kind = &plan.TestSource{}
		case "gbk":
			st.Kind = &plan.GroupByKey{Windowing: s.windowing, Streaming: slices.Contains(words, "streaming")}
			st.Input = &plan.Input{Edge: edge(words[2]), Keyed: true}
		case "view":
			st.Kind = &plan.View{Windowing: global()}
			st.Input = &plan.Input{Edge: edge(words[2])}
		case "sort":
			st.Kind = &plan.TimeSort{Windowing: global()}
			st.Input = &plan.Input{Edge: edge(words[2]), Keyed: true}
		case "exec":
			env := plan.EnvironmentID(words[2])
			if !slices.Contains(s.plan.Environments, env) {
				s.plan.Environments = append(s.plan.Environments, env)
			}
			k := &plan.Executable{Environment: env, Splittable: slices.Contains(words, "splittable")}
			k.Unbounded = slices.Contains(words, "unbounded")
			if slices.Contains(words, "truncated") {
				truncated = append(truncated, st)
			}
			if slices.Contains(words, "timers") {
				k.Timers = []plan.TimerSpec{{Family: "event"}, {Family: "processing", Domain: plan.ProcessingTimeDomain}}
			}
			if slices.Contains(words, "state") {
				k.States = []plan.StateSpec{{ID: "state"}}
			}
			st.Kind = k
			st.Input = &plan.Input{Edge: edge(words[3]), Keyed: slices.Contains(words, "keyed")}
			for _, w := range words[4:] {
				if name, ok := strings.CutPrefix(w, "side="); ok {
					name, view, _ := strings.Cut(name, "/")
					st.SideInputs = append(st.SideInputs, plan.SideInput{Edge: edge(name), View: s.named(view)})
				}
			}
		default:
			d.Fatalf(t, "unknown kind %s", words[1])
		}
		s.plan.Stages = append(s.plan.Stages, st)
	}
	for i, st := range truncated {
		f := &plan.Stage{
			ID: plan.StageID(len(s.plan.Stages) + i), Name: "truncation for " + st.Name,
			Kind: &plan.Executable{}, Input: st.Input, Outputs: []plan.Output{{Edge: st.Input.Edge}},
		}
		if k, ok := st.Kind.(*plan.Executable); ok {
			k.Truncate = f.ID
		}
		s.plan.Functions = append(s.plan.Functions, f)
	}
	s.now = 0
	s.sched = newScheduler(s.plan, c)
	return s.print(s.sched.start())
}

// named returns the stage of the name, 0 if there is none.
func (s *script) named(name string) plan.StageID {
	return plan.StageID(max(0, slices.IndexFunc(s.plan.Stages, func(st *plan.Stage) bool { return st.Name == name })))
}

// test makes the script of a test stream.
func (s *script) test(t *testing.T, words []string) plan.Test {
	t.Helper()
	var test plan.Test
	source := func(name string) plan.StageID {
		i := slices.IndexFunc(s.plan.Stages, func(st *plan.Stage) bool { return st.Name == name })
		if id := plan.StageID(i); !slices.Contains(test.Sources, id) {
			test.Sources = append(test.Sources, id)
		}
		return plan.StageID(i)
	}
	for _, w := range words {
		what, at, _ := strings.Cut(w, "@")
		if ms, ok := strings.CutPrefix(w, "clock+"); ok {
			by := time.Duration(times(t, ms)) * time.Millisecond
			test.Events = append(test.Events, plan.TestProcessingTime{By: by})
		} else if name, size, ok := strings.Cut(what, "="); ok {
			n, _, _ := strings.Cut(size, "x")
			count, _ := strconv.Atoi(n)
			block := blocks(count, 1, times(t, at))[0]
			test.Events = append(test.Events, plan.TestElements{Source: source(name), Block: block})
		} else {
			test.Events = append(test.Events, plan.TestWatermark{Source: source(what), To: times(t, at)})
		}
	}
	return test
}

func (s *script) step(f fact) string { return s.print(s.sched.step(s.now, f)) }

func (s *script) print(orders []order) string {
	var b strings.Builder
	for _, o := range orders {
		switch o := o.(type) {
		case startWorker:
			fmt.Fprintf(&b, "start worker of %s\n", o.env)
		case startBundle:
			var elements, bytes int
			for _, in := range o.input {
				elements += in.Count
				bytes += len(in.Data)
			}
			fmt.Fprintf(&b, "start bundle %d: %s on %s, %d elements, %d bytes", o.id, s.plan.Stage(o.stage).Name, o.worker, elements, bytes)
			for _, t := range o.timers {
				fmt.Fprintf(&b, ", %v timer %s", t.Domain, t.Data)
			}
			for _, p := range o.parked {
				fmt.Fprintf(&b, ", %v timers of group %d until %v", p.domain, p.group, p.until)
			}
			if len(o.parking.parked) > 0 {
				fmt.Fprintf(&b, ", some parked of groups %d", o.parking.parked)
			}
			if s.clocks {
				fmt.Fprintf(&b, ", at %v, %v, %v", o.time.Watermark, o.time.Processing, o.time.Synchronized)
				if o.time.Ahead > o.time.Watermark {
					fmt.Fprintf(&b, ", windows at %v to %v", o.time.Reached, o.time.Ahead)
				}
			}
			if o.stateCache != "" {
				fmt.Fprintf(&b, ", state kept as %s", o.stateCache)
			}
			if o.attempt > 0 {
				fmt.Fprintf(&b, ", attempt %d", o.attempt+1)
			}
			b.WriteByte('\n')
		case splitBundle:
			fmt.Fprintf(&b, "split bundle %d at %.3g", o.id, o.fraction)
			if o.parts > 1 {
				fmt.Fprintf(&b, ", the rest in %d", o.parts)
			}
			b.WriteByte('\n')
		case measureIdle:
			b.WriteString("measure\n")
		case mapWindows:
			fmt.Fprintf(&b, "map %x for %s by function %d\n", o.windows, s.plan.Stages[o.stage].Name, o.function)
		case forgetWindows:
			fmt.Fprintf(&b, "forget %x of %s\n", o.windows, s.plan.Stages[o.view].Name)
		case wakeAt:
			fmt.Fprintf(&b, "wake at %v\n", o.at)
		case stageFinished:
			fmt.Fprintf(&b, "stage %s finished\n", s.plan.Stages[o.stage].Name)
		case bundleRetried:
			fmt.Fprintf(&b, "bundle %d of %s failed: attempt %d\n", o.event.Bundle, s.plan.Stages[o.event.Stage].Name, o.event.Attempt)
		case halveWork:
			fmt.Fprintf(&b, "halve bundle %d of %s\n", o.id, s.plan.Stages[o.stage].Name)
		case parkElement:
			fmt.Fprintf(&b, "park element of bundle %d\n", o.id)
		case elementPutAside:
			fmt.Fprintf(&b, "element %d of %s parked\n", o.event.Parked, s.plan.Stages[o.event.Stage].Name)
		case workerReplaced:
			worker, after := string(o.event.Worker), ""
			if worker == "" {
				worker = "that was refused"
			}
			if o.event.After > 0 {
				after = fmt.Sprintf(" in %v", o.event.After)
			}
			fmt.Fprintf(&b, "worker %s replaced%s\n", worker, after)
		case workerMissing:
			fmt.Fprintf(&b, "worker of %s not replaced, %d left: %v\n", o.event.Environment, o.event.Left, o.event.Err)
		case finishJob:
			b.WriteString("job finished\n")
		case failJob:
			fmt.Fprintf(&b, "job failed: %v\n", o.err)
		}
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func (s *script) status() string {
	var b strings.Builder
	for _, st := range s.sched.status() {
		fmt.Fprintf(&b, "%s: watermark %v, %d pending, %d running, %d in", st.Name, st.Watermark, st.Pending, st.Running, st.ElementsIn)
		if st.Why != "" {
			fmt.Fprintf(&b, "; held by %s", st.Why)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
