package gorunner_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window/trigger"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/teststream"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/periodic"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/stats"

	"github.com/gorunner/gorunner/internal/invariants"
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

func init() { register.Function1x0(tick) }

// ticks hears of the elements of an endless pipeline.
var ticks = make(chan struct{}, 1)

func tick([]byte) {
	select {
	case ticks <- struct{}{}:
	default:
	}
}

// TestEndlessPipelineEndsWithItsContext also wants nothing left of it.
func TestEndlessPipelineEndsWithItsContext(t *testing.T) {
	if invariants.Enabled {
		t.Skip("a harness of the Go SDK that is left while a bundle runs has a data race of its own")
	}
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p, s := beam.NewPipelineWithRoot()
	now := time.Now()
	beam.ParDo0(s, tick, periodic.Impulse(s, now, now.Add(1000*time.Hour), 20*time.Millisecond, false))
	ended := make(chan error, 1)
	go func() {
		_, err := beam.Run(ctx, gorunner.Name, p)
		ended <- err
	}()
	for range 3 {
		select {
		case <-ticks:
		case err := <-ended:
			t.Fatalf("the pipeline ended: %v", err)
		}
	}
	begin := time.Now()
	cancel()
	if err := <-ended; err == nil {
		t.Error("a pipeline that was cancelled ended well")
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("it took %v to end", took)
	}
	if left, err := filepath.Glob(filepath.Join(tmp, "gorunner-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
