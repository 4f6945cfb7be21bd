package fnapi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/metrics"
)

var errBundleOver = errors.New("the bundle is over")

// ask gives the harness an instruction that is about the bundle.
func (e *execution) ask(ctx context.Context, what string, req *fnpb.InstructionRequest) (*fnpb.InstructionResponse, error) {
	err := errBundleOver
	select {
	case <-e.done:
	default:
		var resp *fnpb.InstructionResponse
		if resp, err = e.worker.call(ctx, req); err == nil {
			return resp, nil
		}
	}
	return nil, fmt.Errorf("%s of stage %s bundle %d on worker %s: %w", what, e.bundle.Stage.Name, e.bundle.ID, e.worker.spec.ID, err)
}

// Progress implements [harness.Execution].
func (e *execution) Progress(ctx context.Context) (harness.Progress, error) {
	var none harness.Progress
	r, err := e.progress(ctx)
	if err != nil {
		return none, err
	}
	infos, err := e.resolve(ctx, r.GetMonitoringInfos(), shortDataOf(r.GetMonitoringData()))
	if err != nil {
		return none, err
	}
	return harness.Progress{ElementsRead: elementsRead(infos, e.source), Metrics: infos}, nil
}

// The monitoring info that tells how much of its input a bundle has read.
const (
	urnReadIndex   = "beam:metric:data_channel:read_index:v1"
	labelTransform = "PTRANSFORM"
)

// elementsRead finds the read index of the source; without one it is 0.
func elementsRead(infos []metrics.Info, source string) int64 {
	for _, info := range infos {
		if info.URN != urnReadIndex || info.Labels[labelTransform] != source {
			continue
		}
		if v, n := binary.Uvarint(info.Payload); n > 0 {
			return max(int64(v), 0) // some SDKs start at -1
		}
	}
	return 0
}

// Split implements [harness.Execution].
func (e *execution) Split(ctx context.Context, fraction float64) (harness.Split, bool, error) {
	var none harness.Split
	if math.IsNaN(fraction) || fraction < 0 || fraction > 1 {
		return none, false, fmt.Errorf("split of bundle %d at fraction %v: it must be between 0 and 1", e.bundle.ID, fraction)
	}
	var count int64
	for i := range e.bundle.Input {
		count += int64(e.bundle.Input[i].Count)
	}
	e.splitting.Lock()
	defer e.splitting.Unlock()
	if ok, err := e.splittable(ctx, count); !ok {
		return none, false, err
	}
	fraction = e.worker.fractionToAsk(fraction, count)
	resp, err := e.ask(ctx, "split", &fnpb.InstructionRequest{
		Request: &fnpb.InstructionRequest_ProcessBundleSplit{ProcessBundleSplit: &fnpb.ProcessBundleSplitRequest{
			InstructionId: e.id,
			DesiredSplits: map[string]*fnpb.ProcessBundleSplitRequest_DesiredSplit{
				e.source: {FractionOfRemainder: fraction, EstimatedInputElements: count},
			},
		}},
	})
	if err != nil {
		return none, false, err
	}
	r := resp.GetProcessBundleSplit()
	if givesNothingBack(r, count) {
		return none, false, nil
	}
	split, err := e.splitOf(r, count)
	if err != nil {
		// What the bundle will yet yield is now unknown, so it cannot go on.
		e.fail(fmt.Errorf("split: %w", err))
		return none, false, err
	}
	// A harness may forget a split that it was asked for before it had begun, as
	// Go's does, and execute what it has given back: see collect.
	e.kept = min(e.kept, split.FirstResidual)
	return split, true, nil
}

// givesNothingBack says that the harness goes on with all of the count elements.
// Go's answers so, with a number beyond them, once it has read the last one; the
// others do where nothing but the running element is left, and that is no
// restriction.
func givesNothingBack(r *fnpb.ProcessBundleSplitResponse, count int64) bool {
	if len(r.GetPrimaryRoots())+len(r.GetResidualRoots()) > 0 {
		return false
	}
	for _, ch := range r.GetChannelSplits() {
		if ch.GetFirstResidualElement() < count || ch.GetLastPrimaryElement() < count-1 {
			return false
		}
	}
	return true
}

// splitOf checks and converts a split of an input of count elements.
func (e *execution) splitOf(r *fnpb.ProcessBundleSplitResponse, count int64) (harness.Split, error) {
	var none harness.Split
	if n := len(r.GetChannelSplits()); n != 1 {
		return none, fmt.Errorf("the harness split %d channels, not 1", n)
	}
	ch := r.GetChannelSplits()[0]
	last, first := ch.GetLastPrimaryElement(), ch.GetFirstResidualElement()
	// Java's harness does not say which channel it has split; there is only one.
	if id := ch.GetTransformId(); id != "" && id != e.source {
		return none, fmt.Errorf("the harness split channel %q, not %q", id, e.source)
	}
	if last < -1 || first <= last || first-last > 2 || first > count {
		return none, fmt.Errorf("the harness split between elements %d and %d of %d", last, first, count)
	}
	split := harness.Split{LastPrimary: last, FirstResidual: first}
	for _, p := range r.GetPrimaryRoots() {
		if err := e.checkApplication(p); err != nil {
			return none, err
		}
		split.Primaries = append(split.Primaries, p.GetElement())
	}
	var err error
	split.Residuals, err = e.residuals(r.GetResidualRoots())
	if err != nil {
		return none, err
	}
	return split, nil
}

// checkApplication checks that the element is one of the stage's main input: no
// other can be executed as part of a bundle of the stage.
func (e *execution) checkApplication(a *fnpb.BundleApplication) error {
	if !e.descriptor.readers[e.source][a.GetTransformId()] {
		return fmt.Errorf("work left over for transform %q, which does not read the stage's input", a.GetTransformId())
	}
	return nil
}

func (e *execution) residuals(roots []*fnpb.DelayedBundleApplication) ([]harness.Residual, error) {
	var residuals []harness.Residual
	for _, d := range roots {
		a := d.GetApplication()
		if err := e.checkApplication(a); err != nil {
			return nil, err
		}
		mark := watermark(a.GetOutputWatermarks())
		residuals = append(residuals, harness.Residual{
			Element:   a.GetElement(),
			Delay:     max(d.GetRequestedTimeDelay().AsDuration(), 0),
			Watermark: &mark,
		})
	}
	return residuals, nil
}

// watermark is the smallest of the watermarks of an application's outputs. That
// of an SDF without a watermark estimator is not told, and is the beginning of
// time: it may yet write anything.
func watermark(outputs map[string]*timestamppb.Timestamp) element.EventTime {
	if len(outputs) == 0 {
		return element.MinTime
	}
	least := element.MaxTime
	for _, ts := range outputs {
		least = min(least, eventTime(ts))
	}
	return least
}

// eventTime rounds down to milliseconds and into the limits of event time.
func eventTime(ts *timestamppb.Timestamp) element.EventTime {
	const second = int64(time.Second / time.Millisecond)
	s := ts.GetSeconds()
	switch {
	case s <= int64(element.MinTime)/second:
		return element.MinTime
	case s >= int64(element.MaxTime)/second:
		return element.MaxTime
	}
	return element.EventTime(s*second + int64(ts.GetNanos())/int64(time.Millisecond))
}
