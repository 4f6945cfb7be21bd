package gorunner_test

import (
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window/trigger"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/teststream"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/stats"

	gorunner "github.com/gorunner/gorunner/sdks/go"
)

// TestTestStream plays a script on the embedded runner: two windows, of which the
// first fires early as well.
func TestTestStream(t *testing.T) {
	p, s := beam.NewPipelineWithRoot()
	script := teststream.NewConfig()
	for _, err := range []error{
		script.AddElements(1_000, int64(1), int64(2)),
		script.AddElements(2_000, int64(3)),
		script.AdvanceWatermark(10_000),
		script.AddElements(11_000, int64(10)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := script.AdvanceWatermarkToInfinity(); err != nil {
		t.Fatal(err)
	}
	windowed := beam.WindowInto(s, window.NewFixedWindows(10*time.Second), teststream.Create(s, script),
		beam.Trigger(trigger.AfterEndOfWindow().EarlyFiring(trigger.AfterCount(2))), beam.PanesDiscard())
	sums := beam.WindowInto(s, window.NewGlobalWindows(), stats.Sum(s, windowed))
	passert.Equals(s, sums, int64(3), int64(3), int64(10))
	if _, err := beam.Run(t.Context(), gorunner.Name, p); err != nil {
		t.Fatal(err)
	}
}
