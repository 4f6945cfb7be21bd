// Command gorunner runs Apache Beam pipelines of any SDK on this machine.
//
//	gorunner serve                 run the server until it is told to stop
//	gorunner job list|drain|…      look at the jobs of a server, and end them
//	gorunner plan pipeline.pb      show what would be executed
//	gorunner version
//
// Started without a subcommand it is the same server with the command line of
// Beam's own local runner, so that the SDKs can start it themselves, such as
// Python with --runner=PrismRunner --prism_location=/path/to/gorunner.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	cmd := newRoot()
	cmd.SetArgs(normalize(args, cmd))
	if err := cmd.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "gorunner:", err)
		return 1
	}
	return 0
}
