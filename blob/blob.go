// Package blob keeps checkpoints and artifacts at rest, in a directory
// (file:///dir) or in an object store (s3://bucket/prefix).
//
// A [Store] holds objects: strings of bytes that are written once, as a whole,
// under a name. What is asked of whatever keeps them is a [Bucket], of which
// there are three: directories, S3, and one in memory with faults for tests
// (package blobtest, which also says by tests what a Bucket owes).
//
//	store, err := blob.Open(ctx, "s3://backups/gorunner", blob.Options{})
//	info, err := store.Put(ctx, "jobs/7/log/1", bytes.NewReader(manifest))
//	r, err := store.Get(ctx, "jobs/7/log/1")
//
// What may be relied on:
//
//  1. An object is there as a whole or not at all, whatever ends the process or
//     the connection while it is put.
//  2. To put the same content again under its name is no error and has no effect
//     that can be seen. [Store.PutIfAbsent] has at most one winner.
//  3. After a put has succeeded, a Get by anybody sees it, and so does, sooner or
//     later, a List.
//  4. What was put carries a checksum; a Get that reaches the end of an object
//     has verified all of it.
//  5. A put that was given up leaves nothing that can be seen. What it may leave
//     that cannot, [Store.Sweep] removes.
//
// A put that fails has had its effect, or not, or will have it later: only the
// error [ErrExist] says more. Every error says operation, store and name; whether
// it makes sense to try again is told by [IsPermanent]. Retries within a single
// operation are the bucket's own, within the budget of its options.
//
// All methods may be called from any goroutine.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// Errors that an operation's error wraps. All of them are permanent.
var (
	// ErrNotExist says that there is no object of the name.
	ErrNotExist = errors.New("object does not exist")
	// ErrExist says that there is already an object of the name.
	ErrExist = errors.New("object exists already")
	// ErrCorrupt says that an object is not what was put.
	ErrCorrupt = errors.New("object is not what was put")
	// ErrPermanent says that the same call will fail again.
	ErrPermanent = errors.New("permanent")
)

// IsPermanent reports whether it makes no sense to repeat the call that failed
// with err: the object does or does not exist, is damaged, the caller has given
// up, or the store has refused for a reason that time alone does not change.
func IsPermanent(err error) bool {
	for _, permanent := range []error{ErrNotExist, ErrExist, ErrCorrupt, ErrPermanent, context.Canceled} {
		if errors.Is(err, permanent) {
			return true
		}
	}
	return false
}

// Name names an object within a store: parts separated by slashes, each of
// letters, digits and "._-+=@", not beginning with a dot.
type Name string

// maxNameBytes bounds a name, with room for a prefix below the 1,024 bytes of S3.
const maxNameBytes = 512

// maxPartBytes bounds a part of a name, with room for what a directory adds to
// the 255 bytes of file systems.
const maxPartBytes = 200

// Check fails unless the name is valid in all stores.
func (n Name) Check() error {
	if len(n) == 0 || len(n) > maxNameBytes {
		return fmt.Errorf("%w: name of %d bytes, want 1 to %d", ErrPermanent, len(n), maxNameBytes)
	}
	for part := range strings.SplitSeq(string(n), "/") {
		if !validPart(part) {
			return fmt.Errorf("%w: name %q: part %q is not valid", ErrPermanent, string(n), part)
		}
	}
	return nil
}

func validPart(part string) bool {
	if part == "" || len(part) > maxPartBytes || part[0] == '.' {
		return false
	}
	for _, c := range []byte(part) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("._-+=@", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// Source is content to be put. It is read in parts, several at a time, and again
// where a part is sent again: what it yields does not change meanwhile. A
// *bytes.Reader, *strings.Reader and *io.SectionReader are Sources.
type Source interface {
	io.ReaderAt
	// Size is the number of bytes.
	Size() int64
}

// Info describes an object.
type Info struct {
	Name Name
	// Size is the number of bytes that were put.
	Size int64
}

// Options say how stores are used. The zero value has the defaults.
type Options struct {
	// PartBytes is the size of the parts in which large objects are sent to S3,
	// by default 8 MiB. It grows where an object would have more than 10,000.
	PartBytes int64
	// Parallel is the number of parts of an object that are sent at once, by
	// default 4.
	Parallel int
	// Attempts is how often a request to S3 is tried, by default 6, and MaxBackoff
	// the longest time in between, by default 5 seconds. The time grows
	// exponentially and is random, so that clients do not come back in step.
	Attempts   int
	MaxBackoff time.Duration
	// RequestTimeout bounds each request to S3, those that send or fetch a part
	// included, by default 2 minutes.
	RequestTimeout time.Duration
}

func (o Options) withDefaults() Options {
	def := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&o.PartBytes, 8<<20)
	def((*int64)(&o.MaxBackoff), int64(5*time.Second))
	def((*int64)(&o.RequestTimeout), int64(2*time.Minute))
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	if o.Attempts <= 0 {
		o.Attempts = 6
	}
	return o
}

// Open returns the store that a URI names: file:///dir or s3://bucket/prefix.
// A directory is made if needed, a bucket is not.
//
// Region, endpoint, credentials and the like of S3 come from where all AWS tools
// have them: AWS_REGION, AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, the shared
// configuration files, the role of the machine. With an endpoint of its own, the
// bucket's name is part of the path instead of the host. Nothing is sent yet.
func Open(ctx context.Context, uri string, opts Options) (*Store, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, fmt.Errorf("blob: open %q: %w: %w", uri, ErrPermanent, err)
	}
	if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("blob: open %q: %w: only scheme, host and path are allowed", uri, ErrPermanent)
	}
	var bucket Bucket
	switch u.Scheme {
	case "file":
		if u.Host != "" || !filepath.IsAbs(u.Path) {
			return nil, fmt.Errorf("blob: open %q: %w: want file:///dir", uri, ErrPermanent)
		}
		bucket, err = OpenDirectory(u.Path)
	case "s3":
		prefix := Name(strings.Trim(u.Path, "/"))
		if prefix != "" {
			err = prefix.Check()
		}
		switch {
		case err != nil:
		case u.Host == "":
			err = fmt.Errorf("%w: want s3://bucket/prefix", ErrPermanent)
		default:
			bucket, err = OpenS3(ctx, u.Host, string(prefix), opts)
		}
	default:
		err = fmt.Errorf("%w: want file:///dir or s3://bucket/prefix", ErrPermanent)
	}
	if err != nil {
		return nil, fmt.Errorf("blob: open %q: %w", uri, err)
	}
	return New(uri, bucket), nil
}
