package translate

import (
	"fmt"
	"maps"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/gorunner/gorunner/plan"
)

// requirementMet says whether a stated requirement is one that is met.
func requirementMet(urn string) bool {
	switch urn {
	case reqStateful, reqFinalization, reqSplittable, reqStableInput, reqTimeSortedInput, reqWindowExpiration:
		return true
	}
	return false
}

// refuse collects what is not executed and reports all of it together with
// what the passes before have found.
func (t *translator) refuse() error {
	for _, n := range t.nodes {
		t.refuseState(n)
		t.refuseInputs(n)
		if n.class == leafGroup {
			t.refuseWindowing(n, "", n.from[0])
		}
		for i, c := range n.views {
			if unbounded(c) {
				t.refuseWindowing(n, fmt.Sprintf("side input %q: ", n.sides[i].tag), c)
			}
		}
	}
	for _, urn := range t.pipeline.GetRequirements() {
		if !requirementMet(urn) {
			t.unsupported("unknown requirement %s", urn)
		}
	}
	if len(t.causes) > 0 {
		return &UnsupportedError{Causes: t.causes}
	}
	return nil
}

func (t *translator) refuseState(n *node) {
	if !n.keyed {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(n.pardo.GetStateSpecs())) {
		if _, ok := stateProtocol(n.pardo.GetStateSpecs()[name]); !ok {
			t.unsupported("%v: state %q of unknown kind", n, name)
		}
	}
	for _, family := range slices.Sorted(maps.Keys(n.pardo.GetTimerFamilySpecs())) {
		d := n.pardo.GetTimerFamilySpecs()[family].GetTimeDomain()
		if d != pipepb.TimeDomain_EVENT_TIME && d != pipepb.TimeDomain_PROCESSING_TIME {
			t.unsupported("%v: timers %q of time domain %v", n, family, d)
		}
	}
}

// refuseInputs names inputs that are not of the shape they must have.
func (t *translator) refuseInputs(n *node) {
	if n.class == leafSDK && n.keyed {
		if _, ok := t.coders.first(n.from[0].coder, n.keyDepth()); !ok {
			t.unsupported("%v: state on input of coder %s, not a KV", n, t.coders.describe(n.from[0].coder))
		}
	}
	for i, s := range n.sides {
		if _, _, ok := t.coders.components2(n.views[i].coder); s.access == plan.AccessMultimap && !ok {
			t.unsupported("%v: multimap side input %q of coder %s, not a KV",
				n, s.tag, t.coders.describe(n.views[i].coder))
		}
	}
	if n.class != leafAlias {
		return
	}
	for _, c := range n.from {
		if !t.sameWindows(c, n.to[0]) {
			t.unsupported("%v: input %q has other windows than the output", n, c.name)
		}
	}
}

// refuseWindowing names what the windows of a PCollection cannot be fired by,
// where the node groups it or reads it as panes are fired. Windowing matters
// nowhere else: elsewhere windows are opaque and triggers do nothing.
func (t *translator) refuseWindowing(n *node, what string, c *collection) {
	w := t.windowings[c.windowing]
	if w.triggerErr != nil {
		t.unsupported("%v: %strigger: %v", n, what, w.triggerErr)
	}
	if w.proto.GetAccumulationMode() == pipepb.AccumulationMode_RETRACTING {
		t.unsupported("%v: %sretracting accumulation", n, what)
	}
	custom, ok := w.plan.Fn.(plan.CustomWindows)
	if !ok || !custom.Merging {
		return
	}
	if env, err := t.mergeEnvironment(w); err != nil {
		t.unsupported("%v: %smerging WindowFn %s: %v", n, what, custom.URN, err)
	} else if !mergesWindows(t.components.GetEnvironments()[env]) {
		t.unsupported("%v: %smerging WindowFn %s, which the SDK of environment %q does not merge for a runner",
			n, what, custom.URN, env)
	}
}

// stateProtocol is how a state is accessed: as its spec says, and where an
// older SDK left that out, as its kind implies.
func stateProtocol(s *pipepb.StateSpec) (plan.StateProtocol, bool) {
	switch s.GetProtocol().GetUrn() {
	case urnBagState:
		return plan.BagState, true
	case urnMultimapState:
		return plan.MultimapState, true
	case urnOrderedListState:
		return plan.OrderedListState, s.GetOrderedListSpec() != nil
	case "":
	default:
		return 0, false
	}
	switch s.GetSpec().(type) {
	case *pipepb.StateSpec_ReadModifyWriteSpec, *pipepb.StateSpec_BagSpec, *pipepb.StateSpec_CombiningSpec:
		return plan.BagState, true
	case *pipepb.StateSpec_MapSpec, *pipepb.StateSpec_MultimapSpec, *pipepb.StateSpec_SetSpec:
		return plan.MultimapState, true
	case *pipepb.StateSpec_OrderedListSpec:
		return plan.OrderedListState, true
	}
	return 0, false
}
