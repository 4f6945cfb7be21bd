package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gorunner/gorunner/runner"
	"github.com/gorunner/gorunner/runner/jobclient"
)

// jobFlags are those of every job command.
type jobFlags struct {
	endpoint string
	timeout  time.Duration
}

func newJob() *cobra.Command {
	var f jobFlags
	cmd := &cobra.Command{
		Use:   "job",
		Short: "List, cancel, drain and delete the jobs of a server",
		Long: `List the jobs of a server, end those that do not end by themselves, and forget
those that have.

    gorunner job list
    gorunner job drain --wait my-pipeline-0123456789ab

A drained job stops its sources and processes what they have read: windows close
and fire, timers go off. A cancelled job stops at once.`,
		// Without a command there is nothing to do but to say which there are.
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	fl := cmd.PersistentFlags()
	fl.SortFlags = false
	fl.StringVar(&f.endpoint, "endpoint", "127.0.0.1:8073", "host:port of the server's Job API")
	fl.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long the server may take to answer")
	cmd.AddCommand(newJobList(&f), newJobState(&f), newJobCancel(&f), newJobDrain(&f), newJobDelete(&f), newJobRestore())
	return cmd
}

// call runs one call of the server.
func (f *jobFlags) call(ctx context.Context, do func(context.Context, *jobclient.Client) error) error {
	c, err := jobclient.New(f.endpoint)
	if err != nil {
		return fmt.Errorf("--endpoint: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, errors.New("--timeout is over"))
	defer cancel()
	return errors.Join(do(ctx, c), c.Close())
}

func newJobList(f *jobFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the jobs that are running, and those that have lately ended",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.call(cmd.Context(), func(ctx context.Context, c *jobclient.Client) error {
				jobs, err := c.Details(ctx)
				if err != nil {
					return err
				}
				return writeJobTable(cmd.OutOrStdout(), jobs)
			})
		},
	}
}

func writeJobTable(w io.Writer, jobs []jobclient.Detail) error {
	var rows strings.Builder
	rows.WriteString("ID\tSTATE\tCREATED\tDURABILITY\tDISK\tNAME\n")
	for _, j := range jobs {
		created := "-"
		if !j.Created.IsZero() {
			created = j.Created.Local().Format(time.DateTime)
		}
		fmt.Fprintf(&rows, "%s\t%s\t%s\t%s\t%s\t%s\n", j.ID, j.State, created, cmp.Or(j.Durability, "-"), formatSize(j.DiskBytes), j.Name)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if _, err := io.WriteString(t, rows.String()); err != nil {
		return err
	}
	return t.Flush()
}

func newJobState(f *jobFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "state JOB",
		Short: "Print the state of a job",
		Args:  oneJob,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.call(cmd.Context(), func(ctx context.Context, c *jobclient.Client) error {
				state, err := c.State(ctx, args[0])
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), state)
				return err
			})
		},
	}
}

func newJobCancel(f *jobFlags) *cobra.Command {
	return f.ending("cancel", "Stop a job at once", jobclient.Cancelled, (*jobclient.Client).Cancel)
}

func newJobDrain(f *jobFlags) *cobra.Command {
	return f.ending("drain", "Stop the sources of a job, and let it process what they have read", jobclient.Drained, (*jobclient.Client).Drain)
}

func newJobDelete(f *jobFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "delete JOB",
		Short: "Forget a job that has ended, and remove its files",
		Args:  oneJob,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.call(cmd.Context(), func(ctx context.Context, c *jobclient.Client) error { return c.Delete(ctx, args[0]) })
		},
	}
}

// ending makes a command that ends a job with the state.
func (f *jobFlags) ending(
	use, short string, end jobclient.State, ask func(*jobclient.Client, context.Context, string) (jobclient.State, error),
) *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:   use + " JOB",
		Short: short,
		Args:  oneJob,
		RunE: func(cmd *cobra.Command, args []string) error {
			id := args[0]
			return f.call(cmd.Context(), func(ctx context.Context, c *jobclient.Client) error {
				state, err := ask(c, ctx, id)
				if err != nil {
					return err
				}
				if wait {
					// As long as it takes: the limit is that of an answer.
					//nolint:contextcheck // see above
					if state, err = c.Wait(cmd.Context(), id, nil); err != nil {
						return err
					}
				}
				if _, err = fmt.Fprintln(cmd.OutOrStdout(), state); err == nil && wait && state != end {
					err = fmt.Errorf("job %s ended %s", id, state)
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the job's end, and fail unless it is "+string(end))
	return cmd
}

// oneJob wants the id of a job.
func oneJob(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s: want the id of one job, as `gorunner job list` prints it", cmd.CommandPath())
	}
	return nil
}

func newJobRestore() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "restore URI",
		Short: "Take jobs over from another machine, for the next server on a data directory",
		Long: `Take jobs over from another machine: fetch them from a store of checkpoints into a
data directory that no server uses, for the next one to go on with them. If the
other machine still lives, it loses the jobs when it makes its next checkpoint.

    gorunner job restore s3://bucket/prefix --data-dir=DIR             all that have not ended
    gorunner job restore s3://bucket/prefix/jobs/JOB --data-dir=DIR    one, from its last checkpoint

A checkpoint or savepoint is named by the URI that was told when it was made.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if dir == "" {
				return errors.New("--data-dir: say where the jobs are to go")
			}
			log, err := newLogger(cmd.ErrOrStderr(), "dev", "info")
			if err != nil {
				return err
			}
			ids, err := runner.Restore(cmd.Context(), runner.RestoreParams{DataDir: dir, URI: args[0], Log: log})
			for _, id := range ids {
				if _, printErr := fmt.Fprintln(cmd.OutOrStdout(), id); printErr != nil {
					return errors.Join(err, printErr)
				}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "data-dir", "", "the data directory of the server that is to go on with the jobs")
	return cmd
}
