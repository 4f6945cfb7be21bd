package main

import (
	"os"
	"runtime/debug"

	"github.com/gorunner/gorunner/internal/machine"
)

// What a server does with memory.
const (
	// machineShare of the machine's memory is the server's, if nobody says: the
	// SDK harnesses need some too.
	machineShare = 0.5
	// dataShare of the server's memory is for data. The rest is for what comes and
	// goes with it: garbage, messages, the process itself.
	dataShare = 0.6
	// gcPercent is how much garbage the collector lets come together, as long as
	// memory suffices. Data lies in large blocks without pointers: a collection
	// costs little, but each one needs time in which data waits.
	gcPercent = 400
)

// limitMemory sets up the collector, unless the user has, and returns the bytes
// that are for data; 0 if nobody knows.
func (c *config) limitMemory() int64 {
	memory := c.memory
	if memory == 0 {
		memory = int64(machineShare * float64(machine.Memory()))
	}
	if memory > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	return int64(dataShare * float64(memory))
}
