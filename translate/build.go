package translate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/plan"
)

// build makes the plan and the bundle descriptors.
func (t *translator) build() (*Translation, error) {
	tr := &Translation{
		Plan:         &plan.Plan{KeyGroups: t.opts.KeyGroups},
		Descriptors:  map[plan.StageID]*fnpb.ProcessBundleDescriptor{},
		Environments: map[plan.EnvironmentID]*pipepb.Environment{},
	}
	for _, e := range t.edges {
		tr.Plan.Edges = append(tr.Plan.Edges, t.buildEdge(e))
	}
	names := map[string]bool{}
	for _, s := range slices.Concat(t.stages, t.functions) {
		if s.class == leafSDK {
			desc, err := t.describe(s)
			if err != nil {
				return nil, fmt.Errorf("translate: descriptor of stage %d: %w", s.id, err)
			}
			tr.Descriptors[s.id] = desc
			env := plan.EnvironmentID(s.env)
			if tr.Environments[env] == nil {
				tr.Environments[env] = t.components.GetEnvironments()[s.env]
				tr.Plan.Environments = append(tr.Plan.Environments, env)
			}
		}
		st := t.buildStage(s)
		st.Name = uniqueName(names, s.name())
		if int(s.id) < len(t.stages) {
			tr.Plan.Stages = append(tr.Plan.Stages, st)
		} else {
			tr.Plan.Functions = append(tr.Plan.Functions, st)
		}
	}
	tr.Plan.Tests = t.tests()
	return tr, nil
}

func (t *translator) buildEdge(e *edge) *plan.Edge {
	c, value := e.collection, t.coders.wire(e.coder).coder
	built := &plan.Edge{
		ID:        e.id,
		Name:      c.id,
		Value:     value,
		Windowing: t.windowings[c.windowing].plan,
		Bounded:   !unbounded(c),
	}
	if e.keyDepth > 1 {
		built.Key = value
		for range e.keyDepth {
			built.Key = built.Key.Component(0)
		}
	}
	return built
}

func (t *translator) buildStage(s *stage) *plan.Stage {
	st := &plan.Stage{ID: s.id, Kind: t.kind(s)}
	if s.input != nil {
		st.Input = &plan.Input{Edge: s.input.edge.id, Keyed: s.keyed, Port: s.source}
	}
	for _, n := range s.nodes {
		for i, side := range n.sides {
			e := n.views[i].edge
			view := plan.SideInput{
				Edge:      e.id,
				Transform: plan.TransformID(n.id),
				Tag:       side.tag,
				Access:    side.access,
			}
			if e.view != nil {
				view.View, view.Map = e.view.id, idOf(side.mapping)
			}
			st.SideInputs = append(st.SideInputs, view)
		}
	}
	for _, o := range s.outputs {
		st.Outputs = append(st.Outputs, plan.Output{Edge: o.to.id, Port: o.port})
	}
	return st
}

func (t *translator) kind(s *stage) plan.Kind {
	switch s.class {
	case leafImpulse:
		return &plan.Impulse{}
	case leafTest:
		return &plan.TestSource{}
	case leafView:
		return &plan.View{Windowing: t.windowings[s.input.windowing].plan, Merge: idOf(s.merge)}
	case leafTimeSort:
		return &plan.TimeSort{Windowing: t.windowings[s.input.windowing].plan}
	case leafGroup:
		kv := t.coders.wire(s.input.edge.coder).coder
		return &plan.GroupByKey{
			Windowing:   t.windowings[s.input.windowing].plan,
			Streaming:   unbounded(s.input) || t.opts.Streaming && firesEarly(t.windowings[s.input.windowing].plan.Trigger),
			Merge:       idOf(s.merge),
			Key:         kv.Component(0),
			Value:       kv.Component(1),
			PagedValues: len(s.outputs) == 1 && s.outputs[0].to.paged,
		}
	case leafSDK, leafAlias, leafCombine, leafUnknown, leafRefused:
	}
	x := &plan.Executable{
		Environment: plan.EnvironmentID(s.env),
		Splittable:  s.splittable,
		Unbounded:   s.endless(),
		Truncate:    idOf(s.truncate),
	}
	for _, n := range s.nodes {
		x.StableInput = x.StableInput || n.pardo.GetRequiresStableInput()
		x.Transforms = append(x.Transforms, plan.Transform{ID: plan.TransformID(n.id), Name: n.name, URN: n.urn})
		if n.keyed {
			x.TimeSorted = x.TimeSorted || n.pardo.GetRequiresTimeSortedInput() && !n.sorted
			x.States = append(x.States, t.states(n)...)
			x.Timers = append(x.Timers, t.timers(n)...)
		}
	}
	return x
}

// idOf is the id of a stage, 0 for none.
func idOf(s *stage) plan.StageID {
	if s == nil {
		return 0
	}
	return s.id
}

// endless says whether a restriction may have no end. That of one without
// outputs may: nothing says it has.
func (s *stage) endless() bool {
	if !s.splittable {
		return false
	}
	process := s.nodes[0]
	return len(process.to) == 0 || slices.ContainsFunc(process.to, unbounded)
}

func (t *translator) states(n *node) []plan.StateSpec {
	var states []plan.StateSpec
	for _, id := range slices.Sorted(maps.Keys(n.pardo.GetStateSpecs())) {
		spec := n.pardo.GetStateSpecs()[id]
		protocol, _ := stateProtocol(spec)
		s := plan.StateSpec{Transform: plan.TransformID(n.id), ID: id, Protocol: protocol}
		if protocol == plan.OrderedListState {
			// SDKs prefix the values with their length whatever the coder.
			s.Value = coder.Must(coder.LengthPrefix)
		}
		if m := spec.GetMultimapSpec(); m != nil && protocol == plan.MultimapState {
			// SDKs write the values as their own coder has it: one that would be
			// replaced on the wire cannot be measured here.
			if w := t.coders.wire(m.GetValueCoderId()); w.id == m.GetValueCoderId() {
				s.Value = w.coder
			} else {
				s.Split = idOf(t.splits[valuesOf{n.stage.env, m.GetValueCoderId()}])
			}
		}
		states = append(states, s)
	}
	return states
}

func (t *translator) timers(n *node) []plan.TimerSpec {
	var timers []plan.TimerSpec
	for _, family := range slices.Sorted(maps.Keys(n.pardo.GetTimerFamilySpecs())) {
		spec := n.pardo.GetTimerFamilySpecs()[family]
		domain := plan.EventTimeDomain
		if spec.GetTimeDomain() == pipepb.TimeDomain_PROCESSING_TIME {
			domain = plan.ProcessingTimeDomain
		}
		timers = append(timers, plan.TimerSpec{
			Transform:  plan.TransformID(n.id),
			Family:     family,
			Domain:     domain,
			Expiration: family == n.pardo.GetOnWindowExpirationTimerFamilySpec(),
			Key:        t.coders.wire(t.inputKey(n)).coder,
		})
	}
	return timers
}

// inputKey is the wire coder of the keys of a keyed node's input. Its timers
// have the same: an SDK may declare another for them, but then a key's bytes
// would differ between its elements and its timers.
func (t *translator) inputKey(n *node) string {
	key, ok := t.coders.first(t.coders.wire(n.from[0].coder).id, n.keyDepth())
	if !ok {
		panic(fmt.Sprintf("translate: %v is keyed by coder %q", n, n.from[0].coder))
	}
	return key
}

// name is made of the names of the stage's transforms.
func (s *stage) name() string {
	if len(s.nodes) == 0 {
		if s.class == leafView {
			return s.input.producer.name + "/View"
		}
		return s.input.producer.name + "/Encode"
	}
	const most = 3
	var names []string
	for i, n := range s.nodes {
		if i < most-1 || i == len(s.nodes)-1 {
			names = append(names, n.name+n.part)
		} else if i == most-1 {
			names = append(names, fmt.Sprintf("(%d more)", len(s.nodes)-most))
		}
	}
	return strings.Join(names, " + ")
}

func uniqueName(taken map[string]bool, name string) string {
	unique := name
	for i := 2; taken[unique]; i++ {
		unique = fmt.Sprintf("%s #%d", name, i)
	}
	taken[unique] = true
	return unique
}
