package jobdb_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"

	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
	"github.com/gorunner/gorunner/shuffle/segment/segmenttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	seeds = flag.Int("seeds", 40, "how many lives of a job are made up")
	from  = flag.Uint64("from", 1, "the first seed")
)

// live opens the job, lets it commit and lets the machine end in the middle of any
// act. It returns what is left, and how many commits had been said to be durable.
func (l *life) live(disk *vfs.MemFS, durable journal.Seq) (*vfs.MemFS, journal.Seq, error) {
	var db atomic.Pointer[jobdb.DB]
	var left atomic.Pointer[vfs.MemFS]
	said := durable
	end := int64(l.some(250))
	unsynced := []int{0, 0, 50, 100}[l.some(4)]
	chance := rand.New(rand.NewPCG(l.random.Uint64(), 1))
	var acts atomic.Int64
	crashing := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if acts.Add(1) == end {
			if d := db.Load(); d != nil {
				said = d.Durable() // before the end, so it counts
				if strings.Contains(op.Path, "rows") {
					d.Collect() // nothing may be free yet that rows refer to
				}
			}
			left.Store(disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: chance}))
		}
		return nil
	}))
	d, err := jobdb.Open(jobdb.Params{Dir: "job", Plan: "plan", FS: crashing, Files: segmenttest.Files{FS: crashing}, SyncInterval: -1, BehindBytes: 5000, SegmentBytes: 40_000})
	if err != nil {
		return nil, 0, fmt.Errorf("open: %w", err)
	}
	db.Store(d)
	err = l.resume(d, durable)
	for range l.some(40) {
		if err != nil || left.Load() != nil {
			break
		}
		err = l.makeCommit(d)
	}
	err = errors.Join(err, d.Close())
	if after := left.Load(); after != nil {
		return after, said, err
	}
	return disk.CrashClone(vfs.CrashCloneCfg{}), d.Last(), err // closed in peace
}

// Whenever the machine ends, what is left is what the job was after one of its
// commits, and after none before the last that was said to be durable.
func TestCrashes(t *testing.T) {
	for seed := *from; seed < *from+uint64(*seeds); seed++ {
		l := newLife(seed)
		disk := vfs.NewCrashableMem()
		var durable journal.Seq
		for range 1 + l.some(5) {
			var err error
			if disk, durable, err = l.live(disk, durable); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	}
}
