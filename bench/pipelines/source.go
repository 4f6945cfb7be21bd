package main

import (
	"fmt"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	register.DoFn3x1[*sdf.LockRTracker, []byte, func(int), error](&sourceFn{})
	// By reflection: it is called once a bundle.
	beam.RegisterType(reflect.TypeFor[stepsFn]())
	register.Emitter2[beam.EventTime, int]()
}

// sourceShards is the number of parts that the source is split into before it
// is read, like the files of a data set.
const sourceShards = 16

// sourceFn is a splittable source of the integers below N.
type sourceFn struct{ N int }

// CreateInitialRestriction returns all integers.
func (f *sourceFn) CreateInitialRestriction(_ []byte) offsetrange.Restriction {
	return offsetrange.Restriction{Start: 0, End: int64(f.N)}
}

// SplitRestriction cuts a restriction into shards.
func (f *sourceFn) SplitRestriction(_ []byte, r offsetrange.Restriction) []offsetrange.Restriction {
	return r.EvenSplits(sourceShards)
}

// RestrictionSize returns the number of integers.
func (f *sourceFn) RestrictionSize(_ []byte, r offsetrange.Restriction) float64 { return r.Size() }

// CreateTracker returns a tracker that may be split while it is read.
func (f *sourceFn) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(offsetrange.NewTracker(r))
}

// ProcessElement emits the integers of a restriction.
func (f *sourceFn) ProcessElement(rt *sdf.LockRTracker, _ []byte, emit func(int)) error {
	r, ok := rt.GetRestriction().(offsetrange.Restriction)
	if !ok {
		return fmt.Errorf("restriction is a %T", rt.GetRestriction())
	}
	for i := r.Start; rt.TryClaim(i); i++ {
		emit(int(i))
	}
	return nil
}

func source(s beam.Scope, n int) beam.PCollection {
	return beam.ParDo(s, &sourceFn{n}, beam.Impulse(s))
}

// stepsFn is a source that does not know its end: it emits the integers below N
// in steps, each a bundle, and leaves the rest for later. Each shard is on its
// own, and each has an integer every millisecond from the epoch on.
type stepsFn struct{ N, Step, Shards int }

// CreateInitialRestriction returns all integers.
func (f *stepsFn) CreateInitialRestriction([]byte) offsetrange.Restriction {
	return offsetrange.Restriction{Start: 0, End: int64(f.N)}
}

// SplitRestriction cuts a restriction into shards.
func (f *stepsFn) SplitRestriction(_ []byte, r offsetrange.Restriction) []offsetrange.Restriction {
	var shards []offsetrange.Restriction
	for at := r.Start; at < r.End; at += f.shard() {
		shards = append(shards, offsetrange.Restriction{Start: at, End: min(at+f.shard(), r.End)})
	}
	return shards
}

func (f *stepsFn) shard() int64 { return int64((f.N + f.Shards - 1) / f.Shards) }

// RestrictionSize returns the number of integers.
func (f *stepsFn) RestrictionSize(_ []byte, r offsetrange.Restriction) float64 { return r.Size() }

// CreateTracker returns a tracker that may be split while it is read.
func (f *stepsFn) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(offsetrange.NewTracker(r))
}

// CreateWatermarkEstimator makes a watermark that the DoFn sets.
func (*stepsFn) CreateWatermarkEstimator() *sdf.ManualWatermarkEstimator {
	return &sdf.ManualWatermarkEstimator{}
}

// ProcessElement is one step.
func (f *stepsFn) ProcessElement(
	we *sdf.ManualWatermarkEstimator, rt *sdf.LockRTracker, _ []byte, emit func(beam.EventTime, int),
) (sdf.ProcessContinuation, error) {
	r, ok := rt.GetRestriction().(offsetrange.Restriction)
	if !ok {
		return nil, fmt.Errorf("restriction is a %T", rt.GetRestriction())
	}
	for i := r.Start; i < r.Start+int64(f.Step); i++ {
		if !rt.TryClaim(i) {
			return sdf.StopProcessing(), nil
		}
		at := mtime.FromMilliseconds(i % f.shard())
		emit(at, int(i))
		we.UpdateWatermark(at.ToTime())
	}
	return sdf.ResumeProcessingIn(0), nil
}

func steps(s beam.Scope, z sizes, step, shards int) beam.PCollection {
	return beam.ParDo(s, &stepsFn{N: z.records, Step: step, Shards: shards}, beam.Impulse(s))
}
