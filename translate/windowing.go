package translate

import (
	"fmt"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/execution/trigger"
	"github.com/gorunner/gorunner/plan"
)

// windowing is a decoded windowing strategy.
type windowing struct {
	proto *pipepb.WindowingStrategy
	plan  *plan.Windowing
	// triggerErr says what is wrong with the trigger, which matters only where
	// it is used.
	triggerErr error
	// window is the wire coder of the windows.
	window wire
}

// windowingOf decodes a windowing strategy once.
func (t *translator) windowingOf(id string) (*windowing, error) {
	if w, ok := t.windowings[id]; ok {
		return w, nil
	}
	ws := t.components.GetWindowingStrategies()[id]
	if ws == nil {
		return nil, invalid(inWindowing(id), "does not exist")
	}
	if err := t.coders.check(ws.GetWindowCoderId()); err != nil {
		return nil, fmt.Errorf("window coder of %s: %w", inWindowing(id), err)
	}
	fn, err := windowFn(ws)
	if err != nil {
		return nil, invalid(inWindowing(id), "%w", err)
	}
	w := &windowing{proto: ws, window: t.coders.window(ws.GetWindowCoderId())}
	if err := windowCoderFits(fn, w.window.coder.Kind()); err != nil {
		return nil, invalid(inWindowing(id), "%w", err)
	}
	w.plan = &plan.Windowing{
		Fn:              fn,
		Window:          w.window.coder,
		AllowedLateness: max(millis(ws.GetAllowedLateness()), 0),
		Accumulation:    accumulation(ws.GetAccumulationMode()),
		OutputTime:      outputTime(ws.GetOutputTime()),
		Closing:         t.closing(ws),
		OnTime:          onTime(ws.GetOnTimeBehavior()),
	}
	w.plan.Trigger, w.triggerErr = t.trigger(ws.GetTrigger(), 0)
	if w.triggerErr == nil { // it makes sense, but may be too large
		_, w.triggerErr = trigger.Compile(w.plan.Trigger)
	}
	t.windowings[id] = w
	return w, nil
}

func accumulation(mode pipepb.AccumulationMode_Enum) plan.Accumulation {
	if mode == pipepb.AccumulationMode_ACCUMULATING {
		return plan.Accumulating
	}
	return plan.Discarding
}

func outputTime(t pipepb.OutputTime_Enum) plan.OutputTime {
	switch t {
	case pipepb.OutputTime_LATEST_IN_PANE:
		return plan.Latest
	case pipepb.OutputTime_EARLIEST_IN_PANE:
		return plan.Earliest
	case pipepb.OutputTime_END_OF_WINDOW, pipepb.OutputTime_UNSPECIFIED:
	}
	return plan.EndOfWindow
}

// closing is what happens when a window expires. Python's SDK has no setting
// for it: it writes the same into every strategy, and its own runners have no
// pane for it. So nobody who writes Python has asked for an empty last pane.
func (t *translator) closing(ws *pipepb.WindowingStrategy) plan.Closing {
	python := everyChoice(t.components.GetEnvironments()[ws.GetEnvironmentId()], 0, func(e *pipepb.Environment) bool {
		return isSDK(e, "python")
	})
	if ws.GetClosingBehavior() == pipepb.ClosingBehavior_EMIT_ALWAYS && !python {
		return plan.EmitAlways
	}
	return plan.EmitIfNonEmpty
}

func onTime(b pipepb.OnTimeBehavior_Enum) plan.OnTime {
	if b == pipepb.OnTimeBehavior_FIRE_ALWAYS {
		return plan.FireAlways
	}
	return plan.FireIfNonEmpty
}

// windowCoderFits holds the window coder against the WindowFn: the runner
// takes the windows of the WindowFns it knows apart.
func windowCoderFits(fn plan.WindowFn, kind coder.Kind) error {
	want := coder.IntervalWindow
	switch fn.(type) {
	case plan.GlobalWindows:
		want = coder.GlobalWindow
	case plan.FixedWindows, plan.SlidingWindows, plan.Sessions:
	case plan.CustomWindows:
		return nil
	}
	if kind != want {
		return fmt.Errorf("%v with window coder %v, not %v", fn, kind, want)
	}
	return nil
}

// windowFn decodes the WindowFn. A merging WindowFn whose windows have been
// merged by a GroupByKey before is no longer merging, whatever its URN.
func windowFn(ws *pipepb.WindowingStrategy) (plan.WindowFn, error) {
	spec := ws.GetWindowFn()
	switch spec.GetUrn() {
	case urnGlobalWindows:
		return plan.GlobalWindows{}, nil
	case urnFixedWindows:
		var p pipepb.FixedWindowsPayload
		if err := proto.Unmarshal(spec.GetPayload(), &p); err != nil {
			return nil, fmt.Errorf("fixed windows: %w", err)
		}
		size, err := positive("size", p.GetSize())
		if err != nil {
			return nil, fmt.Errorf("fixed windows: %w", err)
		}
		return plan.FixedWindows{Size: size, Offset: offset(p.GetOffset().GetSeconds(), p.GetOffset().GetNanos())}, nil
	case urnSlidingWindows:
		var p pipepb.SlidingWindowsPayload
		if err := proto.Unmarshal(spec.GetPayload(), &p); err != nil {
			return nil, fmt.Errorf("sliding windows: %w", err)
		}
		size, err := positive("size", p.GetSize())
		if err != nil {
			return nil, fmt.Errorf("sliding windows: %w", err)
		}
		period, err := positive("period", p.GetPeriod())
		if err != nil {
			return nil, fmt.Errorf("sliding windows: %w", err)
		}
		o := offset(p.GetOffset().GetSeconds(), p.GetOffset().GetNanos())
		return plan.SlidingWindows{Size: size, Period: period, Offset: o}, nil
	case urnSessionWindows:
		var p pipepb.SessionWindowsPayload
		if err := proto.Unmarshal(spec.GetPayload(), &p); err != nil {
			return nil, fmt.Errorf("sessions: %w", err)
		}
		gap, err := positive("gap", p.GetGapSize())
		if err != nil {
			return nil, fmt.Errorf("sessions: %w", err)
		}
		if ws.GetMergeStatus() == pipepb.MergeStatus_ALREADY_MERGED {
			return plan.CustomWindows{URN: urnSessionWindows}, nil
		}
		return plan.Sessions{Gap: gap}, nil
	case "":
		return nil, fmt.Errorf("no WindowFn")
	}
	merging := ws.GetMergeStatus() == pipepb.MergeStatus_NEEDS_MERGE
	return plan.CustomWindows{URN: spec.GetUrn(), Merging: merging}, nil
}

func positive(what string, d *durationpb.Duration) (time.Duration, error) {
	if err := d.CheckValid(); err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	if d.AsDuration() < time.Millisecond {
		return 0, fmt.Errorf("%s %v is less than a millisecond", what, d.AsDuration())
	}
	return d.AsDuration(), nil
}

// offset converts a timestamp since the epoch; windows repeat, so one far
// away loses nothing by being cut to what a duration holds.
func offset(seconds int64, nanos int32) time.Duration {
	const most = int64(1<<63-1) / int64(time.Second)
	seconds = min(max(seconds, -most+1), most-1)
	return time.Duration(seconds)*time.Second + time.Duration(nanos)
}
