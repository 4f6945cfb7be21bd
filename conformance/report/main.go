// Command report writes docs/conformance.md: where gorunner and its peers stand
// in Beam's suites. It reads the expected lists, and the outcomes of the suites
// that have been run since.
//
//	go run ./conformance/report
package main

import (
	"fmt"
	"os"

	"github.com/gorunner/gorunner/conformance"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run() error {
	paths, err := conformance.FindPaths(".")
	if err != nil {
		return err
	}
	return paths.WriteDocument()
}
