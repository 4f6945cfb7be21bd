package checkpoints

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/gorunner/gorunner/blob"
	"github.com/gorunner/gorunner/execution/checkpoint"
)

// KeeperParams are the settings of a Keeper.
type KeeperParams struct {
	Store *blob.Store
	ID    checkpoint.JobID
	// Runner is a lineage, which the job's directory keeps, a slash, and a name that
	// no other process has: see [NewRunner].
	Runner string
	Config checkpoint.Config
	Job    *Job
	// Restored is the slot of the entry from which the directory was made, if it was.
	Restored checkpoint.Slot
	// Observe is told what happens, by one goroutine; it does not block.
	Observe func(Observation)
}

// Observation is something that a Keeper has to tell.
//
//sumtype:decl
type Observation interface{ isObservation() }

type (
	// Made says that there is a checkpoint or savepoint.
	Made struct{ Info }
	// Trouble says that something has failed, which will be tried again.
	Trouble struct{ Problem string }
	// Overtaken says that another runner has the job. It is the last observation: the
	// job is to be stopped here.
	Overtaken struct{ Err error }
)

func (Made) isObservation()      {}
func (Trouble) isObservation()   {}
func (Overtaken) isObservation() {}

// Info describes a checkpoint or savepoint that was made.
type Info struct {
	// URI names it.
	URI  string
	Slot checkpoint.Slot
	Kind checkpoint.EntryKind
	Made time.Time
	// Bytes is the size of all its files, Uploaded of those that were not there yet.
	Bytes, Uploaded int64
	// Took is the time from its beginning.
	Took time.Duration
}

// Status is how a Keeper is getting on.
type Status struct {
	// Last is the last checkpoint or savepoint of this process; nil before the first.
	Last *Info
	// Made counts them, Failed those that were given up and what else has failed.
	Made, Failed int64
	// Uploaded is the size of all files that this process has stored.
	Uploaded int64
	// Problem is what failed last; empty after a success.
	Problem string
}

// Keeper makes the checkpoints of a job that runs, as its coordinator decides. Its
// methods may be called from any goroutine.
type Keeper struct {
	params   KeeperParams
	executor *Executor
	events   chan checkpoint.Event
	cancel   context.CancelFunc
	done     chan struct{} // closed when all goroutines have ended
	ended    chan struct{} // closed when the end of the job is written down

	mu      sync.Mutex
	status  Status                                 // guarded by mu
	waiting map[checkpoint.RequestID]chan<- report // guarded by mu; nil once done
	last    int                                    // guarded by mu; request
}

type report struct {
	info *Info
	err  error
}

// ErrClosed is the answer of a Keeper that was closed.
var ErrClosed = errors.New("the job makes no checkpoints any more")

// Start begins to keep a job's checkpoints. It does not wait for the store.
func Start(p KeeperParams) *Keeper {
	ctx, cancel := context.WithCancel(context.Background())
	k := &Keeper{
		params: p, executor: New(p.Store, Prefix(p.ID), p.Job), cancel: cancel,
		events: make(chan checkpoint.Event), done: make(chan struct{}), ended: make(chan struct{}),
		waiting: make(map[checkpoint.RequestID]chan<- report),
	}
	go k.run(ctx)
	return k
}

// Make makes a checkpoint or savepoint now, and returns when it is there.
func (k *Keeper) Make(ctx context.Context, kind checkpoint.EntryKind) (Info, error) {
	answer := make(chan report, 1)
	k.mu.Lock()
	if k.waiting == nil {
		k.mu.Unlock()
		return Info{}, ErrClosed
	}
	k.last++
	id := checkpoint.RequestID(strconv.Itoa(k.last))
	k.waiting[id] = answer
	k.mu.Unlock()
	if err := k.send(ctx, checkpoint.Request{ID: id, Kind: kind}); err != nil {
		return Info{}, fmt.Errorf("make %s: %w", kind, err)
	}
	select {
	case r := <-answer:
		if r.err != nil {
			return Info{}, fmt.Errorf("make %s: %w", kind, r.err)
		}
		return *r.info, nil
	case <-ctx.Done():
		k.mu.Lock()
		delete(k.waiting, id)
		k.mu.Unlock()
		return Info{}, fmt.Errorf("make %s: %w", kind, context.Cause(ctx))
	}
}

// Forget deletes a savepoint, as soon as there is something newer to go on from.
func (k *Keeper) Forget(ctx context.Context, slot checkpoint.Slot) error {
	return k.send(ctx, checkpoint.Forget{Slot: slot})
}

func (k *Keeper) send(ctx context.Context, e checkpoint.Event) error {
	select {
	case k.events <- e:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-k.done:
		return ErrClosed
	}
}

// Status says how it is getting on.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// End writes down that the job has ended, deletes its checkpoints unless they are
// to be kept, and returns when that is done. Close is still to be called.
func (k *Keeper) End(ctx context.Context, keep bool) error {
	if err := k.send(ctx, checkpoint.End{Keep: keep}); err != nil {
		return fmt.Errorf("end job in %s: %w", k.params.Store.URI(), err)
	}
	select {
	case <-k.ended:
		return nil
	case <-k.done:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("end job in %s: %w", k.params.Store.URI(), context.Cause(ctx))
	}
}

// Close stops at once. Another process can go on with the job.
func (k *Keeper) Close() {
	k.cancel()
	<-k.done
}

func (k *Keeper) run(ctx context.Context) {
	defer close(k.done)
	defer k.closeWaiting()
	out, err := k.recover(ctx)
	switch {
	case errors.Is(err, checkpoint.ErrTaken):
		k.params.Observe(Overtaken{err})
	case err == nil:
		k.coordinate(ctx, out)
	}
}

// closeWaiting answers whoever waits.
func (k *Keeper) closeWaiting() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, answer := range k.waiting {
		answer <- report{err: ErrClosed}
	}
	k.waiting = nil
}

// recover claims the job, however long that takes. It fails only if another runner
// has it, or nobody needs it any more.
func (k *Keeper) recover(ctx context.Context) (*checkpoint.Recovered, error) {
	a := newAlarm()
	defer a.stop()
	pause := k.params.Config.RetryMin
	wait := func(ctx context.Context) error {
		if !a.wait(pause, ctx.Done()) {
			return ctx.Err()
		}
		pause = min(2*pause, k.params.Config.RetryMax)
		return nil
	}
	for {
		r := checkpoint.NewRecovery(k.params.ID, k.params.Runner)
		r.Expect()
		out, err := k.executor.Continue(ctx, r, r.Begin(), wait)
		if err == nil {
			err = k.adopt(ctx, out)
		}
		if err == nil || errors.Is(err, checkpoint.ErrTaken) || ctx.Err() != nil {
			return out, err
		}
		k.trouble(err.Error())
		if err := wait(ctx); err != nil {
			return nil, err
		}
	}
}

// adopt finds out what the job's directory and the newest entry that it has gone on
// from have in common.
func (k *Keeper) adopt(ctx context.Context, out *checkpoint.Recovered) error {
	for i := len(out.Entries) - 1; i >= 0; i-- {
		e := out.Entries[i]
		if checkpoint.Lineage(e.Runner) != checkpoint.Lineage(k.params.Runner) && e.Slot != k.params.Restored {
			continue
		}
		x, err := k.executor.Index(ctx, e)
		if err == nil {
			err = k.params.Job.adopt(e, x)
		}
		if errors.Is(err, blob.ErrNotExist) || errors.Is(err, blob.ErrCorrupt) || errors.Is(err, checkpoint.ErrDamaged) {
			return nil // then everything is uploaded again
		}
		return err
	}
	return nil
}

// coordinate carries out what a coordinator decides.
func (k *Keeper) coordinate(ctx context.Context, out *checkpoint.Recovered) {
	l := &loop{
		keeper: k, ctx: ctx, alarm: newAlarm(), outcomes: make(chan checkpoint.Outcome),
		coordinator: checkpoint.NewCoordinator(k.params.Config, now(), out),
	}
	defer l.alarm.stop()
	for _, problem := range out.Problems {
		k.trouble(problem)
	}
	l.step(checkpoint.Tick{})
	for !l.fenced && ctx.Err() == nil {
		l.alarm.set(l.coordinator.Wake())
		select {
		case o := <-l.outcomes:
			l.running--
			l.note(o)
			l.step(o)
		case e := <-k.events:
			l.step(e)
		case <-l.alarm.timer.C:
			l.step(checkpoint.Tick{})
		case <-ctx.Done():
		}
		if l.running == 0 && l.coordinator.Ended() {
			l.end.Do(func() { close(k.ended) })
		}
	}
	k.cancel()
	for ; l.running > 0; l.running-- {
		<-l.outcomes
	}
	k.params.Job.Release()
}

// loop is a coordinator and what it has under way. It belongs to the goroutine of
// its keeper.
type loop struct {
	keeper      *Keeper
	ctx         context.Context //nolint:containedctx // of the goroutine
	alarm       *alarm
	coordinator *checkpoint.Coordinator
	outcomes    chan checkpoint.Outcome
	running     int
	fenced      bool
	end         sync.Once
	// began is when the checkpoint under way did, uploaded what it has stored.
	began    time.Time
	uploaded int64
}

func (l *loop) step(e checkpoint.Event) {
	for _, act := range l.coordinator.Step(now(), e) {
		switch act := act.(type) {
		case checkpoint.Report:
			l.keeper.report(act, l)
		case checkpoint.Fenced:
			l.fenced = true
			by := "another version of the runner"
			if act.By != nil {
				by = "runner " + act.By.Runner
			}
			l.keeper.params.Observe(Overtaken{fmt.Errorf("job %s: %w: %s", l.keeper.params.ID, checkpoint.ErrTaken, by)})
		case checkpoint.ReleaseCut: // before the next cut
			l.keeper.params.Job.Release()
		case checkpoint.TakeCut:
			l.began, l.uploaded = now(), 0
			l.start(act)
		case checkpoint.Upload, checkpoint.PutEntry, checkpoint.ReadEntry, checkpoint.PutLatest, checkpoint.ReadLatest,
			checkpoint.ListLog, checkpoint.ListData, checkpoint.CheckFiles, checkpoint.Delete:
			l.start(act)
		}
	}
}

// start carries out an act that is answered.
func (l *loop) start(act checkpoint.Act) {
	l.running++
	go func() { l.outcomes <- l.keeper.executor.Do(l.ctx, act) }()
}

func (l *loop) note(o checkpoint.Outcome) {
	if u, ok := o.Act.(checkpoint.Upload); ok && o.Result == checkpoint.OK {
		l.uploaded += u.File.Size
		l.keeper.mu.Lock()
		l.keeper.status.Uploaded += u.File.Size
		l.keeper.mu.Unlock()
	}
}

// trouble tells of what has failed.
func (k *Keeper) trouble(problem string) {
	k.mu.Lock()
	k.status.Failed++
	k.status.Problem = problem
	k.mu.Unlock()
	k.params.Observe(Trouble{problem})
}

// report tells of a checkpoint, or why there is none, and answers who waits for it.
func (k *Keeper) report(r checkpoint.Report, l *loop) {
	answer := report{err: errors.New(r.Problem)}
	switch {
	case r.Entry == nil:
		k.trouble(r.Problem)
	case r.Entry.Kind != checkpoint.Ended:
		info := Info{
			URI: EntryURI(k.params.Store, k.params.ID, r.Entry.Slot), Slot: r.Entry.Slot, Kind: r.Entry.Kind,
			Made: r.Entry.Made, Bytes: r.Entry.Bytes(), Uploaded: l.uploaded, Took: now().Sub(l.began),
		}
		answer = report{info: &info}
		k.mu.Lock()
		k.status.Last, k.status.Problem = &info, ""
		k.status.Made++
		k.mu.Unlock()
		k.params.Observe(Made{info})
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range r.Requests {
		if waiting := k.waiting[id]; waiting != nil {
			waiting <- answer
			delete(k.waiting, id)
		}
	}
}
