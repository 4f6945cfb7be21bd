package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// binaries are the programs that a match needs.
type binaries struct{ gorunner, prism, pipelines, ceiling, cache string }

// newBuild builds what there is to measure, and with.
func newBuild(ctx context.Context, s settings) (binaries, error) {
	cache := s.cache
	b := binaries{
		gorunner: filepath.Join(cache, "gorunner"), prism: filepath.Join(cache, "prism"),
		pipelines: filepath.Join(cache, "pipelines"), ceiling: filepath.Join(cache, "ceiling"), cache: cache,
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return b, err
	}
	err := errors.Join(
		goBuild(ctx, s.root, b.gorunner, "./cmd/gorunner"),
		goBuild(ctx, s.root, b.ceiling, "./bench/ceiling"),
		goBuild(ctx, s.root, b.pipelines, "./bench/pipelines"))
	if err == nil && s.peers {
		err = goBuild(ctx, filepath.Join(s.root, "conformance", "gosuite"), b.prism, "github.com/apache/beam/sdks/v2/go/cmd/prism")
	}
	return b, err
}

func goBuild(ctx context.Context, dir, bin, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return nil
}
