package group

import (
	"context"
	"fmt"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/trigger"
	"github.com/gorunner/gorunner/execution/windowing"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/state"
)

// firing is a bundle that a Panes executes.
type firing struct {
	*Panes
	bundle *Bundle
	table  *table
	// watermark is the time at which a window is looked at: before the values of
	// the bundle or after them.
	watermark element.EventTime
	// due says of each entry of the table which timers are due; nil if none is.
	due     []dueDomains
	writer  writer
	scratch []byte
}

// pane is a key in a window while a bundle looks at it.
type pane struct {
	key, window []byte
	id          state.Cell
	memory      memory
	// read is the memory as it is in state.
	read []byte
	// exists says that the window is in state, or will be; stateful that something
	// of it is, gone that nothing is left.
	exists, stateful, gone bool
	// end is when the window ends, expiry when it is forgotten: the last moment
	// before that.
	end, expiry element.EventTime
	// waited is what the window held the watermark at until now.
	waited  element.EventTime
	context trigger.Context

	// fresh are the values of the bundle that are kept, but not yet in state.
	fresh values
	// beside are the values that are kept with the memory. stored are those that are
	// apart; loaded says that they have been read, discarded that they are to be
	// cleared.
	beside            []byte
	stored            []piece
	loaded, discarded bool
	// emitted counts the bytes that panes of the bundle have repeated.
	emitted int
	// shown is what the view's window is to hold, if anything was fired.
	shown *values
}

// windows executes the bundle where windows do not merge.
func (f *firing) windows(ctx context.Context) error {
	var one pane
	p := &one
	for i := range f.table.entries {
		if i%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e := &f.table.entries[i]
		window := f.table.at(e.window)
		if err := f.open(p, f.table.at(e.key), window, string(window)); err != nil {
			return err
		}
		if f.due != nil {
			p.fired(f.due[i])
		}
		if err := f.take(p, f.table.of(e)); err != nil {
			return err
		}
		if err := f.end(p); err != nil {
			return err
		}
	}
	return nil
}

// end closes a window of which all values have been taken in. If event time passes
// a time then for which a timer would be set, the timer need not be: the window
// is fired here and now.
func (f *firing) end(p *pane) error {
	ahead := f.bundle.Time.Ahead
	if !p.exists || ahead <= f.watermark || f.passed(p.expiry) {
		return f.close(p)
	}
	timer := f.timers(p)[plan.EventTimeDomain]
	if timer.fire >= ahead {
		return f.close(p)
	}
	defer f.at(p, f.watermark)
	f.at(p, ahead)
	p.waited = timer.hold
	if !p.memory.closed {
		if err := f.ask(p); err != nil {
			return err
		}
	}
	return f.close(p)
}

// at lets the watermark be at a time.
func (f *firing) at(p *pane, watermark element.EventTime) {
	f.watermark, p.context.Watermark = watermark, watermark
}

// open makes p a key in a window, with what is remembered of it. The address says in which
// cell that is.
func (f *firing) open(p *pane, key, window []byte, address string) error {
	end, err := f.windowing.Window.WindowEnd(window)
	if err != nil {
		return err
	}
	*p = pane{
		key: key, window: window,
		id: state.Cell{Transform: plan.TransformID(f.params.Stage.Name), State: stateWindow, Key: string(key), Window: address},
		// Nothing comes after MaxTime, and so a watermark there has passed all.
		end:    min(end, element.MaxTime-1),
		expiry: windowing.Expiry(end, f.windowing.AllowedLateness),
		waited: element.MaxTime,
		fresh:  values{table: f.table},
	}
	t := f.bundle.Time
	p.context = trigger.Context{
		Watermark: f.watermark, Processing: t.Processing, Synchronized: t.Synchronized, End: p.end,
	}
	data, err := f.bundle.State.Value(p.id, entryMemory)
	if err != nil || data == nil {
		return err
	}
	if p.memory, p.beside, err = readMemory(data, f.machine); err != nil {
		return fmt.Errorf("window of key %x: %w", key, err)
	}
	p.exists, p.stateful, p.read = true, true, data
	if timer := p.memory.timers[plan.EventTimeDomain]; timer.set {
		p.waited = timer.hold
	}
	return nil
}

func (f *firing) passed(t element.EventTime) bool { return f.watermark > t }

// fired notes that timers are not set any more.
func (p *pane) fired(due dueDomains) {
	for d := range due {
		if due[d] {
			p.memory.timers[d] = setTimer{}
		}
	}
}

// begin makes the memory of a window in which nothing was.
func (f *firing) begin(p *pane) {
	timers := p.memory.timers
	p.memory = memory{onTime: f.passed(p.end), timers: timers, trigger: f.machine.New()}
	p.exists = true
}

// take fires the window if a clock has moved on, and then takes in the values
// of an entry.
func (f *firing) take(p *pane, order []uint32) error {
	if p.exists && !p.memory.closed {
		if err := f.ask(p); err != nil {
			return err
		}
	}
	if len(order) == 0 {
		return nil
	}
	if f.passed(p.expiry) || p.memory.closed {
		f.bundle.Dropped += int64(len(order))
		return nil
	}
	if !p.exists {
		f.begin(p)
	}
	for n := range order {
		if p.memory.closed {
			f.bundle.Dropped += int64(len(order) - n)
			return nil
		}
		f.add(p, order[n:])
		if p.emitted > f.params.RefiredBytes {
			continue
		}
		if err := f.askAmid(p); err != nil {
			return err
		}
	}
	if p.memory.closed {
		return nil
	}
	return f.ask(p)
}

// askAmid is ask between values of a bundle, during which no time passes: a
// delay that ends at once ends after the last of them.
func (f *firing) askAmid(p *pane) error {
	now := p.context
	defer func() { p.context = now }()
	p.context.Processing--
	p.context.Synchronized--
	return f.ask(p)
}

// add takes in the first of values of the table. Those that are fresh are the
// ones before it.
func (f *firing) add(p *pane, order []uint32) {
	m := &p.memory
	at := order[0]
	v := &f.table.values[at]
	if len(p.fresh.order) == 0 {
		p.fresh.order = order[:0]
	}
	p.fresh.order = p.fresh.order[:len(p.fresh.order)+1]
	p.fresh.total++
	p.fresh.bytes += int(v.end - v.start)
	if m.fresh == 0 && f.passed(p.end) {
		m.onTime = true // nothing has waited for the end
	}
	m.fresh++
	hold := windowing.OutputTime(f.windowing.OutputTime, f.table.times[at], p.end)
	if hold >= f.bundle.Time.Watermark {
		m.holdAt(f.windowing.OutputTime, hold)
	}
	f.machine.Elements(&m.trigger, 1, p.context)
}

// holdAt adds the timestamp of something fresh.
func (m *memory) holdAt(how plan.OutputTime, t element.EventTime) {
	if m.held {
		t = windowing.CombineTimes(how, m.hold, t)
	}
	m.held, m.hold = true, t
}

// ask fires panes as long as the trigger is ready, or the last one if the
// window has expired.
func (f *firing) ask(p *pane) error {
	m := &p.memory
	if f.passed(p.expiry) {
		return f.fire(p, true)
	}
	for !m.closed && f.machine.Ready(&m.trigger, p.context) {
		if err := f.fire(p, false); err != nil {
			return err
		}
	}
	return nil
}

// fire fires a pane, the last one if the window expires.
func (f *firing) fire(p *pane, expires bool) error {
	m := &p.memory
	ready := f.machine.Ready(&m.trigger, p.context)
	if ready {
		f.machine.Fire(&m.trigger, p.context)
	}
	closes := expires || f.machine.Finished(&m.trigger) && !f.outlives()
	info := f.describe(p)
	info.Last = closes
	if m.fresh > 0 || f.wantsEmpty(p, info.Timing, ready, expires) {
		if err := f.emit(p, info); err != nil {
			return err
		}
		m.index++
		if info.Timing != element.Early {
			m.nonSpeculative++
		}
	}
	m.onTime = m.onTime || f.passed(p.end)
	m.fresh, m.held = 0, false
	m.closed = closes
	if closes || f.windowing.Accumulation == plan.Discarding {
		p.discarded = p.discarded || m.apart
		p.beside, p.stored, m.count, m.bytes, m.apart = nil, nil, 0, 0, false
		p.fresh = values{table: f.table}
	}
	return nil
}

// outlives says whether a window outlives its trigger: what comes after that
// has finished is not dropped, but fired when the window expires.
//
// So it is with bounded input, of which nothing gets lost: the window's end
// takes what the trigger has left. And of the global window a trigger that goes
// by processing time alone says when to emit, not how much: a stream does not
// end with the first thing that it says.
func (f *firing) outlives() bool {
	if f.params.Edge.Bounded {
		return true
	}
	if _, global := f.windowing.Fn.(plan.GlobalWindows); !global {
		return false
	}
	_, delayed := f.windowing.Trigger.(plan.AfterProcessingTime)
	_, synchronized := f.windowing.Trigger.(plan.AfterSynchronizedProcessingTime)
	return delayed || synchronized
}

// describe describes the pane that is fired. It is on time if it comes first
// after the end, and the watermark was held there for it: by something that is
// in it, or because it was to come anyway.
func (f *firing) describe(p *pane) element.Pane {
	m := &p.memory
	info := element.Pane{First: m.index == 0, Index: m.index}
	switch {
	case !f.passed(p.end):
		info.Timing, info.NonSpeculative = element.Early, -1
	case !m.onTime && (m.fresh > 0 || p.waited <= p.end):
		info.Timing, info.NonSpeculative = element.OnTime, m.nonSpeculative
	default:
		info.Timing, info.NonSpeculative = element.Late, m.nonSpeculative
	}
	return info
}

// wantsEmpty says whether a pane in which nothing is new is emitted: that which
// the trigger fires on time, and the last one.
func (f *firing) wantsEmpty(p *pane, timing element.Timing, ready, expires bool) bool {
	onTime := timing == element.OnTime && ready && f.windowing.OnTime == plan.FireAlways
	return onTime || expires && f.closesEmpty(p)
}

// closesEmpty says whether the window has a last pane even if nothing is new.
// One that expires as it ends, and whose panes discard, has none but that which
// the trigger fires on time: there would be nothing in it, and nothing to know.
func (f *firing) closesEmpty(p *pane) bool {
	return f.windowing.Closing == plan.EmitAlways && !f.machine.Finished(&p.memory.trigger) &&
		(p.expiry > p.end || f.windowing.Accumulation == plan.Accumulating)
}

// load finds the values that are kept.
func (f *firing) load(p *pane) error {
	switch {
	case !p.memory.apart:
		p.stored = []piece{{data: p.beside}}
	case !p.loaded:
		chunks, err := state.Get(f.bundle.State, p.id, entryValues)
		if err != nil {
			return err
		}
		p.stored, p.loaded = stored(chunks), true
	}
	return nil
}

// emit emits a pane, or keeps it for the view.
func (f *firing) emit(p *pane, info element.Pane) error {
	m := &p.memory
	values := p.fresh
	if m.count > 0 {
		if err := f.load(p); err != nil {
			return err
		}
		values.pieces = p.stored
		values.total += m.count
		values.bytes += int(m.bytes)
	}
	if f.view {
		// A pane without anything new would change nothing, or take away what
		// the window has.
		if m.fresh > 0 {
			p.shown = &values
		}
		return nil
	}
	if f.windowing.Accumulation == plan.Accumulating {
		p.emitted += values.bytes
	}
	at := p.end
	if m.held {
		at = m.hold
	}
	return f.writer.write(&grouped{
		key: p.key, window: p.window, at: at, pane: coder.PutPane(nil, info), values: values,
	})
}
