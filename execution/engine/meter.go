package engine

import (
	"runtime"
	"time"

	"github.com/gorunner/gorunner/internal/machine"
)

// idleInterval is the time between two looks at the meter, if anybody wants to
// know.
const idleInterval = 250 * time.Millisecond

// meter is how long the cores of the machine have been busy and idle at some
// time.
type meter struct {
	at    time.Duration
	cores machine.Cores
	ok    bool
}

func readMeter(c clock) meter {
	cores, ok := machine.CoreTimes()
	return meter{at: c.now(), cores: cores, ok: ok}
}

// since is the share of time that the cores have been idle since an earlier
// reading.
func (m meter) since(before meter) idleMeasured {
	busy, idle := m.cores.Busy-before.cores.Busy, m.cores.Idle-before.cores.Idle
	if !m.ok || !before.ok || busy < 0 || idle < 0 || busy+idle == 0 {
		return idleMeasured{}
	}
	share := float64(idle) / float64(busy+idle)
	return idleMeasured{idle: share, busy: (1 - share) * float64(runtime.NumCPU()), over: m.at - before.at}
}
