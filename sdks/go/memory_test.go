package gorunner_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/passert"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/stats"

	"github.com/gorunner/gorunner/runner"
	gorunner "github.com/gorunner/gorunner/sdks/go"
)

func init() {
	register.Function2x0(emitBulk)
	register.Function2x1(countBulk)
	register.Emitter2[string, string]()
	register.Iter1[string]()
}

const (
	bulkElements, bulkKeys = 40_000, 500
	bulkBytes              = 8 << 20 // about
)

func emitBulk(_ []byte, emit func(string, string)) {
	for i := range bulkElements {
		emit(fmt.Sprint("key ", i%bulkKeys), strings.Repeat(fmt.Sprint(i, " "), 30))
	}
}

// onBulk is called for each key.
var onBulk atomic.Pointer[func()]

func countBulk(_ string, values func(*string) bool) int {
	(*onBulk.Load())()
	n := 0
	for v := ""; values(&v); n++ { //nolint:revive // it counts
	}
	return n
}

// TestLargerThanMemory runs a pipeline whose data is eight times its memory.
func TestLargerThanMemory(t *testing.T) {
	const memory = bulkBytes / 8
	server := startServer(t, runner.Options{DataDir: t.TempDir()})
	beam.PipelineOptions.Set("gorunner_memory_bytes", fmt.Sprint(memory))
	t.Cleanup(func() { beam.PipelineOptions.Set("gorunner_memory_bytes", "0") })
	var onDisk, limit atomic.Int64
	look := func() {
		for _, j := range server.Jobs() {
			limit.Store(j.Memory.Limit)
			if used := j.Disk.Used; used > onDisk.Load() {
				onDisk.Store(used)
			}
		}
	}
	onBulk.Store(&look)
	p, s := beam.NewPipelineWithRoot()
	grouped := beam.GroupByKey(s, beam.ParDo(s, emitBulk, beam.Impulse(s)))
	passert.Equals(s, stats.Sum(s, beam.ParDo(s, countBulk, grouped)), bulkElements)
	if _, err := beam.Run(t.Context(), gorunner.Name, p); err != nil {
		t.Fatal(err)
	}
	if limit.Load() != memory || onDisk.Load() < memory/4 {
		t.Errorf("of %d bytes with a budget of %d only %d were on disk", bulkBytes, limit.Load(), onDisk.Load())
	}
	if memory, disk := server.Usage(); memory.Used != 0 || disk.Used != 0 {
		t.Errorf("the job has ended, and %v of memory and %v of disk are in use", memory, disk)
	}
}

// TestQuota runs a pipeline that has neither the memory nor the disk that it
// needs.
func TestQuota(t *testing.T) {
	startServer(t, runner.Options{DataDir: t.TempDir(), Memory: bulkBytes / 8, Disk: bulkBytes / 64, StopGrace: time.Minute, StopTimeout: time.Minute})
	look := func() {}
	onBulk.Store(&look)
	p, s := beam.NewPipelineWithRoot()
	grouped := beam.GroupByKey(s, beam.ParDo(s, emitBulk, beam.Impulse(s)))
	beam.ParDo(s, countBulk, grouped)
	_, err := beam.Run(t.Context(), gorunner.Name, p)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint("quota of ", bulkBytes/64)) {
		t.Errorf("the pipeline ended with %v", err)
	}
}
