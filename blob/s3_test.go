package blob_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorunner/gorunner/blob"
	"github.com/gorunner/gorunner/blob/blobtest"
)

// server is an S3 server of another make, versitygw over a directory.
type server struct {
	binary, address, dir string

	cmd    *exec.Cmd
	output bytes.Buffer
}

// startServer starts a server and points the configuration of AWS to it.
func startServer(t *testing.T) *server {
	t.Helper()
	binary := os.Getenv("GORUNNER_VERSITYGW")
	if _, err := os.Stat(binary); err != nil {
		t.Skipf("no S3 server: GORUNNER_VERSITYGW=%q is no program; make .cache/versitygw makes it, and make unit uses it", binary)
	}
	// The port is free again when the server asks for it, and stays the same when
	// it is started anew.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{binary: binary, address: l.Addr().String(), dir: t.TempDir()}
	l.Close()
	for key, value := range map[string]string{
		"AWS_ENDPOINT_URL": "http://" + s.address, "AWS_REGION": "", "AWS_PROFILE": "",
		"AWS_ACCESS_KEY_ID": "test-user", "AWS_SECRET_ACCESS_KEY": "test-secret", "AWS_SESSION_TOKEN": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(key, value)
	}
	s.start(t)
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("output of the server:\n%s", s.output.String())
		}
	})
	return s
}

func (s *server) start(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"data/bucket", "sidecar"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o700); err != nil {
			t.Error(err)
		}
	}
	// Not every file system has the attributes that it would use otherwise.
	s.cmd = exec.Command(s.binary, "--quiet", "--port", s.address, "posix", filepath.Join(s.dir, "data"))
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY=test-user", "ROOT_SECRET_KEY=test-secret")
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	if err := s.cmd.Start(); err != nil {
		t.Error(err)
	}
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill() // an error says that it has ended
	_ = s.cmd.Wait()
}

// patient tries so often that a server may start meanwhile.
var patient = blob.Options{PartBytes: 5 << 20, Attempts: 40, MaxBackoff: 250 * time.Millisecond, RequestTimeout: 30 * time.Second}

func open(t *testing.T, opts blob.Options) *blob.Store {
	t.Helper()
	store, err := blob.Open(t.Context(), "s3://bucket/some/prefix", opts)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestS3(t *testing.T) {
	startServer(t)
	n := 0
	blobtest.Run(t, func(t *testing.T) blobtest.Subject {
		t.Helper()
		n++
		bucket, err := blob.OpenS3(t.Context(), "bucket", "prefix-"+string(rune('a'+n)), patient)
		if err != nil {
			t.Fatal(err)
		}
		return blobtest.Subject{Bucket: bucket, LargeBytes: 12 << 20, Steps: 10}
	})
}

// triggered calls a function when its middle is read to be sent.
type triggered struct {
	*bytes.Reader
	call func()

	mu    sync.Mutex
	reads int // guarded by mu
}

func (s *triggered) ReadAt(p []byte, at int64) (int, error) {
	if middle := s.Size() / 2; at <= middle && middle < at+int64(len(p)) {
		s.mu.Lock()
		s.reads++
		if s.reads == 2 { // the first was for the checksum
			s.call()
		}
		s.mu.Unlock()
	}
	return s.Reader.ReadAt(p, at)
}

// The server dies in the middle of an upload and comes back: the upload ends well.
func TestS3ServerRestarts(t *testing.T) {
	s := startServer(t)
	store := open(t, patient)
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	source := &triggered{Reader: bytes.NewReader(content), call: func() {
		s.kill()
		s.start(t)
	}}
	if _, err := store.Put(t.Context(), "x", source); err != nil {
		t.Fatal(err)
	}
	if got, err := store.ReadAll(t.Context(), "x", 1<<30); err != nil || !bytes.Equal(got, content) {
		t.Errorf("read %d bytes, error %v", len(got), err)
	}
}

// The server dies and does not come back in time: the upload fails, with nothing
// to be seen of it later, and what is left of it can be swept.
func TestS3ServerDies(t *testing.T) {
	s := startServer(t)
	if _, err := open(t, patient).Put(t.Context(), "x", strings.NewReader("old")); err != nil {
		t.Fatal(err)
	}
	source := &triggered{Reader: bytes.NewReader(make([]byte, 16<<20)), call: s.kill}
	_, err := open(t, blob.Options{Attempts: 2, MaxBackoff: time.Millisecond}).Put(t.Context(), "x", source)
	if err == nil || blob.IsPermanent(err) {
		t.Fatalf("put: got error %v, want one that may be overcome", err)
	}
	t.Log(err)
	s.start(t)
	store := open(t, patient)
	if got, err := store.ReadAll(t.Context(), "x", 1<<20); err != nil || string(got) != "old" {
		t.Errorf("got %q, error %v", got, err)
	}
	for _, step := range []struct {
		before time.Time
		want   int
	}{{time.Unix(0, 0), 0}, {time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), 1}, {time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), 0}} {
		if n, err := store.Sweep(t.Context(), step.before); err != nil || n != step.want {
			t.Errorf("swept %d, error %v, want %d", n, err, step.want)
		}
	}
}

// A connection that breaks in the middle of a large read is no matter.
func TestS3ReadGoesOn(t *testing.T) {
	s := startServer(t)
	store := open(t, patient)
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	if _, err := store.Put(t.Context(), "x", bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	r, err := store.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head := make([]byte, 1<<20)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	s.kill()
	s.start(t)
	tail, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(append(head, tail...), content) {
		t.Errorf("read %d bytes after the restart, error %v", len(tail), err)
	}
}

func TestS3Refuses(t *testing.T) {
	startServer(t)
	store := open(t, patient)
	if _, err := store.Put(t.Context(), "x", strings.NewReader("x")); err != nil { // the server is up
		t.Fatal(err)
	}
	nowhere, err := blob.Open(t.Context(), "s3://no-such-bucket/p", patient)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nowhere.Put(t.Context(), "x", strings.NewReader("x")); !errors.Is(err, blob.ErrPermanent) || !strings.Contains(err.Error(), "NoSuchBucket") {
		t.Errorf("no such bucket: got error %v", err)
	}
	if _, err := nowhere.Get(t.Context(), "x"); !errors.Is(err, blob.ErrPermanent) || errors.Is(err, blob.ErrNotExist) {
		t.Errorf("get from no such bucket: got error %v", err)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	if _, err := open(t, patient).Put(t.Context(), "x", strings.NewReader("x")); !errors.Is(err, blob.ErrPermanent) {
		t.Errorf("wrong secret: got error %v", err)
	}
}
