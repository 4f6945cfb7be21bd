package engine

import "time"

// timeSpan is the time from the first of some events to the last of others.
type timeSpan struct {
	begun    bool
	from, to time.Duration
}

// begin notes an event that may be the first.
func (t *timeSpan) begin(now time.Duration) {
	if !t.begun {
		*t = timeSpan{begun: true, from: now, to: now}
	}
}

// end notes an event that may be the last. Before the first it is none.
func (t *timeSpan) end(now time.Duration) { t.to = now }

// length is the time between the two, 0 if there was no first.
func (t *timeSpan) length() time.Duration {
	if !t.begun {
		return 0
	}
	return t.to - t.from
}
