package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
	"github.com/gorunner/gorunner/state/statetest"
)

// memJournal is a journal in memory. A commit is durable when somebody waits for
// it, or by chance a while after.
type memJournal struct {
	disk  *memDisk
	state *statetest.Table // as of durable
	epoch uint64
	image *journal.Image
	first journal.Seq // of commits

	mu      sync.Mutex
	random  *rand.Rand        // guarded by mu
	commits []*journal.Commit // guarded by mu
	durable journal.Seq       // guarded by mu
	// held keeps everything from becoming durable until it is nil; guarded by mu.
	held chan struct{}
	// ending is told of each commit that was taken, and may end the process: what is
	// to be committed from then on is refused.
	ending func(seq journal.Seq) bool
	ended  bool // guarded by mu
}

var _ Journal = (*memJournal)(nil)

var errProcessEnded = errors.New("the process has ended")

func newMemJournal(seed uint64) *memJournal {
	return &memJournal{disk: &memDisk{}, state: &statetest.Table{}, epoch: 1, image: &journal.Image{}, random: rand.New(rand.NewPCG(seed, 3)), first: 1}
}

func (j *memJournal) Image() *journal.Image { return j.image }
func (j *memJournal) Epoch() uint64         { return j.epoch }
func (j *memJournal) Disk() shuffle.Disk    { return j.disk }
func (j *memJournal) State() state.Reader   { return j.state }
func (j *memJournal) Collect()              {}

func (j *memJournal) Last() journal.Seq {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last()
}

func (j *memJournal) last() journal.Seq { return j.first + journal.Seq(len(j.commits)) - 1 }

func (j *memJournal) Durable() journal.Seq {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.durable
}

func (j *memJournal) Append(_ context.Context, c *journal.Commit) (journal.Seq, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ended {
		return 0, errProcessEnded
	}
	j.commits = append(j.commits, c)
	seq := j.last()
	if j.ending != nil && j.ending(seq) {
		j.ended = true
	}
	if j.held == nil && j.random.IntN(5) == 0 {
		return seq, j.settle(seq - min(seq-j.durable, journal.Seq(j.random.IntN(5))))
	}
	return seq, nil
}

// settle makes commits durable.
func (j *memJournal) settle(to journal.Seq) error {
	for ; j.durable < to; j.durable++ {
		b := j.state.Batch()
		if err := errors.Join(j.commits[j.durable+1-j.first].State.Apply(b), b.Commit()); err != nil {
			return err
		}
	}
	return nil
}

func (j *memJournal) Wait(ctx context.Context, seq journal.Seq) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.held != nil && j.durable < seq {
		held := j.held
		j.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
		}
		j.mu.Lock()
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	if j.ended && seq > j.durable {
		return errProcessEnded
	}
	return j.settle(seq)
}

// release lets commits become durable again.
func (j *memJournal) release() {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.held)
	j.held = nil
}

// rows are what is left of commits, besides state.
type memRows struct {
	simRows
	metrics metrics.Set
}

// next is the journal as another process finds it, some of whose commits that were
// not durable are lost.
func (j *memJournal) next(rows *memRows) (*memJournal, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	last := j.durable + journal.Seq(j.random.IntN(int(j.last()-j.durable)+1))
	if err := j.settle(last); err != nil {
		return nil, err
	}
	for _, c := range j.commits[:last+1-j.first] {
		changes, err := c.Changes()
		if err == nil {
			err = errors.Join(changes.Apply(rows.simRows), rows.metrics.Add(c.Metrics))
		}
		if err != nil {
			return nil, err
		}
	}
	image, err := rows.image(j.disk.at)
	if err != nil {
		return nil, err
	}
	if err := image.Metrics.Merge(&rows.metrics); err != nil {
		return nil, err
	}
	return &memJournal{
		disk: j.disk, state: j.state, epoch: j.epoch + 1, image: image, first: last + 1, durable: last, random: j.random, ending: j.ending,
	}, nil
}

// memDisk keeps what is stored, and where it is.
type memDisk struct {
	mu sync.Mutex
	simDisk
}

func (d *memDisk) Store(parts ...[]byte) (element.Stored, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.simDisk.Store(parts...)
}

func (d *memDisk) at(p element.Place) (element.Stored, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s, err := d.simDisk.at(p); err == nil {
		return s, nil
	}
	return nil, fmt.Errorf("%w: nothing at %+v", shuffle.ErrDisk, p)
}
