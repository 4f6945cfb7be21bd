package translate

import (
	"fmt"
	"strings"
)

// UnsupportedError says that a pipeline is well formed but asks for something
// that is not executed. It holds all causes, so that its user need not find
// them one by one.
type UnsupportedError struct {
	// Causes name transform and feature, in the pipeline's order.
	Causes []string
}

// Error lists the causes.
func (e *UnsupportedError) Error() string {
	if len(e.Causes) == 1 {
		return "pipeline not supported: " + e.Causes[0]
	}
	return "pipeline not supported:\n  " + strings.Join(e.Causes, "\n  ")
}

// InvalidError says that a pipeline proto is broken: no runner could execute
// it.
type InvalidError struct {
	// Where names the component, like `transform "e1"`; empty for the pipeline.
	Where string
	Err   error
}

// Error says where and what.
func (e *InvalidError) Error() string {
	if e.Where == "" {
		return fmt.Sprintf("invalid pipeline: %v", e.Err)
	}
	return fmt.Sprintf("invalid pipeline: %s: %v", e.Where, e.Err)
}

// Unwrap returns the cause.
func (e *InvalidError) Unwrap() error { return e.Err }

func invalid(where, format string, args ...any) error {
	return &InvalidError{Where: where, Err: fmt.Errorf(format, args...)}
}

func inTransform(id string) string   { return fmt.Sprintf("transform %q", id) }
func inCollection(id string) string  { return fmt.Sprintf("PCollection %q", id) }
func inCoder(id string) string       { return fmt.Sprintf("coder %q", id) }
func inWindowing(id string) string   { return fmt.Sprintf("windowing strategy %q", id) }
func inEnvironment(id string) string { return fmt.Sprintf("environment %q", id) }
