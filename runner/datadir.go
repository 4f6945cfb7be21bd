package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// lockName is the file that marks a data directory as gorunner's and is locked
// while a server uses it.
const lockName = "gorunner.lock"

// claimDataDir takes a data directory, which it creates if need be, until the
// file that it returns is closed. A directory with files that are not
// gorunner's is refused: what a previous server left there is removed.
func claimDataDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("runner: data directory %s: %w", dir, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("runner: data directory %s: %w", dir, err)
	}
	path := filepath.Join(dir, lockName)
	if _, err := os.Stat(path); len(entries) > 0 && errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("runner: data directory %s holds files that are not gorunner's, such as %s: name an empty or a new one",
			dir, entries[0].Name())
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("runner: data directory %s: %w", dir, err)
	}
	if err := lock(f); err != nil {
		return nil, errors.Join(fmt.Errorf("runner: data directory %s is used by another gorunner: %w", dir, err), f.Close())
	}
	return f, nil
}
