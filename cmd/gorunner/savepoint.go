package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gorunner/gorunner/blob"
	"github.com/gorunner/gorunner/blob/checkpoints"
	"github.com/gorunner/gorunner/execution/checkpoint"
	"github.com/gorunner/gorunner/runner/jobclient"
)

func newSavepoint() *cobra.Command {
	var f jobFlags
	cmd := &cobra.Command{
		Use:   "savepoint",
		Short: "Make, list, inspect and delete savepoints of jobs",
		Long: `Make, list, inspect and delete savepoints: checkpoints that only their user deletes,
and from which a job can be restored whatever has become of it.

    gorunner savepoint create my-pipeline-0123456789ab
    gorunner savepoint list s3://bucket/prefix
    gorunner job restore s3://bucket/prefix/jobs/JOB/log/SLOT --data-dir=DIR`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	fl := cmd.PersistentFlags()
	fl.SortFlags = false
	fl.StringVar(&f.endpoint, "endpoint", "127.0.0.1:8073", "host:port of the server's Job API")
	fl.DurationVar(&f.timeout, "timeout", 10*time.Minute, "how long it may take")
	cmd.AddCommand(newSavepointCreate(&f), newSavepointList(&f), newSavepointInspect(&f), newSavepointDelete(&f))
	return cmd
}

func newSavepointCreate(f *jobFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "create JOB",
		Short: "Make a savepoint of a running job, and print its URI when it is there",
		Args:  oneJob,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.call(cmd.Context(), func(ctx context.Context, c *jobclient.Client) error {
				s, err := c.MakeSavepoint(ctx, args[0])
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), s.URI)
				return err
			})
		},
	}
}

func newSavepointList(f *jobFlags) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "list URI",
		Short: "List the savepoints of a store, or of a job in it (STORE/jobs/JOB)",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withStore(cmd.Context(), args[0], func(ctx context.Context, store *blob.Store, place checkpoints.Place) error {
				ids := []checkpoint.JobID{place.ID}
				if place.ID == "" {
					var err error
					if ids, err = checkpoints.Jobs(ctx, store); err != nil {
						return err
					}
				}
				return listSavepoints(ctx, cmd.OutOrStdout(), store, ids, all)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "list checkpoints as well")
	return cmd
}

// withStore calls do with the store of a URI.
func (f *jobFlags) withStore(ctx context.Context, uri string, do func(context.Context, *blob.Store, checkpoints.Place) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, errors.New("--timeout is over"))
	defer cancel()
	place, err := checkpoints.ParsePlace(uri)
	if err != nil {
		return err
	}
	store, err := blob.Open(ctx, place.Store, blob.Options{})
	if err != nil {
		return err
	}
	return do(ctx, store, place)
}

func listSavepoints(ctx context.Context, w io.Writer, store *blob.Store, ids []checkpoint.JobID, all bool) error {
	var rows strings.Builder
	rows.WriteString("MADE\tKIND\tSIZE\tURI\n")
	var problems []error
	for _, id := range ids {
		log, err := checkpoints.ReadLog(ctx, store, id)
		if err != nil {
			return err
		}
		problems = append(problems, log.Problems...)
		for _, e := range log.Entries {
			if e.Kind == checkpoint.Savepoint || all && e.Kind == checkpoint.Checkpoint {
				fmt.Fprintf(&rows, "%s\t%s\t%s\t%s\n", e.Made.Local().Format(time.DateTime), e.Kind, formatSize(e.Bytes()), checkpoints.EntryURI(store, id, e.Slot))
			}
		}
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	_, err := io.WriteString(t, rows.String())
	return errors.Join(err, t.Flush(), errors.Join(problems...))
}

func newSavepointInspect(f *jobFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect URI",
		Short: "Say what a savepoint or checkpoint has, and whether it is all there",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withStore(cmd.Context(), args[0], func(ctx context.Context, store *blob.Store, place checkpoints.Place) error {
				if place.Slot == 0 {
					return fmt.Errorf("%s names no savepoint: `gorunner savepoint list` does", args[0])
				}
				return inspect(ctx, cmd.OutOrStdout(), store, place)
			})
		},
	}
}

func inspect(ctx context.Context, w io.Writer, store *blob.Store, place checkpoints.Place) error {
	x := checkpoints.New(store, checkpoints.Prefix(place.ID), nil)
	e, err := x.Entry(ctx, place.Slot)
	if err != nil {
		return err
	}
	if e.Kind != checkpoint.Savepoint && e.Kind != checkpoint.Checkpoint {
		return fmt.Errorf("%s: it is a %s of the job's log", place.URI(), e.Kind)
	}
	index, err := x.Index(ctx, e)
	if err != nil {
		return err
	}
	count, size := make(map[checkpoint.FileKind]int), make(map[checkpoint.FileKind]int64)
	for _, file := range e.Files {
		count[file.Kind]++
		size[file.Kind] += file.Size
	}
	var out strings.Builder
	fmt.Fprintf(&out, "job\t%s\nkind\t%s\nmade\t%s\nrunner\t%s\nplan\t%s\nlast commit\t%d of process %d\n",
		e.Job, e.Kind, e.Made.Local().Format(time.DateTime), e.Runner, e.Plan, index.Commit, index.Process)
	kinds := []checkpoint.FileKind{checkpoint.Table, checkpoint.Segment, checkpoint.Snapshot, checkpoint.Description, checkpoint.Artifact, checkpoint.DeadLetter}
	for _, kind := range slices.DeleteFunc(kinds, func(k checkpoint.FileKind) bool { return count[k] == 0 }) {
		fmt.Fprintf(&out, "files, %s\t%d, %s\n", kind, count[kind], formatSize(size[kind]))
	}
	check := x.Do(ctx, checkpoint.CheckFiles{Entry: e})
	if check.Result == checkpoint.OK {
		out.WriteString("whole\tyes\n")
	} else {
		fmt.Fprintf(&out, "whole\tno: %s\n", check.Problem)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	_, err = io.WriteString(t, out.String())
	return errors.Join(err, t.Flush())
}

func newSavepointDelete(f *jobFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "delete URI",
		Short: "Delete a savepoint",
		Long: `Delete a savepoint, and its files that nothing else needs. That of a job that has
ended is deleted at once; for one that runs, the server is asked, which deletes it
as soon as there is something newer to go on from.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := f.withStore(cmd.Context(), args[0], checkpoints.Delete)
			if !errors.Is(err, checkpoints.ErrRuns) {
				return err
			}
			return f.call(cmd.Context(), func(ctx context.Context, c *jobclient.Client) error { return c.DeleteSavepoint(ctx, args[0]) })
		},
	}
}
