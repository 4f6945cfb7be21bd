package engine

import (
	"time"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/plan"
)

// timerFamily is what is needed to cut the timers of a family.
type timerFamily struct {
	spec   plan.TimerSpec
	window *coder.Coder
	// lateness is how long after its end a window expires.
	lateness time.Duration
	groups   int
}

// timerFamilies returns the families of a stage, none if it keeps no timers.
// The runner's own operators have one for each time domain, whose index is the
// domain's number.
func timerFamilies(p *plan.Plan, s *plan.Stage) []timerFamily {
	var specs []plan.TimerSpec
	groups := p.KeyGroups
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
		specs = k.Timers
	}
	var families []timerFamily
	for _, spec := range specs {
		w := p.Edges[s.Input.Edge].Windowing
		families = append(families, timerFamily{spec, w.Window, w.AllowedLateness, groups})
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
