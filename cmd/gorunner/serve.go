package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gorunner/gorunner/internal/early"
	"github.com/gorunner/gorunner/runner"
)

const (
	// httpOff is the HTTP address that stands for none.
	httpOff = "off"
	// shutdownTime is how long jobs and workers have to end after a signal.
	// Clients wait a second before they signal again.
	shutdownTime = 700 * time.Millisecond
)

// config is a server as the command line wants it.
type config struct {
	listen, http string
	// httpMay says that the server may do without HTTP when its port is in use.
	httpMay bool
	dataDir string
	// durability is a level's name, or empty for the one that goes with dataDir.
	durability string
	// checkpoints are where and when those of jobs are made, restore what is to be
	// restored first.
	checkpoints runner.Checkpoints
	restore     string
	// memory is that of the process; 0 is the default. disk is that of its data.
	memory, disk      int64
	workers           int
	processes         int
	workerTimeout     time.Duration
	engine            string
	engineArgs        []string
	advertise         string
	logKind, logLevel string
	idle              time.Duration
	cpuProfile        string
}

func newServe() *cobra.Command {
	var c config
	var memory, disk string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the Job API until told to stop",
		Long: `Serve Beam's Job API, and run the jobs that arrive, until SIGINT or SIGTERM.

Pipelines are submitted with the SDKs' own portable runner:

    Python, Java   --runner=PortableRunner --job_endpoint=127.0.0.1:8073
    Go             --runner=universal      --endpoint=127.0.0.1:8073

User code runs where the pipeline says: in the client's process
(--environment_type=LOOPBACK), in a process of this machine (PROCESS), in a
container (DOCKER), or in a worker pool (EXTERNAL).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := parseSize(memory)
			if err != nil {
				return fmt.Errorf("--memory: %w", err)
			}
			c.memory = n
			if c.disk, err = parseSize(disk); err != nil {
				return fmt.Errorf("--disk: %w", err)
			}
			if err := c.check(); err != nil {
				return err
			}
			return serve(cmd.Context(), c)
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVar(&c.listen, "listen", "127.0.0.1:8073", "host:port of the Job API and of the workers' services")
	fl.StringVar(&c.http, "http", "127.0.0.1:8074", "host:port of HTTP: health, metrics, jobs, profiles; or off")
	fl.StringVar(&c.advertise, "advertise", "", "host:port that clients and workers are told; default that of --listen")
	fl.StringVar(&c.dataDir, "data-dir", "", "directory of jobs, artifacts and the data that memory has no room for; default a temporary one, on disk if there is any: /var/tmp where the system's directory lies in memory")
	fl.StringVar(&c.durability, "durability", "", "what jobs outlive, unless they ask for less: none; local, the end of the server and of the machine: the next one on the --data-dir goes on with them; remote, the loss of the machine: checkpoints go to --checkpoint-uri; default remote with both of these, local with a --data-dir, else none")
	fl.StringVar(&c.checkpoints.URI, "checkpoint-uri", "", "where checkpoints and savepoints of jobs go: s3://bucket/prefix or file:///dir")
	fl.DurationVar(&c.checkpoints.Interval, "checkpoint-interval", time.Minute, "time between checkpoints of a job")
	fl.IntVar(&c.checkpoints.Retain, "checkpoint-retain", 3, "checkpoints of a job that are kept")
	fl.StringVar(&c.restore, "restore", "", "take jobs over from another machine before serving: the URI of a store of checkpoints, of a job in it (STORE/jobs/JOB), or of a checkpoint; jobs that are in the --data-dir already, or have ended, are left alone")
	fl.StringVar(&memory, "memory", "", "memory that the server aims to stay below, such as 4GiB; six tenths of it are for data, beyond which data goes to disk; default half of the machine's, or of the control group's")
	fl.StringVar(&disk, "disk", "", "disk that the data of jobs may take, such as 100GiB; default three quarters of what is free")
	fl.IntVar(&c.workers, "workers", 1, "workers of each environment of jobs that do not say; -1 is one for each core")
	fl.IntVar(&c.processes, "worker-processes", 1, "workers of a Python client in LOOPBACK, itself included; the others are processes")
	fl.DurationVar(&c.workerTimeout, "worker-timeout", time.Minute, "how long a worker may take to connect")
	fl.StringVar(&c.engine, "container-engine", "docker", "command that starts containers, with its global arguments")
	fl.StringArrayVar(&c.engineArgs, "container-arg", nil, "argument for each run of a container; may be repeated")
	fl.DurationVar(&c.idle, "idle-timeout", 0, "end after so long without a job; 0 is never")
	fl.StringVar(&c.logLevel, "log-level", "info", "least important lines to log: debug, info, warn or error")
	fl.StringVar(&c.logKind, "log-kind", "dev", "log format: dev, text or json")
	fl.StringVar(&c.cpuProfile, "cpuprofile", "", "file to write a CPU profile of the server to when it ends")
	return cmd
}

// check refuses settings that would only fail later, or never do anything.
func (c *config) check() error {
	const memoryMin = 64 << 20
	switch {
	case c.memory > 0 && c.memory < memoryMin:
		return errors.New("--memory: no server can stay below 64MiB")
	case c.workers < -1 || c.workers == 0:
		return fmt.Errorf("--workers: %d; give a number of workers, or -1 for one for each core", c.workers)
	case c.processes < 1:
		return fmt.Errorf("--worker-processes: %d; give a number of workers", c.processes)
	case c.workerTimeout <= 0:
		return fmt.Errorf("--worker-timeout: %v; a worker needs time to connect", c.workerTimeout)
	case c.idle < 0:
		return fmt.Errorf("--idle-timeout: %v; 0 is never", c.idle)
	case strings.TrimSpace(c.engine) == "":
		return errors.New("--container-engine: no command")
	}
	if _, err := c.level(); err != nil {
		return err
	}
	switch {
	case c.checkpoints.Interval <= 0:
		return fmt.Errorf("--checkpoint-interval: %v; give a time", c.checkpoints.Interval)
	case c.checkpoints.Retain < 1:
		return fmt.Errorf("--checkpoint-retain: %d; at least the last one is kept", c.checkpoints.Retain)
	case c.checkpoints.URI != "" && c.dataDir == "":
		return errors.New("--checkpoint-uri: checkpoints are made of what is in a --data-dir: give one")
	case c.restore != "" && c.dataDir == "":
		return errors.New("--restore: give the jobs a place with --data-dir")
	}
	if c.advertise != "" {
		if _, _, err := net.SplitHostPort(c.advertise); err != nil {
			return fmt.Errorf("--advertise: %w", err)
		}
	}
	return nil
}

// level is the durability that the settings mean.
func (c *config) level() (runner.Durability, error) {
	switch {
	case c.durability != "":
	case c.dataDir == "":
		return runner.None, nil
	case c.checkpoints.URI == "":
		return runner.Local, nil
	default:
		return runner.Remote, nil
	}
	d, err := runner.ParseDurability(c.durability)
	switch {
	case err != nil:
		return d, fmt.Errorf("--durability: %w", err)
	case d == runner.Remote && c.checkpoints.URI == "":
		return d, errors.New("--durability=remote: give the checkpoints a place with --checkpoint-uri")
	case d != runner.None && c.dataDir == "":
		return d, fmt.Errorf("--durability=%v: give the jobs a place with --data-dir", d)
	}
	return d, nil
}

// serve runs a server until ctx ends or it has been idle for too long.
func serve(ctx context.Context, c config) (err error) {
	log, err := newLogger(os.Stderr, c.logKind, c.logLevel)
	if err != nil {
		return err
	}
	durability, err := c.level()
	if err != nil {
		return err
	}
	stopProfile, err := startProfile(c.cpuProfile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopProfile()) }()
	memory := c.limitMemory()
	if c.restore != "" {
		_, err := runner.Restore(ctx, runner.RestoreParams{DataDir: c.dataDir, URI: c.restore, Log: log})
		switch {
		case errors.Is(err, os.ErrExist): // by an earlier start: the flag may stay
			log.Info("job is not restored", "because", err)
		case err != nil:
			return err
		}
	}
	// HTTP first: who reaches the Job API reaches both.
	webListener, err := listenHTTP(c, log)
	if err != nil {
		return err
	}
	listener, err := listenJobs(c.listen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen for the Job API (--listen, --job_port): %w", err), closeListener(webListener))
	}
	s, err := runner.NewServer(runner.Options{
		DataDir:         c.dataDir,
		Durability:      durability,
		Checkpoints:     c.checkpoints,
		Memory:          memory,
		Disk:            c.disk,
		Endpoint:        c.advertise,
		Workers:         c.workers,
		WorkerProcesses: c.processes,
		WorkerTimeout:   c.workerTimeout,
		IdleTimeout:     c.idle,
		ContainerEngine: strings.Fields(c.engine),
		ContainerArgs:   c.engineArgs,
		Log:             log,
	})
	if err != nil {
		return errors.Join(err, listener.Close(), closeListener(webListener))
	}
	web := startHTTP(ctx, webListener, s, log)
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(listener) }() //nolint:contextcheck // jobs end with the server, which Shutdown gives time
	log.Info("gorunner is ready", "endpoint", listener.Addr().String(), "version", version())
	select {
	case <-ctx.Done():
		running, kept := s.Running()
		log.Info("stopping; a second signal ends the process at once", "suspended", kept, "cancelled", running-kept)
	case <-s.Idle():
		log.Info("stopping after the idle time", "idle", c.idle)
	case err = <-failed:
	}
	return errors.Join(err, shutdown(ctx, s, web))
}

// shutdown ends the servers; that ctx has ended is usually why.
func shutdown(ctx context.Context, s *runner.Server, web *http.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	err := s.Shutdown(ctx)
	if web != nil {
		err = errors.Join(err, web.Close())
	}
	return err
}

// listenJobs listens for the Job API, unless that was done when the process
// began.
func listenJobs(address string) (net.Listener, error) {
	if host, text, err := net.SplitHostPort(address); err == nil && host == "127.0.0.1" {
		port, _ := strconv.Atoi(text) // what is no number is nobody's port
		if socket := early.Take(port); socket != nil {
			defer func() { _ = socket.Close() }() // the listener has its own
			return net.FileListener(socket)
		}
	}
	return net.Listen("tcp", address)
}

// listenHTTP listens for HTTP. The listener is nil if there is none.
func listenHTTP(c config, log *slog.Logger) (net.Listener, error) {
	if c.http == httpOff || c.http == "" {
		return nil, nil //nolint:nilnil // there is none, and that is no error
	}
	listener, err := net.Listen("tcp", c.http)
	switch {
	case err == nil:
		return listener, nil
	case c.httpMay:
		log.Warn("HTTP is not served", "address", c.http, "error", err)
		return nil, nil //nolint:nilnil // as above
	}
	return nil, fmt.Errorf("listen for HTTP: %w (choose another address with --http, or --http=off)", err)
}

func closeListener(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

// startHTTP serves HTTP if there is a listener for it; otherwise the server it
// returns is nil.
func startHTTP(ctx context.Context, listener net.Listener, s *runner.Server, log *slog.Logger) *http.Server {
	if listener == nil {
		return nil
	}
	web := &http.Server{
		Handler:           newHandler(s),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	go func() {
		if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("HTTP ended", "error", err)
		}
	}()
	log.Info("HTTP is served", "address", listener.Addr().String())
	return web
}
