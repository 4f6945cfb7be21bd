package runner

import (
	"fmt"

	"github.com/gorunner/gorunner/execution/engine"
	"github.com/gorunner/gorunner/plan"
)

// listener turns the engine's events into messages of the job. The engine
// itself writes them to the server's log.
type listener struct {
	job *job
	// stages are the names of the plan's stages.
	stages []string
}

func newListener(j *job) *listener {
	l := &listener{job: j}
	for _, s := range j.translation.Plan.Stages {
		l.stages = append(l.stages, s.Name)
	}
	return l
}

func (l *listener) stage(id plan.StageID) string {
	if id < 0 || int(id) >= len(l.stages) {
		return fmt.Sprintf("stage %d", id)
	}
	return l.stages[id]
}

// Event implements engine.Listener.
func (l *listener) Event(e engine.Event) {
	switch e := e.(type) {
	case engine.StageFinished:
		l.job.hub.say(Detailed, "stage "+l.stage(e.Stage)+" finished")
	case engine.BundleRetried:
		l.job.hub.say(Warning, fmt.Sprintf("stage %s: bundle %d failed (attempt %d) and is tried again: %v",
			l.stage(e.Stage), e.Bundle, e.Attempt, e.Err))
	case engine.ElementParked:
		l.job.hub.say(Warning, fmt.Sprintf("stage %s: an element that keeps failing is put aside, the job goes on; it is kept in %s (%d of this stage so far): %v",
			l.stage(e.Stage), e.Where, e.Parked, e.Err))
	case engine.WorkerReplaced:
		l.job.hub.say(Warning, replacedText(e))
	case engine.WorkerMissing:
		l.job.hub.say(Warning, fmt.Sprintf("a lost worker of environment %s could not be replaced; %s left: %v",
			e.Environment, plural(int64(e.Left), "worker"), e.Err))
	}
}

func replacedText(e engine.WorkerReplaced) string {
	after := ""
	if e.After > 0 {
		after = fmt.Sprintf(" in %v", e.After)
	}
	if e.Worker == "" {
		return fmt.Sprintf("a worker of environment %s could not be started and is tried again%s: %v", e.Environment, after, e.Err)
	}
	return fmt.Sprintf("worker %s of environment %s was lost and is replaced%s: %v", e.Worker, e.Environment, after, e.Err)
}
