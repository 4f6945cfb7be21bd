package plan

import (
	"time"

	"github.com/gorunner/gorunner/element"
)

// Test is the script of a test stream. Its next event happens when all that
// the one before has caused is done.
type Test struct {
	// Sources are the stages that the script drives, of kind [*TestSource].
	// Until the script has ended, the watermark of each is what the script says,
	// element.MinTime in the beginning.
	Sources []StageID
	Events  []TestEvent
}

// TestEvent is a step of a script. The set is closed: [TestElements],
// [TestWatermark], [TestProcessingTime].
//
//sumtype:decl
type TestEvent interface{ testEvent() }

// TestElements lets a source emit a block of elements in the wire format of
// its edge.
type TestElements struct {
	Source StageID
	Block  element.Block
}

// TestWatermark advances the watermark of a source. It never goes back.
type TestWatermark struct {
	Source StageID
	To     element.EventTime
}

// TestProcessingTime advances the processing time of the job.
type TestProcessingTime struct{ By time.Duration }

func (TestElements) testEvent()       {}
func (TestWatermark) testEvent()      {}
func (TestProcessingTime) testEvent() {}
