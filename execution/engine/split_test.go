package engine

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

// TestCheckpoints shows that bundles are checkpointed once they have written
// enough, or have run long enough, and that what they give back is executed.
func TestCheckpoints(t *testing.T) {
	tests := map[string]struct {
		opts      Options
		unbounded bool
	}{
		"elements": {opts: Options{CheckpointElements: 3, CheckpointInterval: time.Hour}},
		"bytes":    {opts: Options{CheckpointBytes: 3 * len(windowed(0, nil, []byte{1, 0})), CheckpointInterval: time.Hour}},
		"time":     {opts: Options{CheckpointInterval: time.Millisecond}, unbounded: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := &fakeHost{plan: chainPlan(30)}
			kind, ok := h.plan.plan.Stages[workStage].Kind.(*plan.Executable)
			if !ok {
				t.Fatal("no user code")
			}
			kind.Splittable, kind.Unbounded = true, tt.unbounded
			// The first bundle waits in the middle for its checkpoint.
			asked := make(chan struct{})
			var once sync.Once
			h.asked = func(_ *harness.Bundle, fraction float64) {
				if fraction != 0 {
					t.Errorf("asked to keep %v", fraction)
				}
				once.Do(func() { close(asked) })
			}
			seen := 0
			h.plan.ops[workStage] = func(v []byte) [][]byte {
				if seen++; seen == 4 {
					<-asked
				}
				return [][]byte{v}
			}
			// One bundle at a time, so that seen needs no lock.
			tt.opts.SplitInterval, tt.opts.BundleBytes = time.Hour, 1<<20
			h.slots = 1
			values, _, err := runWork(t, h, tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(numbers(30), values); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
