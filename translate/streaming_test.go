package translate_test

import (
	"fmt"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/translate"
)

// buildStreaming has one unbounded root and one bounded: what is made of both
// is unbounded, whatever the SDK says.
func buildStreaming(b builder) {
	b.testStream("test", "pair", emit("", 0, "\x01a\x01"))
	b.coder("pair", "beam:coder:kv:v1", "bytes", "varint")
	b.coder("pairs", "beam:coder:kv:v1", "bytes", "iterable")
	b.impulse("impulse")
	b.parDo("keyed", "pair", nil, "impulse")
	b.add("flat", "beam:transform:flatten:v1", nil, "pair", "keyed", "test")
	b.add("grouped", "beam:transform:group_by_key:v1", nil, "pairs", "flat")
	b.add("bounded", "beam:transform:group_by_key:v1", nil, "pairs", "keyed")
	b.parDo("read", "bytes", nil, "grouped")
	b.parDo("read-bounded", "bytes", nil, "bounded")
}

// buildWaiting has side inputs that are still to come: who reads one starts a
// stage, and one view serves all.
func buildWaiting(b builder) {
	b.testStream("test", "varint", emit("", 0, "\x01"))
	b.impulse("impulse")
	b.parDo("main", "bytes", nil, "impulse")
	b.parDo("side", "own", nil, "test")
	b.parDo("first", "bytes", sidePayload("i1"), "main", "side")
	b.parDo("second", "bytes", sidePayload("i1", "i2"), "main", "side", "main")
	b.parDo("third", "bytes", sidePayload("i1"), "second", "main")
	b.parDo("own-output", "bytes", sidePayload("i1"), "side", "side")
	split := sidePayload("i1")
	split.RestrictionCoderId = "own"
	b.parDo("sdf", "bytes", split, "main", "side")
	expand := &pipepb.ParDoPayload{DoFn: &pipepb.FunctionSpec{Urn: "beam:go:transform:expand:v1"}}
	b.parDo("expand", "own", expand, "main")
	b.parDo("near", "bytes", nil, "expand")
	b.parDo("far", "bytes", sidePayload("i1"), "expand", "side")
	b.parDo("far2", "bytes", sidePayload("i1"), "expand", "side")
	b.parDo("after", "bytes", nil, "far")
}

func sortedPayload() *pipepb.ParDoPayload {
	p := statePayload()
	p.RequiresTimeSortedInput = true
	return p
}

func buildTimeSorted(b builder) {
	b.coder("pair", "beam:coder:kv:v1", "bytes", "varint")
	b.testStream("test", "pair", emit("", 0, "\x01a\x01"))
	b.parDo("keyed", "kv", nil, "test")
	b.parDo("sorted", "kv", sortedPayload(), "keyed")
	b.parDo("again", "kv", sortedPayload(), "keyed")
	b.parDo("unsorted", "kv", statePayload(), "keyed")
	b.impulse("impulse")
	b.parDo("bounded", "kv", nil, "impulse")
	b.parDo("sorted-bounded", "kv", sortedPayload(), "bounded")
}

func timedPayload() *pipepb.ParDoPayload {
	p := statePayload()
	p.RestrictionCoderId = "own"
	p.TimerFamilySpecs = map[string]*pipepb.TimerFamilySpec{
		"f": {TimeDomain: pipepb.TimeDomain_EVENT_TIME, TimerFamilyCoderId: "timer"},
	}
	return p
}

// buildStatefulSDF has restrictions that go by the key of their element, which
// is itself a pair, and are sorted by time where they are unbounded.
func buildStatefulSDF(b builder) {
	b.coder("pair", "beam:coder:kv:v1", "bytes", "varint")
	b.coder("paired", "beam:coder:kv:v1", "pair", "own")
	b.coder("timer", "beam:coder:timer:v1", "pair", "global_window")
	b.Components.Environments["sdk"].Capabilities = []string{"beam:transform:sdf_truncate_sized_restrictions:v1"}
	b.impulse("impulse")
	b.parDo("keyed", "paired", nil, "impulse")
	b.parDo("sdf", "bytes", timedPayload(), "keyed")
	b.testStream("test", "varint", emit("", 0, "\x01"))
	b.parDo("stream", "paired", nil, "test")
	p := timedPayload()
	p.RequiresTimeSortedInput = true
	b.parDo("sorted", "bytes", p, "stream")
}

// buildExpandedSDF has the parts that an SDK makes of a splittable DoFn when
// it expands it for a pipeline that is being drained.
func buildExpandedSDF(b builder) {
	b.coder("pair", "beam:coder:kv:v1", "own", "varint")
	b.coder("restricted", "beam:coder:kv:v1", "pair", "own")
	b.coder("double", "beam:coder:double:v1")
	b.coder("sized", "beam:coder:kv:v1", "restricted", "double")
	b.coder("timer", "beam:coder:timer:v1", "own", "global_window")
	b.impulse("impulse")
	b.parDo("keyed", "pair", nil, "impulse")
	for i, part := range []string{
		"sdf_pair_with_restriction", "sdf_split_and_size_restrictions", "sdf_truncate_sized_restrictions",
		"sdf_process_sized_element_and_restrictions",
	} {
		in := []string{"keyed", "part0", "part1", "part2"}[i]
		coder := []string{"restricted", "sized", "sized", "bytes"}[i]
		b.add(fmt.Sprintf("part%d", i), "beam:transform:"+part+":v1", timedPayload(), coder, in)
	}
}

// buildMerging has windows that only the SDK can merge, grouped twice and read
// as a side input, over bounded and unbounded input.
func buildMerging(b builder) {
	b.Components.Environments["sdk"].Capabilities = []string{"beam:version:sdk_base:apache/beam_python3.11_sdk:2.77.0"}
	b.windows("merging", spec("example:windows:v1", nil), "own", func(ws *pipepb.WindowingStrategy) {
		ws.MergeStatus = pipepb.MergeStatus_NEEDS_MERGE
		ws.EnvironmentId = "sdk"
	})
	b.testStream("test", "varint", emit("", 0, "\x01"))
	b.parDo("stream", "kv", nil, "test")
	b.impulse("impulse")
	b.parDo("batch", "kv", nil, "impulse")
	b.add("grouped", "beam:transform:group_by_key:v1", nil, "grouped", "stream")
	b.add("grouped-batch", "beam:transform:group_by_key:v1", nil, "grouped", "batch")
	for _, id := range []string{"stream", "batch", "grouped", "grouped-batch"} {
		b.Components.Pcollections[id].WindowingStrategyId = "merging"
	}
	b.parDo("read", "bytes", sidePayload("i1"), "grouped", "stream")
	b.parDo("read-batch", "bytes", sidePayload("i1"), "grouped-batch", "batch")
}

// buildSplitting has two multimaps of the same values, which only the SDK can
// tell apart, and one of values that the runner can.
func buildSplitting(b builder) {
	b.Components.Environments["sdk"].Capabilities = []string{"beam:coder:param_windowed_value:v1"}
	multimap := func(value string) *pipepb.StateSpec {
		return &pipepb.StateSpec{
			Protocol: spec("beam:user_state:multimap:v1", nil),
			Spec: &pipepb.StateSpec_MultimapSpec{
				MultimapSpec: &pipepb.MultimapStateSpec{KeyCoderId: "bytes", ValueCoderId: value},
			},
		}
	}
	b.impulse("impulse")
	b.parDo("keyed", "kv", nil, "impulse")
	b.parDo("stateful", "kv", &pipepb.ParDoPayload{StateSpecs: map[string]*pipepb.StateSpec{
		"m1": multimap("own"), "m2": multimap("own"), "m3": multimap("varint"),
	}}, "keyed")
}

// buildRead has a source that the Python SDK reads for an impulse.
func buildRead(b builder) {
	b.Components.Environments["sdk"].Capabilities = []string{"beam:version:sdk_base:apache/beam_python3.11_sdk:2.77.0"}
	b.add("legacy", "beam:transform:read:v1", &pipepb.ReadPayload{IsBounded: pipepb.IsBounded_BOUNDED}, "varint")
	b.parDo("read", "bytes", nil, "legacy")
}

// buildTestStreams has a TestStream with an output that nobody reads, one that
// nobody reads at all, and one whose elements have another coder than its
// output.
func buildTestStreams(b builder) {
	two := b.testStream("two", "varint", emit("i0", 1, "\x01"), emit("i1", 1, "\x02"), advance("i1", 5), wait(7), advance("i0", 6))
	two.Outputs["i1"] = "unread"
	b.Components.Pcollections["unread"] = b.Components.Pcollections["two"]
	b.parDo("read", "bytes", nil, "two")
	b.testStream("none", "varint", emit("", 0, "\x01"))
	b.testStream("opaque", "own", emit("", 0, "ab"))
	b.Components.Pcollections["opaque"].CoderId = "kv"
	b.parDo("keyed", "kv", statePayload(), "opaque")
	b.testStream("retyped", "bytes", emit("", 0, "ab"))
	b.Components.Pcollections["retyped"].CoderId = "own"
	b.parDo("read2", "bytes", nil, "retyped")
}

// TestMergesAlternatives holds that windows are merged only where every
// alternative of an environment can.
func TestMergesAlternatives(t *testing.T) {
	python := &pipepb.Environment{Capabilities: []string{"beam:version:sdk_base:apache/beam_python3.11_sdk:2.77.0"}}
	java := &pipepb.Environment{Capabilities: []string{"beam:version:sdk_base:apache/beam_java17_sdk:2.77.0"}}
	other := &pipepb.Environment{Capabilities: []string{"beam:transform:merge_windows:v1"}}
	golang := &pipepb.Environment{Capabilities: []string{"beam:version:sdk_base:go:apache/beam_go_sdk:2.77.0"}}
	for _, tt := range []struct {
		choice []*pipepb.Environment
		merges bool
	}{
		{[]*pipepb.Environment{python, java, other}, true},
		{[]*pipepb.Environment{python, golang}, false},
		{nil, false},
	} {
		b := newBuilder()
		buildMerging(b)
		b.Components.Environments["sdk"] = &pipepb.Environment{
			Urn:     "beam:env:anyof:v1",
			Payload: spec("", &pipepb.AnyOfEnvironmentPayload{Environments: tt.choice}).GetPayload(),
		}
		_, err := translate.Translate(b.Pipeline, translate.Options{})
		if tt.merges != (err == nil) || err != nil && !strings.Contains(err.Error(), "does not merge for a runner") {
			t.Errorf("%d alternatives: %v", len(tt.choice), err)
		}
	}
}

// TestKeysDiffer: restrictions that one stage reads by their key and another
// as pairs would need two partitions of one PCollection.
func TestKeysDiffer(t *testing.T) {
	b := newBuilder()
	buildExpandedSDF(b)
	b.coder("values", "beam:coder:iterable:v1", "double")
	b.coder("groups", "beam:coder:kv:v1", "restricted", "values")
	b.add("grouped", "beam:transform:group_by_key:v1", nil, "groups", "part2")
	b.parDo("read", "bytes", nil, "grouped")
	_, err := translate.Translate(b.Pipeline, translate.Options{})
	if err == nil || !strings.Contains(err.Error(), "is read by different keys") {
		t.Error(err)
	}
}

// TestSortersKeepNames: the input of what is sorted has the name the user's
// code knows it by.
func TestSortersKeepNames(t *testing.T) {
	b := newBuilder()
	buildTimeSorted(b)
	tr, err := translate.Translate(b.Pipeline, translate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range tr.Plan.Stages {
		if x, ok := s.Kind.(*plan.Executable); ok && x.Transforms[0].ID == "sorted" {
			in := tr.Descriptors[s.ID].GetTransforms()["sorted"].GetInputs()
			if len(in) != 1 || in["i0"] != tr.Plan.Edges[s.Input.Edge].Name {
				t.Errorf("inputs %v, edge %s", in, tr.Plan.Edges[s.Input.Edge].Name)
			}
		}
	}
}

// TestStreamingOfBoundedInput: a trigger that fires early does so on bounded
// input if the user asks for streaming.
func TestStreamingOfBoundedInput(t *testing.T) {
	count := &pipepb.Trigger{Trigger: &pipepb.Trigger_ElementCount_{ElementCount: &pipepb.Trigger_ElementCount{ElementCount: 3}}}
	end := &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterEndOfWindow_{AfterEndOfWindow: &pipepb.Trigger_AfterEndOfWindow{}}}
	for _, tt := range []struct {
		trigger       *pipepb.Trigger
		option, fires bool
	}{{count, true, true}, {count, false, false}, {end, true, false}, {nil, true, false}} {
		b := newBuilder()
		b.windows("triggered", spec("beam:window_fn:global_windows:v1", nil), "global_window", func(ws *pipepb.WindowingStrategy) {
			ws.Trigger = tt.trigger
		})
		b.impulse("impulse")
		b.parDo("keyed", "kv", nil, "impulse")
		b.Components.Pcollections["keyed"].WindowingStrategyId = "triggered"
		b.add("grouped", "beam:transform:group_by_key:v1", nil, "grouped", "keyed")
		b.parDo("read", "bytes", nil, "grouped")
		tr, err := translate.Translate(b.Pipeline, translate.Options{Streaming: tt.option})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range tr.Plan.Stages {
			if k, ok := s.Kind.(*plan.GroupByKey); ok && k.Streaming != tt.fires {
				t.Errorf("%v, asked for: %v: streaming %v", tt.trigger, tt.option, k.Streaming)
			}
		}
	}
}

// TestClosing holds that a last pane is what a user has asked for: Python's SDK
// asks for one in every strategy, though its users cannot.
func TestClosing(t *testing.T) {
	for base, want := range map[string]plan.Closing{
		"apache/beam_java17_sdk:2.77.0": plan.EmitAlways, "apache/beam_python3.11_sdk:2.77.0": plan.EmitIfNonEmpty,
	} {
		b := newBuilder()
		b.Components.Environments["sdk"].Capabilities = []string{"beam:version:sdk_base:" + base}
		b.windows("late", spec("beam:window_fn:global_windows:v1", nil), "global_window", func(ws *pipepb.WindowingStrategy) {
			ws.EnvironmentId = "sdk"
			ws.ClosingBehavior = pipepb.ClosingBehavior_EMIT_ALWAYS
		})
		b.testStream("test", "kv")
		b.parDo("read", "kv", nil, "test")
		b.add("grouped", "beam:transform:group_by_key:v1", nil, "grouped", "read")
		b.Components.Pcollections["read"].WindowingStrategyId = "late"
		b.parDo("use", "bytes", nil, "grouped")
		p := mustTranslate(t, b)
		found := false
		for _, s := range p.Stages {
			if k, ok := s.Kind.(*plan.GroupByKey); ok {
				found = true
				if k.Windowing.Closing != want {
					t.Errorf("%s: closing pane %v, want %v", base, k.Windowing.Closing, want)
				}
			}
		}
		if !found {
			t.Errorf("%s: no GroupByKey in\n%s", base, p.Text())
		}
	}
}
