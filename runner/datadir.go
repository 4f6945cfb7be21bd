package runner

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
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
		return nil, errors.Join(fmt.Errorf("runner: data directory %s is used by another gorunner%s: %w", dir, ownerOf(f), err), f.Close())
	}
	if err := errors.Join(f.Truncate(0), sign(f, os.Getpid())); err != nil {
		return nil, errors.Join(fmt.Errorf("runner: data directory %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// ownerText is what a lock file says of the process that has it.
const ownerText = "process %d\n"

func sign(f *os.File, pid int) error {
	_, err := f.WriteAt(fmt.Appendf(nil, ownerText, pid), 0)
	return err
}

// ownerOf says who has a lock file, as far as that stands there.
func ownerOf(f *os.File) string {
	var pid int
	if _, err := fmt.Fscanf(io.NewSectionReader(f, 0, 64), ownerText, &pid); err != nil {
		return ""
	}
	return fmt.Sprintf(", process %d", pid)
}

// The names of temporary data directories, and what their lock files say.
const (
	temporaryName = "gorunner-"
	temporaryMark = "temporary\n"
)

// staleAge is how old the lock of a temporary directory must be to be looked at:
// a server that is starting has made it but does not hold it yet.
const staleAge = time.Minute

// makeTemporary makes a data directory for the life of this server, and takes it.
func makeTemporary(parent string) (dir string, claim *os.File, err error) {
	if dir, err = os.MkdirTemp(parent, temporaryName); err != nil {
		return "", nil, fmt.Errorf("runner: make temporary directory: %w", err)
	}
	if claim, err = claimDataDir(dir); err == nil {
		if err = errors.Join(claim.Truncate(0), mark(claim)); err == nil {
			return dir, claim, nil
		}
		err = errors.Join(fmt.Errorf("runner: mark temporary directory %s: %w", dir, err), claim.Close())
	}
	return "", nil, errors.Join(err, os.RemoveAll(dir))
}

// mark says that a directory is temporary, for who finds it.
func mark(f *os.File) error {
	_, err := f.WriteAt([]byte(temporaryMark), 0)
	return err
}

// sweepTemporary removes the temporary directories of servers that were killed,
// and returns them. One that cannot be removed is somebody else's to remove.
func sweepTemporary(parent string, now time.Time) []string {
	if !locks {
		return nil
	}
	dirs, err := filepath.Glob(filepath.Join(parent, temporaryName+"*"))
	if err != nil {
		return nil // the pattern is bad: the parent has odd characters
	}
	var swept []string
	for _, dir := range dirs {
		if sweep(dir, now) == nil {
			swept = append(swept, dir)
		}
	}
	return swept
}

var errNotStale = errors.New("not the temporary directory of a server that has ended")

// sweep removes a directory if it is a temporary one that no server has.
func sweep(dir string, now time.Time) error {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // nothing is written
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if now.Sub(info.ModTime()) < staleAge {
		return errNotStale
	}
	mark := make([]byte, len(temporaryMark)+1)
	if n, err := f.ReadAt(mark, 0); !errors.Is(err, io.EOF) || string(mark[:n]) != temporaryMark {
		return errNotStale
	}
	if err := lock(f); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
