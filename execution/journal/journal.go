// Package journal says what a job is between two commits, so that it can go on
// from there in another process.
//
// A job is a set of rows: its queued blocks, timers, side inputs, metrics, state,
// and how far its stages have come. All else that the engine knows, such as
// leases, locks, holds of the watermark and open gates, follows from these. A
// [Commit] is a change of the set, and every prefix of a job's commits leaves one
// from which the job can go on. An [Image] is the set as it is found at a start.
//
// The package is pure: it turns commits into changes of rows and rows into an
// image, and leaves to others where rows are kept.
//
// # Numbers
//
// A queued block has a number from the commit that brings it until the one that
// consumes it, whatever becomes of it in between: waiting in a queue or at a
// gate, being executed, failing and being tried again are nothing to write down.
//
// # Order
//
// Blocks are found again in the order of their numbers, and so in the order in
// which they were queued, but for what a bundle has given back, which comes last.
package journal

import (
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/state"
)

// Seq numbers the commits of a job, from 1.
type Seq uint64

// Commit is what changes at once. Its fields are independent of one another: no
// row is in two of them. Within a field, what comes later counts.
type Commit struct {
	// Queued are new blocks, Consumed those that are no more. A block that is in
	// both was never there.
	Queued   []Block
	Consumed []element.Number
	// Timers were set, or cleared where they have no data.
	Timers []Timer
	// Parked is what is new of timers that are in the state.
	Parked []Parked
	// Side holds new blocks of edges that are read when they are complete.
	Side []SideBlock
	// SideDone are the edges that nobody reads any more: nothing comes to them
	// after that.
	SideDone []plan.EdgeID
	// Shown are windows of views that hold something else than before, or nothing
	// any more.
	Shown []Shown
	// Stages are those of which something is different.
	Stages []Stage
	// Scripts are the test streams that went on.
	Scripts []Script
	// Metrics are to be added to what was counted before.
	Metrics []metrics.Info
	// State changes the rows of state; nil for not at all.
	State *state.Changes
	// Draining says that from now on the job is drained.
	Draining bool
}

// Empty says that nothing changes.
func (c *Commit) Empty() bool {
	return len(c.Queued) == 0 && len(c.Consumed) == 0 && len(c.Timers) == 0 && len(c.Parked) == 0 && len(c.Side) == 0 &&
		len(c.SideDone) == 0 && len(c.Shown) == 0 && len(c.Stages) == 0 && len(c.Scripts) == 0 &&
		len(c.Metrics) == 0 && c.State.Len() == 0 && !c.Draining
}

// Block is a block that a stage has yet to execute.
type Block struct {
	Stage plan.StageID
	// Group is its key group, element.Unkeyed where the stage is not keyed.
	Group element.KeyGroup
	// Due is the processing time before which it waits; element.MinTime if it does
	// not.
	Due element.EventTime
	// Truncated says that it comes after the truncation of a job that is drained.
	Truncated bool
	// Block has its number, which is not 0.
	element.Block
}

// Timer is a timer of a stage.
type Timer struct {
	Stage plan.StageID
	timer.Timer
}

// Parked says how many timers of a key group are in the state of its stage.
type Parked struct {
	Stage  plan.StageID
	Domain plan.TimeDomain
	Group  element.KeyGroup
	// Parked has no timers if none are any more.
	timer.Parked
}

// SideBlock is a block of an edge that is a side input.
type SideBlock struct {
	Edge plan.EdgeID
	// Block has a number among those of the edge.
	element.Block
}

// Shown is what a window of a view shows.
type Shown struct {
	View   plan.StageID
	Window string
	// Forgotten windows hold nothing, and are not asked for any more.
	Forgotten bool
	// Count is the number of values, which lie in the chunks one behind the other.
	Count  int
	Chunks []element.Chunk
}

// Stage is how far a stage has come.
type Stage struct {
	ID plan.StageID
	// Input and Output are its watermarks, Reached is how far in event time a bundle
	// has come that was ahead of them.
	Input, Output, Reached element.EventTime
	// Finished says that nothing more comes to it or from it.
	Finished bool
	// What it has read and written, in elements and in bytes.
	ElementsIn, BytesIn, ElementsOut, BytesOut int64
}

// Script is how far a test stream has come.
type Script struct {
	Index  int
	Played int
	// Epoch is the processing time at the start of the job, Clock that since then.
	Epoch element.EventTime
	Clock time.Duration
}
