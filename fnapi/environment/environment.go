package environment

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/internal/machine"
)

// Endpoints are the addresses, host:port, of the services that a worker
// calls. Usually one server offers them all. An empty one is not offered.
type Endpoints struct {
	Control, Logging, Artifact, Provision, Status string
}

// Launch says which worker to start.
type Launch struct {
	WorkerID  harness.WorkerID
	Endpoints Endpoints
	// Environment is one that Resolve returned.
	Environment *pipepb.Environment
	// Options are the pipeline's options, for workers that are started without
	// a boot program that would ask for them.
	Options *structpb.Struct
	// Capabilities are the URNs of what the runner offers, for the same
	// workers.
	Capabilities []string
	// Dir is an existing directory in which the worker gets one of its own.
	Dir string
	// Patience is how long a worker pool may take to be reachable; 0 is for one that
	// must be.
	Patience time.Duration
	// Log takes what the worker prints, a record a line; nil discards it.
	Log *slog.Logger
}

// Process is a worker that was started.
type Process interface {
	// Done is closed when the worker has ended and nothing of it is left. A
	// pool does not tell what becomes of its workers: for those it is closed by
	// Stop alone.
	Done() <-chan struct{}
	// Err is nil until Done is closed, and after a Stop. Otherwise it is an
	// *ExitError that says how the worker ended and what it printed last.
	Err() error
	// Tail returns the last lines that the worker printed.
	Tail() []string
	// Stop ends the worker, gently first, and returns when it is gone. When ctx
	// ends, there is no more gentleness. The error says what could not be
	// removed. Further calls are harmless.
	Stop(ctx context.Context) error
}

// Defaults of Options.
const (
	DefaultStopGrace    = 5 * time.Second
	DefaultKillWait     = 10 * time.Second
	DefaultStartTimeout = 30 * time.Second
	DefaultLogTail      = 50
	DefaultLineBytes    = 16 << 10
	DefaultGoGC         = 400
)

// Options configure a Launcher. The zero value of a field is its default.
type Options struct {
	// ContainerEngine is the command of the container engine with the arguments
	// that come before its subcommand; {"docker"} by default.
	ContainerEngine []string
	// ContainerRunArgs are further arguments of the engine's subcommand run.
	ContainerRunArgs []string
	// StopGrace is how long a worker may take to end by itself when stopped.
	StopGrace time.Duration
	// KillWait is how long killed processes may take to disappear, and the
	// container engine to remove a container.
	KillWait time.Duration
	// StartTimeout is how long a worker pool may take to answer.
	StartTimeout time.Duration
	// LogTail is how many of its last lines are kept for a worker.
	LogTail int
	// GoGC is how much garbage a worker in Go may make, in percent of what it keeps,
	// before it is collected, as its variable GOGC says; negative leaves it as it
	// is. GoMemory is its GOMEMLIMIT, the bytes at which it is collected more
	// often: a quarter of this machine's memory; negative leaves it as it is. What
	// the user has set in the environment of the worker, or of this process, goes
	// before both.
	GoGC     int
	GoMemory int64
	// LineBytes is the length at which a line of a worker's output is cut in
	// two.
	LineBytes int
}

func (o Options) withDefaults() Options {
	if len(o.ContainerEngine) == 0 {
		o.ContainerEngine = []string{"docker"}
	}
	setDefault(&o.StopGrace, DefaultStopGrace)
	setDefault(&o.KillWait, DefaultKillWait)
	setDefault(&o.StartTimeout, DefaultStartTimeout)
	setDefault(&o.LogTail, DefaultLogTail)
	setDefault(&o.LineBytes, DefaultLineBytes)
	if o.GoGC == 0 {
		o.GoGC = DefaultGoGC
	}
	if o.GoMemory == 0 {
		const share = 4
		o.GoMemory = machine.Memory() / share
	}
	return o
}

func setDefault[T int | time.Duration](v *T, value T) {
	if *v <= 0 {
		*v = value
	}
}

// Launcher starts workers.
type Launcher struct {
	options Options

	mu sync.Mutex
	// pools are the connections to worker pools in use, by address. Guarded by mu.
	pools map[string]*pool
}

// New returns a Launcher. It holds nothing that would have to be closed.
func New(o Options) *Launcher {
	return &Launcher{options: o.withDefaults(), pools: map[string]*pool{}}
}

// Start starts a worker. ctx bounds the start alone, not the worker's life.
// That the worker could be started does not mean that it will connect.
func (l *Launcher) Start(ctx context.Context, launch Launch) (Process, error) {
	if launch.Log == nil {
		launch.Log = slog.New(slog.DiscardHandler)
	}
	p, err := l.start(ctx, launch)
	if err != nil {
		return nil, fmt.Errorf("start worker %s: %w", launch.WorkerID, err)
	}
	return p, nil
}

func (l *Launcher) start(ctx context.Context, launch Launch) (Process, error) {
	if launch.WorkerID == "" {
		return nil, fmt.Errorf("the worker has no id")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	where, err := parse(launch.Environment)
	if err != nil {
		return nil, err
	}
	switch where := where.(type) {
	case external:
		return l.startExternal(ctx, launch, where)
	case command:
		return l.startCommand(ctx, launch, where)
	case container:
		return l.startContainer(ctx, launch, where)
	case anyOf:
		return nil, fmt.Errorf("%s: the environment was not resolved", where)
	}
	return nil, fmt.Errorf("environment %T is not known", where)
}

// bootFlags are the arguments that every boot program understands. They are
// not quoted: a boot would take the quotes for a part of the value.
func bootFlags(launch Launch, semiPersistDir string) []string {
	flags := []string{"--id=" + string(launch.WorkerID)}
	for _, f := range []struct{ name, value string }{
		{"provision_endpoint", launch.Endpoints.Provision},
		{"logging_endpoint", launch.Endpoints.Logging},
		{"artifact_endpoint", launch.Endpoints.Artifact},
		{"control_endpoint", launch.Endpoints.Control},
		{"semi_persist_dir", semiPersistDir},
	} {
		if f.value != "" {
			flags = append(flags, "--"+f.name+"="+f.value)
		}
	}
	return flags
}
