package jobdb

import "time"

// pace lets groups begin no more often than at an interval, so that commits have
// time to come together, and not before the idle interval if nobody waits.
type pace struct {
	interval, idle time.Duration
	began          time.Time
	timer          *time.Timer
}

func newPace(interval, idle time.Duration) *pace {
	return &pace{interval: interval, idle: idle, timer: time.NewTimer(time.Hour)}
}

// wait returns when the next group may begin. Whoever makes it urgent says so in
// hurry.
func (p *pace) wait(hurry <-chan struct{}, urgent func() bool) {
	p.until(p.interval, nil)
	for !urgent() && !p.until(p.idle, hurry) {
	}
	p.began = time.Now()
}

// until returns true when a time has passed since the last group began, or false
// when there is something in the channel.
func (p *pace) until(interval time.Duration, hurry <-chan struct{}) bool {
	rest := interval - time.Since(p.began)
	if rest <= 0 || p.began.IsZero() {
		return true
	}
	p.timer.Reset(rest)
	select {
	case <-p.timer.C:
		return true
	case <-hurry:
		return false
	}
}

func (p *pace) stop() { p.timer.Stop() }
