// Command latency measures how long after its watermark a pane arrives: a
// source that does not end ticks in real time, its elements are grouped in
// fixed windows, and each pane is held against the moment at which the source
// let the watermark pass the end of its window. All is in one process: the
// runner is embedded, unless --runner and --endpoint name another.
//
//	go run ./bench/latency
//	go run ./bench/latency --keys=1000 --runner=universal --endpoint=127.0.0.1:8073 --environment_type=LOOPBACK
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/window"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/rtrackers/offsetrange"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal"

	gorunner "github.com/gorunner/gorunner/sdks/go"
)

// The source ticks this often; windows are this long.
const (
	tick   = 10 * time.Millisecond
	period = 100 * time.Millisecond
)

func init() {
	// Not by package register: its generic forms of so many parameters take
	// minutes to compile.
	beam.RegisterType(reflect.TypeFor[tickFn]())
	beam.RegisterFunction(arrived)
}

// journal is what the DoFns of this process have seen. Windows are named by
// their ends.
type journal struct {
	mu sync.Mutex
	// passed is when the source let the watermark pass; guarded by mu.
	passed map[mtime.Time]time.Time
	// last is when the last key of the window arrived; guarded by mu.
	last map[mtime.Time]time.Time
}

// seen is shared with DoFns, which are made by the SDK.
//
//nolint:gochecknoglobals // see above
var seen = journal{passed: map[mtime.Time]time.Time{}, last: map[mtime.Time]time.Time{}}

// tickFn emits an element for each key at every tick of its restriction.
type tickFn struct{ Ticks, Keys int }

// CreateInitialRestriction counts the ticks.
func (f *tickFn) CreateInitialRestriction(int) offsetrange.Restriction {
	return offsetrange.Restriction{End: int64(f.Ticks)}
}

// SplitRestriction does not split.
func (*tickFn) SplitRestriction(_ int, r offsetrange.Restriction) []offsetrange.Restriction {
	return []offsetrange.Restriction{r}
}

// RestrictionSize is the number of ticks.
func (*tickFn) RestrictionSize(_ int, r offsetrange.Restriction) float64 { return r.Size() }

// CreateTracker tracks ticks.
func (*tickFn) CreateTracker(r offsetrange.Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(offsetrange.NewTracker(r))
}

// CreateWatermarkEstimator makes a watermark that the DoFn sets.
func (*tickFn) CreateWatermarkEstimator() *sdf.ManualWatermarkEstimator {
	return &sdf.ManualWatermarkEstimator{}
}

// ProcessElement is one tick.
func (f *tickFn) ProcessElement(_ context.Context, we *sdf.ManualWatermarkEstimator, rt *sdf.LockRTracker, _ int,
	emit func(beam.EventTime, int, int),
) (sdf.ProcessContinuation, error) {
	at := rt.GetRestriction().(offsetrange.Restriction).Start //nolint:errcheck // see CreateTracker
	if !rt.TryClaim(at) {
		return sdf.StopProcessing(), rt.GetError()
	}
	now := time.Now()
	for key := range f.Keys {
		emit(mtime.FromTime(now), key, 1)
	}
	we.UpdateWatermark(now)
	end := mtime.FromTime(now.Truncate(period)) // of the last window that is over
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if _, known := seen.passed[end]; !known {
		seen.passed[end] = now
	}
	return sdf.ResumeProcessingIn(tick), nil
}

// arrived notes that a key's pane of a window is there.
func arrived(w beam.Window, _ int, values func(*int) bool) {
	var v int
	for values(&v) {
		continue
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	seen.last[w.MaxTimestamp()+1] = time.Now()
}

func main() {
	var f tickFn
	name := flag.String("runner", gorunner.Name, "Beam runner")
	flag.IntVar(&f.Ticks, "ticks", 1000, "how many ticks of 10 ms")
	flag.IntVar(&f.Keys, "keys", 10, "number of keys")
	flag.Parse()
	beam.Init()
	p, root := beam.NewPipelineWithRoot()
	ticks := beam.ParDo(root, &f, beam.Create(root, 0))
	windowed := beam.WindowInto(root, window.NewFixedWindows(period), ticks)
	beam.ParDo0(root, arrived, beam.GroupByKey(root, windowed))
	if _, err := beam.Run(context.Background(), *name, p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := report(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// report prints the delays. The last window is left out: it ends with the
// source.
func report() error {
	var delays []time.Duration
	for end, passed := range seen.passed {
		if last, ok := seen.last[end]; ok {
			delays = append(delays, last.Sub(passed))
		}
	}
	if len(delays) == 0 {
		return fmt.Errorf("no pane of %d windows has arrived", len(seen.passed))
	}
	slices.Sort(delays)
	at := func(share float64) time.Duration {
		return delays[int(share*float64(len(delays)-1))].Round(100 * time.Microsecond)
	}
	fmt.Printf("%d windows: panes arrive %v after their watermark (median), 95%%: %v, most: %v\n",
		len(delays), at(0.5), at(0.95), at(1))
	return nil
}
