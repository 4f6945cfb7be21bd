package main

import (
	"context"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	register.DoFn2x1[context.Context, int, int](&meteredFn{})
}

// meteredFn updates a metric of each kind that the Go SDK has.
type meteredFn struct {
	count beam.Counter
	sizes beam.Distribution
	last  beam.Gauge
}

// Setup makes the metrics.
func (f *meteredFn) Setup() {
	f.count = beam.NewCounter("ours", "count")
	f.sizes = beam.NewDistribution("ours", "sizes")
	f.last = beam.NewGauge("ours", "last")
}

// ProcessElement counts its element.
func (f *meteredFn) ProcessElement(ctx context.Context, i int) int {
	f.count.Inc(ctx, 1)
	f.sizes.Update(ctx, int64(i))
	f.last.Set(ctx, 77)
	return i
}

// allMetrics counts 0 to 9 in a scope and once more behind a shuffle.
func allMetrics(s beam.Scope, _ config) {
	metered := beam.ParDo(s.Scope("Metered"), &meteredFn{}, integers(s, 10))
	beam.ParDo(s, double, beam.Reshuffle(s, metered))
}
