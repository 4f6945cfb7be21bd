package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/shuffle/segment/segmenttest"
)

// Jobs of the real driver over the real database, whose machine ends at any act of
// its file system, with some of what was not synced and without the rest. They come
// to the same as others, and whoever was told of a commit never hears that it was
// none.

var (
	crashSeeds = flag.Uint64("crash.seeds", 15, "how many jobs there are whose machine ends")
	crashFrom  = flag.Uint64("crash.from", 1, "the first seed")
)

// crashJob is a job with all that its lives have in common.
type crashJob struct {
	plan   *simPlan
	random *rand.Rand
	disk   *vfs.MemFS
	lives  int

	mu sync.Mutex
	// told is what was said to be committed, by stage and value; guarded by mu.
	told map[crashed]int64
}

// crashed is something that a bundle has executed.
type crashed struct{ stage, value string }

// result makes a bundle say in metrics what it has executed, and hear when that is
// durable.
func (c *crashJob) result(b *harness.Bundle, values []string) harness.Result {
	counts := map[crashed]int64{}
	if isGrouped(c.plan.plan.Edges[b.Stage.Input.Edge]) { // in any order
		values = nil
	}
	for _, v := range values {
		counts[crashed{b.Stage.Name, v}]++
	}
	var r harness.Result
	for k, n := range counts {
		in := counterOf(k.stage, k.value, n)
		r.Metrics = append(r.Metrics, in)
	}
	r.Finalize = func(context.Context) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for k, n := range counts {
			c.told[k] += n
		}
		return nil
	}
	return r
}

// countedBy is what was committed, by its metrics.
func countedBy(infos []metrics.Info) map[crashed]int64 {
	out := map[crashed]int64{}
	for _, in := range infos {
		if line, ok := in.Labels["LINE"]; ok {
			n, _ := binary.Uvarint(in.Payload)
			out[crashed{in.Labels["NAME"], line}] = int64(n)
		}
	}
	return out
}

// live lets the job run in a process that may end, and says whether it is done.
func (c *crashJob) live(t *testing.T) (done bool, err error) {
	t.Helper()
	var left atomic.Pointer[vfs.MemFS]
	var told map[crashed]int64 // when the machine ended
	end := int64(1 + c.random.IntN([]int{80, 160, 320}[c.random.IntN(3)]))
	if c.lives++; c.lives > 8 {
		end = -1
	}
	unsynced := []int{0, 0, 50, 100}[c.random.IntN(4)]
	chance := rand.New(rand.NewPCG(c.random.Uint64(), 1))
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	var acts atomic.Int64
	crashing := errorfs.Wrap(c.disk, errorfs.InjectorFunc(func(errorfs.Op) error {
		if acts.Add(1) == end {
			c.mu.Lock()
			told = maps.Clone(c.told)
			c.mu.Unlock()
			left.Store(c.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: chance}))
			kill()
		}
		return nil
	}))
	memory := shuffle.NewBudget(nil, []int64{0, 2_000}[c.random.IntN(2)])
	db, err := jobdb.Open(jobdb.Params{
		Dir: "job", Plan: "plan", FS: crashing, Files: segmenttest.Files{FS: crashing}, SyncInterval: -1, BehindBytes: 5000, SegmentBytes: 40_000, Memory: memory,
	})
	if err != nil {
		return false, fmt.Errorf("open: %w", err)
	}
	h := &fakeHost{plan: c.plan, result: c.result}
	job := New(c.plan.plan, Options{
		Host: h, Journal: db, Memory: memory, BundleBytes: 1 + c.random.IntN(200), Slots: 1 + c.random.IntN(3),
	})
	if m := job.impl.image; m != nil {
		if err := c.check(m.Metrics.Infos()); err != nil {
			return false, errors.Join(err, db.Close())
		}
	}
	err = job.Run(ctx)
	if err == nil && db.Durable() < db.Last() {
		err = fmt.Errorf("the job is done with commit %d, and %d is durable", db.Last(), db.Durable())
	}
	if closed := db.Close(); closed != nil {
		return false, errors.Join(err, closed)
	}
	switch {
	case err == nil:
		_, committed := job.Metrics()
		if diff := cmp.Diff(c.expected(), countedBy(committed)); diff != "" {
			return true, fmt.Errorf("committed (-want +got):\n%s", diff)
		}
		return true, nil
	case left.Load() == nil || !errors.Is(err, ErrCancelled):
		return false, err
	}
	c.disk, c.told = left.Load(), told
	return false, nil
}

// check finds what was said to be committed in what another process has found.
func (c *crashJob) check(infos []metrics.Info) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := countedBy(infos)
	for k, n := range c.told {
		if found[k] < n {
			return fmt.Errorf("%v was said to be committed %d times, and is %d times", k, n, found[k])
		}
	}
	return nil
}

// expected is what the stages execute in all.
func (c *crashJob) expected() map[crashed]int64 {
	out := map[crashed]int64{}
	edges := c.plan.expect(nil)
	for _, s := range c.plan.plan.Stages {
		if _, user := s.Kind.(*plan.Executable); !user || isGrouped(c.plan.plan.Edges[s.Input.Edge]) {
			continue
		}
		for v, n := range edges[s.Input.Edge] {
			out[crashed{s.Name, v}] = int64(n)
		}
	}
	return out
}

func TestCrashes(t *testing.T) {
	lives := 0
	for seed := *crashFrom; seed < *crashFrom+*crashSeeds; seed++ {
		r := rand.New(rand.NewPCG(seed, 19))
		c := &crashJob{plan: newSimPlan(r, 1), random: r, disk: vfs.NewCrashableMem(), told: map[crashed]int64{}}
		for done := false; !done; {
			var err error
			if done, err = c.live(t); err != nil {
				t.Fatalf("seed %d, life %d: %v", seed, c.lives, err)
			}
		}
		lives += c.lives
	}
	if lives < 2*int(*crashSeeds) {
		t.Errorf("only %d lives in %d jobs", lives, *crashSeeds)
	}
}
