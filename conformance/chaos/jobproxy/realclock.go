package jobproxy

import "time"

// startTimer calls f unless stop is called before. stop returns whether it was.
func startTimer(d time.Duration, f func()) (stop func() bool) { return time.AfterFunc(d, f).Stop }
