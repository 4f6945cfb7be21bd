// Package workergc sets Go's garbage collector as suits a program that executes
// the user code of its own pipeline, in LOOPBACK or with the runner in the same
// process:
//
//	func main() {
//		workergc.Tune()
//		beam.Init()
//		...
//	}
//
// A harness makes a lot of garbage and keeps little, so that collecting it less
// often costs little memory and saves a quarter to a third of the processor time
// of a pipeline whose own functions do little. Workers in Go that gorunner starts
// have the same settings without this.
package workergc

import (
	"os"
	"runtime/debug"

	"github.com/gorunner/gorunner/internal/machine"
)

// The settings: garbage in percent of what is kept, and the share of the
// machine's memory beyond which it is collected more often.
const (
	percent     = 400
	memoryShare = 4
)

// Tune sets the collector. What the user has set with GOGC or GOMEMLIMIT stays.
func Tune() {
	if _, ok := os.LookupEnv("GOGC"); !ok {
		debug.SetGCPercent(percent)
	}
	if _, ok := os.LookupEnv("GOMEMLIMIT"); ok {
		return
	}
	if memory := machine.Memory(); memory > 0 {
		debug.SetMemoryLimit(memory / memoryShare)
	}
}
