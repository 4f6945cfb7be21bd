package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// normalize gives long flags with one dash, as Beam's SDKs write them for the
// drop-in command line, their second one, and joins true and false with the
// boolean flag before them. Short flags and what follows "--" stay.
func normalize(args []string, root *cobra.Command) []string {
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(out, args[i:]...)
		}
		name, value, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !strings.HasPrefix(arg, "-") || len(name) < 2 {
			out = append(out, arg)
			continue
		}
		arg = "--" + name
		flag := root.Flags().Lookup(name)
		switch {
		case hasValue:
			arg += "=" + value
		case flag != nil && isBool(flag) && i+1 < len(args) && (args[i+1] == "true" || args[i+1] == "false"):
			i++
			arg += "=" + args[i]
		}
		out = append(out, arg)
	}
	return out
}

func isBool(f *pflag.Flag) bool { return f.Value.Type() == "bool" }
