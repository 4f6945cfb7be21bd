package translate

import (
	"errors"
	"fmt"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/gorunner/gorunner/plan"
)

// trigger decodes a trigger; the default one is what an SDK means that sets
// none. The error says which part makes no sense.
func (t *translator) trigger(p *pipepb.Trigger, depth int) (plan.Trigger, error) {
	if depth > t.opts.MaxNesting {
		return nil, fmt.Errorf("nested more than %d deep", t.opts.MaxNesting)
	}
	switch tr := p.GetTrigger().(type) {
	case nil:
		if len(p.ProtoReflect().GetUnknown()) > 0 {
			return nil, errors.New("of unknown kind")
		}
		return plan.DefaultTrigger{}, nil
	case *pipepb.Trigger_Default_:
		return plan.DefaultTrigger{}, nil
	case *pipepb.Trigger_Never_:
		return plan.NeverTrigger{}, nil
	case *pipepb.Trigger_Always_:
		return plan.AlwaysTrigger{}, nil
	case *pipepb.Trigger_ElementCount_:
		return afterCount(tr.ElementCount)
	case *pipepb.Trigger_AfterProcessingTime_:
		return afterProcessingTime(tr.AfterProcessingTime)
	case *pipepb.Trigger_AfterSynchronizedProcessingTime_:
		return plan.AfterSynchronizedProcessingTime{}, nil
	case *pipepb.Trigger_AfterEndOfWindow_:
		return t.afterEndOfWindow(tr.AfterEndOfWindow, depth)
	case *pipepb.Trigger_AfterEach_:
		parts, err := t.triggers("after each", tr.AfterEach.GetSubtriggers(), depth)
		return plan.AfterEach{Parts: parts}, err
	case *pipepb.Trigger_AfterAll_:
		parts, err := t.triggers("after all", tr.AfterAll.GetSubtriggers(), depth)
		return plan.AfterAll{Parts: parts}, err
	case *pipepb.Trigger_AfterAny_:
		parts, err := t.triggers("after any", tr.AfterAny.GetSubtriggers(), depth)
		return plan.AfterAny{Parts: parts}, err
	case *pipepb.Trigger_OrFinally_:
		parts, err := t.triggers("or finally", []*pipepb.Trigger{tr.OrFinally.GetMain(), tr.OrFinally.GetFinally()}, depth)
		if err != nil {
			return nil, err
		}
		return plan.OrFinally{Main: parts[0], Finally: parts[1]}, nil
	case *pipepb.Trigger_Repeat_:
		parts, err := t.triggers("repeat", []*pipepb.Trigger{tr.Repeat.GetSubtrigger()}, depth)
		if err != nil {
			return nil, err
		}
		return plan.Repeat{Part: parts[0]}, nil
	}
	return nil, fmt.Errorf("of kind %T", p.GetTrigger())
}

// triggers decodes the parts of a composite trigger.
func (t *translator) triggers(what string, ps []*pipepb.Trigger, depth int) ([]plan.Trigger, error) {
	if len(ps) == 0 {
		return nil, fmt.Errorf("%s: nothing", what)
	}
	parts := make([]plan.Trigger, len(ps))
	for i, p := range ps {
		if p == nil {
			return nil, fmt.Errorf("%s: part %d is missing", what, i)
		}
		var err error
		if parts[i], err = t.trigger(p, depth+1); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
	}
	return parts, nil
}

func (t *translator) afterEndOfWindow(p *pipepb.Trigger_AfterEndOfWindow, depth int) (plan.Trigger, error) {
	var end plan.AfterEndOfWindow
	var err error
	if early := p.GetEarlyFirings(); early != nil {
		if end.Early, err = t.trigger(early, depth+1); err != nil {
			return nil, fmt.Errorf("early firings: %w", err)
		}
	}
	if late := p.GetLateFirings(); late != nil {
		if end.Late, err = t.trigger(late, depth+1); err != nil {
			return nil, fmt.Errorf("late firings: %w", err)
		}
	}
	return end, nil
}

func afterCount(p *pipepb.Trigger_ElementCount) (plan.Trigger, error) {
	if p.GetElementCount() < 1 {
		return nil, fmt.Errorf("after %d elements", p.GetElementCount())
	}
	return plan.AfterCount{Elements: int(p.GetElementCount())}, nil
}

func afterProcessingTime(p *pipepb.Trigger_AfterProcessingTime) (plan.Trigger, error) {
	var shifts []plan.TimeShift
	for _, tt := range p.GetTimestampTransforms() {
		switch shift := tt.GetTimestampTransform().(type) {
		case *pipepb.TimestampTransform_Delay_:
			if shift.Delay.GetDelayMillis() < 0 {
				return nil, fmt.Errorf("after processing time: delay of %d ms", shift.Delay.GetDelayMillis())
			}
			shifts = append(shifts, plan.TimeShift{Delay: millis(shift.Delay.GetDelayMillis())})
		case *pipepb.TimestampTransform_AlignTo_:
			period, offset := shift.AlignTo.GetPeriod(), shift.AlignTo.GetOffset()
			if period < 1 {
				return nil, fmt.Errorf("after processing time: aligned to %d ms", period)
			}
			shifts = append(shifts, plan.TimeShift{Period: millis(period), Offset: millis(offset % period)})
		case nil:
			return nil, errors.New("after processing time: shift of unknown kind")
		}
	}
	return plan.AfterProcessingTime{Shifts: shifts}, nil
}

// millis is a duration of milliseconds. Beyond what a duration holds, some 292
// years, it makes no difference.
func millis(ms int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Millisecond)
	return time.Duration(min(max(ms, -most), most)) * time.Millisecond
}

// countsElements says whether the trigger goes by how many elements have come.
// Such a one must not be given accumulators in their place.
func countsElements(tr plan.Trigger) bool {
	switch tr := tr.(type) {
	case plan.AlwaysTrigger, plan.AfterCount:
		return true
	case plan.AfterEndOfWindow:
		return countsElements(tr.Early) || countsElements(tr.Late)
	case plan.AfterEach:
		return anyCounts(tr.Parts)
	case plan.AfterAll:
		return anyCounts(tr.Parts)
	case plan.AfterAny:
		return anyCounts(tr.Parts)
	case plan.OrFinally:
		return countsElements(tr.Main) || countsElements(tr.Finally)
	case plan.Repeat:
		return countsElements(tr.Part)
	case nil, plan.DefaultTrigger, plan.NeverTrigger, plan.AfterProcessingTime, plan.AfterSynchronizedProcessingTime:
	}
	return false
}

func anyCounts(parts []plan.Trigger) bool {
	for _, p := range parts {
		if countsElements(p) {
			return true
		}
	}
	return false
}

// emptyPanes says whether a pane may be fired in which there is nothing.
func emptyPanes(w *plan.Windowing) bool {
	return w.Closing == plan.EmitAlways && w.AllowedLateness > 0 || w.OnTime == plan.FireAlways && firesEarly(w.Trigger)
}

// firesEarly says whether the trigger may fire before the end of the window.
func firesEarly(tr plan.Trigger) bool {
	switch tr := tr.(type) {
	case nil, plan.DefaultTrigger, plan.NeverTrigger:
		return false
	case plan.AfterEndOfWindow:
		return firesEarly(tr.Early)
	case plan.AlwaysTrigger, plan.AfterCount, plan.AfterProcessingTime, plan.AfterSynchronizedProcessingTime,
		plan.AfterEach, plan.AfterAll, plan.AfterAny, plan.OrFinally, plan.Repeat:
	}
	return true
}
