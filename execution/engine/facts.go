package engine

import (
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// fact is something that happened outside the scheduler. The set is closed:
// [workerReady], [workerGone], [workerRefused], [bundleDone], [bundleFailed],
// [bundleSplit], [bundleFull], [workHalved], [elementParked], [windowsMapped], [drainAsked], [pressureChanged],
// [idleMeasured], [taskPanicked], [tick].
//
//sumtype:decl
type fact interface{ fact() }

// workerReady says that a worker can take bundles.
type workerReady struct {
	env   plan.EnvironmentID
	id    harness.WorkerID
	slots int
}

// workerGone says that a worker takes no bundle any more. Each of its bundles
// is reported as failed besides.
type workerGone struct {
	id  harness.WorkerID
	err error
}

// workerRefused says that a worker could not be started.
type workerRefused struct {
	env plan.EnvironmentID
	err error
	// ended says that its process ended before it had connected.
	ended bool
}

// bundleDone says that a bundle has finished. Step makes it a commit.
type bundleDone struct {
	id harness.BundleID
	// outputs in the order of the stage's outputs.
	outputs []shuffle.Output
	timers  []timerChange
	// loaded are the timers that had been parked and have fired, parked says what
	// has changed in what is.
	loaded []*timer.Timer
	parked []parkedChange
	// shown are the windows of a view that hold something new.
	shown     [][]byte
	residuals []residual
	// requests is how often the bundle has asked for state.
	requests int64
}

// residual is work that a bundle left for later.
type residual struct {
	block element.Block
	// group is the key group, element.Unkeyed where the stage is not keyed.
	group element.KeyGroup
	delay time.Duration
}

// bundleFailed says that an execution had no effect. lost says that the
// worker is to blame, fatal that another attempt would fare no better.
type bundleFailed struct {
	id    harness.BundleID
	err   error
	lost  bool
	fatal bool
}

// bundleSplit says how a request to split ended. When ok is false, nothing
// has changed; otherwise the bundle keeps the blocks of keep, and those of
// rest are other bundles' work.
type bundleSplit struct {
	id   harness.BundleID
	ok   bool
	keep []element.Block
	// groups are the key groups of the blocks of keep, where the stage is keyed.
	groups []element.KeyGroup
	rest   []residual
	// freed are the key groups of which the bundle has nothing left, and has had
	// nothing until now.
	freed []element.KeyGroup
}

// bundleFull says that a bundle has written as much as one should: the rest of
// its work is for others.
type bundleFull struct{ id harness.BundleID }

// workHalved is the answer to halveWork, unless there is an error.
type workHalved struct {
	id     harness.BundleID
	halves [2]portion
	lost   bool // as it was asked
	err    error
}

// elementParked is the answer to parkElement.
type elementParked struct {
	id      harness.BundleID
	where   string
	failure *BundleError
	err     error
}

// drainAsked says that the job is to be drained.
type drainAsked struct{}

// pressureChanged says how short of room the job is from now on.
type pressureChanged struct{ to pressure }

// idleMeasured is the answer to measureIdle: the share of its cores that the
// machine did not use over so long a time, which is 0 if nobody knows, and how
// many it did.
type idleMeasured struct {
	idle float64
	busy float64
	over time.Duration
}

// windowsMapped is the answer to mapWindows: to has the windows of the side
// input, in the order of those asked for, unless there is an error.
type windowsMapped struct {
	stage   plan.StageID
	side    int
	windows []string
	to      [][]byte
	err     error
}

// taskPanicked says that a goroutine of the job has run into a mistake of the
// runner itself: nothing is tried again.
type taskPanicked struct{ err error }

// tick says that time has passed, as asked for by wakeAt.
type tick struct{}

func (workerReady) fact()     {}
func (workerGone) fact()      {}
func (workerRefused) fact()   {}
func (bundleDone) fact()      {}
func (bundleFailed) fact()    {}
func (bundleSplit) fact()     {}
func (bundleFull) fact()      {}
func (workHalved) fact()      {}
func (elementParked) fact()   {}
func (drainAsked) fact()      {}
func (taskPanicked) fact()    {}
func (windowsMapped) fact()   {}
func (pressureChanged) fact() {}
func (idleMeasured) fact()    {}
func (tick) fact()            {}

// order is what the scheduler wants done. The set is closed: [startWorker],
// [startBundle], [splitBundle], [halveWork], [parkElement], [measureIdle], [mapWindows], [forgetWindows], [wakeAt], [stageFinished], [bundleRetried], [elementPutAside],
// [workerReplaced], [workerMissing], [finishJob], [failJob].
//
//sumtype:decl
type order interface{ order() }

// startWorker asks for one more worker of an environment.
type startWorker struct{ env plan.EnvironmentID }

// startBundle asks to execute a bundle.
type startBundle struct {
	id harness.BundleID
	// stage is what is executed: a stage or a function.
	stage  plan.StageID
	worker harness.WorkerID
	input  []element.Block
	timers []*timer.Timer
	// parked are timers that fire besides, and have to be loaded. parking says what
	// becomes of those that are set.
	parked  []parkedTimers
	parking parking
	// early says that the timers fire before their time, and so in time.
	early bool
	// time is what the clocks of the stage show.
	time harness.Time
	// stateCache is as in harness.Bundle.
	stateCache string
	attempt    int
}

// splitBundle asks to cut a running bundle, keeping the fraction of what
// remains. With nothing kept it is a checkpoint: the bundle ends.
type splitBundle struct {
	id       harness.BundleID
	fraction float64
	// parts is for how many bundles the rest should be.
	parts int
}

// halveWork asks to cut the input of work that has failed in two.
type halveWork struct {
	id    harness.BundleID
	stage plan.StageID
	input []element.Block
	// lost says that a worker was lost at last.
	lost bool
	err  error
}

// parkElement asks to put the one element of a bundle that has failed aside.
type parkElement struct {
	id      harness.BundleID
	failure *BundleError
}

// measureIdle asks how busy the machine has been since it was asked before.
type measureIdle struct{}

// mapWindows asks the SDK's function to map windows of a stage's main input to
// those of a side input.
type mapWindows struct {
	stage plan.StageID
	// side is which of the sides of the stage's gate.
	side     int
	function plan.StageID
	windows  []string
}

// forgetWindows says which windows of a view are not read any more.
type forgetWindows struct {
	view    plan.StageID
	windows []string
}

// wakeAt asks for a tick at the time, and replaces what was asked before.
type wakeAt struct{ at time.Duration }

// stageFinished, bundleRetried, elementPutAside, workerReplaced and workerMissing tell of what
// happened.
type (
	stageFinished   struct{ stage plan.StageID }
	bundleRetried   struct{ event BundleRetried }
	elementPutAside struct{ event ElementParked }
	workerReplaced  struct{ event WorkerReplaced }
	workerMissing   struct{ event WorkerMissing }
)

// finishJob and failJob end the job; no order follows them.
type (
	finishJob struct{}
	failJob   struct{ err error }
)

func (startWorker) order()     {}
func (startBundle) order()     {}
func (splitBundle) order()     {}
func (halveWork) order()       {}
func (parkElement) order()     {}
func (measureIdle) order()     {}
func (mapWindows) order()      {}
func (forgetWindows) order()   {}
func (wakeAt) order()          {}
func (stageFinished) order()   {}
func (bundleRetried) order()   {}
func (elementPutAside) order() {}
func (workerReplaced) order()  {}
func (workerMissing) order()   {}
func (finishJob) order()       {}
func (failJob) order()         {}
