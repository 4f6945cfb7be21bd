package checkpoints

import (
	"context"
	"time"
)

func now() time.Time { return time.Now() }

// alarm wakes at a time.
type alarm struct{ timer *time.Timer }

func newAlarm() *alarm { return &alarm{time.NewTimer(time.Hour)} }

// set makes the alarm wake at a time, or not.
func (a *alarm) set(at time.Time, ok bool) {
	if !ok {
		a.timer.Stop()
		return
	}
	a.timer.Reset(time.Until(at))
}

// wait returns after some time, or with the cause of the end of done.
func (a *alarm) wait(d time.Duration, done <-chan struct{}) bool {
	a.timer.Reset(d)
	select {
	case <-a.timer.C:
		return true
	case <-done:
		return false
	}
}

func (a *alarm) stop() { a.timer.Stop() }

// patience is how long to wait before something that somebody waits for is tried
// again.
const patience = 200 * time.Millisecond

func waitABit(ctx context.Context) error {
	a := newAlarm()
	defer a.stop()
	if !a.wait(patience, ctx.Done()) {
		return context.Cause(ctx)
	}
	return nil
}
