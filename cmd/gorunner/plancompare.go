package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/gorunner/gorunner/runner/jobdir"
	"github.com/gorunner/gorunner/translate"
	"github.com/gorunner/gorunner/translate/compat"
)

// newPlanCompare tells whether a pipeline could go on with what another has left.
func newPlanCompare() *cobra.Command {
	var mapping string
	var allowDropped bool
	cmd := &cobra.Command{
		Use:   "compare OLD NEW",
		Short: "Say whether a pipeline can go on with the state that another has left",
		Long: `Compare two serialized pipelines: the states and timers of their transforms, the
coders of these and of what is on the way, and the windowing of what is buffered.
Each difference is named. The command fails if one speaks against going on with the
old pipeline's state in the new one. OLD and NEW may be directories of jobs, too.

    gorunner plan compare data/jobs/my-pipeline-0123456789ab new.pb --mapping='{"Old name": "New name"}'

A mapping gives the new names of transforms by their old ones, in JSON or, with @
before it, in a file; that of a composite stands for all within it, and "" drops.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := readMapping(mapping)
			if err != nil {
				return fmt.Errorf("--mapping: %w", err)
			}
			found, err := compare(cmd.InOrStdin(), args[0], args[1], m)
			if err != nil {
				return fmt.Errorf("plan compare: %w", err)
			}
			for _, d := range found {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), d); err != nil {
					return err
				}
			}
			if compat.Refusal(found, allowDropped) != nil {
				return errors.New("the pipelines are not compatible")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&mapping, "mapping", "", "new names of transforms by their old ones: JSON, or @FILE")
	cmd.Flags().BoolVar(&allowDropped, "allow-dropped", false, "do not fail for what the new pipeline has no more")
	return cmd
}

func readMapping(v string) (compat.Mapping, error) {
	if v == "" {
		return nil, nil
	}
	data := []byte(v)
	if v[0] == '@' {
		var err error
		if data, err = os.ReadFile(v[1:]); err != nil {
			return nil, err
		}
	}
	m := compat.Mapping{}
	return m, json.Unmarshal(data, &m)
}

func compare(stdin io.Reader, old, now string, m compat.Mapping) ([]compat.Difference, error) {
	data, err := readPipeline(stdin, old)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", old, err)
	}
	a, err := translate.Load(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", old, err)
	}
	if data, err = readPipeline(stdin, now); err != nil {
		return nil, fmt.Errorf("%s: %w", now, err)
	}
	b, err := translate.Load(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", now, err)
	}
	return compat.Compare(a, b, m)
}

// readPipeline reads a serialized pipeline, or that of a job's directory.
func readPipeline(stdin io.Reader, name string) ([]byte, error) {
	if info, err := os.Stat(name); err != nil || !info.IsDir() {
		return readFile(stdin, name)
	}
	d, err := jobdir.Open(name)
	if err != nil {
		return nil, err
	}
	j, err := d.Job()
	if err != nil {
		return nil, err
	}
	return j.Pipeline, nil
}
