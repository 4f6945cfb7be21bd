package engine

import "fmt"

// Error names the stage and keeps the SDK's own text.
func (e *BundleError) Error() string {
	return fmt.Sprintf("stage %s: bundle %d failed %d times: %v", e.Stage.Name, e.Bundle, e.Attempts, e.Err)
}

// Unwrap returns the last failure.
func (e *BundleError) Unwrap() error { return e.Err }
