package group

import (
	"bytes"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
)

// close writes what is remembered of the window back, sets its timers, and
// shows what is to be shown.
func (f *firing) close(p *pane) error {
	if err := f.show(p); err != nil {
		return err
	}
	if !p.exists {
		return nil // nothing has come, or all was dropped
	}
	if f.passed(p.expiry) {
		if err := f.setTimers(p, [timerDomains]setTimer{}); err != nil {
			return err
		}
		p.gone = true
		if !p.stateful {
			return nil
		}
		return f.bundle.State.ClearAll(p.id)
	}
	if err := f.setTimers(p, f.timers(p)); err != nil {
		return err
	}
	if p.discarded {
		if err := f.bundle.State.Clear(p.id, entryValues); err != nil {
			return err
		}
	}
	if err := f.store(p); err != nil {
		return err
	}
	f.scratch = append(p.memory.append(f.scratch[:0]), p.beside...)
	if !p.memory.apart {
		f.scratch = f.appendFresh(f.scratch, p)
	}
	if bytes.Equal(f.scratch, p.read) {
		return nil
	}
	return f.bundle.State.Replace(p.id, entryMemory, f.scratch)
}

// show shows what a view's window is to hold.
func (f *firing) show(p *pane) error {
	if p.shown == nil {
		return nil
	}
	chunks, err := p.shown.collect(f.params.BlockBytes)
	if err != nil {
		return err
	}
	c := Contents{Window: p.window, Chunks: chunks, Count: int(p.shown.total)}
	p.shown = nil
	return f.bundle.Show(c)
}

// store keeps the values of the bundle that have not been fired, if they are not to
// stand beside the memory.
func (f *firing) store(p *pane) error {
	if err := f.keep(p, p.fresh.total, int64(p.fresh.bytes)); err != nil || !p.memory.apart {
		return err
	}
	chunk := f.scratch[:0]
	for _, i := range p.fresh.order {
		v := f.table.at(f.table.values[i].extent)
		if len(chunk) > 0 && len(chunk)+len(v) > f.params.BlockBytes {
			if err := f.bundle.State.Append(p.id, entryValues, chunk); err != nil {
				return err
			}
			chunk = chunk[:0]
		}
		chunk = append(chunk, v...)
	}
	f.scratch = chunk
	return f.bundle.State.Append(p.id, entryValues, chunk)
}

// keep counts values that are kept. If there are too many to stand beside the memory,
// all are apart from then on.
func (f *firing) keep(p *pane, count, bytes int64) error {
	m := &p.memory
	m.count += count
	m.bytes += bytes
	if m.apart || m.bytes <= besideMax {
		return nil
	}
	m.apart = true
	beside := p.beside
	p.beside = nil
	return f.bundle.State.Append(p.id, entryValues, beside)
}

// appendFresh appends the values of the bundle that have not been fired.
func (f *firing) appendFresh(b []byte, p *pane) []byte {
	for _, i := range p.fresh.order {
		b = append(b, f.table.at(f.table.values[i].extent)...)
	}
	return b
}

// timers returns the timers that the window is to have.
func (f *firing) timers(p *pane) [timerDomains]setTimer {
	var timers [timerDomains]setTimer
	event := setTimer{set: true, fire: p.expiry, hold: element.MaxTime}
	if !p.memory.closed {
		wake := f.machine.Wake(&p.memory.trigger, p.context)
		event.fire = min(wake.Event, p.expiry)
		event.hold = f.hold(p, wake.Event < element.MaxTime)
		timers[plan.ProcessingTimeDomain] = wakeTimer(wake.Processing)
		timers[plan.SynchronizedDomain] = wakeTimer(wake.Synchronized)
	}
	timers[plan.EventTimeDomain] = event
	return timers
}

// wakeTimer is the timer of a trigger that waits for a clock to reach a time.
func wakeTimer(at element.EventTime) setTimer {
	if at == element.MaxTime {
		return setTimer{}
	}
	return setTimer{set: true, fire: at, hold: element.MaxTime}
}

// hold returns the timestamp of what the window is going to emit; ends says
// that the trigger waits for the window's end.
func (f *firing) hold(p *pane, ends bool) element.EventTime {
	m := &p.memory
	switch {
	case m.fresh > 0 && m.held:
		return m.hold
	case m.fresh > 0 && !m.onTime:
		return p.end
	case m.fresh > 0:
		// Too late to be on time, but not to be accepted downstream.
		return p.expiry
	case ends && f.windowing.OnTime == plan.FireAlways:
		return p.end
	case f.closesEmpty(p):
		return p.expiry
	}
	return element.MaxTime
}

// setTimers sets the timers and clears those that are not among them.
func (f *firing) setTimers(p *pane, timers [timerDomains]setTimer) error {
	for d := range timers {
		was, is := p.memory.timers[d], timers[d]
		if was == is {
			continue
		}
		t := Timer{Domain: plan.TimeDomain(d), Key: p.key, Window: p.window, Fire: is.fire, Hold: is.hold}
		change := f.bundle.Set
		if !is.set {
			change = f.bundle.Clear
		}
		if err := change(t); err != nil {
			return err
		}
	}
	p.memory.timers = timers
	return nil
}
