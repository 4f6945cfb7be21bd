package main

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
)

func init() {
	beam.RegisterType(reflect.TypeFor[sourceFn]())
	beam.RegisterType(reflect.TypeFor[stepsFn]())
}

// tracked has what the sources here share: restrictions of integers.
type tracked struct{ N, Shards int }

// CreateInitialRestriction returns all integers.
func (t *tracked) CreateInitialRestriction([]byte) offsetrange.Restriction {
	return offsetrange.Restriction{Start: 0, End: int64(t.N)}
}

// SplitRestriction cuts a restriction into shards.
func (t *tracked) SplitRestriction(_ []byte, r offsetrange.Restriction) []offsetrange.Restriction {
	return r.EvenSplits(int64(t.Shards))
}

// RestrictionSize returns the number of integers.
func (*tracked) RestrictionSize(_ []byte, r offsetrange.Restriction) float64 { return r.Size() }

// CreateTracker returns a tracker that may be split while it is read.
func (*tracked) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(offsetrange.NewTracker(r))
}

// count counts an element, in a metric.
func (*tracked) count(ctx context.Context) { beam.NewCounter("chaos", "elements").Inc(ctx, 1) }

func start(rt *sdf.LockRTracker) (int64, error) {
	r, ok := rt.GetRestriction().(offsetrange.Restriction)
	if !ok {
		return 0, fmt.Errorf("restriction is a %T", rt.GetRestriction())
	}
	return r.Start, nil
}

// sourceFn is a source of the integers below N.
type sourceFn struct{ tracked }

// ProcessElement emits the integers of a restriction.
func (f *sourceFn) ProcessElement(ctx context.Context, rt *sdf.LockRTracker, _ []byte, emit func(int)) error {
	i, err := start(rt)
	for ; err == nil && rt.TryClaim(i); i++ {
		emit(int(i))
		f.count(ctx)
	}
	return err
}

func source(s beam.Scope, n int) beam.PCollection {
	return beam.ParDo(s, &sourceFn{tracked{N: n, Shards: 16}}, beam.Impulse(s))
}

// stepsFn is a source that does not know its end: it emits the integers below N
// in steps, each a bundle, and leaves the rest for later. An integer is a
// millisecond.
type stepsFn struct {
	tracked
	Step int
	// Pause is in milliseconds.
	Pause int
}

// CreateWatermarkEstimator makes a watermark that the DoFn sets.
func (*stepsFn) CreateWatermarkEstimator() *sdf.ManualWatermarkEstimator {
	return &sdf.ManualWatermarkEstimator{}
}

// ProcessElement is one step.
func (f *stepsFn) ProcessElement(
	ctx context.Context, we *sdf.ManualWatermarkEstimator, rt *sdf.LockRTracker, _ []byte, emit func(beam.EventTime, int),
) (sdf.ProcessContinuation, error) {
	first, err := start(rt)
	if err != nil {
		return nil, err
	}
	for i := first; i < first+int64(f.Step); i++ {
		if !rt.TryClaim(i) {
			return sdf.StopProcessing(), nil
		}
		at := mtime.FromMilliseconds(i)
		emit(at, int(i))
		f.count(ctx)
		we.UpdateWatermark(at.ToTime())
	}
	return sdf.ResumeProcessingIn(time.Duration(f.Pause) * time.Millisecond), nil
}

func steps(s beam.Scope, f stepsFn) beam.PCollection {
	return beam.ParDo(s, &f, beam.Impulse(s))
}
