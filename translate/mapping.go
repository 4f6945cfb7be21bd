package translate

import (
	"fmt"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/plan"
)

// mapping names a function that maps windows.
type mapping struct{ env, main, side, payload string }

// mapFunctions gives the side inputs of a stage that are read window by window
// the functions that map windows to those that only the SDK knows.
func (t *translator) mapFunctions(s *stage) error {
	for _, n := range s.nodes {
		for i := range n.sides {
			view := n.views[i]
			_, custom := t.windowings[view.windowing].plan.Fn.(plan.CustomWindows)
			if view.edge == nil || view.edge.view == nil || !custom || !mapsWindows(t.components.GetEnvironments()[n.env]) {
				continue
			}
			var err error
			if n.sides[i].mapping, err = t.mapFunction(n, i); err != nil {
				return fmt.Errorf("%v: side input %q: %w", n, n.sides[i].tag, err)
			}
		}
	}
	return nil
}

// mapFunction returns the function that maps the windows of a node's main input
// to those of a side input.
//
//	(nonce, window) -> (nonce, window of the side input)
func (t *translator) mapFunction(of *node, side int) (*stage, error) {
	spec := of.pardo.GetSideInputs()[of.sides[side].tag].GetWindowMappingFn()
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("window mapping: %w", err)
	}
	m := mapping{env: of.env, main: of.from[0].windowing, side: of.views[side].windowing, payload: string(payload)}
	if s, ok := t.mappings[m]; ok {
		return s, nil
	}
	global := t.globalWindows(of.env)
	nonce := t.coders.add("nonce", urnCoderBytes)
	id := fmt.Sprintf("%s/%s", of.id, of.sides[side].tag)
	in := t.functionCollection(id+"/ToMap", t.coders.kv(nonce, t.windowings[m.main].window.id), global)
	out := t.functionCollection(id+"/Mapped", t.coders.kv(nonce, t.windowings[m.side].window.id), global)
	n := &node{
		id: t.partID(id, "MapWindows"), name: of.name, part: "/MapWindows",
		urn: urnMapWindows, class: leafSDK, env: of.env,
		spec:    &pipepb.FunctionSpec{Urn: urnMapWindows, Payload: payload},
		inputs:  map[string]string{partTag: in.id},
		outputs: map[string]string{partTag: out.id},
		from:    []*collection{in},
		to:      []*collection{out},
	}
	s := t.addFunction(n, t.functionEdge(in), t.functionEdge(out))
	t.mappings[m] = s
	return s, nil
}

// mapsWindows says whether the environment's SDK maps windows for a runner.
// Those that merge them do, and none has a capability for it.
func mapsWindows(env *pipepb.Environment) bool {
	return capable(env, urnMapWindows) || mergesWindows(env)
}
