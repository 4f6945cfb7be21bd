// Package jobdir is the directory of a job that outlives the process: what the
// job is, how far it has come in its life, and what was said of it. The job's
// data, its rows and segments, lies beside it and is the affair of others.
//
//	job        what was submitted; written once, last of what makes a directory
//	life       the states that the job has had; replaced with each change
//	report     what remains of a job that has ended; written before its last state
//	messages   what the user was told, a line each; see [Log]
//	rows, segments, workers, …   while the job runs
//
// # Promises
//
//   - What [Create], [Dir.SetLife] and [Dir.SetReport] have written is there after
//     the end of the process and of the machine, and as a whole or not at all.
//   - A directory that has no job was never announced to anybody.
//   - What is damaged is found by a checksum, and the error names the file.
//   - Messages outlive the process. The machine's end may cost the last of them.
//
// A directory belongs to one goroutine at a time.
package jobdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// The files of a directory, by their kinds.
const (
	fileJob      = "job"
	fileLife     = "life"
	fileReport   = "report"
	fileMessages = "messages"
	// dirDead has the input of bundles that failed.
	dirDead = "dead"
)

// Job is what a job was submitted as. It never changes.
type Job struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Preparation string    `json:"preparation"`
	Created     time.Time `json:"created"`
	// Durability is the level that the job has.
	Durability string `json:"durability"`
	// Options are the pipeline's, as JSON.
	Options json.RawMessage `json:"options"`
	// Token is what workers ask for artifacts with.
	Token string `json:"token"`
	// Artifacts are those of each environment, as its workers are told of them.
	Artifacts map[string][]Artifact `json:"artifacts,omitempty"`
	// Pipeline is the proto, in binary.
	Pipeline []byte `json:"pipeline"`
}

// Artifact is a file that the workers of a job need.
type Artifact struct {
	// Digest names the content among the artifacts of the server.
	Digest string `json:"digest"`
	// Info is the proto that workers are told, in binary.
	Info []byte `json:"info"`
}

// Life is what has become of a job.
type Life struct {
	// Changes of its state, the oldest first; never empty.
	Changes []Change `json:"changes"`
}

// Change is a change of a job's state.
type Change struct {
	// Seq is its number in the job's history, in which messages are, too.
	Seq   int64     `json:"seq"`
	State string    `json:"state"`
	Time  time.Time `json:"time"`
	// Why are the messages that explain it, numbered on from Seq.
	Why []string `json:"why,omitempty"`
}

// Dir is the directory of a job.
type Dir struct{ path string }

// Create makes the directory of a job. If there is an error, nothing is left of
// it.
func Create(path string, j *Job, l *Life) (Dir, error) {
	d := Dir{path}
	if err := os.Mkdir(path, 0o700); err != nil {
		return d, fmt.Errorf("make directory of job: %w", err)
	}
	err := d.SetLife(l)
	if err == nil {
		err = d.write(fileJob, j)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return d, errors.Join(err, os.RemoveAll(path))
	}
	return d, nil
}

// ErrNoJob says that a directory is not that of a job.
var ErrNoJob = errors.New("there is no job")

// Open opens the directory of a job; the error is [ErrNoJob] if it never was one.
func Open(path string) (Dir, error) {
	d := Dir{path}
	_, err := os.Stat(d.file(fileJob))
	if errors.Is(err, os.ErrNotExist) {
		return d, fmt.Errorf("%s: %w", path, ErrNoJob)
	}
	return d, err
}

// Description are the names of the files that say what the job is and how far it has
// come in its life: another machine needs them to go on with it.
func Description() []string { return []string{fileJob, fileLife} }

// Sync makes the names in a directory last.
func Sync(path string) error { return syncDir(path) }

// Path is where the directory is.
func (d Dir) Path() string { return d.path }

func (d Dir) file(name string) string { return filepath.Join(d.path, name) }

// Job reads what was submitted.
func (d Dir) Job() (*Job, error) {
	j := new(Job)
	if err := d.read(fileJob, j); err != nil {
		return nil, err
	}
	if base := filepath.Base(d.path); j.ID != base {
		return nil, fmt.Errorf("%s: %w: it is that of job %q", d.file(fileJob), ErrDamaged, j.ID)
	}
	return j, nil
}

// Life reads what has become of the job.
func (d Dir) Life() (*Life, error) {
	l := new(Life)
	if err := d.read(fileLife, l); err != nil {
		return nil, err
	}
	if len(l.Changes) == 0 {
		return nil, fmt.Errorf("%s: %w: no state", d.file(fileLife), ErrDamaged)
	}
	return l, nil
}

// SetLife replaces what has become of the job.
func (d Dir) SetLife(l *Life) error { return d.write(fileLife, l) }

// Report reads what remains of the job, which has ended.
func (d Dir) Report(v any) error { return d.read(fileReport, v) }

// SetReport writes what remains of the job.
func (d Dir) SetReport(v any) error { return d.write(fileReport, v) }

// Clear removes what only a job that runs needs.
func (d Dir) Clear() error {
	entries, err := os.ReadDir(d.path)
	errs := []error{err}
	for _, e := range entries {
		switch e.Name() {
		case fileJob, fileLife, fileReport, fileMessages, dirDead:
		default:
			errs = append(errs, os.RemoveAll(d.file(e.Name())))
		}
	}
	return errors.Join(errs...)
}

// Dead is where the directory of a job has the input that could not be executed.
func Dead(path string) string { return filepath.Join(path, dirDead) }

// RemoveButDead removes a directory that has ended with its job, but for the input
// that could not be executed, if there is any.
func RemoveButDead(path string) error {
	if _, err := os.Stat(Dead(path)); errors.Is(err, os.ErrNotExist) {
		return os.RemoveAll(path)
	}
	entries, err := os.ReadDir(path)
	errs := []error{err}
	for _, e := range entries {
		if e.Name() != dirDead {
			errs = append(errs, os.RemoveAll(filepath.Join(path, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// Messages is what was said of the job.
func (d Dir) Messages() *Log { return &Log{path: d.file(fileMessages)} }

func (d Dir) read(name string, v any) error { return readSealed(d.file(name), name, v) }

func (d Dir) write(name string, v any) error { return writeSealed(d.file(name), name, v) }
