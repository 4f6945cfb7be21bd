package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// metaFn is user code: what a stage does with an element in one of its windows,
// and with a timer.
type metaFn struct {
	element func(b *harness.Bundle, e *shuffle.Element, window []byte) error
	timer   func(b *harness.Bundle, family int, t coder.Timer) error
}

// accidents are what happens to the bundles of a metaHost, each with one in that
// many chances; 0 is never.
type accidents struct {
	fail, die, store, checkpoint, refuse, disk int
	// end ends the process, at one of so many commits.
	end int
}

// metaHost executes metaFns element by element, with accidents. The environment
// "sink" has none.
type metaHost struct {
	plan  *plan.Plan
	fns   []metaFn
	slots int
	odds  accidents
	seed  uint64
	draws atomic.Uint64
	names atomic.Int64
	// told are the metrics of a bundle that has been executed.
	told func(b *harness.Bundle) []metrics.Info
	// happened counts accidents of each kind.
	ended, failed, died, checkpointed, split, broken, unreadable, stored atomic.Int64
}

const sinkEnvironment = "sink"

var errAccident = errors.New("an accident")

// maxAccidents bounds the accidents of a kind within a job, which must end.
const maxAccidents = 30

// strikes draws whether an accident happens, and counts those that do.
func (h *metaHost) strikes(odds int, count *atomic.Int64) bool {
	return count.Load() < maxAccidents && h.happens(odds) && count.Add(1) <= maxAccidents
}

// happens draws. What is drawn depends on the order of goroutines, so a seed
// makes a run likely to happen again, not certain.
func (h *metaHost) happens(odds int) bool {
	if odds == 0 {
		return false
	}
	return rand.New(rand.NewPCG(h.seed, h.draws.Add(1))).IntN(odds) == 0
}

func (h *metaHost) StartWorker(_ context.Context, env plan.EnvironmentID) (harness.Worker, error) {
	id := harness.WorkerID(fmt.Sprint(env, "-", h.names.Add(1)))
	return &metaWorker{host: h, id: id, odds: h.oddsOf(env), done: make(chan struct{})}, nil
}

func (h *metaHost) oddsOf(env plan.EnvironmentID) accidents {
	if env == sinkEnvironment {
		return accidents{}
	}
	return h.odds
}

type metaWorker struct {
	host *metaHost
	id   harness.WorkerID
	odds accidents
	done chan struct{}
	once sync.Once
}

func (w *metaWorker) ID() harness.WorkerID  { return w.id }
func (w *metaWorker) Slots() int            { return max(w.host.slots, 1) }
func (w *metaWorker) Done() <-chan struct{} { return w.done }
func (w *metaWorker) Err() error            { return harness.ErrWorkerLost }
func (w *metaWorker) die()                  { w.once.Do(func() { close(w.done) }) }

func (w *metaWorker) Stop(context.Context) error {
	w.die()
	return nil
}

func (w *metaWorker) Start(ctx context.Context, b *harness.Bundle) (harness.Execution, error) {
	x := &metaExecution{ctx: ctx, worker: w, bundle: b, layout: shuffle.EdgeLayout(w.host.plan.Edges[b.Stage.Input.Edge])}
	for i := range b.Input {
		for data := b.Input[i].Data; len(data) > 0; {
			e, err := x.layout.Cut(data)
			if err != nil {
				return nil, err
			}
			x.input = append(x.input, data[:e.Size])
			data = data[e.Size:]
		}
	}
	return x, nil
}

// metaExecution executes a bundle. A stage that is splittable has ranges as its
// input, which are executed position by position.
type metaExecution struct {
	ctx    context.Context //nolint:containedctx // as long as the execution
	worker *metaWorker
	bundle *harness.Bundle
	layout *shuffle.Layout

	mu    sync.Mutex
	input [][]byte // guarded by mu, as is all that follows
	at    int
	// current is the range in execution, if there is one.
	current *simRange
	result  harness.Result
}

func (x *metaExecution) Wait() (harness.Result, error) {
	for {
		select {
		case <-x.ctx.Done():
			return harness.Result{}, errAbandoned
		case <-x.worker.done:
			return harness.Result{}, harness.ErrWorkerLost
		default:
		}
		if more, err := x.next(); err != nil {
			return harness.Result{}, err
		} else if !more {
			break
		}
	}
	x.result.Metrics = x.worker.host.told(x.bundle)
	return x.result, x.fire()
}

// accident fails the bundle, or its worker.
func (x *metaExecution) accident() error {
	h := x.worker.host
	if h.strikes(x.worker.odds.die, &h.died) {
		x.worker.die()
		return harness.ErrWorkerLost
	}
	if h.strikes(x.worker.odds.fail, &h.failed) {
		return errAccident
	}
	return nil
}

func (x *metaExecution) next() (more bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.at >= len(x.input) {
		return false, nil
	}
	e, err := x.layout.Cut(x.input[x.at])
	if err != nil {
		return false, err
	}
	if k, ok := x.bundle.Stage.Kind.(*plan.Executable); ok && k.Splittable {
		return true, errors.Join(x.claim(&e), x.accident())
	}
	one := element.Block{Data: x.input[x.at]}
	x.at++
	process := x.worker.host.fns[x.bundle.Stage.ID].element
	err = x.layout.Each(&one, func(e *shuffle.Element, window []byte) error { return process(x.bundle, e, window) })
	return true, errors.Join(err, x.accident())
}

// claim executes a position of a range, or leaves the rest for later.
func (x *metaExecution) claim(e *shuffle.Element) error {
	if x.current == nil {
		r := parseRange(e.Value)
		r.head = slices.Clone(x.input[x.at][:e.Size-len(e.Value)])
		x.current = &r
	}
	r := x.current
	h := x.worker.host
	switch {
	case r.at >= r.end:
	case h.strikes(x.worker.odds.checkpoint, &h.checkpointed):
		x.result.Residuals = append(x.result.Residuals, x.rest(*r, r.at))
	default:
		if err := x.bundle.Output.Write(0, streamed(timeOf(r.at), pair(r.key, fmt.Sprint(r.at)))); err != nil {
			return err
		}
		r.at++
		return nil
	}
	x.current = nil
	x.at++
	return nil
}

// rest is what is left of a range from a position on. Nothing of it comes before
// its time.
func (x *metaExecution) rest(r simRange, from int) harness.Residual {
	r.start = from
	watermark := timeOf(from)
	left := harness.Residual{Element: slices.Concat(r.head, r.put()), Watermark: &watermark}
	if x.worker.host.happens(3) {
		left.Delay = time.Millisecond
	}
	return left
}

// fire fires the timers of the bundle.
func (x *metaExecution) fire() error {
	k, _ := x.bundle.Stage.Kind.(*plan.Executable)
	for _, timers := range x.bundle.Timers {
		for data := timers.Data; len(data) > 0; {
			t, err := coder.CutTimer(data, k.Timers[timers.Family].Key, x.layout.Window)
			if err != nil {
				return err
			}
			if err := x.worker.host.fns[x.bundle.Stage.ID].timer(x.bundle, timers.Family, t); err != nil {
				return err
			}
			if err := x.accident(); err != nil {
				return err
			}
			data = data[t.Size:]
		}
	}
	return nil
}

func (x *metaExecution) Progress(context.Context) (harness.Progress, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return harness.Progress{ElementsRead: int64(x.at)}, nil
}

func (x *metaExecution) Split(_ context.Context, fraction float64) (harness.Split, bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	left := len(x.input) - x.at
	if left == 0 || x.worker.host.happens(x.worker.odds.refuse) {
		return harness.Split{}, false, nil
	}
	s := harness.Split{}
	if r := x.current; r != nil {
		// Within the range, which keeps what is before the cut.
		cut := r.at + int(float64(r.end-r.at)*fraction)
		whole := *r
		whole.end = cut
		s.Primaries = [][]byte{slices.Concat(r.head, whole.put())}
		s.Residuals = []harness.Residual{x.rest(*r, cut)}
		r.end = cut
		s.LastPrimary, s.FirstResidual = int64(x.at)-1, int64(x.at)+1
		x.input = x.input[:x.at+1]
	} else {
		keep := x.at + int(float64(left)*fraction)
		s.LastPrimary, s.FirstResidual = int64(keep)-1, int64(keep)
		x.input = x.input[:keep]
	}
	x.worker.host.split.Add(1)
	return s, true, nil
}

// frailStore is a store whose writes fail at times, and with them the bundles of
// the runner's own operators.
type frailStore struct {
	state.Store
	host *metaHost
}

func (s *frailStore) Begin() state.Txn { return &frailTxn{s.Store.Begin(), s.host} }

type frailTxn struct {
	state.Txn
	host *metaHost
}

func (t *frailTxn) Append(cell state.Cell, entry string, data []byte) error {
	return t.strike(t.Txn.Append(cell, entry, data))
}

func (t *frailTxn) Replace(cell state.Cell, entry string, data []byte) error {
	return t.strike(t.Txn.Replace(cell, entry, data))
}

func (t *frailTxn) strike(err error) error {
	if err == nil && t.host.strikes(t.host.odds.store, &t.host.broken) {
		return errAccident
	}
	return err
}

// windowsAt assigns windows of any of the runner's own WindowFns to a time.
func windowsAt(w *plan.Windowing, at element.EventTime) [][]byte {
	fn, sliding := w.Fn.(plan.SlidingWindows)
	if !sliding {
		return windowsOf(w, at)
	}
	var out [][]byte
	period := element.EventTime(fn.Period / time.Millisecond)
	size := element.EventTime(fn.Size / time.Millisecond)
	for start := at - at%period; start > at-size; start -= period {
		out = append(out, append(coder.PutTime(nil, start+size), byte(size)))
	}
	return out
}
