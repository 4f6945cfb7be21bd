package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// Digest is the SHA-256 of a content in lower-case hexadecimal.
type Digest string

// parseDigest accepts what a client sent as a SHA-256.
func parseDigest(s string) (Digest, error) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != sha256.Size {
		return "", fmt.Errorf("artifact: %q is not a SHA-256 in hexadecimal", s)
	}
	return Digest(hex.EncodeToString(raw)), nil
}

// Store is a directory of contents, each in a file named by its digest. Its
// references live in memory: of what a previous process left behind there are
// none until they are adopted.
type Store struct {
	dir     string
	lasting bool

	mu   sync.Mutex
	refs map[Digest]int // guarded by mu; a file without an entry is not served
}

// OpenStore opens the store in dir, which it creates if needed. What is put into a
// lasting one outlives the machine.
func OpenStore(dir string, lasting bool) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("artifact: create store: %w", err)
	}
	return &Store{dir: dir, lasting: lasting, refs: make(map[Digest]int)}, nil
}

// Adopt adds a reference to a content that a previous process has left.
func (s *Store) Adopt(d Digest) error {
	if _, err := parseDigest(string(d)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs[d] == 0 {
		if _, err := os.Stat(s.path(d)); err != nil {
			return fmt.Errorf("artifact: adopt %s: %w", d, err)
		}
	}
	s.refs[d]++
	return nil
}

// Sweep removes everything that there is no reference to. Nothing may be on its
// way in.
func (s *Store) Sweep() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, err := os.ReadDir(s.dir)
	errs := []error{err}
	for _, e := range entries {
		if s.refs[Digest(e.Name())] == 0 {
			errs = append(errs, os.RemoveAll(filepath.Join(s.dir, e.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("artifact: sweep store: %w", err)
	}
	return nil
}

func (s *Store) path(d Digest) string { return filepath.Join(s.dir, string(d)) }

// Path is the file of a content.
func (s *Store) Path(d Digest) string { return s.path(d) }

// sync makes what was put into the directory last.
func (s *Store) sync() error {
	if !s.lasting {
		return nil
	}
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Acquire adds a reference to a content that is there already, and says
// whether it was.
func (s *Store) Acquire(d Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs[d] == 0 {
		return false
	}
	s.refs[d]++
	return true
}

// Release takes a reference back. The content goes with its last one.
func (s *Store) Release(d Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.refs[d] {
	case 0:
		return fmt.Errorf("artifact: release %s: no reference", d)
	case 1:
		delete(s.refs, d)
		// Under the lock: the same content may be on its way in.
		if err := os.Remove(s.path(d)); err != nil {
			return fmt.Errorf("artifact: release %s: %w", d, err)
		}
	default:
		s.refs[d]--
	}
	return nil
}

// Open returns a reader of a content that somebody holds a reference to.
func (s *Store) Open(d Digest) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs[d] == 0 {
		return nil, fmt.Errorf("artifact: open %s: not in the store", d)
	}
	f, err := os.Open(s.path(d))
	if err != nil {
		return nil, fmt.Errorf("artifact: open %s: %w", d, err)
	}
	return f, nil
}

// Len is the number of distinct contents.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.refs)
}

// Create begins a content whose digest is known only at its end. The caller
// calls Commit or Abort.
func (s *Store) Create() (*Writer, error) {
	f, err := os.CreateTemp(s.dir, "incoming-*")
	if err != nil {
		return nil, fmt.Errorf("artifact: create: %w", err)
	}
	return &Writer{store: s, file: f, hash: sha256.New()}, nil
}

// Writer takes a content in. It belongs to one goroutine.
type Writer struct {
	store *Store
	file  *os.File
	hash  hash.Hash
	size  int64
}

// Write appends to the content.
func (w *Writer) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.hash.Write(p[:n])
	w.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("artifact: write: %w", err)
	}
	return n, nil
}

// Size is the number of bytes written so far.
func (w *Writer) Size() int64 { return w.size }

// Abort throws the content away.
func (w *Writer) Abort() error {
	return errors.Join(w.file.Close(), os.Remove(w.file.Name()))
}

// Commit puts the content into the store, with one reference for the caller,
// and returns its digest. When want is not empty and the digest is another, the
// content is thrown away.
func (w *Writer) Commit(want Digest) (Digest, error) {
	got := Digest(hex.EncodeToString(w.hash.Sum(nil)))
	if want != "" && got != want {
		err := fmt.Errorf("artifact: content of %d bytes has SHA-256 %s, not %s as announced", w.size, got, want)
		return "", errors.Join(err, w.Abort())
	}
	if err := w.close(); err != nil {
		return "", errors.Join(fmt.Errorf("artifact: commit %s: %w", got, err), os.Remove(w.file.Name()))
	}
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs[got] > 0 {
		s.refs[got]++
		if err := os.Remove(w.file.Name()); err != nil {
			return got, fmt.Errorf("artifact: commit %s: remove duplicate: %w", got, err)
		}
		return got, nil
	}
	if err := os.Rename(w.file.Name(), s.path(got)); err != nil {
		return "", errors.Join(fmt.Errorf("artifact: commit %s: %w", got, err), os.Remove(w.file.Name()))
	}
	if err := s.sync(); err != nil {
		return "", errors.Join(fmt.Errorf("artifact: commit %s: %w", got, err), os.Remove(s.path(got)))
	}
	s.refs[got] = 1
	return got, nil
}

func (w *Writer) close() error {
	var err error
	if w.store.lasting {
		err = w.file.Sync()
	}
	return errors.Join(err, w.file.Close())
}
