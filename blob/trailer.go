package blob

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
)

// An object at rest is its content and a trailer, so that it can be copied from
// store to store by any tool, and so that offsets are those of the content:
//
//	content, "gorunobj", version (4 bytes), 0 (4), size of the content (8),
//	xxhash64 of the content and of the trailer so far (8); little-endian
const (
	trailerMagic   = "gorunobj"
	trailerVersion = 1
	trailerSize    = 32
	// maxObjectBytes is the size of the largest object of S3.
	maxObjectBytes = 5 << 40
)

func newHash() *xxhash.Digest { return xxhash.New() }

// appendTrailer ends the content that hash has seen.
func appendTrailer(b []byte, size int64, hash *xxhash.Digest) []byte {
	from := len(b)
	b = append(b, trailerMagic...)
	b = binary.LittleEndian.AppendUint32(b, trailerVersion)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(size))
	_, _ = hash.Write(b[from:]) // never fails
	return binary.LittleEndian.AppendUint64(b, hash.Sum64())
}

// checkTrailer fails unless t ends the content that hash has seen.
func checkTrailer(t []byte, size int64, hash *xxhash.Digest) error {
	if len(t) != trailerSize || string(t[:len(trailerMagic)]) != trailerMagic {
		return fmt.Errorf("%w: no trailer after %d bytes", ErrCorrupt, size)
	}
	if v := binary.LittleEndian.Uint32(t[8:]); v != trailerVersion {
		return fmt.Errorf("%w: version %d, want %d", ErrPermanent, v, trailerVersion)
	}
	if got := int64(binary.LittleEndian.Uint64(t[16:])); got != size {
		return fmt.Errorf("%w: %d bytes of %d", ErrCorrupt, size, got)
	}
	_, _ = hash.Write(t[:trailerSize-8]) // never fails
	if binary.LittleEndian.Uint64(t[trailerSize-8:]) != hash.Sum64() {
		return fmt.Errorf("%w: checksum of %d bytes", ErrCorrupt, size)
	}
	return nil
}

// sealed is content and its trailer as one Source.
type sealed struct {
	content Source
	size    int64
	trailer []byte
}

// seal reads the content once to make its trailer. It is read a second time to
// be sent, in parts and in no order; reading it from the system's cache costs
// less than to have it in memory.
func seal(ctx context.Context, content Source) (*sealed, error) {
	size := content.Size()
	if size < 0 || size > maxObjectBytes-trailerSize {
		return nil, fmt.Errorf("%w: content of %d bytes", ErrPermanent, size)
	}
	hash := newHash()
	n, err := io.Copy(hash, &contextReader{ctx: ctx, r: io.NewSectionReader(content, 0, size)})
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the content: %w", err)
	case n != size:
		return nil, fmt.Errorf("read the content: %w: %d of %d bytes", io.ErrUnexpectedEOF, n, size)
	}
	return &sealed{content: content, size: size, trailer: appendTrailer(nil, size, hash)}, nil
}

func (s *sealed) Size() int64 { return s.size + trailerSize }

func (s *sealed) ReadAt(p []byte, at int64) (int, error) {
	n := 0
	if at < s.size {
		want := min(int64(len(p)), s.size-at)
		var err error
		n, err = s.content.ReadAt(p[:want], at)
		switch {
		case int64(n) == want: // with or without io.EOF
		case err == nil || errors.Is(err, io.EOF):
			return n, io.ErrUnexpectedEOF
		default:
			return n, err
		}
	}
	if n == len(p) {
		return n, nil
	}
	if from := at + int64(n) - s.size; from < trailerSize {
		n += copy(p[n:], s.trailer[from:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// contextReader stops reading when its context ends.
type contextReader struct {
	ctx context.Context //nolint:containedctx // io.Reader takes none
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// holder reads all but the last bytes, as many as a trailer has.
type holder struct {
	r io.Reader

	tail  [trailerSize]byte
	kept  int
	ended error
}

func (h *holder) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n := 0
	for n == 0 && h.ended == nil {
		if len(p) > trailerSize {
			n = h.fill(p, len(p))
			continue
		}
		// There would be no room in p for what is kept.
		var b [2 * trailerSize]byte
		n = copy(p, b[:h.fill(b[:], h.kept+len(p))])
	}
	if n == 0 {
		return 0, h.ended
	}
	return n, nil
}

// fill puts what is kept at the beginning of b, reads to b[limit] behind it,
// keeps the last bytes instead, and returns the number of those before them.
func (h *holder) fill(b []byte, limit int) int {
	copy(b, h.tail[:h.kept])
	n, err := h.r.Read(b[h.kept:limit])
	h.ended = err
	n += h.kept
	h.kept = min(n, trailerSize)
	copy(h.tail[:], b[n-h.kept:n])
	return n - h.kept
}

// verifier reads content up to its trailer, which it checks.
type verifier struct {
	store *Store
	name  Name
	body  io.ReadCloser
	held  holder
	hash  *xxhash.Digest
	size  int64 // of the content that was returned
	ended error
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.ended != nil {
		return 0, v.ended
	}
	n, err := v.held.Read(p)
	_, _ = v.hash.Write(p[:n]) // never fails
	v.size += int64(n)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		err = checkTrailer(v.held.tail[:v.held.kept], v.size, v.hash)
	}
	v.ended = io.EOF
	if err != nil {
		v.ended = v.store.fail("get", v.name, err)
	}
	return n, v.ended
}

func (v *verifier) Close() error { return v.body.Close() }

// ranged reads the bytes of a range. The holder behind it keeps as many back as
// a trailer has, which is the trailer itself where the range ends the content.
type ranged struct {
	store *Store
	name  Name
	body  io.ReadCloser
	held  holder
	left  int64
}

func (r *ranged) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.held.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, r.store.fail("get range", r.name, err)
}

func (r *ranged) Close() error { return r.body.Close() }
