package conformance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Paths are the places that the suites work with.
type Paths struct {
	// Root is the folder of the repository, Cache holds what is built once,
	// Out what a run leaves behind. Git ignores the latter two.
	Root, Cache, Out string
}

// FindPaths finds the repository that dir is in and makes the folders.
func FindPaths(dir string) (Paths, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Paths{}, err
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), "module github.com/gorunner/gorunner\n") {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return Paths{}, errors.New("find the repository: no go.mod of gorunner in any parent folder")
		}
		dir = parent
	}
	p := Paths{Root: dir, Cache: filepath.Join(dir, ".cache", "conformance"), Out: filepath.Join(dir, "out", "conformance")}
	err = errors.Join(os.MkdirAll(p.Cache, 0o755), os.MkdirAll(p.Out, 0o755))
	return p, err
}

// lists returns the folder of the expected lists, and that of the outcomes, of
// gorunner or of a peer.
func (p Paths) lists(peer string) (expected, out string) {
	if peer == "" {
		return filepath.Join(p.Root, "conformance", "expected"), p.Out
	}
	return filepath.Join(p.Root, "conformance", "peers", peer), filepath.Join(p.Out, "peers", peer)
}

// GoBuild runs the go command in a folder of the repository and waits.
func (p Paths) GoBuild(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(p.Root, dir)
	// A static binary runs in any container; -race of the caller is not inherited.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s in %s: %w\n%s", strings.Join(args, " "), cmd.Dir, err, out)
	}
	return nil
}

// Python returns the interpreter of the Python suites.
func (p Paths) Python() (string, error) {
	python := os.Getenv("GORUNNER_PYTHON")
	if python == "" {
		python = filepath.Join(p.Root, ".venv", "bin", "python")
	}
	if _, err := os.Stat(python); err != nil {
		return "", fmt.Errorf("no Python with Beam (make it with \"make python\", or set GORUNNER_PYTHON): %w", err)
	}
	return python, nil
}

// NoteSources looks at every Go file of the product. Go's cache of test results
// records what a test looks at, but cannot know that these tests run a binary
// that is built from those files.
func (p Paths) NoteSources() error {
	return filepath.WalkDir(p.Root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != p.Root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "out" || d.Name() == "bin"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".go"), strings.HasSuffix(path, ".py"):
			_, err := os.Stat(path)
			return err
		}
		return nil
	})
}
