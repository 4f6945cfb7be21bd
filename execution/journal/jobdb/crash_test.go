package jobdb_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/shuffle/segment/segmenttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	seeds = flag.Int("seeds", 40, "how many lives of a job are made up")
	from  = flag.Uint64("from", 1, "the first seed")
)

// life is a job that commits at random, and what should be on disk after each
// commit.
type life struct {
	t      *testing.T
	random *rand.Rand
	last   element.Number
	// after holds what is queued and the sum of a counter after each commit.
	after map[journal.Seq]moment
	now   moment
}

type moment struct {
	queued  map[element.Number]string
	counter int64
}

func (l *life) some(n int) int { return l.random.IntN(n) }

// commit makes a commit of some blocks, some of which are stored.
func (l *life) commit(db *jobdb.DB) error {
	c := &journal.Commit{}
	queued := maps.Clone(l.now.queued)
	for n := range queued {
		if l.some(4) == 0 {
			delete(queued, n)
			c.Consumed = append(c.Consumed, n)
		}
	}
	for range l.some(4) {
		l.last++
		data := bytes.Repeat([]byte{byte(l.last)}, 1+l.some(20_000))
		b := journal.Block{Stage: 1, Group: element.Unkeyed, Due: element.MinTime, Block: element.Block{Number: l.last, Count: 1}}
		if l.some(2) == 0 {
			s, err := db.Disk().Store(data)
			if err != nil {
				return err
			}
			b.Stored = s
		} else {
			b.Data = data[:min(len(data), 1000)]
		}
		queued[l.last] = string(data[:b.Size()])
		c.Queued = append(c.Queued, b)
	}
	n := int64(l.some(100))
	c.Metrics = []metrics.Info{counter(n)}
	seq, err := db.Append(context.Background(), c)
	if err != nil {
		return err
	}
	l.now = moment{queued, l.now.counter + n}
	l.after[seq] = l.now
	if l.some(30) == 0 {
		db.Collect() // what is free is overwritten
	}
	if l.some(3) == 0 {
		return db.Wait(context.Background(), seq)
	}
	return nil
}

func counter(n int64) metrics.Info {
	return metrics.Info{
		URN: "beam:metric:user:sum_int64:v1", Type: "beam:metrics:sum_int64:v1",
		Labels: map[string]string{"NAME": "n"}, Payload: varint(n),
	}
}

func varint(n int64) (b []byte) {
	for u := uint64(n); ; u >>= 7 {
		if u < 0x80 {
			return append(b, byte(u))
		}
		b = append(b, byte(u)|0x80)
	}
}

// resume checks that the database has a prefix of the commits which has at least
// those that were said to be durable.
func (l *life) resume(db *jobdb.DB, durable journal.Seq) error {
	seq := db.Last()
	want, ok := l.after[seq]
	if !ok || seq < durable {
		return fmt.Errorf("commit %d is the last, and %d was durable", seq, durable)
	}
	image := db.Image()
	if len(image.Queued) != len(want.queued) {
		return fmt.Errorf("%d blocks after commit %d, want %d", len(image.Queued), seq, len(want.queued))
	}
	for _, b := range image.Queued {
		m, err := b.InMemory()
		if err != nil {
			return fmt.Errorf("block %d after commit %d: %w", b.Number, seq, err)
		}
		if string(m.Data) != want.queued[b.Number] {
			return fmt.Errorf("block %d after commit %d has %d bytes, want %d", b.Number, seq, len(m.Data), len(want.queued[b.Number]))
		}
	}
	var sum metrics.Set
	if err := sum.Add([]metrics.Info{counter(0), counter(want.counter)}); err != nil {
		return err
	}
	if err := image.Metrics.Add([]metrics.Info{counter(0)}); err != nil {
		return err
	}
	if got, want := fmt.Sprint(image.Metrics.Infos()), fmt.Sprint(sum.Infos()); got != want {
		return fmt.Errorf("metrics after commit %d are %s, want %s", seq, got, want)
	}
	l.now = want
	return nil
}

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
		err = l.commit(d)
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
		l := &life{t: t, random: rand.New(rand.NewPCG(seed, 0)), after: map[journal.Seq]moment{}}
		l.now = moment{queued: map[element.Number]string{}}
		l.after[0] = l.now
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
