package fnapi

import (
	"context"
	"errors"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
)

// What one has to know of Go's harness to split its bundles.
//
// It works out where to cut in floating point, as the number of the running
// element plus the part of it that is done. To be left nothing, fraction 0,
// behind the first element it may so arrive before the part that is done. Then it
// says that it gives back the running element, and executes all of it. A
// fraction that rounding cannot eat up prevents that, and leaves it hardly more.
// The first element's number is 0, to which nothing is lost.
//
// A splittable DoFn that is between two elements, has not begun or has ended
// makes it wait for half a second before it answers, and with it whatever else is
// asked of the worker. So it is asked first whether there is anything to split.

// leastFraction is the least that is asked to be kept of several elements.
const leastFraction = 0x1p-32

// fractionToAsk is what to ask for of a bundle of count elements.
func (w *Worker) fractionToAsk(fraction float64, count int64) float64 {
	if w.isGo && count > 1 {
		return max(fraction, leastFraction)
	}
	return fraction
}

// splittable says whether there may be anything to split in a bundle of count
// elements.
func (e *execution) splittable(ctx context.Context, count int64) (bool, error) {
	if !e.worker.isGo {
		return true, nil
	}
	r, err := e.progress(ctx)
	if err != nil || r.ConsumingReceivedData != nil && !r.GetConsumingReceivedData() {
		return false, err
	}
	infos, err := e.resolve(ctx, r.GetMonitoringInfos(), shortDataOf(r.GetMonitoringData()))
	return elementsRead(infos, e.source) < count, err
}

func (e *execution) progress(ctx context.Context) (*fnpb.ProcessBundleProgressResponse, error) {
	resp, err := e.ask(ctx, "progress", &fnpb.InstructionRequest{
		Request: &fnpb.InstructionRequest_ProcessBundleProgress{
			ProcessBundleProgress: &fnpb.ProcessBundleProgressRequest{InstructionId: e.id},
		},
	})
	r := resp.GetProcessBundleProgress()
	if err == nil && r == nil {
		err = errors.New("progress: the SDK answers with something else")
	}
	return r, err
}
