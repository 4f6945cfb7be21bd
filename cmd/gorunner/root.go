package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// dropIn are the flags of the command line that Beam's SDKs know.
type dropIn struct {
	jobPort, webPort  int
	override          string
	serveHTTP         bool
	idleShutdown      time.Duration
	logKind, logLevel string
}

func newRoot() *cobra.Command { return newRootWith(serve) }

// newRootWith makes the command with another server, for tests.
func newRootWith(serve func(context.Context, config) error) *cobra.Command {
	var f dropIn
	cmd := &cobra.Command{
		Use:   "gorunner",
		Short: "Run Apache Beam pipelines on this machine",
		Long: `gorunner runs Apache Beam pipelines of the Go, Python, Java and TypeScript SDKs
on this machine. It is a portable runner: start it once, then point any number
of pipelines at it.

    gorunner serve
    python pipeline.py --runner=PortableRunner --job_endpoint=127.0.0.1:8073 --environment_type=LOOPBACK
    go run ./pipeline  --runner=universal --endpoint=127.0.0.1:8073 --environment_type=LOOPBACK

Without a subcommand gorunner understands the command line with which the SDKs
start a local runner themselves, so that it can stand in for it:

    python pipeline.py --runner=PrismRunner --prism_location=/path/to/gorunner`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.config()
			if err != nil {
				return err
			}
			return serve(cmd.Context(), c)
		},
	}
	cmd.CompletionOptions.HiddenDefaultCmd = true
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.IntVar(&f.jobPort, "job_port", 8073, "port of the Job API")
	fl.IntVar(&f.webPort, "web_port", 8074, "port of HTTP: health, metrics, jobs, profiles")
	fl.BoolVar(&f.serveHTTP, "serve_http", true, "serve HTTP; a port in use is only warned about")
	fl.DurationVar(&f.idleShutdown, "idle_shutdown_timeout", -1, "end after so long without a job; negative is never")
	fl.StringVar(&f.logKind, "log_kind", "dev", "log format: dev, text or json")
	fl.StringVar(&f.logLevel, "log_level", "info", "least important lines to log: debug, info, warn or error")
	fl.StringVar(&f.override, "jm_override", "", "not supported: show the jobs of another server")
	cmd.AddCommand(newServe(), newJob(), newSavepoint(), newPlan(), newVersion())
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w (see %s --help)", err, c.CommandPath())
	})
	return cmd
}

// config is what the flags mean.
func (f dropIn) config() (config, error) {
	if f.override != "" {
		return config{}, errors.New("--jm_override is not supported: gorunner shows only its own jobs")
	}
	for name, port := range map[string]int{"job_port": f.jobPort, "web_port": f.webPort} {
		if port < 0 || port > 65535 {
			return config{}, fmt.Errorf("--%s: %d is not a port", name, port)
		}
	}
	c := config{
		listen:   fmt.Sprintf("127.0.0.1:%d", f.jobPort),
		http:     httpOff,
		httpMay:  true,
		logKind:  f.logKind,
		logLevel: f.logLevel,
		idle:     max(f.idleShutdown, 0),
	}
	if f.serveHTTP {
		c.http = fmt.Sprintf("127.0.0.1:%d", f.webPort)
	}
	return c, nil
}
