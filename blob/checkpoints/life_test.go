package checkpoints_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorunner/gorunner/blob"
	"github.com/gorunner/gorunner/blob/blobtest"
	"github.com/gorunner/gorunner/blob/checkpoints"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/checkpoint"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
)

// machine is a job on a machine: its directory, its database and its keeper.
type machine struct {
	t      *testing.T
	random *rand.Rand
	store  *blob.Store
	root   string // of directories
	dir    string
	db     *jobdb.DB
	keeper *checkpoints.Keeper
	cfg    checkpoint.Config

	// after has what is queued after each commit, of this life of the job.
	after map[journal.Seq]map[element.Number]string
	last  element.Number

	mu    sync.Mutex
	seen  []checkpoints.Observation // guarded by mu
	taken chan struct{}             // closed when the job was overtaken
}

func newMachine(t *testing.T, random *rand.Rand, store *blob.Store) *machine {
	t.Helper()
	root := t.TempDir()
	m := &machine{
		t: t, random: random, store: store, root: root, cfg: checkpoint.DefaultConfig(),
		after: map[journal.Seq]map[element.Number]string{0: {}},
	}
	m.cfg.Interval, m.cfg.RetryMin, m.cfg.RetryMax = 0, time.Millisecond, 20*time.Millisecond
	if err := os.WriteFile(filepath.Join(root, "artifact-1"), []byte("the code"), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

// open begins a process in a directory.
func (m *machine) open(dir string) error {
	m.dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	db, err := jobdb.Open(jobdb.Params{Dir: dir, Plan: "plan", SyncInterval: -1, SegmentBytes: 100_000})
	if err != nil {
		return err
	}
	m.db = db
	home, err := checkpoints.OpenHome(dir)
	if err != nil {
		return err
	}
	runner := checkpoints.NewRunner(home.Lineage)
	m.taken = make(chan struct{})
	taken := m.taken
	m.keeper = checkpoints.Start(checkpoints.KeeperParams{
		Store: m.store, ID: "j", Runner: runner, Restored: home.Restored, Config: m.cfg,
		Job: checkpoints.NewJob(checkpoints.JobParams{Database: db, Plan: "p", Others: m.others}, checkpoints.Process(runner)),
		Observe: func(o checkpoints.Observation) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.seen = append(m.seen, o)
			if _, ok := o.(checkpoints.Overtaken); ok {
				close(taken)
			}
		},
	})
	return nil
}

func (m *machine) others() ([]checkpoints.Other, error) {
	if err := os.WriteFile(filepath.Join(m.root, "job"), []byte("what it is"), 0o600); err != nil {
		return nil, err
	}
	return []checkpoints.Other{
		{Kind: checkpoint.Description, Name: "job", Path: filepath.Join(m.root, "job")},
		{Kind: checkpoint.Artifact, Name: "artifact-1", Path: filepath.Join(m.root, "artifact-1")},
		{Kind: checkpoint.DeadLetter, Name: "parked-1.jsonl", Path: filepath.Join(m.root, "artifact-1")},
	}, nil
}

func (m *machine) close() error {
	m.keeper.Close()
	return m.db.Close()
}

func (m *machine) some(n int) int { return m.random.IntN(n) }

// commit changes what is queued, by about so many bytes.
func (m *machine) commit(size int) error {
	c := &journal.Commit{}
	queued := maps.Clone(m.after[m.db.Last()])
	for n := range queued {
		if m.some(8) == 0 {
			delete(queued, n)
			c.Consumed = append(c.Consumed, n)
		}
	}
	for range 1 + m.some(3) {
		m.last++
		b := journal.Block{Stage: 1, Group: element.Unkeyed, Due: element.MinTime, Block: element.Block{Number: m.last, Count: 1}}
		data := make([]byte, 1+m.some(size))
		for i := range data {
			data[i] = byte(m.random.Uint32())
		}
		if m.some(3) > 0 {
			s, err := m.db.Disk().Store(data)
			if err != nil {
				return err
			}
			b.Stored = s
		} else {
			b.Data = data
		}
		queued[m.last] = string(data)
		c.Queued = append(c.Queued, b)
	}
	seq, err := m.db.Append(m.t.Context(), c)
	m.after[seq] = queued
	return err
}

func (m *machine) commits(n, size int) error {
	for range n {
		if err := m.commit(size); err != nil {
			return err
		}
	}
	return nil
}

// check fails unless a database is what the job was after one of its commits, from
// one on.
func (m *machine) check(db *jobdb.DB, least journal.Seq) error {
	seq := db.Last()
	want, ok := m.after[seq]
	if !ok || seq < least {
		return fmt.Errorf("commit %d was restored, and %d is in a checkpoint", seq, least)
	}
	image := db.Image()
	if len(image.Queued) != len(want) {
		return fmt.Errorf("%d blocks after commit %d, want %d", len(image.Queued), seq, len(want))
	}
	for _, b := range image.Queued {
		loaded, err := b.InMemory()
		if err != nil {
			return err
		}
		if string(loaded.Data) != want[b.Number] {
			return fmt.Errorf("block %d after commit %d is another", b.Number, seq)
		}
	}
	return nil
}

func (m *machine) target(dir string) func() (checkpoints.Target, error) {
	return func() (checkpoints.Target, error) {
		err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700), os.MkdirAll(filepath.Join(m.root, "artifacts"), 0o700))
		return checkpoints.Target{Dir: dir, Artifacts: filepath.Join(m.root, "artifacts"), Dead: filepath.Join(dir, "dead")}, err
	}
}

var place = checkpoints.Place{Store: "test:", ID: "j"}

// A job is checkpointed while it commits, its machine is lost, and it goes on on
// another, as it was at its last checkpoint or later: again and again, over a store
// that fails. Sometimes only the process ends.
func TestMachinesAreLost(t *testing.T) {
	seeds := uint64(6)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		random := rand.New(rand.NewPCG(seed, 7))
		memory := new(blobtest.Memory)
		m := newMachine(t, random, blob.New("test:", memory))
		memory.Script = flaky(rand.New(rand.NewPCG(seed, 8)))
		if err := m.lives(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// flaky lets some operations fail.
func flaky(random *rand.Rand) func(blobtest.Op) blobtest.Fault {
	faults := []blobtest.Fault{blobtest.Fail, blobtest.Lose, blobtest.Tear}
	return func(blobtest.Op) blobtest.Fault {
		if random.IntN(20) == 0 {
			return faults[random.IntN(len(faults))]
		}
		return blobtest.None
	}
}

func (m *machine) lives() error {
	stored, least := journal.Seq(0), journal.Seq(0) // in a checkpoint, and here
	dir := filepath.Join(m.root, "0")
	for n := range 5 {
		if err := m.open(dir); err != nil {
			return err
		}
		if err := m.check(m.db, least); err != nil {
			return fmt.Errorf("life %d: %w", n, errors.Join(err, m.close()))
		}
		local, err := m.live(&stored)
		if err != nil {
			return fmt.Errorf("life %d: %w", n, err)
		}
		if m.some(3) == 0 { // the process alone
			least = local
			continue
		}
		least = stored
		next := filepath.Join(m.root, fmt.Sprint(n+1))
		out, err := checkpoints.Restore(m.t.Context(), m.store, place, m.target(next))
		if err != nil {
			return fmt.Errorf("life %d: %w", n, err)
		}
		if err := m.checkFiles(next, out); err != nil {
			return err
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		dir = next
	}
	return nil
}

func (m *machine) checkFiles(dir string, out *checkpoints.Restored) error {
	job, err := os.ReadFile(filepath.Join(dir, "job"))
	if err != nil || string(job) != "what it is" {
		return fmt.Errorf("description %q, error %w", job, err)
	}
	artifact, err := os.ReadFile(filepath.Join(m.root, "artifacts", "artifact-1"))
	if err != nil || string(artifact) != "the code" {
		return fmt.Errorf("artifact %q, error %w", artifact, err)
	}
	letter, err := os.ReadFile(filepath.Join(dir, "dead", "parked-1.jsonl"))
	if err != nil || string(letter) != "the code" {
		return fmt.Errorf("dead letter %q, error %w", letter, err)
	}
	if len(out.Problems) > 0 {
		return fmt.Errorf("problems: %q", out.Problems)
	}
	return nil
}

// live commits and makes checkpoints, and returns up to which commit the directory
// has them; least is in a checkpoint.
func (m *machine) live(stored *journal.Seq) (local journal.Seq, err error) {
	for range 2 + m.some(3) {
		if err := m.commits(m.some(20), 30_000); err != nil {
			return 0, errors.Join(err, m.close())
		}
		before := m.db.Durable()
		made := make(chan error, 1)
		go func() {
			_, err := m.keeper.Make(m.t.Context(), checkpoint.Checkpoint)
			made <- err
		}()
		if err := m.commits(m.some(20), 30_000); err != nil {
			return 0, errors.Join(err, m.close())
		}
		if m.some(6) == 0 {
			break // the machine ends in the middle of it
		}
		if err := <-made; err == nil {
			*stored = max(*stored, before)
		}
	}
	if *stored == 0 {
		if _, err := m.keeper.Make(m.t.Context(), checkpoint.Checkpoint); err != nil {
			return 0, errors.Join(err, m.close())
		}
	}
	return m.db.Last(), m.close()
}

// A checkpoint stores what has come since the one before, or was written anew, also
// if that was made by another process, or on another machine.
func TestUploadsWhatIsNew(t *testing.T) {
	memory := new(blobtest.Memory)
	m := newMachine(t, rand.New(rand.NewPCG(1, 1)), blob.New("test:", memory))
	dir := filepath.Join(m.root, "0")
	const block = 400_000
	var uploaded, all int64
	for round := range 6 {
		if err := m.open(dir); err != nil {
			t.Fatal(err)
		}
		before := m.db.Last()
		count := 2
		if round == 0 {
			count = 60
		}
		m.queue(count, block)
		info, err := m.keeper.Make(t.Context(), checkpoint.Checkpoint)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d, commits %d to %d: %d of %d bytes in %v", round, before, m.db.Last(), info.Uploaded, info.Bytes, info.Took)
		if info.Bytes < int64(60*block) || round == 0 && info.Uploaded > int64(count*block+100_000) {
			t.Errorf("round %d: %d of %d bytes were stored", round, info.Uploaded, info.Bytes)
		}
		again, err := m.keeper.Make(t.Context(), checkpoint.Savepoint)
		if err != nil {
			t.Fatal(err)
		}
		if round > 0 { // of the first, everything is new
			uploaded += info.Uploaded + again.Uploaded
			all += info.Bytes + again.Bytes
		}
		if err := m.close(); err != nil {
			t.Fatal(err)
		}
		if round == 2 {
			dir = filepath.Join(m.root, "1")
			if _, err := checkpoints.Restore(t.Context(), m.store, place, m.target(dir)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if uploaded > all/5 {
		t.Errorf("%d of %d bytes were stored again", uploaded, all)
	}
	// Tables of rows are written anew by compactions; what is in segments never is.
	packed := int64(0)
	for info, err := range m.store.List(t.Context(), "jobs/j/data/") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(info.Name), "segment-pack") {
			packed += info.Size
		}
	}
	if least := int64(35 * block); packed < least || packed > least+10_000 {
		t.Errorf("%d bytes of segments are stored, of %d", packed, least)
	}
}

// queue commits blocks of random bytes, half of them in rows, one after the other,
// for good.
func (m *machine) queue(count, size int) {
	m.t.Helper()
	for i := range count {
		m.last++
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(m.random.Uint32())
		}
		b := journal.Block{Stage: 1, Group: element.Unkeyed, Due: element.MinTime, Block: element.Block{Number: m.last, Count: 1, Data: data}}
		if i%2 == 0 {
			s, err := m.db.Disk().Store(data)
			if err != nil {
				m.t.Fatal(err)
			}
			b.Data, b.Stored = nil, s
		}
		queued := maps.Clone(m.after[m.db.Last()])
		seq, err := m.db.Append(m.t.Context(), &journal.Commit{Queued: []journal.Block{b}})
		if err != nil {
			m.t.Fatal(err)
		}
		queued[m.last] = string(data)
		m.after[seq] = queued
	}
	if err := m.db.Wait(m.t.Context(), m.db.Last()); err != nil {
		m.t.Fatal(err)
	}
}

// A machine that still lives when its job was restored elsewhere is told, and what
// it goes on with is never restored. Neither can it come back later.
func TestOldMachineIsFenced(t *testing.T) {
	memory := new(blobtest.Memory)
	store := blob.New("test:", memory)
	old := newMachine(t, rand.New(rand.NewPCG(1, 1)), store)
	if err := old.open(filepath.Join(old.root, "0")); err != nil {
		t.Fatal(err)
	}
	old.queue(3, 1000)
	if _, err := old.keeper.Make(t.Context(), checkpoint.Checkpoint); err != nil {
		t.Fatal(err)
	}
	fresh := newMachine(t, rand.New(rand.NewPCG(2, 2)), store)
	dir := filepath.Join(fresh.root, "0")
	if _, err := checkpoints.Restore(t.Context(), store, place, fresh.target(dir)); err != nil {
		t.Fatal(err)
	}
	old.queue(3, 1000)
	if info, err := old.keeper.Make(t.Context(), checkpoint.Checkpoint); err == nil {
		t.Fatalf("the old machine has made %+v", info)
	}
	<-old.taken
	if err := old.close(); err != nil {
		t.Fatal(err)
	}
	if err := fresh.open(dir); err != nil {
		t.Fatal(err)
	}
	if got := fresh.db.Last(); got != 3 {
		t.Errorf("commit %d was restored, want 3", got)
	}
	if _, err := fresh.keeper.Make(t.Context(), checkpoint.Checkpoint); err != nil {
		t.Fatal(err)
	}
	if err := old.open(old.dir); err != nil {
		t.Fatal(err)
	}
	<-old.taken
	if _, err := fresh.keeper.Make(t.Context(), checkpoint.Checkpoint); err != nil {
		t.Errorf("the old machine is in the way of the new one: %v", err)
	}
	if err := errors.Join(old.close(), fresh.close()); err != nil {
		t.Fatal(err)
	}
}

// A job that has ended leaves its savepoints, and is not restored unless its user
// says from where.
func TestEnd(t *testing.T) {
	store := blob.New("test:", new(blobtest.Memory))
	m := newMachine(t, rand.New(rand.NewPCG(1, 1)), store)
	if err := m.open(filepath.Join(m.root, "0")); err != nil {
		t.Fatal(err)
	}
	m.queue(3, 1000)
	savepoint, err := m.keeper.Make(t.Context(), checkpoint.Savepoint)
	if err != nil {
		t.Fatal(err)
	}
	m.queue(3, 1000)
	if _, err := m.keeper.Make(t.Context(), checkpoint.Checkpoint); err != nil {
		t.Fatal(err)
	}
	if err := m.keeper.End(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.keeper.Make(t.Context(), checkpoint.Checkpoint); !errors.Is(err, checkpoints.ErrClosed) {
		t.Errorf("checkpoint after the end: %v", err)
	}
	dir := filepath.Join(m.root, "1")
	if _, err := checkpoints.Restore(t.Context(), store, place, m.target(dir)); !errors.Is(err, checkpoints.ErrEnded) {
		t.Errorf("restore of what has ended: %v", err)
	}
	named, err := checkpoints.ParsePlace(savepoint.URI)
	if err != nil || named.URI() != savepoint.URI {
		t.Fatalf("%s is %+v, error %v", savepoint.URI, named, err)
	}
	out, err := checkpoints.Restore(t.Context(), store, named, m.target(dir))
	if err != nil || out.Entry.Slot != savepoint.Slot {
		t.Fatalf("restored %+v, error %v", out, err)
	}
	db, err := jobdb.Open(jobdb.Params{Dir: dir, Plan: "plan"})
	if err != nil {
		t.Fatal(err)
	}
	if got := db.Last(); got != 3 {
		t.Errorf("commit %d was restored, want 3", got)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	ids, err := checkpoints.Jobs(t.Context(), store)
	if err != nil || fmt.Sprint(ids) != "[j]" {
		t.Errorf("jobs %v, error %v", ids, err)
	}
	if _, err := checkpoints.Restore(t.Context(), store, checkpoints.Place{ID: "other"}, m.target(dir)); !errors.Is(err, checkpoints.ErrNothing) {
		t.Errorf("restore of nothing: %v", err)
	}
}

// Trouble with the store is told, and is over when the store is well again.
func TestTrouble(t *testing.T) {
	memory := new(blobtest.Memory)
	m := newMachine(t, rand.New(rand.NewPCG(1, 1)), blob.New("test:", memory))
	var mu sync.Mutex
	down := true
	memory.Script = func(op blobtest.Op) blobtest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if down && op.Kind == blobtest.Put && strings.Contains(op.Name, "/data/") {
			return blobtest.Refuse
		}
		return blobtest.None
	}
	if err := m.open(filepath.Join(m.root, "0")); err != nil {
		t.Fatal(err)
	}
	m.queue(3, 1000)
	_, err := m.keeper.Make(t.Context(), checkpoint.Checkpoint)
	if err == nil || !strings.Contains(err.Error(), "upload") {
		t.Errorf("checkpoint without a store: %v", err)
	}
	if s := m.keeper.Status(); s.Failed == 0 || s.Problem == "" || s.Last != nil {
		t.Errorf("status %+v", s)
	}
	mu.Lock()
	down = false
	mu.Unlock()
	if _, err := m.keeper.Make(t.Context(), checkpoint.Checkpoint); err != nil {
		t.Error(err)
	}
	if s := m.keeper.Status(); s.Made != 1 || s.Problem != "" || s.Last == nil || s.Uploaded < 3000 {
		t.Errorf("status %+v", s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.keeper.Make(ctx, checkpoint.Checkpoint); !errors.Is(err, context.Canceled) {
		t.Errorf("checkpoint for nobody: %v", err)
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
}
