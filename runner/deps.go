package runner

import (
	"context"
	"log/slog"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"

	"github.com/gorunner/gorunner/execution/engine"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/fnapi"
	"github.com/gorunner/gorunner/fnapi/environment"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/shuffle/segment"
	"github.com/gorunner/gorunner/state"
	"github.com/gorunner/gorunner/state/pebblestore"
	"github.com/gorunner/gorunner/translate"
)

// Deps are the parts that a [Server] is made of. All are required but the
// disk and the gRPC ones.
type Deps struct {
	// Translate makes a plan of a pipeline, or says everything that speaks
	// against it.
	Translate func(*pipepb.Pipeline, translate.Options) (*translate.Translation, error)
	// Execute prepares the execution of a plan.
	Execute func(*plan.Plan, engine.Options) Execution
	// Resolve chooses among the alternatives of an environment.
	Resolve func(*pipepb.Environment) (*pipepb.Environment, error)
	// Expect announces a worker to the Fn API before it is launched.
	Expect func(fnapi.WorkerSpec) (Worker, error)
	// Launch starts what a worker runs in.
	Launch func(context.Context, environment.Launch) (environment.Process, error)
	// OpenDisk makes a place in a job's directory for the data that memory has no
	// room for, and enters in the budget what is there. nil keeps all in memory.
	OpenDisk func(dir string, quota *shuffle.Budget) (Disk, error)
	// OpenState makes a table in a directory for the state that memory has no room
	// for. nil keeps all in memory.
	OpenState func(dir string, memory, disk *shuffle.Budget) (state.Table, error)
	// OpenJournal opens what a job commits, in its directory; nil refuses jobs that
	// are to outlive the process.
	OpenJournal func(jobdb.Params) (Journal, error)
	// Sweep ends the workers that an earlier process has left of the job with the
	// directory, and returns their ids. nil knows of none.
	Sweep func(ctx context.Context, dir string, log *slog.Logger) ([]string, error)
	// ServerOptions and Register add the Fn API to the gRPC server.
	ServerOptions []grpc.ServerOption
	Register      func(*grpc.Server)
}

// Execution is a job in the engine; [*engine.Job] is one.
type Execution interface {
	Run(ctx context.Context) error
	Status() engine.Status
	Metrics() (attempted, committed []metrics.Info)
	// Drain makes the execution end as if its sources had. It may be called at any
	// time, also more than once.
	Drain()
}

// Journal keeps what a job commits; [*jobdb.DB] is one.
type Journal interface {
	engine.Journal
	// Blocks is the number of blocks that waited when it was opened.
	Blocks() int
	Close() error
}

// Disk is where a job's data is that memory has no room for.
type Disk interface {
	shuffle.Disk
	// Close gives all of it back.
	Close() error
}

// Worker is a worker that has been announced; [*fnapi.Worker] is one.
type Worker interface {
	harness.Worker
	// Connected is closed when the worker's control stream is open.
	Connected() <-chan struct{}
	// Kill says that what the worker ran in is gone.
	Kill(err error)
	// Status asks the worker's harness what it is doing.
	Status(ctx context.Context) (string, error)
}

// Parts are gorunner's own parts, connected.
func Parts(opts Options) Deps {
	opts = opts.withDefaults()
	fn := fnapi.NewServer(fnapi.Options{Log: opts.Log, StopGrace: opts.StopGrace})
	launcher := environment.New(environment.Options{
		ContainerEngine:  opts.ContainerEngine,
		ContainerRunArgs: opts.ContainerArgs,
	})
	return Deps{
		Translate: translate.Translate,
		Execute:   func(p *plan.Plan, o engine.Options) Execution { return engine.New(p, o) },
		Resolve: func(env *pipepb.Environment) (*pipepb.Environment, error) {
			return environment.Resolve(env, nil)
		},
		Expect: func(spec fnapi.WorkerSpec) (Worker, error) {
			w, err := fn.Expect(spec)
			if err != nil {
				return nil, err // not a nil *fnapi.Worker in an interface
			}
			return w, nil
		},
		OpenState: openState,
		OpenJournal: func(p jobdb.Params) (Journal, error) {
			db, err := jobdb.Open(p)
			if err != nil {
				return nil, err // not a nil *jobdb.DB in an interface
			}
			return db, nil
		},
		Launch: launcher.Start,
		Sweep:  launcher.Sweep,
		OpenDisk: func(dir string, quota *shuffle.Budget) (Disk, error) {
			d, err := segment.Open(segment.Params{Dir: dir, Quota: quota})
			if err != nil {
				return nil, err // not a nil *segment.Disk in an interface
			}
			return d, nil
		},
		ServerOptions: fnapi.ServerOptions(),
		Register:      fn.Register,
	}
}

// stateShare is the part of a job's memory, one of so many, that the table of its
// state takes for itself once there is one.
const stateShare = 16

// journalBytesMax bounds what the database of a job takes by itself, which it takes
// from the start: what is read again lies in the cache of state in front of it.
const journalBytesMax = 64 << 20

func openState(dir string, memory, disk *shuffle.Budget) (state.Table, error) {
	t, err := pebblestore.Open(pebblestore.Params{
		Dir:         dir,
		MemoryBytes: memory.Limit() / stateShare,
		Memory:      memory.Account("state table"),
		Disk:        disk.Account("state"),
	})
	if err != nil {
		return nil, err // not a nil *pebblestore.Table in an interface
	}
	return t, nil
}

// NewServer makes a server of gorunner's own parts.
func NewServer(opts Options) (*Server, error) {
	return New(Parts(opts), opts)
}
