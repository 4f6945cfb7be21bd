package runner

import (
	"runtime"
	"runtime/debug"
)

// idleHeapBytes is the heap that an idle server may keep for the next job.
const idleHeapBytes = 256 << 20

// returnMemory gives the memory of a big job back to the system once nothing
// runs any more. Go would do so in the course of minutes.
func (s *Server) returnMemory() {
	s.mu.Lock()
	idle := s.active == 0
	s.mu.Unlock()
	if !idle {
		return
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapSys-m.HeapReleased > idleHeapBytes {
		debug.FreeOSMemory()
	}
}
