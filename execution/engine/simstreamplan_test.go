package engine

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
)

// streamMaker makes a random plan with endless input. All its PCollections but
// the first have fixed windows; no element is in any of them twice.
type streamMaker struct {
	*simPlan
	rand                 *rand.Rand
	value, pairs, groups *coder.Coder
	global, fixed        *plan.Windowing
	tests                int
}

func newStreamPlan(r *rand.Rand) *simPlan {
	bytes := coder.Must(coder.Bytes)
	m := &streamMaker{
		rand: r, value: bytes, pairs: coder.Must(coder.KV, bytes, bytes),
		groups: coder.Must(coder.KV, bytes, coder.Must(coder.Iterable, bytes)),
		global: global(),
		fixed: &plan.Windowing{
			Fn: plan.FixedWindows{Size: windowSize * time.Millisecond}, Window: coder.Must(coder.IntervalWindow),
		},
		simPlan: &simPlan{
			plan:   &plan.Plan{Environments: []plan.EnvironmentID{"a", "b"}, KeyGroups: 1 + r.IntN(8)},
			ranges: map[plan.StageID]bool{},
		},
	}
	var edges []plan.EdgeID
	kinds := 1 + r.IntN(3) // ranges, tests, or both
	if kinds&1 != 0 {
		for range 1 + r.IntN(2) {
			edges = append(edges, m.rangeSource())
		}
	}
	if kinds&2 != 0 {
		for range 1 + r.IntN(2) {
			edges = append(edges, m.testSources()...)
		}
	}
	for range r.IntN(7) {
		edges = append(edges, m.transform(edges))
	}
	for _, e := range edges { // what nobody reads is not kept
		m.stage(m.executable(), &plan.Input{Edge: e}, func([]byte) [][]byte { return nil })
	}
	m.functions()
	return m.simPlan
}

func (m *streamMaker) edge(c *coder.Coder, w *plan.Windowing) plan.EdgeID {
	id := plan.EdgeID(len(m.plan.Edges))
	m.plan.Edges = append(m.plan.Edges, &plan.Edge{
		ID: id, Name: fmt.Sprintf("e%d", id), Value: c, Windowing: w, Bounded: w == m.global,
	})
	return id
}

func (m *streamMaker) stage(kind plan.Kind, in *plan.Input, op simOp, outs ...plan.EdgeID) *plan.Stage {
	st := &plan.Stage{ID: plan.StageID(len(m.plan.Stages)), Kind: kind, Input: in}
	st.Name = fmt.Sprintf("s%d", st.ID)
	for i, e := range outs {
		out := plan.Output{Edge: e}
		if _, user := kind.(*plan.Executable); user {
			out.Port = plan.TransformID(fmt.Sprintf("sink%d", i))
		}
		st.Outputs = append(st.Outputs, out)
	}
	if _, user := kind.(*plan.Executable); user {
		in.Port = "source"
	}
	m.plan.Stages = append(m.plan.Stages, st)
	m.ops = append(m.ops, op)
	return st
}

func (m *streamMaker) executable() *plan.Executable {
	return &plan.Executable{
		Environment: m.plan.Environments[m.rand.IntN(2)],
		Transforms:  []plan.Transform{{ID: "t", Name: "t", URN: "test"}},
	}
}

// rangeSource is an impulse that becomes restrictions, which become elements.
func (m *streamMaker) rangeSource() plan.EdgeID {
	impulses, restrictions, out := m.edge(m.value, m.global), m.edge(m.pairs, m.global), m.edge(m.pairs, m.fixed)
	m.stage(&plan.Impulse{}, nil, nil, impulses)
	var all [][]byte
	for i := range 1 + m.rand.IntN(6) {
		start := int(out)*10_000 + 100*i
		all = append(all, simRange{key: fmt.Sprint("k", m.rand.IntN(5)), start: start, end: start + m.rand.IntN(60)}.put())
	}
	m.stage(m.executable(), &plan.Input{Edge: impulses}, func([]byte) [][]byte { return all }, restrictions)
	kind := m.executable()
	kind.Splittable, kind.Unbounded = true, m.rand.IntN(4) > 0
	st := m.stage(kind, &plan.Input{Edge: restrictions, Keyed: m.rand.IntN(2) == 0}, func([]byte) [][]byte { return all }, out)
	m.ranges[st.ID] = true
	return out
}

// functions adds the truncation of restrictions, to most stages.
func (m *streamMaker) functions() {
	for _, st := range m.plan.Stages {
		k, user := st.Kind.(*plan.Executable)
		if !user || !k.Splittable || m.rand.IntN(4) == 0 {
			continue
		}
		k.Truncate = plan.StageID(len(m.ops))
		m.plan.Functions = append(m.plan.Functions, &plan.Stage{
			ID: k.Truncate, Name: "truncate " + st.Name, Kind: m.executableIn(k.Environment),
			Input:   &plan.Input{Edge: st.Input.Edge, Port: "source"},
			Outputs: []plan.Output{{Edge: st.Input.Edge, Port: "sink"}},
		})
		m.ops = append(m.ops, func(v []byte) [][]byte {
			r := parseRange(v)
			r.end, r.truncated = min(r.end, r.start+2), true
			return [][]byte{r.put()}
		})
	}
}

func (m *streamMaker) executableIn(env plan.EnvironmentID) *plan.Executable {
	k := m.executable()
	k.Environment = env
	return k
}

// testSources are sources that one script drives.
func (m *streamMaker) testSources() []plan.EdgeID {
	var test plan.Test
	var outs []plan.EdgeID
	at := map[plan.StageID]element.EventTime{}
	for range 1 + m.rand.IntN(2) {
		out := m.edge(m.pairs, m.fixed)
		st := m.stage(&plan.TestSource{}, nil, nil, out)
		test.Sources, outs = append(test.Sources, st.ID), append(outs, out)
	}
	for range m.rand.IntN(25) {
		id := test.Sources[m.rand.IntN(len(test.Sources))]
		switch m.rand.IntN(4) {
		case 0:
			test.Events = append(test.Events, plan.TestProcessingTime{By: time.Duration(m.rand.IntN(60)) * time.Millisecond})
		case 1:
			at[id] += element.EventTime(m.rand.IntN(150))
			test.Events = append(test.Events, plan.TestWatermark{Source: id, To: at[id]})
		default:
			b := element.Block{MinTime: element.MaxTime}
			for range 1 + m.rand.IntN(4) {
				ts := at[id] + element.EventTime(m.rand.IntN(300))
				m.tests++
				b.Data = append(b.Data, streamed(ts, pair(fmt.Sprint("k", m.rand.IntN(5)), fmt.Sprint("t", m.tests)))...)
				b.Count++
				b.MinTime = min(b.MinTime, ts)
			}
			test.Events = append(test.Events, plan.TestElements{Source: id, Block: b})
		}
	}
	m.plan.Tests = append(m.plan.Tests, test)
	return outs
}

// transform adds stages that read some of the edges.
func (m *streamMaker) transform(edges []plan.EdgeID) plan.EdgeID {
	in, other := edges[m.rand.IntN(len(edges))], edges[m.rand.IntN(len(edges))]
	out := m.edge(m.pairs, m.fixed)
	keyed := m.rand.IntN(2) == 0
	switch m.rand.IntN(7) {
	case 0:
		m.stage(m.executable(), &plan.Input{Edge: in, Keyed: keyed}, tagged("m"), out)
	case 1:
		m.stage(m.executable(), &plan.Input{Edge: in}, tagged("x"), out)
		m.stage(m.executable(), &plan.Input{Edge: other, Keyed: keyed}, tagged("y"), out)
	case 2:
		kind := m.executable()
		kind.Timers = []plan.TimerSpec{{
			Transform: "t", Family: "f", Key: m.value, Domain: plan.TimeDomain(m.rand.IntN(2)),
		}}
		m.stage(kind, &plan.Input{Edge: in, Keyed: true}, tagged("t"), out)
	case 3:
		w := *m.fixed
		w.Trigger = m.trigger()
		mid := m.edge(m.groups, &w)
		m.stage(&plan.GroupByKey{Windowing: &w, Streaming: true, Key: m.value, Value: m.value},
			&plan.Input{Edge: in, Keyed: true}, nil, mid)
		m.stage(m.executable(), &plan.Input{Edge: mid}, explode, out)
	case 4:
		m.stage(&plan.TimeSort{Windowing: m.fixed}, &plan.Input{Edge: in, Keyed: true}, nil, out)
	case 5:
		view := m.view(other)
		st := m.stage(m.executable(), &plan.Input{Edge: in, Keyed: keyed}, tagged("v"), out)
		st.SideInputs = view
	case 6: // restrictions that wait for the end of a view
		view := m.view(other)
		source := m.rangeSource()
		m.plan.Stages[len(m.plan.Stages)-1].SideInputs = view
		m.stage(m.executable(), &plan.Input{Edge: source}, tagged("r"), out)
	}
	return out
}

// view reads an edge as a side input.
func (m *streamMaker) view(edge plan.EdgeID) []plan.SideInput {
	w := *m.fixed
	w.Trigger = m.trigger()
	st := m.stage(&plan.View{Windowing: &w}, &plan.Input{Edge: edge}, nil)
	return []plan.SideInput{{Edge: edge, View: st.ID, Transform: "t", Tag: "i"}}
}

func (m *streamMaker) trigger() plan.Trigger {
	return []plan.Trigger{
		nil,
		plan.Repeat{Part: plan.AfterCount{Elements: 2}},
		plan.AlwaysTrigger{},
		plan.Repeat{Part: plan.AfterProcessingTime{Shifts: []plan.TimeShift{{Delay: 20 * time.Millisecond}}}},
		plan.Repeat{Part: plan.AfterSynchronizedProcessingTime{}},
		plan.AfterEndOfWindow{Early: plan.AfterCount{Elements: 3}},
	}[m.rand.IntN(6)]
}
