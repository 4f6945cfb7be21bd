package group

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/gorunner/gorunner/execution/trigger"
	"github.com/gorunner/gorunner/execution/windowing"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/state"
)

// Windows that merge do so over the life of the key: its windows are listed in
// state, each with the address of its cell. A window that closes does not merge
// any more; one that comes afterwards and is the same is dropped, any other
// begins anew. The window that others have merged into goes on counting its
// panes if it was one of them, and begins with the first one if it is new.

// merge is a key whose windows merge, while a bundle looks at it.
type merge struct {
	key []byte
	id  state.Cell
	// entries are those of the table.
	entries []int
	windows keyWindows
	changed bool
	// panes are the windows that were opened.
	panes map[string]*pane
	// order is the order in which they were.
	order []*pane
}

// mergingKeys executes the bundle where windows merge.
func (f *firing) mergingKeys(ctx context.Context) error {
	keys, err := f.readKeys(ctx)
	if err != nil {
		return err
	}
	var sets [][][]byte
	var merging []*merge
	for _, k := range keys {
		if err := f.fireDue(k); err != nil {
			return err
		}
		if set, anyNew := f.toMerge(k); anyNew {
			sets, merging = append(sets, set), append(merging, k)
		}
	}
	merged, err := f.merge(ctx, sets)
	if err != nil {
		return err
	}
	results := make(map[*merge][]windowing.Merged, len(merging))
	for i, k := range merging {
		results[k] = merged[i]
	}
	for i, k := range keys {
		if i%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := f.mergingKey(k, results[k]); err != nil {
			return fmt.Errorf("key %x: %w", k.key, err)
		}
	}
	return nil
}

// readKeys returns the keys of the table with what is in state of them.
func (f *firing) readKeys(ctx context.Context) ([]*merge, error) {
	index := make(map[string]*merge)
	var keys []*merge
	for i := range f.table.entries {
		key := f.table.at(f.table.entries[i].key)
		k := index[string(key)]
		if k == nil {
			if len(keys)%1024 == 0 && ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			k = &merge{
				key:   key,
				id:    state.Cell{Transform: plan.TransformID(f.params.Stage.Name), State: stateWindows, Key: string(key)},
				panes: make(map[string]*pane),
			}
			data, err := f.bundle.State.Value(k.id, entryWindows)
			if err != nil {
				return nil, err
			}
			if k.windows, err = readKeyWindows(data); err != nil {
				return nil, fmt.Errorf("key %x: %w", key, err)
			}
			index[string(key)] = k
			keys = append(keys, k)
		}
		k.entries = append(k.entries, i)
	}
	return keys, nil
}

// openWindow returns a window of the key, which is listed if it is new.
func (f *firing) openWindow(k *merge, window []byte) (*pane, error) {
	if p := k.panes[string(window)]; p != nil {
		return p, nil
	}
	w, listed := k.windows.windows[string(window)]
	if !listed {
		w.address = k.windows.next
		k.windows.next++
		k.list(window, w)
	}
	p := &pane{}
	if err := f.open(p, k.key, window, address(w.address)); err != nil {
		return nil, err
	}
	k.put(p)
	return p, nil
}

// list lists a window.
func (k *merge) list(window []byte, w keyWindow) {
	k.windows.windows[string(window)] = w
	k.changed = true
}

// unlist takes a window off the list.
func (k *merge) unlist(window []byte) {
	delete(k.windows.windows, string(window))
	k.changed = true
}

func (k *merge) put(p *pane) {
	k.panes[string(p.window)] = p
	k.order = append(k.order, p)
}

// remove forgets a pane that was merged into another.
func (k *merge) remove(p *pane) {
	delete(k.panes, string(p.window))
	k.order = slices.DeleteFunc(k.order, func(q *pane) bool { return p == q })
	k.unlist(p.window)
}

// address is a cell's window.
func address(n int64) string { return "#" + strconv.FormatInt(n, 36) }

// fireDue fires the windows of a key whose timers are due.
func (f *firing) fireDue(k *merge) error {
	if f.due == nil {
		return nil
	}
	for _, i := range k.entries {
		window := f.table.at(f.table.entries[i].window)
		if _, listed := k.windows.windows[string(window)]; !listed || f.due[i] == (dueDomains{}) {
			continue
		}
		p, err := f.openWindow(k, window)
		if err != nil {
			return err
		}
		p.fired(f.due[i])
		if p.exists && !p.memory.closed {
			if err := f.ask(p); err != nil {
				return err
			}
		}
		if p.memory.closed {
			k.close(p.window)
		}
	}
	return nil
}

// close marks a window of the list as closed.
func (k *merge) close(window []byte) {
	if w := k.windows.windows[string(window)]; !w.closed {
		w.closed = true
		k.list(window, w)
	}
}

// toMerge returns the windows of a key that may merge; anyNew is false if there
// is nothing to do because they have been merged before.
func (f *firing) toMerge(k *merge) (set [][]byte, anyNew bool) {
	for _, i := range k.entries {
		e := &f.table.entries[i]
		window := f.table.at(e.window)
		if w, listed := k.windows.windows[string(window)]; e.count > 0 && (!listed || w.closed) {
			set = append(set, window)
		}
	}
	if len(set) == 0 {
		return nil, false
	}
	for _, window := range k.windows.sorted() {
		if !k.windows.windows[window].closed {
			set = append(set, []byte(window))
		}
	}
	return set, true
}

// merge merges sets of windows.
func (f *firing) merge(ctx context.Context, sets [][][]byte) ([][]windowing.Merged, error) {
	if len(sets) == 0 {
		return nil, nil
	}
	merge, err := merger(f.windowing, f.bundle.Merge)
	if err != nil {
		return nil, err
	}
	return merge(ctx, sets)
}

// mergingKey merges the windows of a key as was decided, and takes in the
// values of the bundle.
func (f *firing) mergingKey(k *merge, merged []windowing.Merged) error {
	into := make(map[string][]byte)
	for _, m := range merged {
		for _, from := range m.From {
			into[string(from)] = m.Window
		}
		if len(m.From) > 1 || string(m.Window) != string(m.From[0]) {
			if err := f.mergeInto(k, m); err != nil {
				return err
			}
		}
	}
	taken := make(map[*pane][]int)
	for _, i := range k.entries {
		e := &f.table.entries[i]
		if e.count == 0 {
			continue
		}
		window := f.table.at(e.window)
		if m, ok := into[string(window)]; ok {
			window = m
		}
		p, err := f.openWindow(k, window)
		if err != nil {
			return err
		}
		taken[p] = append(taken[p], i)
	}
	for _, p := range k.order {
		if err := f.take(p, f.table.join(taken[p])); err != nil {
			return err
		}
		if err := f.end(p); err != nil {
			return err
		}
		switch {
		case !p.exists || p.gone:
			k.unlist(p.window)
		case p.memory.closed:
			k.close(p.window)
		}
	}
	return f.writeWindows(k)
}

// writeWindows writes the list of a key's windows back.
func (f *firing) writeWindows(k *merge) error {
	switch {
	case !k.changed:
		return nil
	case len(k.windows.windows) == 0:
		return f.bundle.State.ClearAll(k.id)
	}
	f.scratch = k.windows.append(f.scratch[:0])
	return f.bundle.State.Replace(k.id, entryWindows, f.scratch)
}

// mergeInto makes the window into which others merge. It takes over the cell of
// the one with the most values.
func (f *firing) mergeInto(k *merge, m windowing.Merged) error {
	sources, same, err := f.sources(k, m)
	if err != nil || len(sources) == 0 {
		return err // there are only new windows, whose values go there
	}
	base := slices.MaxFunc(sources, func(a, b *pane) int { return int(a.memory.bytes - b.memory.bytes) })
	at := keyWindow{address: k.windows.windows[string(base.window)].address}
	p := &pane{}
	if err := f.open(p, k.key, m.Window, address(at.address)); err != nil {
		return err
	}
	p.read = nil
	p.memory = f.mergeMemory(p, sources)
	p.exists, p.stateful = true, true
	if same != nil {
		old := &same.memory
		p.memory.timers = old.timers
		if slices.Contains(sources, same) {
			p.memory.onTime = old.onTime
			p.memory.index, p.memory.nonSpeculative = old.index, old.nonSpeculative
		} else {
			sources = append(sources, same) // it had closed: what merges now begins anew
		}
	}
	if err := f.moveValues(p, base, sources); err != nil {
		return err
	}
	for _, s := range sources {
		if s != same {
			if err := f.setTimers(s, [timerDomains]setTimer{}); err != nil {
				return err
			}
		}
		k.remove(s)
	}
	k.list(m.Window, at)
	k.put(p)
	return nil
}

// sources returns the windows of state that merge, and that which the result
// is, if it is in state.
func (f *firing) sources(k *merge, m windowing.Merged) (sources []*pane, same *pane, err error) {
	for _, from := range m.From {
		if w, listed := k.windows.windows[string(from)]; !listed || w.closed {
			continue
		}
		p, err := f.openWindow(k, from)
		if err != nil {
			return nil, nil, err
		}
		sources = append(sources, p)
	}
	if w, listed := k.windows.windows[string(m.Window)]; listed && len(sources) > 0 {
		if same, err = f.openWindow(k, m.Window); err != nil {
			return nil, nil, err
		}
		if !w.closed && !slices.Contains(sources, same) {
			return nil, nil, errMerged
		}
	}
	return sources, same, nil
}

// mergeMemory makes the memory of the window p, new among its panes, from those
// that merge into it.
func (f *firing) mergeMemory(p *pane, sources []*pane) memory {
	var m memory
	punctual := false // something has come in time and waits
	states := make([]trigger.State, len(sources))
	for i, s := range sources {
		states[i] = s.memory.trigger
		m.fresh += s.memory.fresh
		punctual = punctual || s.memory.fresh > 0 && !s.memory.onTime
		if s.memory.held {
			m.holdAt(f.windowing.OutputTime, s.memory.hold)
		}
	}
	m.onTime = f.passed(p.end) && !punctual
	if f.windowing.OutputTime == plan.EndOfWindow {
		m.held, m.hold = m.fresh > 0 && !m.onTime, p.end
	}
	m.trigger = f.machine.Merge(states, p.context)
	return m
}

// moveValues gathers the values of the sources in the cell of base, which is
// that of p, and clears the other cells.
func (f *firing) moveValues(p, base *pane, sources []*pane) error {
	if base.discarded {
		if err := f.bundle.State.Clear(p.id, entryValues); err != nil {
			return err
		}
	}
	p.beside, p.memory.apart = base.beside, base.memory.apart
	p.memory.count, p.memory.bytes = base.memory.count, base.memory.bytes
	for _, s := range sources {
		if err := f.show(s); err != nil {
			return err
		}
		p.emitted += s.emitted
		if s == base {
			continue
		}
		if err := f.moveFrom(p, s); err != nil {
			return err
		}
		if err := f.bundle.State.ClearAll(s.id); err != nil {
			return err
		}
	}
	return nil
}

// moveFrom adds the values of a window to those of p.
func (f *firing) moveFrom(p, from *pane) error {
	m := &from.memory
	if m.count == 0 {
		return nil
	}
	if err := f.keep(p, m.count, m.bytes); err != nil {
		return err
	}
	if !p.memory.apart {
		p.beside = slices.Concat(p.beside, from.beside)
		return nil
	}
	if !m.apart {
		return f.bundle.State.Append(p.id, entryValues, from.beside)
	}
	var failed error
	err := f.bundle.State.Scan(from.id, state.Place{Entry: entryValues}, state.After(entryValues), func(piece state.Piece) bool {
		failed = f.bundle.State.Append(p.id, entryValues, piece.Data)
		return failed == nil
	})
	return cmp.Or(failed, err)
}
