// Package jobdb keeps what a job is between two commits on disk: its rows in a
// Pebble database, what is too large for a row in segments.
//
// # Protocol
//
//  1. Whoever executes a bundle says what of it is to last ([shuffle.Later]), or
//     stores it in segments ([DB.Disk]) if memory has no room for it.
//  2. The job's loop makes the commit true in memory, and hands it over
//     ([DB.Append]), which does not wait for the disk.
//  3. The goroutine of the database takes all that has come, a group, stores what of
//     it the group itself does not consume, and syncs the segments. So nothing that
//     a row will refer to can be missing when it is.
//  4. It writes the group as one batch, with the number of its last commit, and
//     syncs it. The batch is there as a whole or not at all, and so is each commit.
//  5. It says so to whoever waits ([DB.Wait]): only now may anything be done
//     outside that cannot be taken back.
//  6. It lets go of what the group has consumed. A region of a segment is free when
//     neither memory nor a row refers to it.
//
// Whenever the process or the machine ends, the rows are those of a prefix of the
// commits, and all that they refer to is there.
//
// # Starting
//
// [Open] reads all rows but those of state into an image, and removes from the
// segments what none refers to. Nothing but rows is read: what they refer to is
// checked when it is loaded.
//
// A directory has one database at a time, in one process.
package jobdb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/shuffle/segment"
	"github.com/gorunner/gorunner/state"
	"github.com/gorunner/gorunner/state/pebblestore"
)

// Params are the settings of a DB; zero values stand for the defaults said with
// each.
type Params struct {
	// Dir is the directory, which is made if it is not there.
	Dir string
	// Plan is the text of the job's plan. A database is of one plan only.
	Plan string
	// Memory is the job's budget, and Disk its quota; default no bound.
	Memory, Disk *shuffle.Budget
	// MemoryBytes is what the database may take by itself; default and least 8 MiB.
	MemoryBytes int64
	// SyncInterval is the least time between the beginnings of two groups; default 5
	// ms, and less than 0 is none.
	SyncInterval time.Duration
	// IdleInterval is the same as long as nobody waits for a commit, and less than a
	// quarter of BehindBytes was handed over: what is consumed meanwhile is never
	// written. Default 200 ms, or none if SyncInterval is.
	IdleInterval time.Duration
	// BehindBytes is how much may have been handed over that is not on disk yet,
	// beyond which who commits waits; default 256 MiB, or an eighth of the budget if
	// that is less.
	BehindBytes int64
	// SegmentBytes is the size of a segment; default is that of package segment.
	SegmentBytes int64
	// FS and Files are the file system; default the operating system's. Files are
	// those of segments.
	FS    vfs.FS
	Files segment.Files
	// Log gets what is worth telling; default nothing.
	Log *slog.Logger
}

const (
	syncInterval = 5 * time.Millisecond
	idleInterval = 200 * time.Millisecond
	behindBytes  = 256 << 20
	behindLeast  = 1 << 20
	memoryShare  = 8
	// behindShare of what may be handed over makes a group urgent.
	behindShare = 4
	// togetherMin is what there has to be in a group for it to be stored in segments:
	// one that was written to has to be synced, besides the log. storeBytes is what is
	// stored at a time.
	togetherMin = 16 << 10
	storeBytes  = 1 << 20
)

func (p Params) withDefaults() Params {
	if p.SyncInterval == 0 {
		p.SyncInterval = syncInterval
	}
	if p.IdleInterval == 0 && p.SyncInterval > 0 {
		p.IdleInterval = idleInterval
	}
	if p.FS == nil {
		p.FS = vfs.Default
	}
	if p.Disk == nil {
		p.Disk = shuffle.NewBudget(nil, 0)
	}
	if p.Memory == nil {
		p.Memory = shuffle.NewBudget(nil, 0)
	}
	if p.BehindBytes == 0 {
		p.BehindBytes = behindBytes
		if limit := p.Memory.Limit(); limit > 0 {
			p.BehindBytes = min(p.BehindBytes, max(limit/memoryShare, behindLeast))
		}
	}
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	return p
}

// DB is the database of a job. It is safe for concurrent use.
type DB struct {
	params   Params
	table    *pebblestore.Table
	segments *segment.Disk
	image    *journal.Image
	blocks   int // of the image
	about    about

	// What follows belongs to the goroutine of the database.
	metrics metrics.Set
	refs    references
	mark    mark

	work chan struct{} // has one when there is something to do
	// hurry has one when it may have become urgent.
	hurry chan struct{}
	done  chan struct{} // closed when the goroutine has ended
	held  atomic.Bool   // there is a snapshot

	mu      sync.Mutex
	pending []pending   // guarded by mu; what was handed over
	behind  int64       // guarded by mu; the bytes of it and of what is being written
	last    journal.Seq // guarded by mu; of the last commit that was handed over
	durable journal.Seq // guarded by mu
	failed  error       // guarded by mu
	closing bool        // guarded by mu
	asked   []*asked    // guarded by mu; snapshots that are to be made
	waiting int         // guarded by mu; those who wait for commits
	// moved is closed and made anew when what is guarded by mu has changed for
	// those who wait; guarded by mu.
	moved chan struct{}
}

// pending is a commit that was handed over.
type pending struct {
	seq    journal.Seq
	commit *journal.Commit
	bytes  int64
}

// epochBits is how far the epoch is shifted in the numbers of segments.
const epochBits = 32

// The rows of the database itself, and those of state.
const (
	rowAbout = 'j'
	rowPlan  = 'i' // its text, which never changes
	rowState = 's'
)

// Open opens the database of a directory.
func Open(p Params) (*DB, error) {
	p = p.withDefaults()
	d := &DB{
		params: p, image: &journal.Image{}, refs: newReferences(),
		work: make(chan struct{}, 1), hurry: make(chan struct{}, 1), done: make(chan struct{}), moved: make(chan struct{}),
	}
	var err error
	if d.table, err = pebblestore.Open(pebblestore.Params{
		Dir: filepath.Join(p.Dir, RowsDir), FS: p.FS, Lasting: true, Kind: "gorunner.job.1", Prefix: prefixOf,
		MemoryBytes: p.MemoryBytes, Memory: p.Memory.Account("database"), Disk: p.Disk.Account("database"),
	}); err != nil {
		return nil, fmt.Errorf("open job in %s: %w", p.Dir, err)
	}
	if err = d.open(); err != nil {
		return nil, fmt.Errorf("open job in %s: %w", p.Dir, errors.Join(err, d.closeFiles()))
	}
	go d.run()
	return d, nil
}

func (d *DB) open() error {
	p := d.params
	dir := p.FS.PathJoin(p.Dir, SegmentsDir)
	err := p.FS.MkdirAll(dir, 0o700)
	if err == nil {
		err = errors.Join(pebblestore.SyncDir(p.FS, p.Dir), pebblestore.SyncDir(p.FS, p.FS.PathDir(p.Dir)))
	}
	if err != nil {
		return err
	}
	if err := d.readAbout(); err != nil {
		return err
	}
	// Checkpoints know segments by their numbers, and forget them after they are
	// removed: no process may give a number that one before has given.
	first := (d.about.epoch+1)<<epochBits + 1
	if d.segments, err = segment.Open(segment.Params{
		Dir: dir, Named: true, First: first, Quota: p.Disk, Files: p.Files, SegmentBytes: p.SegmentBytes,
	}); err != nil {
		return err
	}
	if err := d.openMark(); err != nil {
		return err
	}
	for _, kind := range journal.Kinds() {
		if err := d.table.Scan(kind[0], kind[1], func(key, value []byte) error { return d.image.Read(key, value, d.segments.At) }); err != nil {
			return err
		}
	}
	d.refs.adopt(d.image)
	d.blocks = len(d.image.Queued)
	if err := d.metrics.Merge(&d.image.Metrics); err != nil {
		return err
	}
	d.last, d.durable = d.about.seq, d.about.seq
	d.about.epoch++
	if err := d.writeAbout(); err != nil {
		return err
	}
	return d.segments.Sweep()
}

// prefixOf says what rows have in common that are looked for together.
func prefixOf(key []byte) int {
	if len(key) > 0 && key[0] == rowState {
		return 1 + state.CellSize(key[1:])
	}
	return len(key)
}

// about is what the database knows of itself.
type about struct {
	version uint64
	epoch   uint64
	seq     journal.Seq
}

// The reasons not to go on with what is found.
var (
	// ErrVersion says that another version of the runner has written it.
	ErrVersion = errors.New("written by another version")
	// ErrPlan says that it is of another plan.
	ErrPlan = errors.New("of another plan")
)

// IsCorrupt says whether an error comes from files that are not what was written.
func IsCorrupt(err error) bool {
	return errors.Is(err, journal.ErrRow) || errors.Is(err, errRowsLost) || segment.IsCorrupt(err) || pebblestore.IsCorrupt(err)
}

func (d *DB) readAbout() error {
	found := false
	if err := d.table.Scan([]byte{rowAbout}, []byte{rowAbout + 1}, func(_, value []byte) error {
		found = true
		a := &d.about
		for _, n := range [...]*uint64{&a.version, &a.epoch, (*uint64)(&a.seq)} {
			v, size := binary.Uvarint(value)
			if size <= 0 {
				return fmt.Errorf("%w: about the job", journal.ErrRow)
			}
			*n, value = v, value[size:]
		}
		return nil
	}); err != nil {
		return err
	}
	if !found {
		d.about = about{version: journal.Version}
		return nil
	}
	if d.about.version != journal.Version {
		return fmt.Errorf("%w: format %d, want %d", ErrVersion, d.about.version, journal.Version)
	}
	return d.table.Scan([]byte{rowPlan}, []byte{rowPlan + 1}, func(_, value []byte) error {
		if was := string(value); was != d.params.Plan {
			return fmt.Errorf("%w: %s", ErrPlan, difference(was, d.params.Plan))
		}
		return nil
	})
}

// difference says where two texts of plans begin to differ.
func difference(was, is string) string {
	a, b := strings.Split(was, "\n"), strings.Split(is, "\n")
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	line := func(lines []string) string {
		if i == len(lines) {
			return "its end"
		}
		return strconv.Quote(lines[i])
	}
	return fmt.Sprintf("line %d was %s and is %s", i+1, line(a), line(b))
}

// writeAbout says that another process has the job now.
func (d *DB) writeAbout() error {
	b := d.table.Batch()
	err := b.Set([]byte{rowPlan}, []byte(d.params.Plan))
	if err == nil {
		err = d.putAbout(b)
	}
	if err == nil {
		err = b.Commit()
	}
	return errors.Join(err, b.Close())
}

func (d *DB) putAbout(b state.Batch) error {
	row := binary.AppendUvarint(nil, d.about.version)
	row = binary.AppendUvarint(row, d.about.epoch)
	return b.Set([]byte{rowAbout}, binary.AppendUvarint(row, uint64(d.about.seq)))
}

// Epoch counts how often the job was opened, from 1.
func (d *DB) Epoch() uint64 { return d.about.epoch }

// Image returns what was found, once: a new job has an empty one.
func (d *DB) Image() *journal.Image {
	m := d.image
	d.image = nil
	return m
}

// Blocks is the number of blocks that waited when the job was opened.
func (d *DB) Blocks() int { return d.blocks }

// Disk takes what a job stores in segments.
func (d *DB) Disk() shuffle.Disk { return d.segments }

// State has the rows of state, as of the commits that are durable, or some more.
func (d *DB) State() state.Reader { return d.table.Under(rowState) }

// Append hands a commit over, which must not be changed afterwards, and returns
// its number. It waits if too much was handed over that is not on disk yet. An
// error says that this commit, and what comes after, never will be.
func (d *DB) Append(ctx context.Context, c *journal.Commit) (journal.Seq, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.failed == nil && !d.closing && d.behind > d.params.BehindBytes {
		if err := d.await(ctx); err != nil {
			return 0, err
		}
	}
	switch {
	case d.failed != nil:
		return 0, d.failed
	case d.closing:
		return 0, ErrClosed
	}
	d.last++
	p := pending{d.last, c, int64(c.Bytes())}
	d.pending = append(d.pending, p)
	if d.behind += p.bytes; d.behind > d.params.BehindBytes/behindShare {
		d.hurried()
	}
	d.wake()
	return p.seq, nil
}

// wake tells the goroutine that there is something to do. The caller holds mu, and
// the database is not closing.
func (d *DB) wake() {
	select {
	case d.work <- struct{}{}:
	default:
	}
}

// Collect gives back the space of what neither memory nor a row refers to.
func (d *DB) Collect() { d.segments.Collect() }

// Last is the number of the last commit that was handed over.
func (d *DB) Last() journal.Seq {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// Durable is the number of the last commit that outlives the end of the machine.
func (d *DB) Durable() journal.Seq {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.durable
}

// Wait returns when a commit outlives the end of the machine. An error says that
// it does not, or not yet.
func (d *DB) Wait(ctx context.Context, seq journal.Seq) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting++
	defer func() { d.waiting-- }()
	for d.durable < seq {
		if d.failed != nil {
			return d.failed
		}
		d.hurried()
		if err := d.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// await lets go of mu until something has changed.
func (d *DB) await(ctx context.Context) error {
	moved := d.moved
	d.mu.Unlock()
	defer d.mu.Lock()
	select {
	case <-moved:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ErrClosed is the answer of a database that was closed.
var ErrClosed = errors.New("the job's database is closed")

// Close writes what was handed over and closes the files. The job can be opened
// again.
func (d *DB) Close() error {
	d.mu.Lock()
	closing := d.closing
	d.closing = true
	d.mu.Unlock()
	if closing {
		<-d.done
		return nil
	}
	d.hurried()
	close(d.work)
	<-d.done
	return d.closeFiles()
}

func (d *DB) closeFiles() error {
	errs := []error{d.mark.close()}
	if d.segments != nil {
		errs = append(errs, d.segments.Close())
	}
	return errors.Join(append(errs, d.table.Close())...)
}
