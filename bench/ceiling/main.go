// Command ceiling measures how fast a pipeline could be at most: it runs the
// client once and records what every bundle of user code got. Then it runs the
// client again, and plays the bundles to the SDK harness, with nothing else to
// do.
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
	errNoJob    = errors.New("the client ran no job to its end")
)

// measure runs the client against a server in this process, time and again.
func measure(ctx context.Context, s settings) (_ report, err error) {
	if len(s.client) == 0 {
		return report{}, errNoClient
	}
	debug.SetGCPercent(gcPercent)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return report{}, err
	}
	b := &booth{address: listener.Addr().String(), client: s.client}
	opts := runner.Options{Workers: s.workers, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	deps := runner.Parts(opts)
	deps.Execute = func(p *plan.Plan, o engine.Options) runner.Execution { return b.execute(p, o) }
	server, err := runner.New(deps, opts)
	if err != nil {
		return report{}, errors.Join(err, listener.Close())
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }() //nolint:contextcheck // jobs outlive the call that begins them
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		err = errors.Join(err, server.Shutdown(ctx), <-served)
	}()
	job, err := b.record(ctx)
	if err != nil {
		return report{}, err
	}
	kinds, err := job.kinds(s.inFlight)
	if err != nil {
		return report{}, err
	}
	reports := make([][]report, len(kinds))
	for range s.replays {
		for i, k := range kinds { // in turns, as the machine has good and bad moments
			r, err := b.play(ctx, job, k)
			if err != nil {
				return report{}, fmt.Errorf("%s: %w", k.name, err)
			}
			reports[i] = append(reports[i], r)
		}
	}
	return job.best(reports), nil
}

// booth runs the client, and decides what becomes of its job.
type booth struct {
	address string
	client  []string
	// execute makes the execution of the job that comes, pid is the client.
	execute func(*plan.Plan, engine.Options) runner.Execution
	pid     int
}

// record executes a job and records it.
func (b *booth) record(ctx context.Context) (*job, error) {
	var j *job
	b.execute = func(p *plan.Plan, o engine.Options) runner.Execution {
		j = newJob(p, o, func() int { return b.pid })
		return j
	}
	if err := b.run(ctx); err != nil {
		return nil, err
	}
	if j == nil {
		return nil, errNoJob
	}
	return j, nil
}

// play plays what was recorded to a job.
func (b *booth) play(ctx context.Context, j *job, k kind) (report, error) {
	var r *replay
	b.execute = func(p *plan.Plan, o engine.Options) runner.Execution {
		r = &replay{job: j, kind: k, options: o, plan: p, worker: func() int { return b.pid }}
		return r
	}
	if err := b.run(ctx); err != nil {
		return report{}, err
	}
	if r == nil {
		return report{}, errNoJob
	}
	return r.report, nil
}

// run runs the client to its end.
func (b *booth) run(ctx context.Context) error {
	cmd := command(ctx, b.client, b.address)
	err := cmd.Start()
	if err == nil {
		b.pid = cmd.Process.Pid
		err = cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("client %q: %w", b.client[0], err)
	}
	return nil
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
