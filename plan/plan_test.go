package plan_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/plan"
)

// valid is impulse -> execute -> group -> execute with a view and state.
func valid() *plan.Plan {
	key, value := coder.Must(coder.LengthPrefix), coder.Must(coder.VarInt)
	kv := coder.Must(coder.KV, key, value)
	grouped := coder.Must(coder.KV, key, coder.Must(coder.Iterable, value))
	global := &plan.Windowing{Fn: plan.GlobalWindows{}, Window: coder.Must(coder.GlobalWindow)}
	run := func(id plan.TransformID) []plan.Transform {
		return []plan.Transform{{ID: id, Name: "name of " + string(id), URN: "beam:transform:pardo:v1"}}
	}
	return &plan.Plan{
		KeyGroups:    4,
		Environments: []plan.EnvironmentID{"go"},
		Edges: []*plan.Edge{
			{ID: 0, Name: "start", Value: coder.Must(coder.Bytes), Windowing: global, Bounded: true},
			{ID: 1, Name: "pairs", Value: kv, Windowing: global, Bounded: true},
			{ID: 2, Name: "groups", Value: grouped, Windowing: global, Bounded: true},
		},
		Stages: []*plan.Stage{
			{ID: 0, Name: "Impulse", Kind: &plan.Impulse{}, Outputs: []plan.Output{{Edge: 0}}},
			{
				ID: 1, Name: "Pair", Kind: &plan.Executable{Environment: "go", Transforms: run("pair")},
				Input: &plan.Input{Edge: 0, Port: "source"}, Outputs: []plan.Output{{Edge: 1, Port: "sink"}},
			},
			{
				ID: 2, Name: "Group", Kind: &plan.GroupByKey{Windowing: global, Key: key, Value: value},
				Input: &plan.Input{Edge: 1, Keyed: true}, Outputs: []plan.Output{{Edge: 2}},
			},
			{
				ID: 3, Name: `Use "it"`, Kind: &plan.Executable{
					Environment: "go", Transforms: run("use"), Splittable: true,
					States: []plan.StateSpec{
						{Transform: "use", ID: "bag", Protocol: plan.BagState},
						{Transform: "use", ID: "list", Protocol: plan.OrderedListState, Value: value},
					},
					Timers: []plan.TimerSpec{{Transform: "use", Family: "f", Domain: plan.ProcessingTimeDomain}},
				},
				Input:      &plan.Input{Edge: 1, Keyed: true, Port: "source"},
				SideInputs: []plan.SideInput{{Edge: 2, Transform: "use", Tag: "i1", Access: plan.AccessMultimap}},
			},
		},
	}
}

func TestValidate(t *testing.T) {
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	exec := func(p *plan.Plan, i int) *plan.Executable {
		x, ok := p.Stages[i].Kind.(*plan.Executable)
		if !ok {
			t.Fatal("not executable")
		}
		return x
	}
	group := func(p *plan.Plan) *plan.GroupByKey {
		g, ok := p.Stages[2].Kind.(*plan.GroupByKey)
		if !ok {
			t.Fatal("not a group")
		}
		return g
	}
	tests := []struct {
		breaks func(p *plan.Plan)
		want   string
	}{
		{func(p *plan.Plan) { p.KeyGroups = 0 }, "0 key groups"},
		{func(p *plan.Plan) { p.Edges[1] = nil }, "edge at 1 has another id"},
		{func(p *plan.Plan) { p.Edges[1].ID = 7 }, "edge at 1 has another id"},
		{func(p *plan.Plan) { p.Edges[1].Value = nil }, "edge 1: no coder"},
		{func(p *plan.Plan) { p.Edges[1].Windowing = nil }, "edge 1: no windowing"},
		{func(p *plan.Plan) { p.Edges[1].Windowing.Window = p.Edges[1].Value }, "is no window coder"},
		{func(p *plan.Plan) { p.Stages[1] = nil }, "stage at 1 has another id"},
		{func(p *plan.Plan) { p.Stages[1].ID = 2 }, "stage at 1 has another id"},
		{func(p *plan.Plan) { p.Stages[1].Name = "Group" }, `name "Group" is empty or that of stage`},
		{func(p *plan.Plan) { p.Stages[1].Name = "" }, `name "" is empty`},
		{func(p *plan.Plan) { p.Stages[1].Kind = nil }, "stage 1: no kind"},
		{func(p *plan.Plan) { p.Stages[0].Input = p.Stages[1].Input }, "impulse with inputs"},
		{func(p *plan.Plan) { p.Stages[1].Input = nil }, "stage 1: no input"},
		{func(p *plan.Plan) { p.Stages[1].Input.Edge = 9 }, "no edge 9"},
		{func(p *plan.Plan) { p.Stages[1].Input.Edge = -1 }, "no edge -1"},
		{func(p *plan.Plan) { p.Stages[1].Input.Edge = 2 }, "written by stage 2, which is not before it"},
		{func(p *plan.Plan) { p.Stages[1].Input.Edge = 1 }, "written by stage 1, which is not before it"},
		{func(p *plan.Plan) { p.Stages[1].Input.Keyed = true }, "keyed input of coder bytes"},
		{func(p *plan.Plan) { p.Stages[1].Input.Port = "" }, `input with port ""`},
		{func(p *plan.Plan) { p.Stages[2].Input.Port = "x" }, `input with port "x"`},
		{func(p *plan.Plan) { p.Stages[1].Outputs[0].Port = "" }, `output 0 with port ""`},
		{func(p *plan.Plan) {
			p.Stages[1].Outputs = append(p.Stages[1].Outputs, p.Stages[1].Outputs[0])
		}, `output 1 with port "sink"`},
		{func(p *plan.Plan) { p.Stages[1].Outputs[0].Edge = 9 }, "output 0: no edge 9"},
		{func(p *plan.Plan) { p.Stages[2].Outputs[0].Edge = 9 }, "output 0: no edge 9"},
		{func(p *plan.Plan) { p.Stages[3].SideInputs[0].Edge = 0 }, "multimap side input i1 of coder bytes"},
		{func(p *plan.Plan) { p.Stages[3].SideInputs[0].Transform = "x" }, `side input of transform "x"`},
		{func(p *plan.Plan) { group(p).Key = nil }, "incomplete GroupByKey"},
		{func(p *plan.Plan) { group(p).Key = coder.Must(coder.Bytes) }, "groups bytes and varint, reads"},
		{func(p *plan.Plan) { group(p).PagedValues = true }, "to edge 2 of kv<length_prefix,iterable<varint>>"},
		{func(p *plan.Plan) { exec(p, 1).Environment = "" }, "no environment"},
		{func(p *plan.Plan) { exec(p, 1).States = exec(p, 3).States }, "state, timers or order of time on an input that is not keyed"},
		{func(p *plan.Plan) { exec(p, 3).States[1].Value = nil }, `state "list": value coder`},
		{func(p *plan.Plan) {
			exec(p, 1).Transforms = append(exec(p, 1).Transforms, exec(p, 1).Transforms[0])
		}, `transform "pair" twice`},
	}
	for _, tt := range tests {
		p := valid()
		tt.breaks(p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v does not say %q", err, tt.want)
		}
	}
}

func TestDump(t *testing.T) {
	const text = `plan: 4 stages, 3 edges, 4 key groups

s0 impulse "Impulse"
  write e0

s1 execute in go "Pair"
  read e0 through source
  run pair pardo "name of pair"
  write e1 through sink

s2 group varint by length_prefix "Group"
  read e1 by key
  write e2

s3 execute splittable in go "Use \"it\""
  read e1 by key through source
  view e2 as multimap, i1 of use
  run use pardo "name of use"
  state bag of use: bag
  state list of use: ordered_list
  timers f of use: processing_time

e0 start: bytes in global
e1 pairs: kv<length_prefix,varint> in global
e2 groups: kv<length_prefix,iterable<varint>> in global
`
	if diff := cmp.Diff(text, valid().Text()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	if got := valid().DOT(); !strings.Contains(got, `s3 [label="s3 execute splittable in go\nUse \"it\""];`) {
		t.Errorf("quotes are not escaped in\n%s", got)
	}
}

func TestNames(t *testing.T) {
	window := coder.Must(coder.IntervalWindow)
	tests := map[string]*plan.Windowing{
		"fixed(1m0s+5s), late 2s, accumulating, latest": {
			Fn: plan.FixedWindows{Size: time.Minute, Offset: 5 * time.Second}, Window: window,
			AllowedLateness: 2 * time.Second, Accumulation: plan.Accumulating, OutputTime: plan.Latest,
		},
		"sliding(2m0s/1m0s), earliest": {
			Fn: plan.SlidingWindows{Size: 2 * time.Minute, Period: time.Minute}, OutputTime: plan.Earliest,
		},
		"sessions(3m0s)":     {Fn: plan.Sessions{Gap: 3 * time.Minute}},
		"custom(u)":          {Fn: plan.CustomWindows{URN: "u"}},
		"custom(u, merging)": {Fn: plan.CustomWindows{URN: "u", Merging: true}},
	}
	for want, w := range tests {
		if got := w.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := plan.Access(9).String(); got != "9" {
		t.Error(got)
	}
}
