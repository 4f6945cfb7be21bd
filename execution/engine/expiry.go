package engine

import (
	"fmt"
	"slices"
	"sync"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// When a window expires, each key of a stage with user state has the following
// in that order: the timers that the user has set in the window, the user is
// told of its expiration, and the window's state is forgotten. The last two are
// due to timers that the runner sets when a bundle commits, a millisecond and
// two after the window. From then on nothing of the window reaches the stage:
// elements are dropped, and timers in processing time do not fire.
//
// It goes by the watermark, and so for unbounded input only: that of bounded
// input passes all windows at once. In the global window nothing expires.

// expires says whether windows of the stage's input expire. They do also where
// views are read, whose contents are forgotten with them.
func expires(p *plan.Plan, s *plan.Stage) bool {
	k, ok := s.Kind.(*plan.Executable)
	if !ok || s.Input == nil {
		return false
	}
	e := p.Edges[s.Input.Edge]
	_, global := e.Windowing.Fn.(plan.GlobalWindows)
	return !global && !e.Bounded && (s.Input.Keyed && len(k.States)+len(k.Timers) > 0 || readsShown(s) && !k.Splittable)
}

// readsShown says whether the stage reads views that are shown window by window.
func readsShown(s *plan.Stage) bool {
	return slices.ContainsFunc(s.SideInputs, func(side plan.SideInput) bool { return side.View != 0 })
}

// scope is a key in a window.
type scope struct{ key, window string }

// scopes is a set of them, in order of first appearance; nil takes nothing. It
// is safe for concurrent use.
type scopes struct {
	mu   sync.Mutex
	seen map[scope]bool
	list []scope
}

func (s *scopes) add(key, window []byte) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[scope{string(key), string(window)}] {
		return
	}
	if s.seen == nil {
		s.seen = make(map[scope]bool)
	}
	one := scope{string(key), string(window)}
	s.seen[one] = true
	s.list = append(s.list, one)
}

// endings adds the timers that the runner itself sets: one for each key and
// window of the input, where the user is to be told of expirations, and one for
// each in which state was written, where it is to be forgotten.
func (p *pipe) endings(changes []timerChange, input []element.Block, written *scopes) ([]timerChange, error) {
	for family := range p.families {
		f := &p.families[family]
		var in *scopes
		switch {
		case f.forgets:
			in = written
		case f.spec.Expiration:
			in = &scopes{}
			for i := range input {
				err := p.input.Each(&input[i], func(e *shuffle.Element, window []byte) error {
					in.add(e.Key(), window)
					return nil
				})
				if err != nil {
					return nil, fmt.Errorf("windows that expire: %w", err)
				}
			}
		default:
			continue
		}
		for _, one := range in.list {
			t, err := f.ending(timer.Name{Family: family, Key: one.key, Window: one.window})
			if err != nil {
				return nil, fmt.Errorf("windows that expire: %w", err)
			}
			changes = append(changes, timerChange{t})
		}
	}
	return changes, nil
}

// ending is a timer for when a window of a key has expired, and all timers that
// may be set in it have fired.
func (f *timerFamily) ending(n timer.Name) (timer.Timer, error) {
	end, expiry, err := f.expiry([]byte(n.Window))
	if err != nil {
		return timer.Timer{}, err
	}
	const last = element.MaxTime - 2 // so that there is time after it
	t := timer.Timer{
		Name: n, Group: shuffle.KeyGroup([]byte(n.Key), f.groups), Domain: plan.EventTimeDomain,
		Fire: min(expiry, last) + 1, Hold: end,
	}
	if f.forgets {
		t.Fire, t.Hold, t.Data = t.Fire+1, element.MaxTime, []byte{}
		return t, nil
	}
	t.Data = coder.PutTimer(nil, coder.Timer{
		Key: []byte(n.Key), Windows: []byte(n.Window), NumWindows: 1, Fire: t.Fire, Hold: t.Hold,
		Pane: []byte{coder.PaneOnlyFiring},
	})
	return t, nil
}

// sift takes out of the timers of a bundle those of windows in which none fires
// any more, and returns the windows of which the state is to be forgotten.
func (p *pipe) sift(timers []*timer.Timer, watermark element.EventTime) (fire []*timer.Timer, forget []scope, err error) {
	if !p.expires {
		return timers, nil, nil
	}
	for _, t := range timers {
		f := &p.families[t.Family]
		switch {
		case f.forgets:
			forget = append(forget, scope{t.Key, t.Window})
			continue
		case t.Domain == plan.ProcessingTimeDomain:
			_, expiry, err := f.expiry([]byte(t.Window))
			if err != nil {
				return nil, nil, err
			}
			if expiry < watermark {
				continue
			}
		}
		fire = append(fire, t)
	}
	return fire, forget, nil
}

// forget empties all states of the stage in the windows.
func forget(txn state.Txn, stage *plan.Stage, windows []scope) error {
	k, ok := stage.Kind.(*plan.Executable)
	if !ok {
		return nil
	}
	for _, w := range windows {
		for _, spec := range k.States {
			cell := state.Cell{Transform: spec.Transform, State: spec.ID, Key: w.key, Window: w.window}
			if err := txn.ClearAll(cell); err != nil {
				return fmt.Errorf("forget state: %w", err)
			}
		}
	}
	return nil
}
