package plan

import (
	"fmt"
	"strings"
	"time"
)

// Trigger says when panes of a window are fired. The set is closed:
// [DefaultTrigger], [NeverTrigger], [AlwaysTrigger], [AfterEndOfWindow],
// [AfterCount], [AfterProcessingTime], [AfterSynchronizedProcessingTime],
// [AfterEach], [AfterAll], [AfterAny], [OrFinally], [Repeat].
//
//sumtype:decl
type Trigger interface {
	trigger()
	// String is the trigger in dumps.
	String() string
}

// DefaultTrigger fires once the watermark has passed the end of the window,
// and again for what comes late.
type DefaultTrigger struct{}

// NeverTrigger never fires.
type NeverTrigger struct{}

// AlwaysTrigger fires whenever something has come.
type AlwaysTrigger struct{}

// AfterEndOfWindow fires once the watermark has passed the end of the window.
// Early may fire before, again and again; Late after it. Either may be nil.
type AfterEndOfWindow struct{ Early, Late Trigger }

// AfterCount fires once a pane has that many elements.
type AfterCount struct{ Elements int }

// AfterProcessingTime fires some time after the first element of a pane has
// come; the shifts say when, one after the other.
type AfterProcessingTime struct{ Shifts []TimeShift }

// TimeShift moves a time. With a Period it moves it on to the next multiple of
// the period since Offset, otherwise by Delay.
type TimeShift struct{ Delay, Period, Offset time.Duration }

// AfterSynchronizedProcessingTime fires once all stages upstream have caught
// up with the processing time at which the first element of a pane has come.
type AfterSynchronizedProcessingTime struct{}

// AfterEach fires as its parts do, one after the other.
type AfterEach struct{ Parts []Trigger }

// AfterAll fires once all its parts would.
type AfterAll struct{ Parts []Trigger }

// AfterAny fires once any of its parts would.
type AfterAny struct{ Parts []Trigger }

// OrFinally fires as Main does until Finally would fire, and then ends.
type OrFinally struct{ Main, Finally Trigger }

// Repeat begins its part anew whenever that has finished.
type Repeat struct{ Part Trigger }

func (DefaultTrigger) trigger()                  {}
func (NeverTrigger) trigger()                    {}
func (AlwaysTrigger) trigger()                   {}
func (AfterEndOfWindow) trigger()                {}
func (AfterCount) trigger()                      {}
func (AfterProcessingTime) trigger()             {}
func (AfterSynchronizedProcessingTime) trigger() {}
func (AfterEach) trigger()                       {}
func (AfterAll) trigger()                        {}
func (AfterAny) trigger()                        {}
func (OrFinally) trigger()                       {}
func (Repeat) trigger()                          {}

// String names the trigger.
func (DefaultTrigger) String() string { return "default" }

// String names the trigger.
func (NeverTrigger) String() string { return "never" }

// String names the trigger.
func (AlwaysTrigger) String() string { return "always" }

// String names the trigger with its early and late parts.
func (t AfterEndOfWindow) String() string {
	s := "end_of_window"
	if t.Early != nil {
		s += " early " + t.Early.String()
	}
	if t.Late != nil {
		s += " late " + t.Late.String()
	}
	return s
}

// String names the trigger with its count.
func (t AfterCount) String() string { return fmt.Sprintf("count(%d)", t.Elements) }

// String names the trigger with its shifts.
func (t AfterProcessingTime) String() string {
	s := make([]string, len(t.Shifts))
	for i, shift := range t.Shifts {
		s[i] = shift.String()
	}
	return "processing_time(" + strings.Join(s, ", ") + ")"
}

// String says how the time is moved.
func (s TimeShift) String() string {
	if s.Period > 0 {
		return "align " + s.Period.String() + plusOffset(s.Offset)
	}
	return s.Delay.String()
}

// String names the trigger.
func (AfterSynchronizedProcessingTime) String() string { return "synchronized_processing_time" }

// String names the trigger with its parts.
func (t AfterEach) String() string { return "each" + parts(t.Parts) }

// String names the trigger with its parts.
func (t AfterAll) String() string { return "all" + parts(t.Parts) }

// String names the trigger with its parts.
func (t AfterAny) String() string { return "any" + parts(t.Parts) }

// String names the trigger with its parts.
func (t OrFinally) String() string {
	return parts([]Trigger{t.Main}) + " or finally " + t.Finally.String()
}

// String names the trigger with its part.
func (t Repeat) String() string { return "repeat" + parts([]Trigger{t.Part}) }

func parts(ts []Trigger) string {
	s := make([]string, len(ts))
	for i, t := range ts {
		s[i] = t.String()
	}
	return "(" + strings.Join(s, ", ") + ")"
}
