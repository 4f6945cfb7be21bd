package engine

import (
	"fmt"
	"time"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/windowing"
	"github.com/gorunner/gorunner/plan"
)

// timerFamily is what is needed to cut the timers of a family.
type timerFamily struct {
	spec   plan.TimerSpec
	window *coder.Coder
	// lateness is how long after its end a window expires.
	lateness time.Duration
	groups   int
	// user says that the timers are a user's, forgets that they make the runner
	// forget the state of a window.
	user, forgets bool
}

// expiry returns the end of a window and when it expires.
func (f *timerFamily) expiry(window []byte) (end, expiry element.EventTime, err error) {
	if end, err = f.window.WindowEnd(window); err != nil {
		return 0, 0, fmt.Errorf("window: %w", err)
	}
	return end, windowing.Expiry(end, f.lateness), nil
}

// latest bounds the time of a user's timer: in event time it fires when the
// window expires, if not before.
func (f *timerFamily) latest(fire element.EventTime, window []byte) (element.EventTime, error) {
	if !f.user || f.spec.Domain != plan.EventTimeDomain {
		return fire, nil
	}
	_, expiry, err := f.expiry(window)
	return min(fire, expiry), err
}

// timerFamilies returns the families of a stage, none if it keeps no timers.
// The runner's own operators have one for each time domain, whose index is the
// domain's number.
func timerFamilies(p *plan.Plan, s *plan.Stage) []timerFamily {
	var specs []plan.TimerSpec
	groups, user := p.KeyGroups, false
	switch k := s.Kind.(type) {
	case *plan.Impulse, *plan.TestSource:
	case *plan.GroupByKey:
		if k.Streaming {
			specs = operatorTimers(k.Key)
		}
	case *plan.View:
		specs, groups = operatorTimers(coder.Must(coder.Bytes)), 1
	case *plan.TimeSort:
		specs = operatorTimers(keyCoder(p.Edges[s.Input.Edge]))
	case *plan.Executable:
		specs, user = k.Timers, true
	}
	var families []timerFamily
	for _, spec := range specs {
		w := p.Edges[s.Input.Edge].Windowing
		f := timerFamily{spec: spec, window: w.Window, lateness: w.AllowedLateness, groups: groups, user: user}
		if _, sorts := s.Kind.(*plan.TimeSort); sorts {
			f.window = coder.Must(coder.GlobalWindow) // each key has one timer for all windows
		}
		families = append(families, f)
	}
	if k, ok := s.Kind.(*plan.Executable); ok && len(k.States) > 0 && expires(p, s) {
		// No harness knows this one, which stands behind those that it knows.
		w := p.Edges[s.Input.Edge].Windowing
		families = append(families, timerFamily{window: w.Window, lateness: w.AllowedLateness, groups: groups, forgets: true})
	}
	return families
}

// operatorTimers are the timers of an operator whose keys have the coder.
func operatorTimers(key *coder.Coder) []plan.TimerSpec {
	var specs []plan.TimerSpec
	for d := plan.EventTimeDomain; d <= plan.SynchronizedDomain; d++ {
		specs = append(specs, plan.TimerSpec{Family: d.String(), Domain: d, Key: key})
	}
	return specs
}

// keyCoder is the coder of the keys by which consumers of the edge go.
func keyCoder(e *plan.Edge) *coder.Coder {
	if e.Key != nil {
		return e.Key
	}
	return e.Value.Component(0)
}
