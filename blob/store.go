package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"
)

// Store holds objects in a bucket.
type Store struct {
	uri    string
	bucket Bucket
}

// New returns the store of a bucket; uri stands for it in errors.
func New(uri string, bucket Bucket) *Store { return &Store{uri: uri, bucket: bucket} }

// URI says where the store is.
func (s *Store) URI() string { return s.uri }

// fail puts operation, store and name before an error.
func (s *Store) fail(op string, name Name, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("blob: %s %s in %s: %w", op, name, s.uri, err)
}

// Put stores the content under a name, in place of what may be there.
func (s *Store) Put(ctx context.Context, name Name, content Source) (Info, error) {
	return s.put(ctx, "put", name, content, false)
}

// PutIfAbsent stores the content under a name that is not taken, and fails with
// ErrExist if it is. That may be by an earlier attempt of the same put, of which
// no answer came: who tries again looks at what is there.
func (s *Store) PutIfAbsent(ctx context.Context, name Name, content Source) (Info, error) {
	return s.put(ctx, "put if absent", name, content, true)
}

func (s *Store) put(ctx context.Context, op string, name Name, content Source, ifAbsent bool) (Info, error) {
	if err := name.Check(); err != nil {
		return Info{}, s.fail(op, name, err)
	}
	sealed, err := seal(ctx, content)
	if err != nil {
		return Info{}, s.fail(op, name, err)
	}
	if err := s.bucket.Put(ctx, name, sealed, ifAbsent); err != nil {
		return Info{}, s.fail(op, name, err)
	}
	return Info{Name: name, Size: content.Size()}, nil
}

// Get reads an object from its beginning. Where its last Read says io.EOF, what
// was read is what was put; otherwise it fails with ErrCorrupt.
func (s *Store) Get(ctx context.Context, name Name) (io.ReadCloser, error) {
	if err := name.Check(); err != nil {
		return nil, s.fail("get", name, err)
	}
	body, err := s.bucket.Get(ctx, name, 0, maxObjectBytes)
	if err != nil {
		return nil, s.fail("get", name, err)
	}
	return &verifier{store: s, name: name, body: body, held: holder{r: body}, hash: newHash()}, nil
}

// ReadAll reads an object of at most limit bytes.
func (s *Store) ReadAll(ctx context.Context, name Name, limit int64) ([]byte, error) {
	r, err := s.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	n, err := b.ReadFrom(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, err
	case n > limit:
		return nil, s.fail("get", name, fmt.Errorf("%w: larger than %d bytes", ErrCorrupt, limit))
	}
	return b.Bytes(), nil
}

// GetRange reads size bytes of an object from offset, which were put as such.
// It does not verify them: whoever reads parts knows how to check them. The
// reader fails with io.ErrUnexpectedEOF if the object ends before.
func (s *Store) GetRange(ctx context.Context, name Name, offset, size int64) (io.ReadCloser, error) {
	err := name.Check()
	if err == nil && (offset < 0 || size <= 0 || size > maxObjectBytes-offset) {
		err = fmt.Errorf("%w: %d bytes from %d on are no range", ErrPermanent, size, offset)
	}
	if err != nil {
		return nil, s.fail("get range", name, err)
	}
	// The trailer's bytes are asked for too, so that it shows where a range ends
	// that goes too far.
	body, err := s.bucket.Get(ctx, name, offset, size+trailerSize)
	if err != nil {
		return nil, s.fail("get range", name, err)
	}
	return &ranged{store: s, name: name, body: body, held: holder{r: body}, left: size}, nil
}

// Stat describes an object.
func (s *Store) Stat(ctx context.Context, name Name) (Info, error) {
	if err := name.Check(); err != nil {
		return Info{}, s.fail("stat", name, err)
	}
	size, err := s.bucket.Stat(ctx, name)
	if err == nil && size < trailerSize {
		err = fmt.Errorf("%w: %d bytes", ErrCorrupt, size)
	}
	if err != nil {
		return Info{}, s.fail("stat", name, err)
	}
	return Info{Name: name, Size: size - trailerSize}, nil
}

// List yields the objects whose names begin with a prefix, in order of their
// names, and asks for them page by page. Those that are put or deleted meanwhile
// may be missing or not. An error is the last that it yields.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		var after Name
		for {
			page, more, err := s.bucket.List(ctx, prefix, after, MaxPage)
			if err == nil && more && len(page) == 0 {
				err = errors.New("an empty page that is not the last")
			}
			if err != nil {
				yield(Info{}, s.fail("list", Name(prefix)+"*", err))
				return
			}
			for _, info := range page {
				after = info.Name
				// What is too small for a trailer was not put by a Store.
				info.Size = max(0, info.Size-trailerSize)
				if !yield(info, nil) {
					return
				}
			}
			if !more {
				return
			}
		}
	}
}

// Delete removes objects; those that do not exist are no error. If it fails,
// some may be deleted.
func (s *Store) Delete(ctx context.Context, names ...Name) error {
	for _, name := range names {
		if err := name.Check(); err != nil {
			return s.fail("delete", name, err)
		}
	}
	for chunk := range slices.Chunk(names, MaxDelete) {
		if err := s.bucket.Delete(ctx, chunk); err != nil {
			return s.fail(fmt.Sprintf("delete %d objects from", len(chunk)), chunk[0], err)
		}
	}
	return nil
}

// Sweep removes what puts have left behind that were begun before a time and
// never finished, because their process or machine has died, and says how much
// it was. A put that is still under way may fail by it: the time should be far
// longer ago than any put takes.
func (s *Store) Sweep(ctx context.Context, before time.Time) (int, error) {
	n, err := s.bucket.Sweep(ctx, before)
	return n, s.fail("sweep", "*", err)
}
