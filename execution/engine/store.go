package engine

import "github.com/gorunner/gorunner/state"

// State that is worth it stays in memory: it is read again, while blocks are
// read once. So it is written to disk when the budget is exceeded, but not below
// the first of these shares of it; and in any case beyond the second, so that
// there is room for what passes through.
const (
	stateShareMin = 0.25
	stateShareMax = 0.5
)

// newStore makes the store of the job's state.
func newStore(o Options) state.Store {
	p := state.Params{Open: o.OpenState, Used: o.Memory.Account("state").Add}
	limit := float64(o.Memory.Limit())
	p.Over = func(used int64) bool {
		return limit > 0 && float64(used) > stateShareMax*limit ||
			float64(used) > stateShareMin*limit && o.Memory.Over()
	}
	return state.New(p)
}
