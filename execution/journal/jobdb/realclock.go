package jobdb

import "time"

// pace lets groups begin no more often than at an interval, so that commits have
// time to come together.
type pace struct {
	interval time.Duration
	began    time.Time
	timer    *time.Timer
}

func newPace(interval time.Duration) *pace {
	return &pace{interval: interval, timer: time.NewTimer(time.Hour)}
}

// wait returns when the next group may begin.
func (p *pace) wait() {
	if rest := p.interval - time.Since(p.began); rest > 0 && !p.began.IsZero() {
		p.timer.Reset(rest)
		<-p.timer.C
	}
	p.began = time.Now()
}

func (p *pace) stop() { p.timer.Stop() }
