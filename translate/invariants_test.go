package translate_test

import (
	"slices"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/translate"
)

// checkDescriptors holds the descriptors against the plan: every reference
// resolves, every port is there, and what a port's coder says is what the
// edge's does, so that writer and reader of an edge agree.
func checkDescriptors(t *testing.T, tr *translate.Translation) {
	t.Helper()
	for _, s := range tr.Plan.Stages {
		x, ok := s.Kind.(*plan.Executable)
		d := tr.Descriptors[s.ID]
		if ok != (d != nil) {
			t.Fatalf("stage %d (%v): descriptor %v", s.ID, s.Kind, d != nil)
		}
		if !ok {
			continue
		}
		if tr.Environments[x.Environment] == nil || d.GetEnvironments()[string(x.Environment)] == nil {
			t.Errorf("stage %d: no environment %q", s.ID, x.Environment)
		}
		checkReferences(t, s, d)
		checkPort(t, tr.Plan, s, d, s.Input.Port, s.Input.Edge)
		for _, o := range s.Outputs {
			checkPort(t, tr.Plan, s, d, o.Port, o.Edge)
		}
		for _, side := range s.SideInputs {
			pt := d.GetTransforms()[string(side.Transform)]
			pc := d.GetPcollections()[pt.GetInputs()[side.Tag]]
			if got := decodeCoder(t, d, pc.GetCoderId()); !got.Equal(tr.Plan.Edges[side.Edge].Value) {
				t.Errorf("stage %d: side input %s is %v, edge %v", s.ID, side.Tag, got, tr.Plan.Edges[side.Edge].Value)
			}
		}
		if n := len(d.GetTransforms()); n != len(x.Transforms)+1+len(s.Outputs) {
			t.Errorf("stage %d: %d transforms in the descriptor", s.ID, n)
		}
	}
}

func checkReferences(t *testing.T, s *plan.Stage, d *fnpb.ProcessBundleDescriptor) {
	t.Helper()
	for id, pt := range d.GetTransforms() {
		for _, m := range []map[string]string{pt.GetInputs(), pt.GetOutputs()} {
			for _, pc := range m {
				if d.GetPcollections()[pc] == nil {
					t.Errorf("stage %d: transform %s: no PCollection %s", s.ID, id, pc)
				}
			}
		}
	}
	for id, pc := range d.GetPcollections() {
		if d.GetCoders()[pc.GetCoderId()] == nil || d.GetWindowingStrategies()[pc.GetWindowingStrategyId()] == nil {
			t.Errorf("stage %d: PCollection %s: coder or windowing missing", s.ID, id)
		}
	}
	for id, ws := range d.GetWindowingStrategies() {
		if d.GetCoders()[ws.GetWindowCoderId()] == nil {
			t.Errorf("stage %d: windowing %s: coder missing", s.ID, id)
		}
	}
	for id, c := range d.GetCoders() {
		for _, comp := range c.GetComponentCoderIds() {
			if d.GetCoders()[comp] == nil {
				t.Errorf("stage %d: coder %s: component %s missing", s.ID, id, comp)
			}
		}
	}
}

func checkPort(t *testing.T, p *plan.Plan, s *plan.Stage, d *fnpb.ProcessBundleDescriptor, port plan.TransformID, id plan.EdgeID) {
	t.Helper()
	pt := d.GetTransforms()[string(port)]
	var grpc fnpb.RemoteGrpcPort
	if err := proto.Unmarshal(pt.GetSpec().GetPayload(), &grpc); err != nil || pt == nil {
		t.Fatalf("stage %d: port %s: %v", s.ID, port, err)
	}
	wv := d.GetCoders()[grpc.GetCoderId()]
	if wv.GetSpec().GetUrn() != "beam:coder:windowed_value:v1" {
		t.Fatalf("stage %d: port %s: coder %v", s.ID, port, wv)
	}
	e := p.Edges[id]
	if got := decodeCoder(t, d, wv.GetComponentCoderIds()[0]); !got.Equal(e.Value) {
		t.Errorf("stage %d: port %s carries %v, edge %d %v", s.ID, port, got, id, e.Value)
	}
	if got := decodeCoder(t, d, wv.GetComponentCoderIds()[1]); !got.Equal(e.Windowing.Window) {
		t.Errorf("stage %d: port %s has windows %v, edge %d %v", s.ID, port, got, id, e.Windowing.Window)
	}
	if out := pt.GetOutputs(); len(out) == 1 {
		for _, pc := range out {
			// What SDKs encode keys and side inputs with; paged values are for ports alone.
			c, want := decodeCoder(t, d, d.GetPcollections()[pc].GetCoderId()), e.Value
			if c.Equal(want) || (want.Kind() == coder.KV && want.Component(1).Kind() == coder.StateBackedIterable &&
				c.Kind() == coder.KV && c.Component(1).Kind() == coder.Iterable) {
				continue
			}
			// The key of restrictions stands before them, for Go's harness.
			if e.Key != nil && c.Equal(coder.Must(coder.KV, e.Key, want)) {
				continue
			}
			t.Errorf("stage %d: source %s carries %v, its PCollection is %v", s.ID, port, want, c)
		}
	}
}

// decodeCoder reads a coder the way an SDK does. It fails the test when the
// coder is not one whose extent can be found.
func decodeCoder(t *testing.T, d *fnpb.ProcessBundleDescriptor, id string) *coder.Coder {
	t.Helper()
	c := d.GetCoders()[id]
	kinds := map[string]coder.Kind{
		"beam:coder:bytes:v1": coder.Bytes, "beam:coder:string_utf8:v1": coder.Bytes,
		"beam:coder:varint:v1": coder.VarInt, "beam:coder:bool:v1": coder.Bool,
		"beam:coder:double:v1": coder.Double, "beam:coder:kv:v1": coder.KV,
		"beam:coder:iterable:v1":              coder.Iterable,
		"beam:coder:state_backed_iterable:v1": coder.StateBackedIterable,
		"beam:coder:nullable:v1":              coder.Nullable,
		"beam:coder:sharded_key:v1":           coder.ShardedKey,
		"beam:coder:length_prefix:v1":         coder.LengthPrefix,
		"beam:coder:global_window:v1":         coder.GlobalWindow,
		"beam:coder:interval_window:v1":       coder.IntervalWindow,
		"beam:coder:custom_window:v1":         coder.CustomWindow,
	}
	kind, ok := kinds[c.GetSpec().GetUrn()]
	if !ok {
		t.Fatalf("coder %s on the wire: %q", id, c.GetSpec().GetUrn())
	}
	if kind == coder.LengthPrefix || kind == coder.CustomWindow {
		return coder.Must(kind)
	}
	var comps []*coder.Coder
	for _, comp := range c.GetComponentCoderIds() {
		comps = append(comps, decodeCoder(t, d, comp))
	}
	return coder.Must(kind, comps...)
}

// executed counts in how many stages each leaf runs.
func executed(tr *translate.Translation) map[plan.TransformID]int {
	n := map[plan.TransformID]int{}
	for _, s := range tr.Plan.Stages {
		if x, ok := s.Kind.(*plan.Executable); ok {
			for _, tf := range x.Transforms {
				n[tf.ID]++
			}
		}
	}
	return n
}

// userLeaves lists the leaf ParDos of a pipeline whose composites the runner
// does not replace.
func userLeaves(p *pipepb.Pipeline) []plan.TransformID {
	var ids []plan.TransformID
	for id, pt := range p.GetComponents().GetTransforms() {
		if len(pt.GetSubtransforms()) == 0 && pt.GetSpec().GetUrn() == "beam:transform:pardo:v1" {
			ids = append(ids, plan.TransformID(id))
		}
	}
	slices.Sort(ids)
	return ids
}
