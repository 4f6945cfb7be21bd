package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/internal/invariants"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// driver carries out the scheduler's orders. One goroutine, the loop of run,
// steps the scheduler and commits bundles; each bundle, each start of a worker
// and each request to split is a task with a goroutine of its own, which ends by
// sending a fact to the loop.
type driver struct {
	plan  *plan.Plan
	opts  Options
	log   *slog.Logger
	store state.Store
	views *views
	pipes []*pipe // per stage, how its output is collected

	// accounts say what the job holds in memory, spill where what is over goes.
	accounts accounts
	spill    *shuffle.Spill
	pressed  pressure // as the scheduler knows it; the loop's own

	// image is what an earlier process has left of the job, until it is begun with.
	image *journal.Image

	// meter is what it showed when the scheduler asked last; the loop's own.
	meter meter

	facts chan fact
	// work takes tasks to goroutines that have done others.
	work chan func() fact
	// quit is closed when the loop takes no more facts.
	quit chan struct{}
	// drains is closed when the job is to be drained.
	drains    chan struct{}
	drainOnce sync.Once
	// tasks counts the goroutines above; finalizers those that tell SDKs of
	// commits.
	tasks, finalizers sync.WaitGroup
	// calls numbers the calls of functions.
	calls atomic.Int64

	mu      sync.Mutex // guards what follows
	sched   *scheduler
	clock   clock
	workers map[harness.WorkerID]harness.Worker
	// hosted lists the workers of each environment, and perhaps some that have
	// gone; arrival is closed when there is one more.
	hosted  map[plan.EnvironmentID][]harness.Worker
	arrival chan struct{}
	running map[harness.BundleID]*execution
	// committed and failed merge the metrics of executions. A failed one counts
	// with what it told of itself.
	committed, failed metrics.Set
}

func newDriver(p *plan.Plan, o Options) *driver {
	o = o.withDefaults()
	begin := startClock()
	conf := config{
		workers: o.Workers, environmentWorkers: o.EnvironmentWorkers, slots: o.Slots, bundleTime: o.BundleTime, idleInterval: idleInterval, maxAttempts: o.MaxAttempts, maxWorkerRestarts: o.MaxWorkerRestarts,
		park: o.ParkPoison, maxParked: o.MaxParked,
		restartWindow: o.RestartWindow, restartDelay: o.RestartDelay, restartDelayMax: o.RestartDelayMax,
		bundleBytes: int64(o.BundleBytes), memory: o.Memory.Limit(), splitInterval: o.SplitInterval, checkpointInterval: o.CheckpointInterval, patience: o.Patience,
		epoch: begin.epoch(), drain: o.Drain,
	}
	image := conf.follow(o.Journal)
	d := &driver{
		plan: p, opts: o, log: o.Log, image: image,
		store:   newStore(o),
		views:   newViews(p, o.Memory.Account("views"), conf.life),
		facts:   make(chan fact),
		work:    make(chan func() fact),
		quit:    make(chan struct{}),
		drains:  make(chan struct{}),
		workers: make(map[harness.WorkerID]harness.Worker),
		hosted:  make(map[plan.EnvironmentID][]harness.Worker),
		arrival: make(chan struct{}),
		running: make(map[harness.BundleID]*execution),
		sched:   newScheduler(p, conf),
		clock:   begin,
	}
	d.calls.Store(int64(d.sched.lastBundle))
	d.accounts = newAccounts(o.Memory)
	d.spill = &shuffle.Spill{Memory: o.Memory, Disk: o.Disk, Free: shuffle.NewPool(o.Memory)}
	if o.Journal != nil {
		d.spill.Disk, d.spill.Lasting = o.Journal.Disk(), true
		d.sched.ledger = newLedger(p, conf.life)
		d.views.last()
	}
	d.pipes = newPipes(p)
	for _, pipe := range d.pipes[:len(p.Stages)] { // functions write little, and it is read at once
		pipe.spill, pipe.account = d.spill, d.accounts.output
	}
	return d
}

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.Workers, 1)
	def(&o.Slots, max(2, runtime.GOMAXPROCS(0)))
	def(&o.MaxAttempts, 4)
	def(&o.MaxWorkerRestarts, 8)
	def(&o.MaxParked, 1000)
	if o.Memory == nil {
		o.Memory = shuffle.NewBudget(nil, 0)
	}
	if o.Journal != nil {
		o.Disk = o.Journal.Disk()
	}
	def(&o.BundleBytes, 32<<20)
	def(&o.PagedBytes, 4<<20)
	def(&o.CheckpointElements, 1_000_000)
	def(&o.CheckpointBytes, 32<<20)
	if limit := o.Memory.Limit(); limit > 0 {
		// What is in flight is to be small against the budget.
		for _, v := range []*int{&o.BundleBytes, &o.PagedBytes, &o.CheckpointBytes} {
			*v = int(max(1, min(int64(*v), limit/memoryShare)))
		}
	}
	wait := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	wait(&o.RestartWindow, 10*time.Minute)
	wait(&o.RestartDelay, 500*time.Millisecond)
	wait(&o.RestartDelayMax, 30*time.Second)
	wait(&o.BundleTime, 2*time.Second)
	wait(&o.SplitInterval, 500*time.Millisecond)
	wait(&o.CheckpointInterval, 100*time.Millisecond)
	wait(&o.Patience, 100*time.Millisecond)
	wait(&o.FinalizeTimeout, time.Minute)
	wait(&o.ProgressTimeout, time.Second)
	wait(&o.StopTimeout, 30*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// run is the loop. It is the job boundary: a panic in it or in a task ends the
// job, not the process.
func (d *driver) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer func() {
		err = contain(recover(), cancelled(ctx, err))
		d.shutDown(ctx, cancel, err)
	}()
	if err := d.plan.Validate(); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	if err := d.addNative(); err != nil {
		return err
	}
	alarm := newAlarm()
	defer alarm.stop()
	orders, err := d.begin(ctx)
	if err != nil {
		return err
	}
	drains := d.drains
	for {
		done, err := d.obey(ctx, orders, alarm)
		if err != nil {
			return err
		}
		if done {
			return d.outlive(ctx)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case f := <-d.facts:
			orders, err = d.take(ctx, f)
		case <-drains:
			drains = nil
			orders, err = d.take(ctx, drainAsked{})
		case <-alarm.c():
			orders, err = d.take(ctx, tick{})
		}
		if err != nil {
			return err
		}
	}
}

// cancelled is the error of a job that fails with err. Once ctx has ended, what
// fails does so because of that, a start of a worker for one.
func cancelled(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if errors.Is(context.Cause(ctx), ErrSuspended) {
		return fmt.Errorf("%w: %w", ErrSuspended, err)
	}
	return fmt.Errorf("%w: %w", ErrCancelled, err)
}

// askToDrain lets the loop drain the job, if it has not ended.
func (d *driver) askToDrain() { d.drainOnce.Do(func() { close(d.drains) }) }

// step steps the scheduler, and enters what it holds then.
func (d *driver) step(f fact) []order {
	d.mu.Lock()
	defer d.mu.Unlock()
	var orders []order
	if p := d.pressure(); p != d.pressed {
		d.pressed = p
		orders = append(orders, d.sched.step(d.clock.now(), pressureChanged{p})...)
	}
	orders = append(orders, d.sched.step(d.clock.now(), f)...)
	d.accounts.queues.Set(d.sched.resident)
	d.accounts.timers.Set(d.sched.timerBytes)
	return orders
}

// obey carries out orders. done says that the job has ended well.
func (d *driver) obey(ctx context.Context, orders []order, alarm *alarm) (done bool, err error) {
	for _, o := range orders {
		switch o := o.(type) {
		case startWorker:
			d.task(func() fact { return d.startWorker(ctx, o.env) })
		case startBundle:
			d.startBundle(ctx, o)
		case splitBundle:
			d.splitBundle(ctx, o)
		case halveWork:
			d.log.Warn("bundle keeps failing and is cut in two", "stage", d.plan.Stages[o.stage].Name, "bundle", o.id, "error", o.err)
			d.task(func() fact { return d.halve(o) })
		case parkElement:
			d.task(func() fact { return d.park(ctx, o) })
		case measureIdle:
			now := readMeter(d.clock)
			idle := now.since(d.meter)
			d.meter = now
			d.task(func() fact { return idle })
		case mapWindows:
			d.task(func() fact { return d.mapWindows(ctx, o) })
		case forgetWindows:
			d.views.forget(o.view, o.windows)
		case wakeAt:
			alarm.set(o.at - d.clock.now())
		case stageFinished:
			d.views.stageFinished(o.stage)
			d.tell(StageFinished{Stage: o.stage})
		case bundleRetried:
			d.log.Warn("bundle failed and will be tried again", "stage", d.plan.Stages[o.event.Stage].Name,
				"bundle", o.event.Bundle, "attempt", o.event.Attempt, "error", o.event.Err)
			d.tell(o.event)
		case elementPutAside:
			d.tell(o.event)
		case workerReplaced:
			d.log.Warn("worker lost, starting another", "worker", o.event.Worker, "environment", o.event.Environment, "after", o.event.After, "error", o.event.Err)
			d.tell(o.event)
		case workerMissing:
			d.log.Warn("worker not replaced", "environment", o.event.Environment, "left", o.event.Left, "error", o.event.Err)
			d.tell(o.event)
		case finishJob:
			return true, nil
		case failJob:
			var bundle *BundleError
			if errors.As(o.err, &bundle) {
				d.keepLast(ctx, bundle)
			}
			return false, o.err
		}
	}
	return false, nil
}

func (d *driver) tell(e Event) {
	if d.opts.Listener != nil {
		d.opts.Listener.Event(e)
	}
}

// task runs f in a goroutine and sends the fact it returns, if any, to the
// loop. The goroutine is kept for other tasks, because a new one has to grow its
// stack each time: there are as many as there were tasks at a time.
func (d *driver) task(f func() fact) {
	select {
	case d.work <- f:
	default:
		d.tasks.Go(func() { d.serve(f) })
	}
}

func (d *driver) serve(f func() fact) {
	for {
		d.send(guard(f))
		select {
		case f = <-d.work:
		case <-d.quit:
			return
		}
	}
}

// guard makes a panic of f a fact.
func guard(f func() fact) (result fact) {
	defer func() {
		if err := contain(recover(), nil); err != nil {
			result = taskPanicked{err}
		}
	}()
	return f()
}

// contain turns the value that a deferred function got from recover into the
// error of a job. A panic that is no broken invariant is contained too:
// whatever it left half done belongs to the job, and goes with it.
func contain(recovered any, err error) error {
	switch v := recovered.(type) {
	case nil:
		return err
	case *invariants.Violation:
		return fmt.Errorf("%w: %w", ErrInternal, v)
	default:
		return fmt.Errorf("%w: panic: %v\n%s", ErrInternal, v, debug.Stack())
	}
}

// send gives a fact to the loop, unless there is none or the loop has ended.
func (d *driver) send(f fact) {
	if f == nil {
		return
	}
	select {
	case d.facts <- f:
	case <-d.quit:
	}
}

// addNative adds the worker of the runner's own stages.
func (d *driver) addNative() error {
	w, err := newNativeWorker(d.plan, d.opts, d.spill, d.call)
	if err != nil {
		return err
	}
	d.addWorker(native, w)
	return nil
}

// startWorker starts a worker and watches over it from then on.
func (d *driver) startWorker(ctx context.Context, env plan.EnvironmentID) fact {
	w, err := d.opts.Host.StartWorker(ctx, env)
	if err != nil {
		return workerRefused{env: env, err: err, ended: errors.Is(err, harness.ErrWorkerLost)}
	}
	d.addWorker(env, w)
	d.send(workerReady{env: env, id: w.ID(), slots: w.Slots()})
	select {
	case <-w.Done():
		return workerGone{id: w.ID(), err: w.Err()}
	case <-d.quit:
		return nil
	}
}

// shutDown ends everything that was started and waits for it. Executions are
// abandoned before their workers are stopped.
func (d *driver) shutDown(ctx context.Context, cancel context.CancelCauseFunc, err error) {
	if err == nil {
		d.finalizers.Wait()
	}
	cause := err
	if cause == nil {
		cause = errors.New("job finished")
	}
	cancel(cause)
	close(d.quit)
	d.tasks.Wait()
	d.finalizers.Wait()
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), d.opts.StopTimeout)
	defer stop()
	var stopping sync.WaitGroup
	for _, w := range d.workers {
		stopping.Go(func() {
			if err := w.Stop(ctx); err != nil {
				d.log.Warn("stop worker", "worker", w.ID(), "error", err)
			}
		})
	}
	stopping.Wait()
	d.views.drop()
	if err := d.store.Close(); err != nil {
		d.log.Warn("close state", "error", err)
	}
}

func (d *driver) status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	stages := d.sched.status()
	for i := range stages {
		stages[i].ElementsOut = d.pipes[i].elements.Load()
		stages[i].BytesOut = d.pipes[i].bytes.Load()
	}
	return Status{Stages: stages, Executed: d.sched.busyTime.length()}
}
