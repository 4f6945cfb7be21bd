package engine

import (
	"slices"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/watermark"
	"github.com/gorunner/gorunner/plan"
)

// tests plays the scripts of a job's test streams, by turns. An event happens
// when the job is quiet: when nothing runs, nothing can be started and nothing
// is due.
//
// Such a job has a clock of its own, which scripts move. When all of them have
// ended, it leaps from one thing that waits for it to the next, so that the
// job's end does not.
type tests struct {
	scripts []*testScript
	turn    int
}

// testScript is a script and how far it has come.
type testScript struct {
	index int
	// played counts the events, of which there are length in all, and one more for
	// the end.
	played, length int
	events         []plan.TestEvent
	sources        []*testSource
}

// testSource is a stage that a script drives. It is held at its watermark.
type testSource struct {
	stage     *stageState
	watermark element.EventTime
	// ended sources have no hold: nothing more comes from them.
	ended bool
}

// startTests brings the sources of all scripts to their beginning.
func (s *scheduler) startTests() {
	for i, test := range s.plan.Tests {
		script := &testScript{index: i, length: len(test.Events), events: test.Events}
		for _, id := range test.Sources {
			source := &testSource{stage: s.stages[id], watermark: element.MinTime}
			s.tracker.Hold(id, watermark.Pending, source.watermark)
			script.sources = append(script.sources, source)
		}
		s.tests.scripts = append(s.tests.scripts, script)
	}
}

// virtual says whether processing time goes by scripts.
func (s *scheduler) virtual() bool { return len(s.plan.Tests) > 0 }

// quiet says whether nothing goes on and nothing can, even with more workers.
func (s *scheduler) quiet() bool {
	return len(s.bundles) == 0 && len(s.examined) == 0 && s.quarantined == 0 && s.asking == 0 && !slices.ContainsFunc(s.stages, func(st *stageState) bool {
		return s.hasWork(st) && s.startable(st, necessary)
	})
}

// playOn lets the next thing happen that a quiet job waits for. It returns
// false if there is none.
func (s *scheduler) playOn() bool {
	t := &s.tests
	if len(t.scripts) == 0 {
		due := s.nextDue()
		if due > s.clock {
			s.clock = due
			s.ledger.leap(s)
		}
		return due != 0
	}
	t.turn %= len(t.scripts)
	script := t.scripts[t.turn]
	script.played++
	defer func() { s.ledger.play(s, script) }()
	if len(script.events) == 0 {
		s.endScript(script)
		t.scripts = slices.Delete(t.scripts, t.turn, t.turn+1)
		return true
	}
	t.turn++
	event := script.events[0]
	script.events = script.events[1:]
	s.play(script, event)
	return true
}

func (s *scheduler) play(script *testScript, event plan.TestEvent) {
	switch e := event.(type) {
	case plan.TestElements:
		s.push(s.stages[e.Source], element.Unkeyed, e.Block)
	case plan.TestWatermark:
		source := script.source(e.Source)
		if e.To < element.MaxTime || script.emits(e.Source) {
			s.moveSource(source, e.To)
		} else {
			s.endSource(source)
		}
	case plan.TestProcessingTime:
		s.clock += max(0, min(e.By, delayMax-s.clock))
	}
}

func (t *testScript) source(id plan.StageID) *testSource {
	i := slices.IndexFunc(t.sources, func(s *testSource) bool { return s.stage.ID == id })
	return t.sources[i]
}

// emits says whether elements of the source are still to come: then it has not
// ended, whatever its watermark is.
func (t *testScript) emits(id plan.StageID) bool {
	return slices.ContainsFunc(t.events, func(event plan.TestEvent) bool {
		e, ok := event.(plan.TestElements)
		return ok && e.Source == id
	})
}

// moveSource advances the watermark of a source.
func (s *scheduler) moveSource(source *testSource, to element.EventTime) {
	if source.ended || to <= source.watermark {
		return
	}
	s.tracker.Hold(source.stage.ID, watermark.Pending, to)
	s.tracker.Release(source.stage.ID, watermark.Pending, source.watermark)
	source.watermark = to
}

func (s *scheduler) endSource(source *testSource) {
	if !source.ended {
		source.ended = true
		s.tracker.Release(source.stage.ID, watermark.Pending, source.watermark)
	}
}

// over says that the script has been played to its end.
func (t *testScript) over() bool { return t.played > t.length }

func (s *scheduler) endScript(script *testScript) {
	for _, source := range script.sources {
		s.endSource(source)
	}
}
