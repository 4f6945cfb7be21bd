package engine

import (
	"time"

	"github.com/gorunner/gorunner/element"
)

// clock tells the time since the start of a job.
type clock struct{ begin time.Time }

func startClock() clock { return clock{time.Now()} }

func (c clock) now() time.Duration { return time.Since(c.begin) }

// epoch is the processing time at which the clock began.
func (c clock) epoch() element.EventTime { return element.EventTime(c.begin.UnixMilli()) }

// alarm is a timer that rings once for each time it is set.
type alarm struct{ timer *time.Timer }

func newAlarm() *alarm {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &alarm{t}
}

func (a *alarm) set(d time.Duration) { a.timer.Reset(max(d, 0)) }

func (a *alarm) c() <-chan time.Time { return a.timer.C }

func (a *alarm) stop() { a.timer.Stop() }
