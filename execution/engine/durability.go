package engine

import (
	"context"

	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// Journal keeps the commits of a job, so that another process can go on from
// them. Commits are handed over in order, by one goroutine.
type Journal interface {
	// Image returns what an earlier process has left, once; empty if there was none.
	Image() *journal.Image
	// Epoch counts the processes that have had the job, from 1.
	Epoch() uint64
	// Last is the number of the last commit that was handed over; 0 if there never was
	// one. Durable is that of the last which outlives the machine.
	Last() journal.Seq
	Durable() journal.Seq
	// Append hands a commit over, which must not be changed afterwards, and returns
	// its number: that of the last, plus 1. It waits if too much is on its way to the
	// disk.
	Append(ctx context.Context, c *journal.Commit) (journal.Seq, error)
	// Wait returns when a commit is durable, or with the reason why it is not.
	Wait(ctx context.Context, seq journal.Seq) error
	// Disk takes what is too large for a row.
	Disk() shuffle.Disk
	// State has the rows of state, as of the commits that are durable, or some more.
	State() state.Reader
	// Collect gives back the space of what neither memory nor a row refers to.
	Collect()
}
