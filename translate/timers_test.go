package translate

import (
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/plan"
)

// TestTimerCoders: the runner can cut key and window of a timer apart, and the
// key of a timer has the bytes of the key of an element, even where the SDK
// declares another coder for it.
func TestTimerCoders(t *testing.T) {
	for _, key := range []string{"key", "elsewhere", "bytes"} {
		t.Run(key, func(t *testing.T) { checkTimerCoders(t, key) })
	}
}

// checkTimerCoders translates a pipeline whose timers declare that key coder.
func checkTimerCoders(t *testing.T, key string) {
	t.Helper()
	payload, err := proto.Marshal(&pipepb.ParDoPayload{TimerFamilySpecs: map[string]*pipepb.TimerFamilySpec{
		"f": {TimeDomain: pipepb.TimeDomain_PROCESSING_TIME, TimerFamilyCoderId: "timer"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	spec := func(urn string) *pipepb.FunctionSpec { return &pipepb.FunctionSpec{Urn: urn} }
	p := &pipepb.Pipeline{
		RootTransformIds: []string{"impulse", "keyed", "timed"},
		Components: &pipepb.Components{
			Transforms: map[string]*pipepb.PTransform{
				"impulse": {Spec: spec(urnImpulse), Outputs: map[string]string{"o": "a"}},
				"keyed": {
					Spec: spec(urnParDo), Inputs: map[string]string{"i": "a"}, Outputs: map[string]string{"o": "b"},
				},
				"timed": {
					Spec:   &pipepb.FunctionSpec{Urn: urnParDo, Payload: payload},
					Inputs: map[string]string{"i": "b"},
				},
			},
			Pcollections: map[string]*pipepb.PCollection{
				"a": {CoderId: "bytes", WindowingStrategyId: "w"},
				"b": {CoderId: "kv", WindowingStrategyId: "w"},
			},
			Coders: map[string]*pipepb.Coder{
				"bytes": {Spec: spec(urnCoderBytes)},
				"key":   {Spec: spec("example:key")},
				"win":   {Spec: spec("example:window")},
				"kv":    {Spec: spec(urnCoderKV), ComponentCoderIds: []string{"key", "bytes"}},
				"timer": {Spec: spec(urnCoderTimer), ComponentCoderIds: []string{key, "win"}},

				"elsewhere": {Spec: spec("example:key:v2")},
			},
			WindowingStrategies: map[string]*pipepb.WindowingStrategy{
				"w": {WindowFn: spec("example:fn"), WindowCoderId: "win"},
			},
			Environments: map[string]*pipepb.Environment{"sdk": {}},
		},
	}
	tr := translator{
		opts: Options{}.withDefaults(3), pipeline: p, components: p.GetComponents(),
		windowings: map[string]*windowing{}, collections: map[string]*collection{}, merges: map[string]*stage{}, mappings: map[mapping]*stage{},
	}
	for _, pass := range []func() error{tr.unfold, tr.check, tr.resolve, tr.link, tr.fuse, tr.makeEdges} {
		if err := pass(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := tr.build()
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Plan.Validate(); err != nil {
		t.Fatal(err)
	}
	last := got.Plan.Stages[len(got.Plan.Stages)-1]
	x, ok := last.Kind.(*plan.Executable)
	if !ok || len(x.Timers) != 1 || x.Timers[0].Domain != plan.ProcessingTimeDomain ||
		x.Timers[0].Key.Kind() != coder.LengthPrefix || !last.Input.Keyed {
		t.Fatalf("plan\n%s", got.Plan.Text())
	}
	d := got.Descriptors[last.ID]
	var pardo pipepb.ParDoPayload
	if err := proto.Unmarshal(d.GetTransforms()["timed"].GetSpec().GetPayload(), &pardo); err != nil {
		t.Fatal(err)
	}
	timer := d.GetCoders()[pardo.GetTimerFamilySpecs()["f"].GetTimerFamilyCoderId()]
	kv := d.GetCoders()[d.GetPcollections()["b"].GetCoderId()]
	if timer.GetComponentCoderIds()[0] != kv.GetComponentCoderIds()[0] {
		t.Errorf("timers and elements have different key coders: %v, %v", timer, kv)
	}
	if timer.GetComponentCoderIds()[1] != d.GetWindowingStrategies()["w"].GetWindowCoderId() {
		t.Errorf("timers and elements have different window coders: %v", timer)
	}
}
