package translate_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cockroachdb/datadriven"

	"github.com/gorunner/gorunner/translate"
)

func minutes(n int64) *durationpb.Duration { return &durationpb.Duration{Seconds: n * 60} }

// TestShapes translates pipelines made by hand, each for one rule, and
// compares the plans and descriptors with testdata/shapes.
func TestShapes(t *testing.T) {
	shapes := map[string]func(b builder){
		"windows":            buildWindows,
		"windows_stay":       buildWindowsStay,
		"align":              buildAlign,
		"flatten_native":     buildFlattenNative,
		"flatten_nested":     buildFlattenNested,
		"flatten_fused":      buildFlattenFused,
		"siblings":           buildSiblings,
		"side_input_late":    buildSideInputLate,
		"side_input_cycle":   buildSideInputCycle,
		"expand_clone":       buildExpandClone,
		"combine_leaf":       buildCombineLeaf,
		"sdf":                buildSDF,
		"state":              buildState,
		"environments":       buildEnvironments,
		"paged":              func(b builder) { buildPaged(b, true) },
		"paged_alternatives": func(b builder) { buildPaged(b, false) },
		"view_and_empty":     buildViewAndEmpty,
		"dead":               buildDead,
		"streaming":          buildStreaming,
		"waiting":            buildWaiting,
		"time_sorted":        buildTimeSorted,
		"sdf_stateful":       buildStatefulSDF,
		"sdf_expanded":       buildExpandedSDF,
		"merging":            buildMerging,
		"splitting":          buildSplitting,
		"read":               buildRead,
		"test_streams":       buildTestStreams,
	}
	datadriven.Walk(t, "testdata/shapes", func(t *testing.T, path string) {
		t.Helper()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			var shape string
			d.ScanArgs(t, "shape", &shape)
			b := newBuilder()
			shapes[shape](b)
			o := translate.Options{DisableFusion: d.HasArg("no-fusion"), DisableLifting: d.HasArg("no-lifting")}
			tr, err := translate.Translate(b.Pipeline, o)
			if err != nil {
				return err.Error() + "\n"
			}
			checkDescriptors(t, tr)
			return dump(t, d, tr)
		})
	})
}

func buildWindows(b builder) {
	b.coder("interval", "beam:coder:interval_window:v1")
	b.coder("stamped", "beam:coder:custom_window:v1", "own")
	merged := func(ws *pipepb.WindowingStrategy) {
		ws.MergeStatus = pipepb.MergeStatus_ALREADY_MERGED
		ws.OutputTime = pipepb.OutputTime_EARLIEST_IN_PANE
	}
	late := func(ws *pipepb.WindowingStrategy) {
		ws.AllowedLateness = 5000
		ws.AccumulationMode = pipepb.AccumulationMode_ACCUMULATING
		ws.OutputTime = pipepb.OutputTime_LATEST_IN_PANE
	}
	sessions := spec("beam:window_fn:session_windows:v1", &pipepb.SessionWindowsPayload{GapSize: minutes(3)})
	b.windows("fixed", spec("beam:window_fn:fixed_windows:v1", &pipepb.FixedWindowsPayload{
		Size: minutes(1), Offset: &timestamppb.Timestamp{Seconds: 7},
	}), "interval", late)
	b.windows("sliding", spec("beam:window_fn:sliding_windows:v1", &pipepb.SlidingWindowsPayload{
		Size: minutes(2), Period: minutes(1),
	}), "interval", nil)
	b.windows("sessions", sessions, "interval", func(ws *pipepb.WindowingStrategy) {
		ws.MergeStatus = pipepb.MergeStatus_NEEDS_MERGE
	})
	b.windows("merged", sessions, "interval", merged)
	b.windows("custom", spec("example:windows:v1", nil), "own", nil)
	b.windows("stamped", spec("example:windows:v1", nil), "stamped", nil)
	b.impulse("impulse")
	for _, w := range []string{"fixed", "sliding", "sessions", "merged", "custom", "stamped"} {
		for _, id := range []string{"in-" + w, "group-" + w, "out-" + w} {
			switch id[:2] {
			case "in":
				b.add(id, "beam:transform:window_into:v1", nil, "kv", "impulse")
			case "gr":
				b.add(id, "beam:transform:group_by_key:v1", nil, "grouped", "in-"+w)
			default:
				b.parDo(id, "bytes", nil, "group-"+w)
			}
			b.Components.Pcollections[id].WindowingStrategyId = w
		}
	}
}

func buildAlign(b builder) {
	b.impulse("impulse")
	b.parDo("keyed", "own", nil, "impulse")
	b.add("grouped", "beam:transform:group_by_key:v1", nil, "grouped", "keyed")
	b.parDo("read", "bytes", nil, "grouped")
}

// buildFlattenNative has inputs of another coder that no SDK writes.
func buildFlattenNative(b builder) {
	b.impulse("impulse")
	b.parDo("par", "own", nil, "impulse")
	b.add("flat", "beam:transform:flatten:v1", nil, "own", "par", "impulse", "impulse")
	b.parDo("read", "bytes", nil, "flat")
}

func buildFlattenNested(b builder) {
	b.impulse("a")
	b.impulse("b")
	b.parDo("x", "varint", nil, "a")
	b.parDo("y", "own", nil, "b")
	b.add("inner", "beam:transform:flatten:v1", nil, "varint", "x", "y")
	b.add("shuffled", "beam:transform:reshuffle:v1", nil, "own", "inner")
	b.add("outer", "beam:transform:flatten:v1", nil, "own", "shuffled", "inner", "x")
	b.parDo("read-inner", "bytes", nil, "inner")
	b.parDo("read-outer", "bytes", nil, "outer")
}

// buildWindowsStay assigns the global window anew: to all elements that have it
// and need no other coder it is an alias, fused or between two of the runner's
// stages.
func buildWindowsStay(b builder) {
	b.coder("interval", "beam:coder:interval_window:v1")
	b.windows("fixed", spec("beam:window_fn:fixed_windows:v1", &pipepb.FixedWindowsPayload{Size: minutes(1)}), "interval", nil)
	b.windows("again", spec("beam:window_fn:global_windows:v1", nil), "global_window", func(ws *pipepb.WindowingStrategy) {
		ws.AccumulationMode = pipepb.AccumulationMode_ACCUMULATING
	})
	into := func(id, windows, coder, from string) {
		b.add(id, "beam:transform:window_into:v1", nil, coder, from)
		b.Components.Pcollections[id].WindowingStrategyId = windows
	}
	b.impulse("impulse")
	into("alone", "again", "bytes", "impulse")
	b.parDo("in", "bytes", nil, "alone")
	into("fused", "again", "bytes", "in")
	b.parDo("out", "bytes", nil, "fused")
	into("coder", "again", "own", "in")
	into("away", "fixed", "bytes", "in")
	into("back", "again", "bytes", "away")
}

func buildFlattenFused(b builder) {
	b.impulse("impulse")
	b.parDo("split", "bytes", nil, "impulse")
	b.parDo("x", "varint", nil, "split")
	b.parDo("y", "own", nil, "split")
	b.add("flat", "beam:transform:flatten:v1", nil, "own", "x", "y")
	b.parDo("read", "bytes", nil, "flat")
}

func buildSiblings(b builder) {
	b.group("global")
	b.parDo("read2", "bytes", nil, "grouped")
	b.parDo("stateful1", "bytes", statePayload(), "keyed")
	b.parDo("stateful2", "bytes", statePayload(), "keyed")
}

func sidePayload(tags ...string) *pipepb.ParDoPayload {
	p := &pipepb.ParDoPayload{SideInputs: map[string]*pipepb.SideInput{}}
	for _, tag := range tags {
		p.SideInputs[tag] = &pipepb.SideInput{AccessPattern: &pipepb.FunctionSpec{Urn: "beam:side_input:iterable:v1"}}
	}
	return p
}

// buildSideInputLate has a side input that depends on nothing of the stage.
func buildSideInputLate(b builder) {
	b.impulse("impulse")
	b.parDo("main", "bytes", nil, "impulse")
	b.impulse("other")
	b.parDo("side", "own", nil, "other")
	b.parDo("both", "bytes", sidePayload("i1"), "main", "side")
	b.parDo("after", "bytes", nil, "both")
}

// buildSideInputCycle has side inputs that come out of the stage that would
// read them.
func buildSideInputCycle(b builder) {
	b.group("global")
	b.parDo("own-output", "bytes", sidePayload("i1"), "keyed", "keyed")
	b.parDo("far", "bytes", sidePayload("i1"), "keyed", "read")
	b.parDo("far2", "bytes", sidePayload("i1"), "keyed", "far")
}

func buildExpandClone(b builder) {
	b.group("global")
	expand := &pipepb.ParDoPayload{DoFn: &pipepb.FunctionSpec{Urn: "beam:go:transform:expand:v1"}}
	b.parDo("expand", "own", expand, "grouped")
	b.parDo("near", "bytes", nil, "expand")
	b.parDo("far", "bytes", sidePayload("i1"), "expand", "near")
	b.parDo("far2", "bytes", sidePayload("i1"), "expand", "near")
	b.parDo("farther", "bytes", sidePayload("i1"), "expand", "far2")
}

func buildCombineLeaf(b builder) {
	b.impulse("impulse")
	b.parDo("keyed", "kv", nil, "impulse")
	b.add("sum", "beam:transform:combine_per_key:v1", &pipepb.CombinePayload{AccumulatorCoderId: "own"}, "kv", "keyed")
	b.parDo("read", "bytes", nil, "sum")
}

func buildSDF(b builder) {
	b.impulse("impulse")
	b.parDo("files", "own", nil, "impulse")
	b.impulse("other")
	p := sidePayload("i1")
	p.RestrictionCoderId = "kv"
	b.parDo("sdf", "varint", p, "files", "other")
	b.parDo("again", "bytes", &pipepb.ParDoPayload{RestrictionCoderId: "bytes"}, "sdf")
}

func statePayload() *pipepb.ParDoPayload {
	own := func(urn string, s *pipepb.StateSpec) *pipepb.StateSpec {
		if urn != "" {
			s.Protocol = &pipepb.FunctionSpec{Urn: urn}
		}
		return s
	}
	return &pipepb.ParDoPayload{StateSpecs: map[string]*pipepb.StateSpec{
		"bag":   own("", &pipepb.StateSpec{Spec: &pipepb.StateSpec_BagSpec{BagSpec: &pipepb.BagStateSpec{ElementCoderId: "own"}}}),
		"value": own("", &pipepb.StateSpec{Spec: &pipepb.StateSpec_ReadModifyWriteSpec{ReadModifyWriteSpec: &pipepb.ReadModifyWriteStateSpec{CoderId: "own"}}}),
		"combining": own("beam:user_state:bag:v1", &pipepb.StateSpec{Spec: &pipepb.StateSpec_CombiningSpec{
			CombiningSpec: &pipepb.CombiningStateSpec{AccumulatorCoderId: "own"},
		}}),
		"set": own("", &pipepb.StateSpec{Spec: &pipepb.StateSpec_SetSpec{SetSpec: &pipepb.SetStateSpec{ElementCoderId: "own"}}}),
		"map": own("beam:user_state:multimap:v1", &pipepb.StateSpec{Spec: &pipepb.StateSpec_MapSpec{
			MapSpec: &pipepb.MapStateSpec{KeyCoderId: "own", ValueCoderId: "varint"},
		}}),
		"list": own("beam:user_state:ordered_list:v1", &pipepb.StateSpec{Spec: &pipepb.StateSpec_OrderedListSpec{
			OrderedListSpec: &pipepb.OrderedListStateSpec{ElementCoderId: "own"},
		}}),
	}}
}

func buildState(b builder) {
	b.impulse("impulse")
	b.parDo("keyed", "kv", nil, "impulse")
	b.parDo("stateful", "kv", statePayload(), "keyed")
	b.parDo("chained", "bytes", statePayload(), "stateful")
	b.parDo("after", "bytes", nil, "chained")
}

func buildEnvironments(b builder) {
	b.Components.Environments["other"] = &pipepb.Environment{Urn: "beam:env:external:v1"}
	b.impulse("impulse")
	b.parDo("one", "own", nil, "impulse")
	b.parDo("two", "own", nil, "one").EnvironmentId = "other"
	b.parDo("three", "own", nil, "two").EnvironmentId = ""
	b.Components.Transforms["composite"] = &pipepb.PTransform{
		UniqueName: "composite", EnvironmentId: "other", Subtransforms: []string{"three"},
	}
	b.RootTransformIds = append(b.RootTransformIds[:3], "composite")
}

// buildPaged has an environment that leaves the choice between alternatives
// of which all, or not all, read pages.
func buildPaged(b builder, all bool) {
	able := &pipepb.Environment{
		Urn: "beam:env:external:v1", Capabilities: []string{"beam:coder:state_backed_iterable:v1"},
	}
	other := able
	if !all {
		other = &pipepb.Environment{Urn: "beam:env:docker:v1"}
	}
	payload, err := proto.Marshal(&pipepb.AnyOfEnvironmentPayload{Environments: []*pipepb.Environment{able, other}})
	if err != nil {
		panic(err)
	}
	b.Components.Environments["sdk"] = &pipepb.Environment{Urn: "beam:env:anyof:v1", Payload: payload}
	b.group("global")
}

func buildViewAndEmpty(b builder) {
	b.impulse("impulse")
	b.parDo("side", "kv", nil, "impulse")
	b.add("view", "beam:transform:create_view:v1", nil, "kv", "side")
	b.add("nothing", "beam:transform:flatten:v1", nil, "kv").Inputs = nil
	p := sidePayload("i1")
	p.SideInputs["i1"].AccessPattern.Urn = "beam:side_input:multimap:v1"
	b.parDo("read", "bytes", p, "nothing", "view")
	// An empty composite whose output is its input.
	empty := b.add("identity", "", nil, "bytes", "read")
	empty.Outputs["i0"] = "read"
	// An identity that Python's optimiser puts where coders differ.
	b.add("same", "beam:dofn:identity:0.1", nil, "own", "read")
	b.parDo("after", "bytes", nil, "same")
}

func buildDead(b builder) {
	b.impulse("impulse")
	b.impulse("unused")
	b.parDo("keyed", "kv", nil, "impulse")
	b.add("flat", "beam:transform:flatten:v1", nil, "kv", "keyed")
	b.add("grouped", "beam:transform:group_by_key:v1", nil, "grouped", "flat")
	b.add("shuffled", "beam:transform:reshuffle:v1", nil, "grouped", "grouped")
}

// TestOutputLimit: flattens that repeat each other have exponentially many
// outputs, and are refused.
func TestOutputLimit(t *testing.T) {
	b := newBuilder()
	b.impulse("f0")
	for i := range 40 {
		in := fmt.Sprintf("f%d", i)
		b.add(fmt.Sprintf("f%d", i+1), "beam:transform:flatten:v1", nil, "bytes", in, in)
	}
	b.parDo("read", "bytes", nil, "f40")
	var un *translate.UnsupportedError
	if _, err := translate.Translate(b.Pipeline, translate.Options{}); !errors.As(err, &un) {
		t.Fatal(err)
	}
	// The limit is an option.
	small := newBuilder()
	small.impulse("a")
	small.add("f", "beam:transform:flatten:v1", nil, "bytes", "a", "a", "a")
	small.parDo("read", "bytes", nil, "f")
	if _, err := translate.Translate(small.Pipeline, translate.Options{MaxOutputs: 3}); err == nil {
		t.Fatal("more outputs than allowed")
	}
	if _, err := translate.Translate(small.Pipeline, translate.Options{MaxOutputs: 10}); err != nil {
		t.Fatal(err)
	}
}

func TestNestingLimit(t *testing.T) {
	b := newBuilder()
	b.impulse("leaf")
	for i, inner := range []string{"leaf", "c0", "c1"} {
		b.Components.Transforms[fmt.Sprintf("c%d", i)] = &pipepb.PTransform{Subtransforms: []string{inner}}
	}
	b.RootTransformIds = []string{"c2"}
	if _, err := translate.Translate(b.Pipeline, translate.Options{MaxNesting: 3}); err != nil {
		t.Error(err)
	}
	_, err := translate.Translate(b.Pipeline, translate.Options{MaxNesting: 2})
	if err == nil || !strings.Contains(err.Error(), "composites nested more than 2 deep") {
		t.Error(err)
	}
	b = newBuilder()
	b.impulse("impulse")
	b.parDo("par", "grouped", nil, "impulse")
	_, err = translate.Translate(b.Pipeline, translate.Options{MaxNesting: 1})
	if err == nil || !strings.Contains(err.Error(), "nested more than 1 deep") {
		t.Error(err)
	}
}

// TestFusionSteps: without leave to search for cycles, what has side inputs
// is not fused, and the plan is right all the same.
func TestFusionSteps(t *testing.T) {
	b := newBuilder()
	b.group("global")
	b.impulse("other")
	b.parDo("sided", "bytes", sidePayload("i1"), "keyed", "other")
	count := func(steps int) int {
		tr, err := translate.Translate(b.Pipeline, translate.Options{MaxFusionSteps: steps})
		if err != nil {
			t.Fatal(err)
		}
		checkDescriptors(t, tr)
		return len(tr.Plan.Stages)
	}
	if free, bound := count(0), count(1); bound != free+1 {
		t.Errorf("%d stages, %d without steps", free, bound)
	}
}
