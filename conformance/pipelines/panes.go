package main

import (
	"fmt"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window/trigger"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/teststream"
)

func init() {
	register.Function1x1(half)
	register.Function1x2(unitsKey)
	register.Function4x1(withPane)
}

func half(i int) int { return i / 2 }

// unitsKey makes the last digit the key.
func unitsKey(i int) (string, int) { return fmt.Sprint("k", i%10), i }

// withPane formats a group with its window and its pane.
func withPane(pane beam.PaneInfo, w beam.Window, key string, values func(*int) bool) string {
	timing := map[int]string{0: "early", 1: "on time", 2: "late"}[int(pane.Timing)]
	return fmt.Sprint(withWindow(w, key, values), " pane ", pane.Index, " ", timing)
}

// panes plays a test stream to a GroupByKey that fires early for two elements,
// on time and for each that is late, through a few transforms before and after it.
func panes(s beam.Scope, _ config) {
	stream := teststream.NewConfig()
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	const second = 1000
	must(stream.AddElements(1*second, 10, 11))
	must(stream.AddElements(2*second, 20))
	must(stream.AddElements(3*second, 30))
	must(stream.AddElements(12*second, 40, 41, 42))
	must(stream.AdvanceWatermark(10 * second))
	must(stream.AddElements(4*second, 51))
	must(stream.AdvanceWatermark(16 * second))
	must(stream.AddElements(5*second, 60))  // too late
	must(stream.AddElements(13*second, 72)) // the second of its pane
	must(stream.AdvanceWatermarkToInfinity())

	doubled := beam.ParDo(s, double, teststream.Create(s, stream))
	col := beam.WindowInto(s, window.NewFixedWindows(10*time.Second), beam.ParDo(s, half, doubled),
		beam.Trigger(trigger.AfterEndOfWindow().EarlyFiring(trigger.Repeat(trigger.AfterCount(2))).LateFiring(trigger.Repeat(trigger.AfterCount(1)))),
		beam.AllowedLateness(5*time.Second), beam.PanesDiscard())
	got := beam.ParDo(s, withPane, beam.GroupByKey(s, beam.ParDo(s, unitsKey, col)))
	passert.Equals(s, beam.WindowInto(s, window.NewGlobalWindows(), got),
		"k0[0,10)[10 20] pane 0 early", "k0[0,10)[30] pane 1 on time",
		"k1[0,10)[11] pane 0 on time", "k1[0,10)[51] pane 1 late",
		"k0[10,20)[40] pane 0 on time", "k1[10,20)[41] pane 0 on time", "k2[10,20)[42 72] pane 0 early",
	)
}
