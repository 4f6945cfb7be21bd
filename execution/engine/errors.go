package engine

import "fmt"

// Error names the stage and keeps the SDK's own text.
func (e *BundleError) Error() string {
	times := ""
	if e.Attempts > 1 {
		times = fmt.Sprintf(" %d times", e.Attempts)
	}
	return fmt.Sprintf("stage %s: bundle %d failed%s: %v", e.Stage.Name, e.Bundle, times, e.Err)
}

// Unwrap returns the last failure.
func (e *BundleError) Unwrap() error { return e.Err }
