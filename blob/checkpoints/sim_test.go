package checkpoints_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/gorunner/gorunner/blob"
	"github.com/gorunner/gorunner/blob/blobtest"
	"github.com/gorunner/gorunner/blob/checkpoints"
	"github.com/gorunner/gorunner/execution/checkpoint"
)

const prefix = "jobs/j"

// world is a store, and runners of one job one after the other, of which the old
// ones may not know that they are.
type world struct {
	t      *testing.T
	random *rand.Rand
	memory *blobtest.Memory
	now    time.Time
	// late says that lists lag, in which case runners that are replaced are dead.
	late    bool
	faulty  bool
	runners []*runner // the last is the one that has the job
	serial  int
	// acked is the newest slot of which a runner was told that it is committed,
	// savepoints are those that users rely on.
	acked      checkpoint.Slot
	savepoints map[checkpoint.Slot]*checkpoint.Entry
	log        []string

	commits, fences int
}

// runner is a process that has the job, or thinks so.
type runner struct {
	w    *world
	name string
	exec *checkpoints.Executor

	recovery    *checkpoint.Recovery
	coordinator *checkpoint.Coordinator
	pending     []checkpoint.Act // not carried out yet
	fenced      bool

	// version counts what the job has done; files are those of its state.
	version int
	files   []checkpoint.File
	held    bool // a cut is
}

// content of a file follows from its name.
func content(name string) string { return strings.Repeat(name+"\n", 3) }

func makeFile(kind checkpoint.FileKind, name string) checkpoint.File {
	c := content(name)
	return checkpoint.File{Kind: kind, Name: name, Size: int64(len(c)), Sum: checkpoint.Sum(xxhash.Sum64String(c))}
}

func (r *runner) Cut(context.Context, checkpoint.EntryKind) (checkpoint.Cut, error) {
	if r.held {
		r.w.t.Fatalf("%s: a cut is taken before the last one was released", r.name)
	}
	r.held = true
	if r.w.faulty && r.w.between(0, 9) == 0 {
		return checkpoint.Cut{}, fmt.Errorf("no cut")
	}
	snapshot := makeFile(checkpoint.Snapshot, fmt.Sprintf("version-%d-of-%s", r.version, r.name))
	return checkpoint.Cut{Plan: "plan", Files: append(slices.Clone(r.files), snapshot)}, nil
}

type file struct{ *strings.Reader }

func (file) Close() error { return nil }

func (r *runner) Open(_ context.Context, f checkpoint.File) (checkpoints.Content, error) {
	if !r.held {
		r.w.t.Fatalf("%s: %s is opened without a cut", r.name, f.Name)
	}
	return file{strings.NewReader(content(f.Name))}, nil
}

func (r *runner) Stored(checkpoint.File) {}

func (r *runner) Release() { r.held = false }

// work changes the state of the job.
func (r *runner) work() {
	r.version++
	if len(r.files) > 3 {
		r.files = slices.Delete(r.files, 0, r.w.between(0, 3))
	}
	for range r.w.between(0, 2) {
		r.w.serial++
		kind := []checkpoint.FileKind{checkpoint.Table, checkpoint.Segment}[r.w.between(0, 1)]
		r.files = append(r.files, makeFile(kind, fmt.Sprintf("%06d.x", r.w.serial)))
	}
}

// start makes a new runner, which begins to recover.
func (w *world) start() {
	w.serial++
	r := &runner{w: w, name: fmt.Sprintf("runner-%d", w.serial)}
	r.exec = checkpoints.New(blob.New("test:", w.memory), prefix, r)
	r.recovery = checkpoint.NewRecovery("j", r.name)
	r.pending = r.recovery.Begin()
	w.runners = append(w.runners, r)
}

func (w *world) note(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

// carryOut does one of the acts that are pending, in any order, and hands its
// outcome over, unless the runner is killed in between.
func (r *runner) carryOut(i int, killed bool) {
	act := r.pending[i]
	r.pending = slices.Delete(r.pending, i, i+1)
	o := r.exec.Do(r.w.t.Context(), act)
	r.w.note("%s: %T %v -> %v", r.name, act, act, o.Result)
	switch {
	case killed:
	case r.coordinator == nil:
		r.take(r.recovery.Step(o))
		r.recovered()
	default:
		r.step(o)
	}
}

func (r *runner) step(e checkpoint.Event) { r.take(r.coordinator.Step(r.w.now, e)) }

// take looks at new acts. Those that are not answered are done at once: the next
// act may be another cut.
func (r *runner) take(acts []checkpoint.Act) {
	for _, act := range acts {
		if checkpoint.IsAnswered(act) {
			r.pending = append(r.pending, act)
			continue
		}
		r.exec.Do(r.w.t.Context(), act)
		if report, ok := act.(checkpoint.Report); ok && report.Entry != nil {
			r.w.committed(r, report.Entry)
		}
		if _, ok := act.(checkpoint.Fenced); ok {
			r.fenced = true
			r.w.fences++
		}
	}
}

func (w *world) committed(r *runner, e *checkpoint.Entry) {
	w.note("%s: committed %d", r.name, e.Slot)
	w.commits++
	w.acked = max(w.acked, e.Slot)
	if e.Kind == checkpoint.Savepoint {
		w.savepoints[e.Slot] = e
	}
}

// recovered begins the job where the recovery has ended, if it has.
func (r *runner) recovered() {
	if len(r.pending) > 0 {
		return
	}
	out, err := r.recovery.Result()
	if err != nil {
		r.w.note("%s: %v", r.name, err)
		r.fenced = true // it is started anew
		return
	}
	newest := checkpoint.Slot(0)
	if out.Base != nil {
		newest = out.Base.Slot
		r.version = 1
		for _, f := range out.Base.Files {
			f.Blob = ""
			if f.Kind != checkpoint.Snapshot {
				r.files = append(r.files, f)
			}
		}
		r.w.whole("base", out.Base)
	}
	r.w.note("%s: recovered from %d, epoch %d, problems %q", r.name, newest, out.Epoch(), out.Problems)
	if newest < r.w.acked && checkpoint.Epoch(r.w.acked) < out.Epoch() {
		r.w.t.Fatalf("%s: recovered from %d in epoch %d, but %d was committed", r.name, newest, out.Epoch(), r.w.acked)
	}
	cfg := checkpoint.Config{
		Interval: 10 * time.Second, Keep: r.w.between(1, 3), MaxUploads: 2,
		RetryMin: time.Second, RetryMax: 20 * time.Second, MaxTries: 2,
	}
	r.coordinator = checkpoint.NewCoordinator(cfg, r.w.now, out)
	r.step(checkpoint.Tick{})
}

// whole fails unless all files of an entry are there as they were put.
func (w *world) whole(what string, e *checkpoint.Entry) {
	script := w.memory.Script
	w.memory.Script = nil
	defer func() { w.memory.Script = script }()
	x := checkpoints.New(blob.New("test:", w.memory), prefix, nil)
	for _, f := range e.Files {
		var b bytes.Buffer
		if err := x.Fetch(w.t.Context(), f, &b); err != nil || b.String() != content(f.Name) {
			w.t.Fatalf("%s %d: file %s: %q, error %v", what, e.Slot, f.Name, b.String(), err)
		}
	}
}

// check fails unless there is an entry at least as new as the newest that was
// committed, and the newest and all savepoints are whole.
func (w *world) check() {
	script := w.memory.Script
	w.memory.Script = nil
	defer func() { w.memory.Script = script }()
	x := checkpoints.New(blob.New("test:", w.memory), prefix, nil)
	newest := checkpoint.Slot(0)
	for _, name := range slices.Backward(w.memory.Names()) {
		slot, ok := checkpoint.SlotOf(checkpoint.BlobName(strings.TrimPrefix(string(name), prefix+"/")))
		if !ok {
			continue
		}
		o := x.Do(w.t.Context(), checkpoint.ReadEntry{Slot: slot})
		if o.Result != checkpoint.OK {
			w.t.Fatalf("entry %d: %v", slot, o.Result)
		}
		if o.Entry.Kind == checkpoint.Claim {
			continue
		}
		w.whole("newest", o.Entry)
		newest = slot
		break
	}
	if newest < w.acked {
		w.t.Fatalf("%d was committed, and %d is the newest", w.acked, newest)
	}
	for slot, e := range w.savepoints {
		if o := x.Do(w.t.Context(), checkpoint.ReadEntry{Slot: slot}); o.Result != checkpoint.OK {
			w.t.Fatalf("savepoint %d: %v", slot, o.Result)
		}
		w.whole("savepoint", e)
	}
}

// act lets something happen.
func (w *world) act() {
	i := len(w.runners) - 1
	if i > 0 && w.between(0, 3) == 0 {
		i = w.between(0, i-1)
	}
	r := w.runners[i]
	switch n := w.between(0, 100); {
	case n == 0 || (r.fenced && i == len(w.runners)-1):
		w.crash(i)
	case r.fenced:
	case n < 75 && len(r.pending) > 0:
		r.carryOut(w.between(0, len(r.pending)-1), false)
	case r.coordinator == nil:
	case n < 84:
		r.work()
	case n < 86:
		kind := []checkpoint.EntryKind{checkpoint.Checkpoint, checkpoint.Savepoint}[w.between(0, 1)]
		r.step(checkpoint.Request{ID: "r", Kind: kind})
	case n == 86:
		for _, slot := range slices.Sorted(maps.Keys(w.savepoints)) {
			if w.between(0, 3) == 0 {
				delete(w.savepoints, slot)
				r.step(checkpoint.Forget{Slot: slot})
				break
			}
		}
	default:
		w.now = w.now.Add(time.Duration(w.between(1, 5000)) * time.Millisecond)
		r.step(checkpoint.Tick{})
	}
}

// crash ends a runner, perhaps in the middle of an act, or leaves it behind as one
// that does not know what has happened; another takes its place.
func (w *world) crash(i int) {
	r := w.runners[i]
	how := w.between(0, 2)
	if how == 0 && len(r.pending) > 0 && !r.fenced {
		r.carryOut(w.between(0, len(r.pending)-1), true)
	}
	last := i == len(w.runners)-1
	if how < 2 || w.late || r.fenced {
		w.runners = slices.Delete(w.runners, i, i+1)
	}
	w.note("%s: crash %d", r.name, how)
	if last {
		w.start()
	}
}

// drain has a runner do all there is to do.
func (r *runner) drain() {
	for steps := 0; len(r.pending) > 0 && !r.fenced; steps++ {
		if steps > 10_000 {
			r.w.t.Fatal("it does not come to an end")
		}
		r.carryOut(0, false)
	}
}

// settle lets the runner that has the job go on without faults, and then another.
func (w *world) settle() {
	w.memory.Script, w.faulty = nil, false
	w.memory.Settle()
	if last := w.runners[len(w.runners)-1]; last.coordinator != nil {
		last.drain()
		for range 3 { // what has failed waits for some time
			w.now = w.now.Add(time.Minute)
			last.step(checkpoint.Tick{})
			last.drain()
		}
		if w.late && !last.fenced {
			w.checkGarbage(fmt.Sprintf("%s%016x/", checkpoint.DataPrefix, uint64(last.coordinator.Epoch())))
		}
	}
	w.runners = nil
	w.start()
	r := w.runners[0]
	r.drain()
	if r.coordinator == nil || r.fenced {
		w.t.Fatal("it has not recovered from faults that are over")
	}
	r.work()
	r.step(checkpoint.Request{ID: "last", Kind: checkpoint.Checkpoint})
	before := w.acked
	r.drain()
	if w.acked == before {
		w.t.Fatal("the last checkpoint was not made")
	}
	w.checkGarbage("")
}

// checkGarbage fails if there is anything below a prefix that nobody needs.
func (w *world) checkGarbage(below string) {
	x := checkpoints.New(blob.New("test:", w.memory), prefix, nil)
	needed := map[blob.Name]bool{blob.Name(prefix + "/" + checkpoint.Latest): true}
	checkpointsLeft, savepointsLeft := 0, 0
	for _, name := range w.memory.Names() {
		slot, ok := checkpoint.SlotOf(checkpoint.BlobName(strings.TrimPrefix(string(name), prefix+"/")))
		if !ok {
			continue
		}
		needed[name] = true
		o := x.Do(w.t.Context(), checkpoint.ReadEntry{Slot: slot})
		if o.Result != checkpoint.OK {
			w.t.Fatalf("entry %d: %v", slot, o.Result)
		}
		if below == "" {
			w.whole("entry", o.Entry)
		}
		for _, f := range o.Entry.Files {
			needed[blob.Name(prefix+"/"+f.Blob)] = true
		}
		switch o.Entry.Kind {
		case checkpoint.Checkpoint:
			checkpointsLeft++
		case checkpoint.Savepoint:
			savepointsLeft++
		case checkpoint.Claim, checkpoint.Ended:
		}
	}
	for _, name := range w.memory.Names() {
		if !needed[name] && strings.HasPrefix(string(name), prefix+"/"+below) {
			w.t.Fatalf("%s is garbage", name)
		}
	}
	if below == "" && checkpointsLeft > 3 || savepointsLeft < len(w.savepoints) {
		w.t.Fatalf("%d checkpoints and %d savepoints are left; users know of %d", checkpointsLeft, savepointsLeft, len(w.savepoints))
	}
}

// between draws a number of the closed range.
func (w *world) between(low, high int) int { return low + w.random.IntN(high-low+1) }

// simulate runs a random history and returns how many checkpoints were committed
// and how many runners fenced.
func simulate(t *testing.T, seed uint64) (commits, fences int) {
	t.Helper()
	w := &world{
		t: t, random: rand.New(rand.NewPCG(seed, 1)), memory: new(blobtest.Memory), now: time.Unix(0, 0), faulty: true,
		savepoints: make(map[checkpoint.Slot]*checkpoint.Entry),
	}
	defer func() {
		if t.Failed() {
			t.Logf("seed %d; the last steps were\n%s", seed, strings.Join(w.log[max(0, len(w.log)-100):], "\n"))
		}
	}()
	faults := []blobtest.Fault{blobtest.Fail, blobtest.Refuse, blobtest.Lose, blobtest.Tear}
	if w.late = w.between(0, 1) == 0; w.late {
		w.memory.ListLag = w.between(1, 40)
	} else {
		faults = append(faults, blobtest.Delay)
	}
	percent := w.between(0, 15) // of operations fail
	deleted := false
	w.memory.Script = func(op blobtest.Op) blobtest.Fault {
		deleted = deleted || op.Kind == blobtest.Delete
		if op.Kind == blobtest.List && w.late && w.between(0, 1) == 0 {
			return blobtest.Stale
		}
		if w.between(0, 99) < percent {
			return faults[w.between(0, len(faults)-1)]
		}
		return blobtest.None
	}
	w.start()
	for range w.between(1, 400) {
		w.act()
		if deleted {
			w.check()
			deleted = false
		}
	}
	w.check()
	w.settle()
	return w.commits, w.fences
}

const simSeeds = 200

func TestSimulation(t *testing.T) {
	seeds := uint64(simSeeds)
	if testing.Short() {
		seeds = 50
	}
	commits, fences := 0, 0
	for seed := range seeds {
		c, f := simulate(t, seed)
		commits, fences = commits+c, fences+f
	}
	t.Logf("%d checkpoints, %d fenced runners", commits, fences)
	if commits < int(seeds) || fences == 0 {
		t.Error("too little has happened to prove anything")
	}
}

func FuzzSimulation(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { simulate(t, seed) })
}
