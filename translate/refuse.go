package translate

import (
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
		t.refuseUnbounded(n)
		t.refuseState(n)
		t.refuseInputs(n)
		if n.class == leafGroup {
			t.refuseWindowing(n)
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

// refuseLeaf names a leaf of the Beam model that is not executed.
func (t *translator) refuseLeaf(n *node) {
	switch n.urn {
	case urnTestStream:
		t.unsupported("%v: TestStream", n)
	case urnRead:
		t.unsupported("%v: a source that is no splittable DoFn (%s)", n, n.urn)
	default:
		t.unsupported("%v: %s", n, n.urn)
	}
}

// refuseUnbounded names the transforms that make something unbounded; what is
// read from them is not named again.
func (t *translator) refuseUnbounded(n *node) {
	if n.class == leafRefused {
		return
	}
	unbounded := func(c *collection) bool { return c.bounded == pipepb.IsBounded_UNBOUNDED }
	if slices.ContainsFunc(n.to, unbounded) && !slices.ContainsFunc(n.from, unbounded) {
		t.unsupported("%v: unbounded PCollection", n)
	}
}

func (t *translator) refuseState(n *node) {
	if n.urn == urnPairWithRestriction || n.urn == urnSplitAndSize {
		return
	}
	if n.keyed && n.splittable {
		t.unsupported("%v: splittable DoFn with state or timers", n)
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
	if n.class == leafSDK && n.keyed && !n.splittable {
		if _, _, ok := t.coders.components2(n.from[0].coder); !ok {
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

// refuseWindowing names what cannot be grouped by. Windowing matters nowhere
// else: elsewhere windows are opaque and triggers do nothing.
//
// Any trigger will do. It says from when on a pane may be fired, and when a
// window closes all that is left in it is fired in any case: over a bounded
// input the one firing of a window, with all its data, obeys every trigger.
func (t *translator) refuseWindowing(n *node) {
	w := t.windowings[n.from[0].windowing]
	if custom, ok := w.plan.Fn.(plan.CustomWindows); ok && custom.Merging {
		t.unsupported("%v: merging WindowFn %s", n, custom.URN)
	}
	if w.proto.GetAccumulationMode() == pipepb.AccumulationMode_RETRACTING {
		t.unsupported("%v: retracting accumulation", n)
	}
	if w.proto.GetClosingBehavior() == pipepb.ClosingBehavior_EMIT_ALWAYS && w.plan.AllowedLateness > 0 {
		t.unsupported("%v: a pane when the window closes, even if empty", n)
	}
}

// firesOnce says whether the trigger itself asks for one firing of a window,
// when all data is there. Only then are values combined before they are
// grouped: other triggers may count them.
func firesOnce(tr *pipepb.Trigger) bool {
	switch tr := tr.GetTrigger().(type) {
	case nil, *pipepb.Trigger_Default_, *pipepb.Trigger_Never_:
		return true
	case *pipepb.Trigger_AfterEndOfWindow_:
		return tr.AfterEndOfWindow.GetEarlyFirings() == nil && tr.AfterEndOfWindow.GetLateFirings() == nil
	}
	return false
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
