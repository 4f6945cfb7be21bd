package engine

import (
	"context"
	"fmt"

	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/state"
)

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
	if j := o.Journal; j != nil {
		p.Lasting = &state.Lasting{
			Table: j.State(), Epoch: j.Epoch(), Durable: func() uint64 { return uint64(j.Durable()) },
			Wait: func(ctx context.Context, seq uint64) error {
				if err := j.Wait(ctx, journal.Seq(seq)); err != nil {
					return fmt.Errorf("%w: %w", ErrJournal, err)
				}
				return nil
			},
		}
	}
	return state.New(p)
}
