package runner

import "time"

// Clock tells the time.
type Clock func() time.Time

// wallClock is the clock of a server that was given none.
func wallClock() Clock { return time.Now }
