//go:build tools

// Package gosuite pins what the conformance suites of the Go SDK are built
// from. It is a module of its own, so that what Beam's tests need does not end
// up among the requirements of the product.
package gosuite

import (
	// The boot program of worker processes and containers.
	_ "github.com/apache/beam/sdks/v2/go/container"

	// The runner that gorunner is measured against.
	_ "github.com/apache/beam/sdks/v2/go/cmd/prism"

	// Beam's own tests.
	_ "github.com/apache/beam/sdks/v2/go/test/integration/primitives"
	_ "github.com/apache/beam/sdks/v2/go/test/integration/synthetic"
	_ "github.com/apache/beam/sdks/v2/go/test/integration/wordcount"
	_ "github.com/apache/beam/sdks/v2/go/test/regression"
)
