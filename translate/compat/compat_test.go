package compat_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/translate"
	"github.com/gorunner/gorunner/translate/compat"
)

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func spec(urn string, payload ...byte) *pipepb.FunctionSpec {
	return &pipepb.FunctionSpec{Urn: urn, Payload: payload}
}

// sample is a pipeline of a source, a stateful transform within a composite, and a
// GroupByKey. prefix stands before all ids.
func sample(t *testing.T, prefix string, change func(*pipepb.Components, *pipepb.ParDoPayload)) *pipepb.Pipeline {
	t.Helper()
	id := func(s string) string { return prefix + s }
	bag := func(coder string) *pipepb.StateSpec {
		return &pipepb.StateSpec{Spec: &pipepb.StateSpec_BagSpec{BagSpec: &pipepb.BagStateSpec{ElementCoderId: id(coder)}}}
	}
	pardo := &pipepb.ParDoPayload{
		StateSpecs: map[string]*pipepb.StateSpec{"count": bag("int"), "seen": bag("custom")},
		TimerFamilySpecs: map[string]*pipepb.TimerFamilySpec{
			"gc": {TimeDomain: pipepb.TimeDomain_EVENT_TIME, TimerFamilyCoderId: id("timer")},
		},
	}
	c := &pipepb.Components{
		Coders: map[string]*pipepb.Coder{
			id("int"):    {Spec: spec("beam:coder:varint:v1")},
			id("text"):   {Spec: spec("beam:coder:string_utf8:v1")},
			id("custom"): {Spec: spec("beam:coder:pickled_python:v1", 'a', 'b')},
			id("kv"):     {Spec: spec("beam:coder:kv:v1"), ComponentCoderIds: []string{id("text"), id("int")}},
			id("timer"):  {Spec: spec("beam:coder:timer:v1"), ComponentCoderIds: []string{id("text")}},
		},
		WindowingStrategies: map[string]*pipepb.WindowingStrategy{
			id("w"): {WindowFn: spec("beam:window_fn:fixed_windows:v1", 8, 10)},
		},
		Pcollections: map[string]*pipepb.PCollection{
			id("in"):  {CoderId: id("kv"), WindowingStrategyId: id("w")},
			id("out"): {CoderId: id("kv"), WindowingStrategyId: id("w")},
		},
		Transforms: map[string]*pipepb.PTransform{
			id("root"):  {UniqueName: "", Subtransforms: []string{id("read"), id("comp"), id("group")}},
			id("read"):  {UniqueName: "Read", Spec: spec("beam:transform:impulse:v1"), Outputs: map[string]string{"o": id("in")}},
			id("comp"):  {UniqueName: "Users", Subtransforms: []string{id("count")}},
			id("count"): {UniqueName: "Users/Count", Inputs: map[string]string{"i": id("in")}, Outputs: map[string]string{"o": id("out")}},
			id("group"): {UniqueName: "Group", Spec: spec("beam:transform:group_by_key:v1"), Inputs: map[string]string{"i": id("out")}},
		},
	}
	if change != nil {
		change(c, pardo)
	}
	if count := c.Transforms[id("count")]; count != nil {
		count.Spec = spec("beam:transform:pardo:v1", marshal(t, pardo)...)
	}
	return &pipepb.Pipeline{Components: c}
}

// The pipelines that samples are compared with have other ids throughout.
func TestCompare(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(*pipepb.Components, *pipepb.ParDoPayload)
		mapping compat.Mapping
		want    []string
	}{
		{name: "nothing"},
		{
			name: "states",
			change: func(c *pipepb.Components, p *pipepb.ParDoPayload) {
				delete(p.StateSpecs, "seen")
				p.StateSpecs["more"] = p.StateSpecs["count"]
				p.StateSpecs["count"] = &pipepb.StateSpec{Spec: &pipepb.StateSpec_SetSpec{SetSpec: &pipepb.SetStateSpec{}}}
			},
			want: []string{
				"changed: Users/Count: state count was a bag state, and is a set state",
				"dropped: Users/Count: state seen is no more",
				"added: Users/Count: state more is new, and begins empty",
			},
		},
		{
			name: "coders",
			change: func(c *pipepb.Components, _ *pipepb.ParDoPayload) {
				c.Coders["new-custom"].Spec.Payload = []byte("other")
				c.Coders["new-int"].Spec.Urn = "beam:coder:double:v1"
			},
			want: []string{
				"changed: Group: the coder of its input was kv<string_utf8, varint>, and is kv<string_utf8, double>",
				"changed: Users/Count: the coder of its input was kv<string_utf8, varint>, and is kv<string_utf8, double>",
				"changed: Users/Count: state count: its value coder was varint, and is double",
				"changed: Users/Count: state seen: its value coder was pickled_python(2 bytes, 9e83486d), and is pickled_python(5 bytes, d9583520)",
			},
		},
		{
			name: "timers",
			change: func(_ *pipepb.Components, p *pipepb.ParDoPayload) {
				p.TimerFamilySpecs["gc"].TimeDomain = pipepb.TimeDomain_PROCESSING_TIME
			},
			want: []string{"changed: Users/Count: timers gc were in event time, and are in processing time"},
		},
		{
			name: "windowing",
			change: func(c *pipepb.Components, _ *pipepb.ParDoPayload) {
				c.WindowingStrategies["other"] = &pipepb.WindowingStrategy{WindowFn: spec("beam:window_fn:fixed_windows:v1", 8, 10), AllowedLateness: 5}
				c.Pcollections["new-out"].WindowingStrategyId = "other"
			},
			want: []string{"changed: Group: the allowed lateness of its input is another one"},
		},
		{
			name: "removed",
			change: func(c *pipepb.Components, _ *pipepb.ParDoPayload) {
				delete(c.Transforms, "new-count")
				delete(c.Transforms, "new-group")
				c.Transforms["new-x"] = &pipepb.PTransform{UniqueName: "X", Spec: spec("x"), Inputs: map[string]string{"i": "new-in"}}
			},
			want: []string{
				"dropped: Group: it is no more, and with it go the values that it has buffered, the elements on the way to it",
				"dropped: Users/Count: it is no more, and with it go state count, state seen, timers gc, the elements on the way to it",
				"added: X: it is new, and begins empty",
			},
		},
		{
			name: "renamed",
			change: func(c *pipepb.Components, _ *pipepb.ParDoPayload) {
				c.Transforms["new-comp"].UniqueName = "People"
				c.Transforms["new-count"].UniqueName = "People/Count"
			},
			mapping: compat.Mapping{"Users": "People"},
		},
		{
			name:    "dropped by the mapping",
			mapping: compat.Mapping{"Users/Count": "", "Users": "Users"},
			want: []string{
				"dropped: Users/Count: it is no more, and with it go state count, state seen, timers gc, the elements on the way to it",
				"added: Users/Count: it is new, and begins empty",
			},
		},
		{
			name: "another transform",
			change: func(c *pipepb.Components, _ *pipepb.ParDoPayload) {
				c.Transforms["new-group"].Spec.Urn = "beam:transform:flatten:v1"
			},
			want: []string{"changed: Group: it was a beam:transform:group_by_key:v1, and is a beam:transform:flatten:v1"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found, err := compat.Compare(sample(t, "old-", nil), sample(t, "new-", tt.change), tt.mapping)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range found {
				got = append(got, d.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRefusal(t *testing.T) {
	added := compat.Difference{Kind: compat.Added, Transform: "A", What: "a"}
	dropped := compat.Difference{Kind: compat.Dropped, Transform: "D", What: "d"}
	changed := compat.Difference{Kind: compat.Changed, Transform: "C", What: "c"}
	if err := compat.Refusal([]compat.Difference{added}, false); err != nil {
		t.Error(err)
	}
	if err := compat.Refusal([]compat.Difference{added, dropped}, false); err == nil || !strings.Contains(err.Error(), "dropped: D: d") {
		t.Error(err)
	}
	if err := compat.Refusal([]compat.Difference{added, dropped}, true); err != nil {
		t.Error(err)
	}
	if err := compat.Refusal([]compat.Difference{dropped, changed}, true); err == nil || strings.Contains(err.Error(), "dropped") {
		t.Error(err)
	}
}

func TestMappingMustBeOfThePipelines(t *testing.T) {
	a := sample(t, "", nil)
	for _, m := range []compat.Mapping{{"Userz": "Users"}, {"Users": "Userz"}} {
		if _, err := compat.Compare(a, a, m); err == nil || !strings.Contains(err.Error(), `"Userz"`) {
			t.Errorf("%v: %v", m, err)
		}
	}
}

// TestRealPipelines: what SDKs make is the same as itself, and different from others.
func TestRealPipelines(t *testing.T) {
	files, err := filepath.Glob("../testdata/pipelines/*.pb")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var before *pipepb.Pipeline
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := translate.Load(data)
		if err != nil {
			continue // it is there to be refused
		}
		if found, err := compat.Compare(p, p, nil); err != nil || len(found) > 0 {
			t.Errorf("%s: %v, %v", file, found, err)
		}
		if _, err := compat.Compare(before, p, nil); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		before = p
	}
}
