//go:build !unix

// Package early opens the port of the Job API before anything else of the
// process is initialized, where the system is one for which that is written.
package early

import "os"

// Take returns nil.
func Take(int) *os.File { return nil }
