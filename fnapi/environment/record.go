package environment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gorunner/gorunner/execution/harness"
)

// Before a worker is started, a record says how to end it: whoever comes after
// this process, should it die, finds there what it has started.
//
// A process is known by a token in its environment variables, a container by its
// name. Both are random, so nobody else has them, whatever process ids were given
// anew and whether the machine was started since. Guards do the same at once, but
// may die together with this process.

// record says how to end a worker. Fields that do not apply are empty.
type record struct {
	Worker string `json:"worker"`
	// Token marks its processes.
	Token string `json:"token,omitempty"`
	// Container is the name of its container.
	Container string `json:"container,omitempty"`
	// Pool is the address of the worker pool that has started it.
	Pool string `json:"pool,omitempty"`
}

// What the names of records, and of workers' directories, begin with.
const (
	recordPrefix    = "started-"
	workerDirPrefix = "worker-"
)

// writeRecord writes a record into the job's directory, and returns what removes
// it. Without a directory there is none.
func writeRecord(launch Launch, r record) (remove func() error, err error) {
	if launch.Dir == "" {
		return func() error { return nil }, nil
	}
	r.Worker = string(launch.WorkerID)
	data, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(launch.Dir, recordPrefix+fileName(launch.WorkerID)+"-*")
	if err != nil {
		return nil, fmt.Errorf("record of the worker: %w", err)
	}
	remove = func() error { return gone(os.Remove(f.Name())) }
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("record of the worker: %w", err), remove())
	}
	return remove, nil
}

// gone is content with a file that is not there.
func gone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Sweep ends the workers that a process before has started for the job with the
// directory, as far as they are there yet, and removes their directories. It
// returns their ids. An error says which could not be ended; all others are.
func (l *Launcher) Sweep(ctx context.Context, dir string, log *slog.Logger) (swept []string, err error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	paths, err := filesWith(dir, recordPrefix)
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(paths))
	var all sync.WaitGroup
	for i, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			// It may tell of a worker that lives, so it stays for the next sweep.
			errs[i] = fmt.Errorf("record of a worker of an earlier process: %w", err)
			continue
		}
		var r record
		if json.Unmarshal(data, &r) != nil {
			// Its writer died before it had started anything.
			errs[i] = gone(os.Remove(path))
			continue
		}
		swept = append(swept, r.Worker)
		all.Go(func() {
			if err := l.end(ctx, r, log); err != nil {
				errs[i] = fmt.Errorf("worker %s of an earlier process: %w", r.Worker, err)
				return
			}
			errs[i] = gone(os.Remove(path))
		})
	}
	all.Wait()
	dirs, err := filesWith(dir, workerDirPrefix)
	errs = append(errs, err)
	for _, path := range dirs {
		errs = append(errs, os.RemoveAll(path))
	}
	return swept, errors.Join(errs...)
}

// filesWith returns the files in a directory whose names have the prefix; none if
// there is no directory.
func filesWith(dir, prefix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var paths []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, gone(err)
}

// end ends what a record tells of.
func (l *Launcher) end(ctx context.Context, r record, log *slog.Logger) error {
	var errs []error
	if r.Token != "" {
		//nolint:contextcheck // it has a limit of its own
		errs = append(errs, endMarked(r.Token, l.options.KillWait))
	}
	if r.Container != "" {
		engine, err := newEngine(l.options)
		if err == nil {
			err = engine.remove(ctx, r.Container)
		}
		errs = append(errs, err)
	}
	if r.Pool != "" {
		errs = append(errs, l.endPooled(ctx, r, log))
	}
	return errors.Join(errs...)
}

// endPooled tells a pool that a worker is not wanted any more. One that does not
// answer has gone, or leaves it to the worker to notice.
func (l *Launcher) endPooled(ctx context.Context, r record, log *slog.Logger) error {
	p, err := l.acquirePool(r.Pool)
	if err != nil {
		return err
	}
	defer l.releasePool(p)
	w := &pooled{id: harness.WorkerID(r.Worker), pool: p, log: log}
	w.abandon(ctx)
	return nil
}
