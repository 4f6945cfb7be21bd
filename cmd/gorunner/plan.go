package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/gorunner/gorunner/translate"
)

func newPlan() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "plan FILE",
		Short: "Show what would be executed for a serialized pipeline",
		Long: `Translate a serialized pipeline, a Pipeline proto in binary or JSON, and print the
graph of stages that would be executed, or everything that speaks against it.
FILE may be - for standard input.

    gorunner plan --format=dot pipeline.pb | dot -Tsvg > pipeline.svg`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "text" && format != "dot" {
				return fmt.Errorf("--format: %q: want text or dot", format)
			}
			data, err := readFile(cmd.InOrStdin(), args[0])
			if err != nil {
				return fmt.Errorf("plan: %w", err)
			}
			pipeline, err := translate.Load(data)
			if err != nil {
				return fmt.Errorf("plan %s: %w", args[0], err)
			}
			t, err := translate.Translate(pipeline, translate.Options{})
			if err != nil {
				return fmt.Errorf("plan %s: %w", args[0], err)
			}
			text := t.Plan.Text()
			if format == "dot" {
				text = t.Plan.DOT()
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text or dot (Graphviz)")
	cmd.AddCommand(newPlanCompare())
	return cmd
}

func readFile(stdin io.Reader, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(name)
}
