package runner

import (
	"fmt"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
)

// State is where a job is in its life.
type State int

// The states of a job.
//
//	STOPPED --> STARTING --> RUNNING --> DONE | FAILED
//	               |            |
//	               +------------+--> CANCELLING --> CANCELLED | FAILED | DONE
//	                            +--> DRAINING   --> DRAINED | FAILED | CANCELLING
//	                            +--> UPDATING   --> UPDATED | FAILED | CANCELLING
const (
	// Stopped is prepared but not run.
	Stopped State = iota
	Starting
	Running
	Done
	Failed
	Cancelling
	Cancelled
	Draining
	Drained
	Updating
	Updated
)

//nolint:gochecknoglobals // a table
var stateTable = [...]struct {
	proto jobpb.JobState_Enum
	next  []State
}{
	Stopped:    {jobpb.JobState_STOPPED, []State{Starting}},
	Starting:   {jobpb.JobState_STARTING, []State{Running, Failed, Cancelling}},
	Running:    {jobpb.JobState_RUNNING, []State{Done, Failed, Cancelling, Draining, Updating}},
	Done:       {jobpb.JobState_DONE, nil},
	Failed:     {jobpb.JobState_FAILED, nil},
	Cancelling: {jobpb.JobState_CANCELLING, []State{Cancelled, Failed, Done}},
	Cancelled:  {jobpb.JobState_CANCELLED, nil},
	Draining:   {jobpb.JobState_DRAINING, []State{Drained, Failed, Cancelling}},
	Drained:    {jobpb.JobState_DRAINED, nil},
	Updating:   {jobpb.JobState_UPDATING, []State{Updated, Failed, Cancelling}},
	Updated:    {jobpb.JobState_UPDATED, nil},
}

// Proto is the state in the Job API.
func (s State) Proto() jobpb.JobState_Enum {
	if s < 0 || int(s) >= len(stateTable) {
		return jobpb.JobState_UNSPECIFIED
	}
	return stateTable[s].proto
}

// String is the state's name in the Job API.
func (s State) String() string { return s.Proto().String() }

// Terminal says that the job will not change any more.
func (s State) Terminal() bool {
	return s >= 0 && int(s) < len(stateTable) && stateTable[s].next == nil
}

// to returns the next state if it may follow.
func (s State) to(next State) (State, error) {
	if s >= 0 && int(s) < len(stateTable) {
		for _, n := range stateTable[s].next {
			if n == next {
				return next, nil
			}
		}
	}
	return s, fmt.Errorf("runner: job cannot go from %v to %v", s, next)
}
