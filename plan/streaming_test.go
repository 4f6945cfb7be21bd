package plan_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
)

// streaming is two outputs of a test stream, of which one is a side input in
// merging windows that reads the other by key: sorted, grouped, and processed
// as restrictions that are truncated.
func streaming() *plan.Plan {
	key, value := coder.Must(coder.LengthPrefix), coder.Must(coder.VarInt)
	kv := coder.Must(coder.KV, key, value)
	sized := coder.Must(coder.KV, coder.Must(coder.KV, kv, key), coder.Must(coder.Double))
	custom := coder.Must(coder.CustomWindow)
	global := &plan.Windowing{Fn: plan.GlobalWindows{}, Window: coder.Must(coder.GlobalWindow)}
	merging := &plan.Windowing{Fn: plan.CustomWindows{URN: "own", Merging: true}, Window: custom}
	windows := coder.Must(coder.Iterable, custom)
	merged := coder.Must(coder.KV, windows, coder.Must(coder.Iterable, coder.Must(coder.KV, custom, windows)))
	run := func(id plan.TransformID) []plan.Transform { return []plan.Transform{{ID: id}} }
	keyed := func(edge plan.EdgeID) *plan.Input { return &plan.Input{Edge: edge, Keyed: true} }
	return &plan.Plan{
		KeyGroups:    4,
		Environments: []plan.EnvironmentID{"sdk"},
		Edges: []*plan.Edge{
			{ID: 0, Name: "pairs", Value: kv, Windowing: global},
			{ID: 1, Name: "side", Value: kv, Windowing: merging},
			{ID: 2, Name: "sorted", Value: kv, Windowing: global},
			{ID: 3, Name: "grouped", Value: coder.Must(coder.KV, key, coder.Must(coder.Iterable, value)), Windowing: merging},
			{ID: 4, Name: "sized", Value: sized, Windowing: global, Key: key},
			{ID: 5, Name: "to merge", Value: coder.Must(coder.KV, coder.Must(coder.Bytes), windows), Windowing: global, Bounded: true},
			{ID: 6, Name: "merged", Value: coder.Must(coder.KV, coder.Must(coder.Bytes), merged), Windowing: global, Bounded: true},
			{ID: 7, Name: "to map", Value: coder.Must(coder.KV, coder.Must(coder.Bytes), global.Window), Windowing: global, Bounded: true},
			{ID: 8, Name: "mapped", Value: coder.Must(coder.KV, coder.Must(coder.Bytes), custom), Windowing: global, Bounded: true},
		},
		Stages: []*plan.Stage{
			{ID: 0, Name: "main", Kind: &plan.TestSource{}, Outputs: []plan.Output{{Edge: 0}}},
			{ID: 1, Name: "side", Kind: &plan.TestSource{}, Outputs: []plan.Output{{Edge: 1}}},
			{ID: 2, Name: "view", Kind: &plan.View{Windowing: merging, Merge: 7}, Input: &plan.Input{Edge: 1}},
			{ID: 3, Name: "sort", Kind: &plan.TimeSort{Windowing: global}, Input: keyed(0), Outputs: []plan.Output{{Edge: 2}}},
			{
				ID: 4, Name: "group", Input: keyed(1), Outputs: []plan.Output{{Edge: 3}},
				Kind: &plan.GroupByKey{Windowing: merging, Key: key, Value: value, Streaming: true, Merge: 7},
			},
			{
				ID: 5, Name: "split", Kind: &plan.Executable{Environment: "sdk", Transforms: run("split")},
				Input:      &plan.Input{Edge: 2, Keyed: true, Port: "source"},
				SideInputs: []plan.SideInput{{Edge: 1, View: 2, Map: 9, Transform: "split", Tag: "i1"}},
				Outputs:    []plan.Output{{Edge: 4, Port: "sink"}},
			},
			{
				ID: 6, Name: "process", Input: &plan.Input{Edge: 4, Keyed: true, Port: "source"},
				Kind: &plan.Executable{
					Environment: "sdk", Transforms: run("process"), Splittable: true, Unbounded: true, Truncate: 8,
					Timers: []plan.TimerSpec{{Transform: "process", Family: "f"}},
				},
			},
		},
		Functions: []*plan.Stage{
			{
				ID: 7, Name: "merge", Kind: &plan.Executable{Environment: "sdk", Transforms: run("merge")},
				Input: &plan.Input{Edge: 5, Port: "source"}, Outputs: []plan.Output{{Edge: 6, Port: "sink"}},
			},
			{
				ID: 8, Name: "truncate", Kind: &plan.Executable{Environment: "sdk", Transforms: run("truncate")},
				Input: &plan.Input{Edge: 4, Port: "source"}, Outputs: []plan.Output{{Edge: 4, Port: "sink"}},
			},
			{
				ID: 9, Name: "map", Kind: &plan.Executable{Environment: "sdk", Transforms: run("map")},
				Input: &plan.Input{Edge: 7, Port: "source"}, Outputs: []plan.Output{{Edge: 8, Port: "sink"}},
			},
		},
		Tests: []plan.Test{{Sources: []plan.StageID{0, 1}, Events: []plan.TestEvent{
			plan.TestElements{Source: 0, Block: element.Block{Data: make([]byte, 30), Count: 2}},
			plan.TestWatermark{Source: 1, To: 5},
			plan.TestProcessingTime{By: time.Second},
			plan.TestWatermark{Source: 1, To: element.MaxTime},
		}}},
	}
}

func TestValidateStreaming(t *testing.T) {
	if err := streaming().Validate(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		breaks func(p *plan.Plan)
		want   string
	}{
		{func(p *plan.Plan) { p.Functions[0].ID = 3 }, "stage at 7 has another id"},
		{func(p *plan.Plan) { p.Functions[0].Name = "sort" }, `stage 7: name "sort" is empty or that of stage 3`},
		{func(p *plan.Plan) { p.Functions[0].Kind = &plan.TestSource{} }, "stage 7: not the function of an SDK"},
		{func(p *plan.Plan) { p.Functions[0].Input.Port = "" }, "stage 7: not the function of an SDK"},
		{func(p *plan.Plan) { p.Functions[0].Input.Keyed = true }, "stage 7: not the function of an SDK"},
		{func(p *plan.Plan) { p.Functions[0].Outputs[0].Port = "" }, `stage 7: output 0 with port ""`},
		{func(p *plan.Plan) {
			p.Functions[1].SideInputs = []plan.SideInput{{Edge: 9, Transform: "truncate"}}
		}, "stage 8: side input : no edge 9"},
		{func(p *plan.Plan) { p.Edges[4].Key = coder.Must(coder.VarInt) }, "edge 4: key varint is not at the start"},
		{func(p *plan.Plan) { p.Stages[0].Input = p.Stages[3].Input }, "test source with inputs"},
		{func(p *plan.Plan) { p.Stages[2].Outputs = p.Stages[3].Outputs }, "stage 2: a view with outputs"},
		{func(p *plan.Plan) { p.Stages[2].Input.Keyed = true }, "stage 2: a view with outputs or by key"},
		{func(p *plan.Plan) { p.Stages[2].Kind = &plan.View{} }, "stage 2: no windowing"},
		{func(p *plan.Plan) { kind[*plan.View](t, p, 2).Merge = 0 }, "merged by function 0"},
		{func(p *plan.Plan) { kind[*plan.View](t, p, 2).Merge = 6 }, "no function 6 to merge"},
		{func(p *plan.Plan) { kind[*plan.View](t, p, 2).Merge = 8 }, "not merged windows"},
		{func(p *plan.Plan) { kind[*plan.GroupByKey](t, p, 4).Streaming = false }, "stage 4: groups unbounded edge 1 all at once"},
		{func(p *plan.Plan) { p.Stages[4].Input.Keyed = false }, "stage 4: incomplete GroupByKey"},
		{func(p *plan.Plan) { p.Stages[3].Input.Keyed = false }, "stage 3: incomplete TimeSort"},
		{func(p *plan.Plan) { p.Stages[3].Outputs[0].Edge = 4 }, "stage 3: sorts"},
		{func(p *plan.Plan) { p.Stages[5].SideInputs[0].View = 0 }, "side input i1 of edge 1, bounded false, by view 0"},
		{func(p *plan.Plan) { p.Edges[1].Bounded = true }, "side input i1 of edge 1, bounded true, by view 2"},
		{func(p *plan.Plan) { p.Stages[5].SideInputs[0].View = 3 }, "stage 3 is no view of edge 1 before it"},
		{func(p *plan.Plan) { p.Stages[5].SideInputs[0].View = 9 }, "stage 9 is no view of edge 1 before it"},
		{func(p *plan.Plan) { p.Stages[5].SideInputs[0].Map = 7 }, "function 7 does not map windows"},
		{func(p *plan.Plan) { p.Stages[5].SideInputs[0].Map = 2 }, "function 2 does not map windows"},
		{func(p *plan.Plan) { p.Edges[8].Value = p.Edges[7].Value }, "function 9 does not map windows"},
		{func(p *plan.Plan) { p.Functions[2].Outputs[0].Edge = 20 }, "function 9 does not map windows"},
		{func(p *plan.Plan) { p.Stages[2].Input.Edge = 0 }, "stage 2 is no view of edge 1 before it"},
		{func(p *plan.Plan) { kind[*plan.Executable](t, p, 6).Splittable = false }, "stage 6: unbounded, but not splittable"},
		{func(p *plan.Plan) { kind[*plan.Executable](t, p, 6).Truncate = 7 }, "stage 6: function 7 does not truncate"},
		{func(p *plan.Plan) { kind[*plan.Executable](t, p, 6).Truncate = 12 }, "stage 6: function 12 does not truncate"},
		{func(p *plan.Plan) { kind[*plan.Executable](t, p, 6).TimeSorted = true }, "stage 6: unbounded edge 4 cannot be sorted whole"},
		{func(p *plan.Plan) {
			kind[*plan.Executable](t, p, 6).Timers[0].Domain = plan.SynchronizedDomain
		}, `stage 6: timers "f" of user code`},
		{func(p *plan.Plan) {
			k := kind[*plan.Executable](t, p, 6)
			k.States = []plan.StateSpec{{Transform: "process", ID: "m", Protocol: plan.MultimapState, Split: 7}}
		}, `stage 6: state "m": function 7 does not tell its values apart`},
		{func(p *plan.Plan) { p.Tests[0].Sources = p.Tests[0].Sources[:1] }, "stage 1: a test source in no script"},
		{func(p *plan.Plan) { p.Tests = append(p.Tests, p.Tests[0]) }, "test 1: source 0 is none, or in another script"},
		{func(p *plan.Plan) { p.Tests[0].Sources[0] = 99 }, "test 0: source 99 is none"},
		{func(p *plan.Plan) { p.Tests[0].Events[0] = plan.TestElements{Source: 0} }, "event 0: 0 elements from stage 0"},
		{func(p *plan.Plan) { p.Tests[0].Events[1] = plan.TestWatermark{Source: 3} }, "event 1: watermark of stage 3"},
		{func(p *plan.Plan) { p.Tests[0].Events[3] = plan.TestWatermark{Source: 1, To: 4} }, "event 3: watermark of stage 1 to 4ms"},
		{func(p *plan.Plan) { p.Tests[0].Events[2] = plan.TestProcessingTime{By: -1} }, "event 2: processing time -1ns"},
	}
	for _, tt := range tests {
		p := streaming()
		tt.breaks(p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v does not say %q", err, tt.want)
		}
	}
}

func kind[K plan.Kind](t *testing.T, p *plan.Plan, stage int) K {
	t.Helper()
	k, ok := p.Stages[stage].Kind.(K)
	if !ok {
		t.Fatalf("stage %d is %v", stage, p.Stages[stage].Kind)
	}
	return k
}

func TestDumpStreaming(t *testing.T) {
	const text = `plan: 7 stages, 9 edges, 4 key groups

s0 test source "main"
  write e0

s1 test source "side"
  write e1

s2 view merged by s7 "view"
  read e1

s3 sort by time "sort"
  read e0 by key
  write e2

s4 group varint by length_prefix streaming merged by s7 "group"
  read e1 by key
  write e3

s5 execute in sdk "split"
  read e2 by key through source
  view e1 by s2, mapped by s9 as iterable, i1 of split
  run split  ""
  write e4 through sink

s6 execute unbounded splittable in sdk truncated by s8 "process"
  read e4 by key through source
  run process  ""
  timers f of process: event_time

function s7 execute in sdk "merge"
  read e5 through source
  run merge  ""
  write e6 through sink

function s8 execute in sdk "truncate"
  read e4 through source
  run truncate  ""
  write e4 through sink

function s9 execute in sdk "map"
  read e7 through source
  run map  ""
  write e8 through sink

test 0
  s0 emits 2 elements of 30 bytes
  s1 watermark 5ms
  processing time +1s
  s1 watermark +inf

e0 pairs: kv<length_prefix,varint> in global unbounded
e1 side: kv<length_prefix,varint> in custom(own, merging) unbounded
e2 sorted: kv<length_prefix,varint> in global unbounded
e3 grouped: kv<length_prefix,iterable<varint>> in custom(own, merging) unbounded
e4 sized: kv<kv<kv<length_prefix,varint>,length_prefix>,double> in global unbounded, key length_prefix
e5 to merge: kv<bytes,iterable<custom_window>> in global
e6 merged: kv<bytes,kv<iterable<custom_window>,iterable<kv<custom_window,iterable<custom_window>>>>> in global
e7 to map: kv<bytes,global_window> in global
e8 mapped: kv<bytes,custom_window> in global
`
	if diff := cmp.Diff(text, streaming().Text()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	if s := streaming().Stage(8); s.Name != "truncate" {
		t.Errorf("stage 8 is %q", s.Name)
	}
}
