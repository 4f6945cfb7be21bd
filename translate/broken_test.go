package translate_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/execution/trigger"
	"github.com/gorunner/gorunner/translate"
)

// builder makes pipelines by hand. PCollections are called after the
// transform that makes them.
type builder struct{ *pipepb.Pipeline }

func newBuilder() builder {
	b := builder{&pipepb.Pipeline{Components: &pipepb.Components{
		Transforms:   map[string]*pipepb.PTransform{},
		Pcollections: map[string]*pipepb.PCollection{},
		Coders:       map[string]*pipepb.Coder{},
		WindowingStrategies: map[string]*pipepb.WindowingStrategy{
			"global": {WindowFn: spec("beam:window_fn:global_windows:v1", nil), WindowCoderId: "global_window"},
		},
		Environments: map[string]*pipepb.Environment{"sdk": {Urn: "beam:env:external:v1"}},
	}}}
	b.coder("global_window", "beam:coder:global_window:v1")
	b.coder("bytes", "beam:coder:bytes:v1")
	b.coder("varint", "beam:coder:varint:v1")
	b.coder("own", "example:coder:own:v1")
	b.coder("kv", "beam:coder:kv:v1", "own", "varint")
	b.coder("iterable", "beam:coder:iterable:v1", "varint")
	b.coder("grouped", "beam:coder:kv:v1", "own", "iterable")
	return b
}

func spec(urn string, payload proto.Message) *pipepb.FunctionSpec {
	s := &pipepb.FunctionSpec{Urn: urn}
	if payload != nil {
		b, err := proto.Marshal(payload)
		if err != nil {
			panic(err)
		}
		s.Payload = b
	}
	return s
}

func (b builder) coder(id, urn string, comps ...string) {
	b.Components.Coders[id] = &pipepb.Coder{Spec: spec(urn, nil), ComponentCoderIds: comps}
}

func (b builder) windows(id string, fn *pipepb.FunctionSpec, coder string, change func(*pipepb.WindowingStrategy)) {
	ws := &pipepb.WindowingStrategy{WindowFn: fn, WindowCoderId: coder}
	if change != nil {
		change(ws)
	}
	b.Components.WindowingStrategies[id] = ws
}

// add makes a transform with one output of the same name.
func (b builder) add(id, urn string, payload proto.Message, coder string, inputs ...string) *pipepb.PTransform {
	pt := &pipepb.PTransform{
		UniqueName: "name of " + id, Spec: spec(urn, payload), EnvironmentId: "sdk",
		Inputs: map[string]string{}, Outputs: map[string]string{"i0": id},
	}
	for i, in := range inputs {
		pt.Inputs[fmt.Sprintf("i%d", i)] = in
	}
	b.Components.Transforms[id] = pt
	b.Components.Pcollections[id] = &pipepb.PCollection{
		UniqueName: id, CoderId: coder, WindowingStrategyId: "global", IsBounded: pipepb.IsBounded_BOUNDED,
	}
	b.RootTransformIds = append(b.RootTransformIds, id)
	return pt
}

func (b builder) impulse(id string) {
	b.add(id, "beam:transform:impulse:v1", nil, "bytes")
}

func (b builder) parDo(id, coder string, payload *pipepb.ParDoPayload, inputs ...string) *pipepb.PTransform {
	if payload == nil {
		payload = &pipepb.ParDoPayload{}
	}
	return b.add(id, "beam:transform:pardo:v1", payload, coder, inputs...)
}

// group makes impulse -> keyed -> grouped -> read in the given windows.
func (b builder) group(windows string) {
	b.impulse("impulse")
	b.parDo("keyed", "kv", nil, "impulse")
	b.add("grouped", "beam:transform:group_by_key:v1", nil, "grouped", "keyed")
	b.parDo("read", "bytes", nil, "grouped")
	for _, id := range []string{"keyed", "grouped"} {
		b.Components.Pcollections[id].WindowingStrategyId = windows
	}
}

func TestInvalid(t *testing.T) {
	base := func() builder {
		b := newBuilder()
		b.group("global")
		return b
	}
	tests := []struct {
		name   string
		breaks func(b builder)
		want   string
	}{
		{"no components", func(b builder) { b.Components = nil }, "does not exist"},
		{"no roots", func(b builder) { b.RootTransformIds = nil }, "no root transforms"},
		{"root", func(b builder) { b.RootTransformIds = append(b.RootTransformIds, "x") }, `root transform "x" does not exist`},
		{"nil transform", func(b builder) { b.Components.Transforms["y"] = nil }, `transform "y": is empty`},
		{"subtransform", func(b builder) {
			b.Components.Transforms["read"].Subtransforms = []string{"x"}
		}, `transform "read": subtransform "x" does not exist`},
		{"composite loop", func(b builder) {
			b.Components.Transforms["read"].Subtransforms = []string{"read"}
		}, `transform "read": is in more than one composite, or in itself`},
		{"two parents", func(b builder) {
			b.Components.Transforms["c"] = &pipepb.PTransform{Subtransforms: []string{"read"}}
			b.RootTransformIds = append(b.RootTransformIds, "c")
		}, "is in more than one composite"},
		{"input", func(b builder) { b.Components.Transforms["read"].Inputs["i0"] = "x" }, `"i0": invalid pipeline: PCollection "x": does not exist`},
		{"coder", func(b builder) { b.Components.Pcollections["read"].CoderId = "x" }, `coder "x": does not exist`},
		{"coder component", func(b builder) { b.coder("varint", "example:v1", "x") }, `coder "x": does not exist`},
		{"coder loop", func(b builder) { b.coder("varint", "example:v1", "kv") }, "is a component of itself"},
		{"coder arity", func(b builder) { b.coder("kv", "beam:coder:kv:v1", "own") }, "has 1 components, not 2"},
		{"coder tree", func(b builder) {
			b.coder("c0", "beam:coder:kv:v1", "own", "own")
			for i := range 40 {
				c := fmt.Sprintf("c%d", i)
				b.coder(fmt.Sprintf("c%d", i+1), "beam:coder:kv:v1", c, c)
			}
			b.Components.Pcollections["read"].CoderId = "c40"
		}, "consists of more than 10000 coders"},
		{"windowing", func(b builder) { b.Components.Pcollections["read"].WindowingStrategyId = "x" }, `windowing strategy "x": does not exist`},
		{"window coder", func(b builder) {
			b.windows("global", spec("beam:window_fn:global_windows:v1", nil), "x", nil)
		}, `coder "x": does not exist`},
		{"other window coder", func(b builder) {
			b.windows("global", spec("beam:window_fn:global_windows:v1", nil), "bytes", nil)
		}, "global with window coder custom_window, not global_window"},
		{"window size", func(b builder) {
			b.windows("global", spec("beam:window_fn:fixed_windows:v1", &pipepb.FixedWindowsPayload{}), "bytes", nil)
		}, "fixed windows: size"},
		{"window payload", func(b builder) {
			b.windows("global", &pipepb.FunctionSpec{Urn: "beam:window_fn:session_windows:v1", Payload: []byte{1}}, "bytes", nil)
		}, "sessions: "},
		{"environment", func(b builder) { b.Components.Transforms["read"].EnvironmentId = "x" }, `environment "x" does not exist`},
		{"no environment", func(b builder) {
			b.Components.Transforms["read"].EnvironmentId = ""
			b.Components.Environments["second"] = &pipepb.Environment{}
		}, "names no environment, and the pipeline has 2"},
		{"truncated payload", func(b builder) {
			b.Components.Transforms["read"].Spec.Payload = []byte{0x0a, 0x7f}
		}, `transform "read": payload: `},
		{"truncated stage", func(b builder) {
			b.Components.Transforms["read"].Spec = &pipepb.FunctionSpec{Urn: "beam:runner:executable_stage:v1", Payload: []byte{0x0a, 0x7f}}
		}, `transform "read": payload: `},
		{"no producer", func(b builder) {
			b.RootTransformIds = b.RootTransformIds[1:]
		}, `PCollection "impulse": is read by transform "name of keyed" (keyed) and written by nobody`},
		{"two producers", func(b builder) {
			b.Components.Transforms["read"].Outputs["i0"] = "keyed"
		}, `PCollection "keyed": is written by`},
		{"cycle", func(b builder) {
			b.Components.Transforms["keyed"].Inputs["i0"] = "read"
		}, "cycle through"},
		{"two main inputs", func(b builder) {
			b.Components.Transforms["read"].Inputs["i1"] = "keyed"
		}, "2 main inputs, not 1"},
		{"side input", func(b builder) {
			b.Components.Transforms["read"].Spec = spec("beam:transform:pardo:v1", &pipepb.ParDoPayload{
				SideInputs: map[string]*pipepb.SideInput{"x": {}},
			})
		}, `side input "x" is none of the inputs`},
		{"state coder", func(b builder) {
			b.Components.Transforms["read"].Spec = spec("beam:transform:pardo:v1", &pipepb.ParDoPayload{
				StateSpecs: map[string]*pipepb.StateSpec{"s": {Spec: &pipepb.StateSpec_BagSpec{BagSpec: &pipepb.BagStateSpec{ElementCoderId: "x"}}}},
			})
		}, `coder "x": does not exist`},
		{"restriction coder", func(b builder) {
			b.Components.Transforms["read"].Spec = spec("beam:transform:pardo:v1", &pipepb.ParDoPayload{RestrictionCoderId: "x"})
		}, `coder "x": does not exist`},
		{"combine of no KV", func(b builder) {
			b.add("combine", "beam:transform:combine_per_key:v1", &pipepb.CombinePayload{AccumulatorCoderId: "own"}, "kv", "read")
		}, "input coder is bytes, not a KV"},
		{"accumulator coder", func(b builder) {
			b.add("combine", "beam:transform:combine_per_key:v1", &pipepb.CombinePayload{}, "kv", "keyed")
		}, `accumulator coder: invalid pipeline: coder "": does not exist`},
		{"impulse with input", func(b builder) {
			b.Components.Transforms["impulse"].Inputs["i0"] = "read"
		}, "an Impulse has no input"},
		{"group of two", func(b builder) {
			b.Components.Transforms["grouped"].Inputs["i1"] = "read"
		}, "a GroupByKey has 1 input"},
		{"test stream with input", func(b builder) {
			b.testStream("test", "varint").Inputs["i0"] = "read"
		}, "a TestStream has no input"},
		{"test stream of no coder", func(b builder) { b.testStream("test", "x") }, `coder "x": does not exist`},
		{"test stream with too much", func(b builder) {
			b.testStream("test", "varint", emit("", 0, "\x01\x02"))
		}, `event 0: element 0: 2 bytes, of which coder varint takes 1`},
		{"test stream with half a key", func(b builder) {
			b.coder("pairs", "beam:coder:kv:v1", "bytes", "varint")
			b.testStream("test", "pairs", emit("", 0, "\x05a"))
		}, "event 0: element 0: value cut short"},
		{"test stream tag", func(b builder) { b.testStream("test", "varint", emit("x", 0, "\x01")) }, `event 0: no output "x"`},
		{"test stream backwards", func(b builder) {
			b.testStream("test", "varint", advance("", 5), advance("", 4))
		}, "event 1: watermark goes back from 5ms to 4ms"},
		{"test stream back in time", func(b builder) { b.testStream("test", "varint", wait(-1)) }, "processing time goes back"},
		{"test stream event", func(b builder) { b.testStream("test", "varint", &testEvent{}) }, "unknown kind of event"},
		{"flatten without output", func(b builder) {
			b.add("flat", "beam:transform:flatten:v1", nil, "kv", "keyed").Outputs = nil
		}, "has 0 outputs, not 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := base()
			tt.breaks(b)
			_, err := translate.Translate(b.Pipeline, translate.Options{})
			var inv *translate.InvalidError
			if !errors.As(err, &inv) {
				t.Fatalf("error %v, want InvalidError", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %q does not say %q", err, tt.want)
			}
		})
	}
	if _, err := translate.Translate(base().Pipeline, translate.Options{}); err != nil {
		t.Fatalf("the pipeline that the tests break: %v", err)
	}
	if _, err := translate.Translate(nil, translate.Options{}); err == nil {
		t.Fatal("a nil pipeline was accepted")
	}
}

// TestUnsupported asks for everything at once: all causes come together.
func TestUnsupported(t *testing.T) {
	b := newBuilder()
	b.coder("interval", "beam:coder:interval_window:v1")
	b.coder("timer", "beam:coder:timer:v1", "own", "global_window")
	b.windows("custom", spec("example:windows:v1", nil), "own", func(ws *pipepb.WindowingStrategy) {
		ws.MergeStatus = pipepb.MergeStatus_NEEDS_MERGE
		ws.AccumulationMode = pipepb.AccumulationMode_RETRACTING
		ws.Trigger = &pipepb.Trigger{Trigger: &pipepb.Trigger_ElementCount_{}}
	})
	b.group("custom")
	b.parDo("sided", "bytes", &pipepb.ParDoPayload{
		SideInputs: map[string]*pipepb.SideInput{
			"i1": {AccessPattern: &pipepb.FunctionSpec{Urn: "beam:side_input:multimap:v1"}},
			"i2": {AccessPattern: &pipepb.FunctionSpec{Urn: "example:access:v1"}},
		},
	}, "read", "impulse", "impulse")
	b.parDo("special", "bytes", &pipepb.ParDoPayload{
		RequiresStableInput: true, RequiresTimeSortedInput: true, OnWindowExpirationTimerFamilySpec: "t",
		TimerFamilySpecs: map[string]*pipepb.TimerFamilySpec{"t": {
			TimeDomain: pipepb.TimeDomain_PROCESSING_TIME, TimerFamilyCoderId: "timer",
		}},
		StateSpecs: map[string]*pipepb.StateSpec{"s": {}},
	}, "impulse")
	b.parDo("stateful sdf", "bytes", &pipepb.ParDoPayload{
		RestrictionCoderId: "own",
		StateSpecs: map[string]*pipepb.StateSpec{"s": {Spec: &pipepb.StateSpec_BagSpec{
			BagSpec: &pipepb.BagStateSpec{ElementCoderId: "own"},
		}}},
	}, "impulse")
	b.parDo("unbounded", "bytes", &pipepb.ParDoPayload{RestrictionCoderId: "own"}, "impulse")
	b.Components.Pcollections["unbounded"].IsBounded = pipepb.IsBounded_UNBOUNDED
	b.Components.Pcollections["unbounded"].WindowingStrategyId = "custom"
	b.parDo("streaming", "bytes", sidePayload("i1"), "impulse", "unbounded")
	b.testStream("test", "varint")
	b.add("service", "beam:transform:teststream:v1", &pipepb.TestStreamPayload{
		CoderId: "varint", Endpoint: &pipepb.ApiServiceDescriptor{Url: "localhost:1"},
	}, "varint")
	b.parDo("served", "bytes", nil, "service")
	b.add("legacy", "beam:transform:read:v1", nil, "bytes")
	b.add("external", "example:transform:v1", nil, "bytes", "test")
	b.Components.Pcollections["external"].WindowingStrategyId = "custom"
	b.testStream("windowed", "varint")
	b.Components.Pcollections["windowed"].WindowingStrategyId = "custom"
	b.add("flat", "beam:transform:flatten:v1", nil, "kv", "impulse", "keyed")
	b.parDo("last", "bytes", nil, "flat")
	b.Requirements = []string{
		"beam:requirement:pardo:stateful:v1", "beam:requirement:pardo:stable_input:v1",
		"example:requirement:v1",
	}
	_, err := translate.Translate(b.Pipeline, translate.Options{})
	var un *translate.UnsupportedError
	if !errors.As(err, &un) {
		t.Fatalf("error %v, want UnsupportedError", err)
	}
	for _, want := range []string{
		`"name of grouped" (grouped): merging WindowFn example:windows:v1, which the SDK of environment "sdk" does not`,
		"(grouped): retracting accumulation",
		"(grouped): trigger: after 0 elements",
		`(sided): multimap side input "i1" of coder bytes, not a KV`,
		`(sided): side input "i2" with access pattern "example:access:v1"`,

		`(special): state "s" of unknown kind`,
		"(special): state on input of coder bytes, not a KV",
		"(stateful sdf): state on input of coder kv<kv<bytes,example:coder:own>,double>, not a KV",
		`(streaming): side input "i1": merging WindowFn`, `(streaming): side input "i1": retracting`,
		`(streaming): side input "i1": trigger: after 0 elements`,
		"(service): TestStream driven by a service (localhost:1)",
		`(windowed): TestStream with output "i0" in other windows than the global one`,
		"(legacy): a source that is no splittable DoFn",
		`(external): unknown URN "example:transform:v1"`,
		`(flat): input "keyed" has other windows than the output`,
		"unknown requirement example:requirement:v1",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no cause says %q", want)
		}
	}
	if t.Failed() || len(un.Causes) != 17 {
		t.Errorf("%d causes:\n%v", len(un.Causes), err)
	}
}

// TestTriggerTooLarge holds that what the engine would not compile is refused
// here.
func TestTriggerTooLarge(t *testing.T) {
	b := newBuilder()
	parts := make([]*pipepb.Trigger, trigger.MaxNodes)
	for i := range parts {
		parts[i] = &pipepb.Trigger{Trigger: &pipepb.Trigger_Always_{}}
	}
	b.windows("w", spec("beam:window_fn:global_windows:v1", nil), "global_window", func(ws *pipepb.WindowingStrategy) {
		ws.Trigger = &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterAny_{
			AfterAny: &pipepb.Trigger_AfterAny{Subtriggers: parts},
		}}
	})
	b.group("w")
	var un *translate.UnsupportedError
	if _, err := translate.Translate(b.Pipeline, translate.Options{}); !errors.As(err, &un) || !strings.Contains(err.Error(), "trigger is too large") {
		t.Errorf("got %v", err)
	}
}

// TestAnyTrigger holds that a bounded input may be grouped under any trigger.
func TestAnyTrigger(t *testing.T) {
	end := func(early, late bool) *pipepb.Trigger {
		a := &pipepb.Trigger_AfterEndOfWindow{}
		if early {
			a.EarlyFirings = &pipepb.Trigger{}
		}
		if late {
			a.LateFirings = &pipepb.Trigger{}
		}
		return &pipepb.Trigger{Trigger: &pipepb.Trigger_AfterEndOfWindow_{AfterEndOfWindow: a}}
	}
	for _, tr := range []*pipepb.Trigger{
		nil,
		{},
		{Trigger: &pipepb.Trigger_Default_{}},
		{Trigger: &pipepb.Trigger_Never_{}},
		end(false, false),
		end(true, false),
		end(false, true),
		{Trigger: &pipepb.Trigger_Always_{}},
		{Trigger: &pipepb.Trigger_Repeat_{Repeat: &pipepb.Trigger_Repeat{Subtrigger: end(false, false)}}},
		{Trigger: &pipepb.Trigger_OrFinally_{OrFinally: &pipepb.Trigger_OrFinally{
			Main: end(false, false), Finally: end(false, false),
		}}},
	} {
		b := newBuilder()
		b.windows("w", spec("beam:window_fn:global_windows:v1", nil), "global_window", func(ws *pipepb.WindowingStrategy) {
			ws.Trigger = tr
		})
		b.group("w")
		_, err := translate.Translate(b.Pipeline, translate.Options{})
		if err != nil {
			t.Errorf("trigger %v: %v", tr, err)
		}
	}
}

func TestLoad(t *testing.T) {
	b := newBuilder()
	b.group("global")
	binary, err := proto.Marshal(b.Pipeline)
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{binary, []byte(` {"components": {"transforms": {"t": {"uniqueName": "n"}}}, "new": 1}`)} {
		p, err := translate.Load(data)
		if err != nil || len(p.GetComponents().GetTransforms()) == 0 {
			t.Errorf("%v, %v", p, err)
		}
	}
	for _, data := range []string{"{", "\x0a\x7f"} {
		var inv *translate.InvalidError
		if _, err := translate.Load([]byte(data)); !errors.As(err, &inv) {
			t.Errorf("Load(%q): %v", data, err)
		}
	}
}

// TestNothingToDo holds that a pipeline without transforms is one that is done.
func TestNothingToDo(t *testing.T) {
	got, err := translate.Translate(&pipepb.Pipeline{}, translate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Plan.Validate(); err != nil || len(got.Plan.Stages) != 0 {
		t.Errorf("plan of %d stages, %v", len(got.Plan.Stages), err)
	}
}
