package blob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorunner/gorunner/blob"
	"github.com/gorunner/gorunner/blob/blobtest"
)

func TestMemory(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blobtest.Subject {
		return blobtest.Subject{Bucket: new(blobtest.Memory), LargeBytes: 1 << 20}
	})
}

func TestDirectory(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blobtest.Subject {
		t.Helper()
		bucket, err := blob.OpenDirectory(filepath.Join(t.TempDir(), "made", "as", "needed"))
		if err != nil {
			t.Fatal(err)
		}
		return blobtest.Subject{Bucket: bucket, LargeBytes: 1 << 20, Steps: 20}
	})
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("AWS_ENDPOINT_URL", "")
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	for uri, want := range map[string]string{
		"file://" + dir:    "",
		"file:relative":    "want file:///dir",
		"file://host/dir":  "want file:///dir",
		"file:///dir?x=1":  "only scheme, host and path",
		"gs://bucket":      "want file:///dir or s3://bucket/prefix",
		"/dir":             "want file:///dir or s3://bucket/prefix",
		"s3:///prefix":     "want s3://bucket/prefix",
		"s3://b/../c":      "is not valid",
		"s3://b/p":         "no region",
		"s3://u:p@b/p":     "only scheme, host and path",
		"file:///proc/1/x": "blob: open",
	} {
		_, err := blob.Open(t.Context(), uri, blob.Options{})
		switch {
		case want == "" && err != nil:
			t.Errorf("open %q: %v", uri, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !blob.IsPermanent(err)):
			t.Errorf("open %q: got error %v, want one with %q", uri, err, want)
		}
	}
}

// Each byte of an object is flipped, each end cut off: a read says so.
func TestDamageIsFound(t *testing.T) {
	ctx := t.Context()
	memory := new(blobtest.Memory)
	store := blob.New("test:", memory)
	for _, content := range []string{"", "x", strings.Repeat("content ", 20)} {
		if _, err := store.Put(ctx, "x", strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		var whole []byte
		memory.Damage("x", func(b []byte) []byte { whole = b; return b })
		check := func(what string, b []byte) {
			memory.Damage("x", func([]byte) []byte { return b })
			got, err := store.ReadAll(ctx, "x", 1<<20)
			if err == nil || !blob.IsPermanent(err) || !strings.Contains(err.Error(), "get x in test:") {
				t.Errorf("%s: read %q, error %v", what, got, err)
			}
		}
		for i := range whole {
			b := bytes.Clone(whole)
			b[i] ^= 0x40
			check(fmt.Sprintf("byte %d of %d flipped", i, len(whole)), b)
			check(fmt.Sprintf("cut to %d of %d", i, len(whole)), whole[:i:i])
		}
		check("one byte more", append(bytes.Clone(whole), 0))
		check("twice", append(bytes.Clone(whole), whole...))
	}
}

func TestFaults(t *testing.T) {
	for fault, want := range map[blobtest.Fault]struct {
		permanent, visible, later bool
	}{
		blobtest.Fail:   {},
		blobtest.Refuse: {permanent: true},
		blobtest.Lose:   {visible: true, later: true},
		blobtest.Delay:  {later: true},
		blobtest.Tear:   {},
	} {
		memory := &blobtest.Memory{Script: func(op blobtest.Op) blobtest.Fault {
			if op.Index == 0 {
				return fault
			}
			return blobtest.None
		}}
		store := blob.New("test:", memory)
		_, err := store.Put(t.Context(), "x", strings.NewReader("x"))
		if !errors.Is(err, blobtest.ErrInjected) || blob.IsPermanent(err) != want.permanent {
			t.Errorf("fault %d: got error %v", fault, err)
		}
		if _, err := store.Stat(t.Context(), "x"); (err == nil) != want.visible {
			t.Errorf("fault %d: visible: got error %v", fault, err)
		}
		memory.Settle()
		if _, err := store.Stat(t.Context(), "x"); (err == nil) != want.later {
			t.Errorf("fault %d: later: got error %v", fault, err)
		}
	}
}

// What a process leaves that is killed in the middle of a put is swept, if it is
// old, and never listed.
func TestDirectorySweep(t *testing.T) {
	dir := t.TempDir()
	store, err := blob.Open(t.Context(), "file://"+dir, blob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), "a/b", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, "a", ".put-LEFT")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(left)
	if err != nil {
		t.Fatal(err)
	}
	for info, err := range store.List(t.Context(), "") {
		if err != nil || info.Name != "a/b" {
			t.Errorf("list: got %v, error %v", info, err)
		}
	}
	for _, step := range []struct {
		before time.Time
		want   int
	}{{info.ModTime(), 0}, {info.ModTime().Add(1), 1}, {info.ModTime().Add(1), 0}} {
		if n, err := store.Sweep(t.Context(), step.before); err != nil || n != step.want {
			t.Errorf("swept %d, error %v, want %d", n, err, step.want)
		}
	}
	if _, err := store.ReadAll(t.Context(), "a/b", 10); err != nil {
		t.Error(err)
	}
}

// A symbolic link in the directory leads nobody out of it.
func TestDirectoryIsNotLeft(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	store, err := blob.Open(t.Context(), "file://"+dir, blob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	if _, err := store.Put(t.Context(), "link/x", strings.NewReader("x")); err == nil {
		t.Error("put through a link: no error")
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("outside: %v, error %v", entries, err)
	}
}

func TestIsPermanent(t *testing.T) {
	for err, want := range map[error]bool{
		blob.ErrNotExist: true, blob.ErrExist: true, blob.ErrCorrupt: true, context.Canceled: true,
		context.DeadlineExceeded: false, errors.New("connection reset"): false,
	} {
		if got := blob.IsPermanent(fmt.Errorf("wrapped: %w", err)); got != want {
			t.Errorf("%v: got %v, want %v", err, got, want)
		}
	}
}
