package runner

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/gorunner/gorunner/execution/engine"
	"github.com/gorunner/gorunner/internal/machine"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// room is the memory and the disk that data may take.
type room struct{ memory, disk *shuffle.Budget }

// The defaults of a server's room.
const (
	memoryShare   = 4       // one part of so many of the machine's
	memoryUnknown = 1 << 30 // where nobody knows what the machine has
	diskShare     = 0.75    // of what is free
)

func newServerRoom(o Options, dir string) room {
	memory, disk := o.Memory, o.Disk
	if memory == 0 {
		if memory = machine.Memory() / memoryShare; memory == 0 {
			memory = memoryUnknown
		}
	}
	if disk == 0 {
		if free, ok := machine.FreeDisk(dir); ok {
			disk = max(1, int64(diskShare*float64(free)))
		}
	}
	return room{shuffle.NewBudget(nil, memory), shuffle.NewBudget(nil, disk)}
}

// forJob is a job's part of the server's room: all of it, if the job does not
// ask for less. Jobs that run at the same time make room for each other.
func (r room) forJob(o jobOptions) room {
	part := func(b *shuffle.Budget, ask int64) *shuffle.Budget {
		limit := b.Limit()
		if ask > 0 && (limit == 0 || ask < limit) {
			limit = ask
		}
		return shuffle.NewBudget(b, limit)
	}
	return room{part(r.memory, o.memory), part(r.disk, o.disk)}
}

func (r room) close() {
	r.memory.Close()
	r.disk.Close()
}

// storage is where the data of a job lies that memory has no room for, or that
// outlives the process. What the server does not have is nil.
type storage struct {
	disk      shuffle.Disk
	openState func() (state.Table, error)
	journal   engine.Journal
	// epoch counts the processes that have had the job; 0 if there is no journal.
	epoch uint64
	close func() error
}

func (s *Server) openStorage(j *job, r room, log *slog.Logger) (storage, error) {
	if j.saved != nil {
		return s.openJournal(j, r, log)
	}
	if s.deps.OpenDisk == nil {
		return storage{openState: s.openState(j, r), close: func() error { return nil }}, nil
	}
	d, err := s.deps.OpenDisk(j.dir, r.disk)
	if err != nil {
		return storage{}, fmt.Errorf("runner: job %s: disk: %w", j.id, err)
	}
	return storage{disk: d, openState: s.openState(j, r), close: d.Close}, nil
}

// openState says how to make the table of a job's state; nil if the server has
// none.
func (s *Server) openState(j *job, r room) func() (state.Table, error) {
	if s.deps.OpenState == nil {
		return nil
	}
	return func() (state.Table, error) {
		return s.deps.OpenState(filepath.Join(j.dir, "state"), r.memory, r.disk)
	}
}

// temporaryParent is where temporary directories are made: where the system has
// them, unless that lies in memory, which is what the data in them has no room in.
func temporaryParent() string {
	const disk = "/var/tmp"
	dir := os.TempDir()
	if info, err := os.Stat(disk); machine.InMemory(dir) && err == nil && info.IsDir() && !machine.InMemory(disk) {
		return disk
	}
	return dir
}

// Usage is how much of a budget is in use.
type Usage struct {
	// Used and Limit are bytes; a Limit of 0 is none.
	Used, Limit int64
	// ByUse says what for, as far as that is known.
	ByUse map[string]int64
}

func usageOf(b *shuffle.Budget) Usage {
	if b == nil {
		return Usage{}
	}
	return Usage{Used: b.Used(), Limit: b.Limit(), ByUse: b.Usage()}
}

// Usage is what the data of all jobs takes of the server's memory and disk.
func (s *Server) Usage() (memory, disk Usage) { return usageOf(s.room.memory), usageOf(s.room.disk) }

// usage is what the data of the job takes; nothing when it does not run.
func (j *job) usage() (memory, disk Usage) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return usageOf(j.room.memory), usageOf(j.room.disk)
}

// roomText tells people what the data of a job takes, once it takes more than
// memory.
func roomText(memory, disk Usage) string {
	if disk.Used == 0 {
		return ""
	}
	return fmt.Sprintf("; %s in memory, %s on disk", humanBytes(float64(memory.Used)), humanBytes(float64(disk.Used)))
}

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
