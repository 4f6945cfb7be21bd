package runner

import (
	"log/slog"
	"runtime"
	"time"

	"github.com/gorunner/gorunner/runner/artifact"
)

// Options are the settings of a [Server]; zero values stand for the defaults
// said with each.
type Options struct {
	// DataDir is where jobs and artifacts live, and the data that memory has no
	// room for; default a temporary directory, removed by Shutdown: in the
	// system's directory for such, unless that lies in memory, and else in
	// /var/tmp.
	DataDir string
	// Durability is what jobs outlive, unless they ask for less; default None. More
	// needs a DataDir. Whatever it is, jobs that are found there are gone on with.
	Durability Durability
	// Checkpoints are those of jobs with Remote durability.
	Checkpoints Checkpoints
	// Memory is the bytes of data that all jobs together keep in memory before
	// they use the disk; default a quarter of the machine's memory, or of what the
	// process' control group allows. The process needs about as much again.
	Memory int64
	// Disk is the bytes that all jobs together may have on disk; default three
	// quarters of what is free where DataDir is.
	Disk int64
	// Endpoint is the host:port that clients and workers are told; default the
	// address of the listener.
	Endpoint string
	// Workers is the number of workers of each environment of jobs that do not
	// ask for a number; default 1, negative one for each core.
	Workers int
	// WorkerProcesses is the number of workers of a Python client in LOOPBACK,
	// itself included, for jobs that do not ask for a number; default 1. The others
	// are processes that the server starts.
	WorkerProcesses int
	// Slots is the number of bundles that workers able to run several get at the
	// same time, all those of an environment together; default the number of
	// cores, at least 2. MaxSlots is how many each gets at most, where bundles
	// wait instead of computing; default 32.
	Slots, MaxSlots int
	// WorkerTimeout is how long a worker may take to connect; default 60 s.
	WorkerTimeout time.Duration
	// StopTimeout is how long the workers of a finished job may take to stop;
	// default 10 s.
	StopTimeout time.Duration
	// StopGrace is how long a worker may take to come to the end of what the job does
	// not want any more, within StopTimeout; default 1 s.
	StopGrace time.Duration
	// ProgressInterval is the time between reports of a running job; default 1 s.
	ProgressInterval time.Duration
	// IdleTimeout is how long the server has no job until [Server.Idle] is
	// closed; 0 is never.
	IdleTimeout time.Duration
	// ContainerEngine is the command that starts containers and its global
	// arguments; default docker.
	ContainerEngine []string
	// ContainerArgs are added to each run of a container.
	ContainerArgs []string
	Limits        Limits
	Artifacts     artifact.Options
	// Log takes what the server and the workers have to say; default nothing.
	Log *slog.Logger
	// Clock defaults to the wall clock.
	Clock Clock
}

// Limits bound what clients can make the server keep; zero values stand for
// the defaults said with each.
type Limits struct {
	// MaxPrepared is the number of jobs that are prepared and not yet run;
	// default 1,000.
	MaxPrepared int
	// PreparedTTL is how long such a job is kept; default 30 min.
	PreparedTTL time.Duration
	// MaxRunning is the number of jobs that run at the same time; default 1,000.
	MaxRunning int
	// MaxFinished is the number of finished jobs that can be asked about;
	// default 100.
	MaxFinished int
	// FinishedGrace is how long a finished job is kept although there are more
	// than MaxFinished, up to ten times as many, so that its client can still ask
	// how it went; default 30 s.
	FinishedGrace time.Duration
	// FinishedTTL is how long a finished job can be asked about; default 24 h.
	FinishedTTL time.Duration
	// MaxMessages and MaxMessagesBytes bound the history of a job; defaults
	// 10,000 and 16 MiB.
	MaxMessages, MaxMessagesBytes int
	// MaxMessageBytes is where a single message is cut; default 1 MiB.
	MaxMessageBytes int
	// StateWait is how long GetState is held until the state changes;
	// default 2 s.
	StateWait time.Duration
	// MaxWorkers is the most workers that a job may ask for in each of its
	// environments; default 256.
	MaxWorkers int
}

// or sets *v to def when it is the zero value.
func or[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

func (o Options) withDefaults() Options {
	or(&o.Workers, 1)
	if o.Workers < 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	or(&o.Slots, max(2, runtime.GOMAXPROCS(0)))
	or(&o.MaxSlots, max(32, o.Slots))
	or(&o.WorkerTimeout, 60*time.Second)
	or(&o.StopTimeout, 10*time.Second)
	or(&o.ProgressInterval, time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = wallClock()
	}
	o.Limits = o.Limits.withDefaults()
	return o
}

func (l Limits) withDefaults() Limits {
	or(&l.MaxPrepared, 1000)
	or(&l.PreparedTTL, 30*time.Minute)
	or(&l.MaxRunning, 1000)
	or(&l.MaxFinished, 100)
	or(&l.FinishedGrace, 30*time.Second)
	or(&l.FinishedTTL, 24*time.Hour)
	or(&l.MaxMessages, 10_000)
	or(&l.MaxMessagesBytes, 16<<20)
	or(&l.MaxMessageBytes, 1<<20)
	or(&l.StateWait, 2*time.Second)
	or(&l.MaxWorkers, 256)
	return l
}
