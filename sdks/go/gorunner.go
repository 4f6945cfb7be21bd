// Package gorunner makes gorunner a runner of Beam's Go SDK, under the name
// "gorunner". A program that imports it runs its pipelines with
//
//	import _ "github.com/gorunner/gorunner/sdks/go"
//
//	beam.Run(ctx, "gorunner", p)
//
// Without an endpoint the whole runner starts inside the program: nothing is to
// be installed, no other process is started, and all of it is gone when the
// pipeline ends. With --endpoint=host:port the pipeline goes to that server
// instead; user code still runs in the program, unless --environment_type says
// otherwise.
//
// Tests that use Beam's package ptest run on it by
//
//	func TestMain(m *testing.M) { ptest.MainWithDefault(m, gorunner.Name) }
//
// A pipeline without an end, run inside the program, ends with its context.
//
// The flags are those of Beam's package jobopts. A pipeline that runs in the
// program has its own server; pipelines of one program run one after the other,
// because Beam's job options are global.
package gorunner

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal"

	"github.com/gorunner/gorunner/runner"
)

// Name is the runner's name in Beam.
const Name = "gorunner"

// stopTime is how long an embedded server may take to stop.
const stopTime = 5 * time.Second

//nolint:gochecknoglobals // Beam's job options, which it guards, are global too
var optionsMu sync.Mutex

//nolint:gochecknoglobals // flags are
var (
	workers  = flag.Int("gorunner_workers", 1, "Workers of the embedded gorunner; -1 is one for each core.")
	dataDir  = flag.String("gorunner_data_dir", "", "Data directory of the embedded gorunner; default a temporary one.")
	logLevel = flag.String("gorunner_log_level", "info", "Least important lines of the embedded gorunner's log: debug, info, warn or error.")
)

func init() {
	beam.RegisterRunner(Name, Execute)
}

// Execute runs the pipeline on the server that --endpoint names, or on one of
// its own.
func Execute(ctx context.Context, p *beam.Pipeline) (beam.PipelineResult, error) {
	// Under the lock even to look at the endpoint: that of another pipeline's
	// embedded server stands there while it runs.
	optionsMu.Lock()
	if *jobopts.Endpoint != "" {
		defaultToLoopback()
		optionsMu.Unlock()
		return universal.Execute(ctx, p)
	}
	defer optionsMu.Unlock()
	return executeEmbedded(ctx, p)
}

// executeEmbedded runs the pipeline on a server of its own. optionsMu is held.
func executeEmbedded(ctx context.Context, p *beam.Pipeline) (beam.PipelineResult, error) {
	if *jobopts.Async {
		return nil, errors.New("gorunner: --async needs --endpoint: an embedded runner ends with the pipeline")
	}
	server, err := start() //nolint:contextcheck // jobs outlive the call that begins them
	if err != nil {
		return nil, err
	}
	*jobopts.Endpoint = server.endpoint
	defer func() { *jobopts.Endpoint = "" }()
	defaultToLoopback()
	result, err := universal.Execute(ctx, p)
	return result, errors.Join(err, server.stop(ctx))
}

// defaultToLoopback runs user code in this program unless the user said where.
// optionsMu is held.
func defaultToLoopback() {
	if *jobopts.EnvironmentType == "" {
		*jobopts.EnvironmentType = "LOOPBACK"
	}
}

// embedded is a server inside this program.
type embedded struct {
	server   *runner.Server
	endpoint string
	served   chan error
}

func start() (*embedded, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(*logLevel)); err != nil {
		return nil, fmt.Errorf("gorunner: --gorunner_log_level: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("gorunner: start embedded runner: %w", err)
	}
	server, err := runner.NewServer(runner.Options{
		DataDir: *dataDir,
		Workers: *workers,
		Log:     slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("gorunner: start embedded runner: %w", err), listener.Close())
	}
	e := &embedded{server: server, endpoint: listener.Addr().String(), served: make(chan error, 1)}
	go func() { e.served <- server.Serve(listener) }()
	return e, nil
}

func (e *embedded) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	return errors.Join(e.server.Shutdown(ctx), <-e.served)
}
