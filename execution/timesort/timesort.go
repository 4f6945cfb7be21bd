// Package timesort passes the elements of each key on in order of time, as far
// as the watermark has come.
//
// Elements wait in state until the watermark, less the lateness that their
// windows allow, has passed them; what comes later than that is dropped. So no
// element is ever passed on after a later one of its key, in whatever order
// and bundles they come. Of each key with elements that wait there is one
// event-time timer, for the earliest of them, whose hold is that element's
// timestamp.
//
// A [Sorter] is immutable and may be used from any goroutine; it has no effect
// but through the [Bundle] it is given.
package timesort

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// Sorter sorts the input of one stage.
type Sorter struct{ params Params }

// Params are the settings of a Sorter.
type Params struct {
	// Name is the state's, unique in the job.
	Name string
	// Layout is that of the input and of the output. Values that lie beside
	// their elements, in pages, cannot be sorted.
	Layout *shuffle.Layout
	// Lateness is how far behind the watermark an element may come.
	Lateness time.Duration
	// BlockBytes is what blocks of output are filled up to; default 1 MiB.
	BlockBytes int
}

// Bundle is the work of one bundle and what it needs.
type Bundle struct {
	// Input holds the elements, Due the timers that fire.
	Input []element.Block
	Due   []Timer
	// Watermark is the stage's input watermark.
	Watermark element.EventTime
	State     state.Txn
	// Set sets the timer of a key; it replaces the one before.
	Set func(Timer) error
	// Emit takes blocks of output.
	Emit func(element.Block) error
	// Dropped counts the elements that came too late. It is set by Run.
	Dropped int64
}

// Timer is the timer of a key, which is encoded.
type Timer struct {
	Key        []byte
	Fire, Hold element.EventTime
}

// New makes a sorter.
func New(p Params) *Sorter {
	if p.BlockBytes == 0 {
		p.BlockBytes = 1 << 20
	}
	return &Sorter{p}
}

// Run executes a bundle.
func (s *Sorter) Run(ctx context.Context, b *Bundle) error {
	r := run{Sorter: s, Bundle: b, earliest: make(map[string]element.EventTime), marked: make(map[[2]string]bool)}
	for i := range b.Input {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := r.buffer(&b.Input[i]); err != nil {
			return fmt.Errorf("sort by time: %w", err)
		}
	}
	for _, key := range r.keys {
		if err := r.wait(key); err != nil {
			return fmt.Errorf("sort by time: %w", err)
		}
	}
	for i := range b.Due {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := r.fire(string(b.Due[i].Key)); err != nil {
			return fmt.Errorf("sort by time: %w", err)
		}
	}
	return r.flush()
}

// run is the execution of a bundle.
type run struct {
	*Sorter
	*Bundle
	// keys are those of the input, in order of first appearance, with the time
	// of the earliest element of each.
	keys     []string
	earliest map[string]element.EventTime
	// marked are the spans of keys that are named in state.
	marked map[[2]string]bool
	out    element.Block
}

// passed says whether the watermark has passed elements of the time and all
// that may still come before them.
func (r *run) passed(at element.EventTime) bool {
	return r.Watermark == element.MaxTime || r.until(at) < r.Watermark
}

// until is how long elements of a time wait.
func (r *run) until(at element.EventTime) element.EventTime {
	late := element.EventTime(r.params.Lateness / time.Millisecond)
	if at >= element.MaxTime-late {
		return element.MaxTime
	}
	return at + late
}

// spanBits is the logarithm of the milliseconds of a span.
const spanBits = 12

// The elements of a key lie in the entries of cells, one cell for each span of
// time and one entry for each time, so that to find the first of many elements
// few of them are looked at. Further cells name the spans, and the earliest
// time. The names of times sort as the times do.
func (r *run) elements(key, span string) state.Cell {
	return state.Cell{State: r.params.Name + "/elements", Key: key, Window: span}
}

func (r *run) spans(key string) state.Cell {
	return state.Cell{State: r.params.Name + "/spans", Key: key}
}

func (r *run) first(key string) state.Cell {
	return state.Cell{State: r.params.Name + "/first", Key: key}
}

func timeName(at element.EventTime) string { return string(coder.PutTime(nil, at)) }

// buffer puts the elements of a block into state.
func (r *run) buffer(b *element.Block) error {
	for data := b.Data; len(data) > 0; {
		e, err := r.params.Layout.Cut(data)
		if err != nil {
			return err
		}
		whole := data[:e.Size]
		data = data[e.Size:]
		at := e.Header.Timestamp
		if r.passed(at) {
			r.Dropped++
			continue
		}
		key, span := string(e.Key()), timeName(at>>spanBits<<spanBits)
		if err := r.mark(key, span); err != nil {
			return fmt.Errorf("keep element: %w", err)
		}
		if err := r.State.Append(r.elements(key, span), timeName(at), whole); err != nil {
			return fmt.Errorf("keep element: %w", err)
		}
		before, seen := r.earliest[key]
		if !seen {
			r.keys = append(r.keys, key)
		}
		if !seen || at < before {
			r.earliest[key] = at
		}
	}
	return nil
}

// mark notes that a key has elements in a span of time.
func (r *run) mark(key, span string) error {
	if r.marked[[2]string{key, span}] {
		return nil
	}
	r.marked[[2]string{key, span}] = true
	marks, err := state.Get(r.State, r.spans(key), span)
	if err != nil || len(marks) > 0 {
		return err
	}
	return r.State.Append(r.spans(key), span, []byte{1})
}

// wait sets the timer of a key that has got elements, unless earlier ones wait
// already.
func (r *run) wait(key string) error {
	at := r.earliest[key]
	chunks, err := state.Get(r.State, r.first(key), "")
	if err != nil {
		return fmt.Errorf("read earliest time: %w", err)
	}
	if len(chunks) > 0 {
		before, err := coder.Time(chunks[0])
		if err != nil {
			return fmt.Errorf("read earliest time: %w", err)
		}
		if before <= at {
			return nil
		}
	}
	return r.setFirst(key, at)
}

func (r *run) setFirst(key string, at element.EventTime) error {
	if err := r.State.Clear(r.first(key), ""); err != nil {
		return fmt.Errorf("write earliest time: %w", err)
	}
	if err := r.State.Append(r.first(key), "", coder.PutTime(nil, at)); err != nil {
		return fmt.Errorf("write earliest time: %w", err)
	}
	return r.Set(Timer{Key: []byte(key), Fire: r.until(at), Hold: at})
}

// fire passes on what the watermark has passed of a key.
func (r *run) fire(key string) error {
	spans, err := state.Entries(r.State, r.spans(key))
	if err != nil {
		return fmt.Errorf("list times: %w", err)
	}
	for _, span := range spans {
		next, more, err := r.fireSpan(r.elements(key, span))
		if err != nil {
			return err
		}
		if more {
			return r.setFirst(key, next)
		}
		if err := r.State.Clear(r.spans(key), span); err != nil {
			return fmt.Errorf("forget times: %w", err)
		}
	}
	return r.State.Clear(r.first(key), "")
}

// fireSpan passes on what the watermark has passed of a cell of elements, and
// returns the time of the first that remains, if any does.
func (r *run) fireSpan(cell state.Cell) (next element.EventTime, more bool, err error) {
	var failed error
	var at element.EventTime
	var fired []string
	err = r.State.Scan(cell, state.Place{}, "", func(p state.Piece) bool {
		if len(fired) == 0 || fired[len(fired)-1] != p.Entry {
			if at, failed = coder.Time([]byte(p.Entry)); failed != nil {
				return false
			}
			if !r.passed(at) {
				next, more = at, true
				return false
			}
			fired = append(fired, p.Entry)
		}
		failed = r.emit(p.Data, at)
		return failed == nil
	})
	if err := cmp.Or(failed, err); err != nil {
		return 0, false, fmt.Errorf("read elements: %w", err)
	}
	for _, name := range fired {
		if err := r.State.Clear(cell, name); err != nil {
			return 0, false, fmt.Errorf("forget elements: %w", err)
		}
	}
	return next, more, nil
}

// emit adds a chunk of elements of one time to the output.
func (r *run) emit(chunk []byte, at element.EventTime) error {
	made, err := r.params.Layout.MakeBlock(chunk)
	if err != nil {
		return fmt.Errorf("kept elements: %w", err)
	}
	if len(r.out.Data)+len(chunk) > r.params.BlockBytes {
		if err := r.flush(); err != nil {
			return err
		}
	}
	if r.out.Count == 0 {
		r.out.MinTime = at
	}
	r.out.Data = append(r.out.Data, chunk...)
	r.out.Count += made.Count
	r.out.MinTime = min(r.out.MinTime, at)
	return nil
}

// flush emits the block that is being filled.
func (r *run) flush() error {
	if r.out.Count == 0 {
		return nil
	}
	b := r.out
	r.out = element.Block{}
	return r.Emit(b)
}
