// Command ceiling measures how fast a pipeline could be at most: it runs the
// pipeline once, records what every bundle of user code got, and then plays the
// bundles to the same SDK harness again, with nothing else to do.
//
//	ceiling -- pipelines --workload=gbk --environment_type=LOOPBACK --endpoint=
//
// The address of the server, which is in this process, is added to the last
// argument of the client. A replay sends prepared input, answers state requests
// from a map and throws output away. It knows no dependencies: all bundles of all
// stages are there from the start. So no runner can be faster that speaks the Fn
// API as this one does.
//
// Small bundles are a choice of the runner, not of the pipeline, so the replay
// tries bundles as they were recorded and bundles cut anew, and, where the SDK
// asks for state, several numbers of bundles in flight. What is reported is the
// best of these, each with the median of its replays. Bundles of unbounded input
// stay as they were.
//
// The report is a line of JSON on standard output; see [report].
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/gorunner/gorunner/execution/engine"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/runner"
)

// settings are what the command line says.
type settings struct {
	replays  int
	inFlight int
	workers  int
	client   []string
}

func main() {
	var s settings
	flag.IntVar(&s.replays, "replays", 3, "replays of each kind")
	flag.IntVar(&s.inFlight, "in-flight", 0, "bundles in flight, as they were recorded; 0 tries what may be best")
	flag.IntVar(&s.workers, "workers", 1, "workers of each environment")
	flag.Parse()
	s.client = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := measure(ctx, s)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ceiling:", err)
		os.Exit(1)
	}
}

// gcPercent keeps the collector of this process out of the way: what is recorded
// is large, and stays.
const gcPercent = 400

var (
	errNoClient = errors.New("no client: give its command line after --")
	errNoReplay = errors.New("the client ran no job to its end")
)

// measure runs the client against a server in this process.
func measure(ctx context.Context, s settings) (report, error) {
	if len(s.client) == 0 {
		return report{}, errNoClient
	}
	debug.SetGCPercent(gcPercent)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return report{}, err
	}
	client := command(ctx, s.client, listener.Addr().String())
	var reports []report
	opts := runner.Options{Workers: s.workers, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	deps := runner.Parts(opts)
	deps.Execute = func(p *plan.Plan, o engine.Options) runner.Execution {
		return newJob(p, o, s, func() int { return client.Process.Pid }, func(r report) { reports = append(reports, r) })
	}
	server, err := runner.New(deps, opts)
	if err != nil {
		return report{}, errors.Join(err, listener.Close())
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if err = client.Start(); err == nil {
		err = client.Wait()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err = errors.Join(err, server.Shutdown(ctx), <-served); err != nil {
		return report{}, fmt.Errorf("client %q: %w", s.client[0], err)
	}
	if len(reports) == 0 {
		return report{}, errNoReplay
	}
	return reports[len(reports)-1], nil
}

const shutdownTime = 10 * time.Second

// command is the client's process, in a group of its own.
func command(ctx context.Context, args []string, address string) *exec.Cmd {
	args = append([]string(nil), args...)
	args[len(args)-1] += address
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = shutdownTime
	return cmd
}
