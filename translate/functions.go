package translate

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/plan"
)

// makeFunctions makes the stages outside the graph: for windows that only
// their SDK can merge or map, for restrictions to be truncated, and for values
// that only their SDK can tell apart. They are described and executed as the
// stages of the graph are.
func (t *translator) makeFunctions() error {
	for _, s := range t.stages {
		switch {
		case s.class == leafGroup || s.class == leafView:
			var err error
			if s.merge, err = t.mergeFunction(s.input.windowing); err != nil {
				return err
			}
		case s.splittable:
			s.truncate = t.truncateFunction(s)
		}
		if err := t.mapFunctions(s); err != nil {
			return err
		}
		for _, n := range s.nodes {
			if n.keyed {
				t.splitFunctions(n)
			}
		}
	}
	return nil
}

// addFunction makes a stage of one node that reads an edge and writes one.
func (t *translator) addFunction(n *node, in, out *edge) *stage {
	s := &stage{
		class: leafSDK, env: n.env, nodes: []*node{n}, input: n.from[0],
		outputs: []output{{from: n.to[0], to: out}},
		id:      plan.StageID(len(t.stages) + len(t.functions)),
	}
	s.input.edge = in
	n.stage = s
	t.functions = append(t.functions, s)
	return s
}

// truncateFunction truncates restrictions of a stage: they come from its queue
// and go back there. Where the SDK has no such transform, there is none.
func (t *translator) truncateFunction(of *stage) *stage {
	if !capable(t.components.GetEnvironments()[of.env], urnTruncateSized) {
		return nil
	}
	process := of.nodes[0]
	in := process.from[0]
	out := t.derive(in, in.id+"/Truncated", in.coder)
	n := process.sdfPart(urnTruncateSized, in.id, map[string]string{partTag: out.id})
	n.id, n.part = t.partID(process.id, "Truncate"), "/Truncate"
	n.splittable = false
	n.to = []*collection{out}
	return t.addFunction(n, in.edge, in.edge)
}

// valuesOf names values that are the same to an SDK.
type valuesOf struct{ env, coder string }

// splitFunctions makes the functions that tell values of multimap states apart
// where the runner cannot. Where the SDK has no coder for elements without
// headers, there are none.
//
//	values, one after the other -> the values with their lengths
func (t *translator) splitFunctions(n *node) {
	env := n.stage.env
	if !capable(t.components.GetEnvironments()[env], urnCoderParamWindowedValue) {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(n.pardo.GetStateSpecs())) {
		value := n.pardo.GetStateSpecs()[id].GetMultimapSpec().GetValueCoderId()
		if value == "" || t.splits[valuesOf{env, value}] != nil || t.coders.wire(value).id == value {
			continue
		}
		prefixed := t.coders.add(value+"/prefixed", urnCoderLengthPrefix, value)
		global := t.globalWindows(env)
		in := t.functionCollection(value+"/ToSplit", value, global)
		out := t.functionCollection(value+"/Split", prefixed, global)
		split := &node{
			id: t.partID(n.id, "SplitValues/"+id), name: n.name, part: "/SplitValues",
			urn: urnFlatten, class: leafAlias, env: env,
			outputs: map[string]string{partTag: out.id},
			from:    []*collection{in},
			to:      []*collection{out},
		}
		read := t.functionEdge(in)
		read.bare = true
		t.splits[valuesOf{env, value}] = t.addFunction(split, read, t.functionEdge(out))
	}
}

// mergeFunction returns the function that merges the windows of a windowing
// strategy, or nil where they need not be, or not by the SDK.
//
//	(nonce, windows) -> (nonce, (windows left alone, [(merged window, its parts)]))
func (t *translator) mergeFunction(windowing string) (*stage, error) {
	w := t.windowings[windowing]
	if custom, ok := w.plan.Fn.(plan.CustomWindows); !ok || !custom.Merging {
		return nil, nil
	}
	if s, ok := t.merges[windowing]; ok {
		return s, nil
	}
	env, err := t.mergeEnvironment(w)
	if err != nil {
		return nil, err
	}
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(mergeable(w.proto.GetWindowFn()))
	if err != nil {
		return nil, fmt.Errorf("WindowFn of %s: %w", inWindowing(windowing), err)
	}
	global := t.globalWindows(env)
	nonce := t.coders.add("nonce", urnCoderBytes)
	window := w.window.id
	windows := t.coders.add(window+"/iterable", urnCoderIterable, window)
	merged := t.coders.kv(window, windows)
	in := t.functionCollection(windowing+"/ToMerge", t.coders.kv(nonce, windows), global)
	out := t.functionCollection(windowing+"/Merged",
		t.coders.kv(nonce, t.coders.kv(windows, t.coders.add(merged+"/iterable", urnCoderIterable, merged))), global)
	n := &node{
		id: t.partID(windowing, "MergeWindows"), name: windowing, part: "/MergeWindows",
		urn: urnMergeWindow, class: leafSDK, env: env,
		spec:    &pipepb.FunctionSpec{Urn: urnMergeWindow, Payload: payload},
		inputs:  map[string]string{partTag: in.id},
		outputs: map[string]string{partTag: out.id},
		from:    []*collection{in},
		to:      []*collection{out},
	}
	s := t.addFunction(n, t.functionEdge(in), t.functionEdge(out))
	t.merges[windowing] = s
	return s, nil
}

// functionCollection adds a PCollection that exists within a function only.
func (t *translator) functionCollection(id, coder, windowing string) *collection {
	like := &collection{windowing: windowing, bounded: pipepb.IsBounded_BOUNDED}
	return t.derive(like, id, coder)
}

func (t *translator) functionEdge(c *collection) *edge {
	e := &edge{id: plan.EdgeID(len(t.edges)), collection: c, coder: t.coders.wire(c.coder).id}
	t.edges = append(t.edges, e)
	return e
}

// globalWindows returns the id of a windowing strategy of one window, for what
// the runner itself asks of an SDK.
func (t *translator) globalWindows(env string) string {
	id := "global"
	for t.components.GetWindowingStrategies()[id] != nil {
		id += "'"
	}
	id += "/" + env
	if t.windowings[id] != nil {
		return id
	}
	window := t.coders.add("global_window", urnCoderGlobalWindow)
	w := &windowing{window: t.coders.wire(window), proto: &pipepb.WindowingStrategy{
		WindowFn:         &pipepb.FunctionSpec{Urn: urnGlobalWindows},
		MergeStatus:      pipepb.MergeStatus_NON_MERGING,
		WindowCoderId:    window,
		Trigger:          &pipepb.Trigger{Trigger: &pipepb.Trigger_Default_{Default: &pipepb.Trigger_Default{}}},
		AccumulationMode: pipepb.AccumulationMode_DISCARDING,
		OutputTime:       pipepb.OutputTime_END_OF_WINDOW,
		ClosingBehavior:  pipepb.ClosingBehavior_EMIT_IF_NONEMPTY,
		OnTimeBehavior:   pipepb.OnTimeBehavior_FIRE_IF_NONEMPTY,
		EnvironmentId:    env,
	}}
	w.plan = &plan.Windowing{Fn: plan.GlobalWindows{}, Window: w.window.coder, Trigger: plan.DefaultTrigger{}}
	t.windowings[id] = w
	return id
}

// mergeEnvironment is where the WindowFn of a strategy can be executed.
func (t *translator) mergeEnvironment(w *windowing) (string, error) {
	if env := w.proto.GetEnvironmentId(); env != "" {
		if t.components.GetEnvironments()[env] == nil {
			return "", fmt.Errorf("%s does not exist", inEnvironment(env))
		}
		return env, nil
	}
	if envs := t.components.GetEnvironments(); len(envs) == 1 {
		for env := range envs {
			return env, nil
		}
	}
	return "", errors.New("names no environment")
}
