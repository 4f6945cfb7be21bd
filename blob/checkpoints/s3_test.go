package checkpoints_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorunner/gorunner/blob"
	"github.com/gorunner/gorunner/blob/checkpoints"
	"github.com/gorunner/gorunner/execution/checkpoint"
	"github.com/gorunner/gorunner/execution/journal"
)

// s3Server is an S3 server of another make, versitygw over a directory, behind a
// proxy that can be told to answer otherwise.
type s3Server struct {
	t            *testing.T
	address, dir string
	process      *exec.Cmd
	output       bytes.Buffer
	// slow is how many of the next requests are told to come back later.
	slow atomic.Int64
	// killAfter is after how many requests, if it is not negative, the server is
	// killed in the middle of one.
	killAfter atomic.Int64
	killed    chan struct{} // has one when it was
}

func startS3(t *testing.T) *s3Server {
	t.Helper()
	binary := os.Getenv("GORUNNER_VERSITYGW")
	if _, err := os.Stat(binary); err != nil {
		t.Skipf("no S3 server: GORUNNER_VERSITYGW=%q is no program; make .cache/versitygw makes it, and make unit uses it", binary)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &s3Server{t: t, address: l.Addr().String(), dir: t.TempDir(), killed: make(chan struct{}, 1)}
	s.killAfter.Store(-1)
	l.Close()
	front := s.startProxy()
	for key, value := range map[string]string{
		"AWS_ENDPOINT_URL": "http://" + front, "AWS_REGION": "", "AWS_PROFILE": "",
		"AWS_ACCESS_KEY_ID": "test-user", "AWS_SECRET_ACCESS_KEY": "test-secret", "AWS_SESSION_TOKEN": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(key, value)
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "data", "bucket"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("output of the server:\n%s", s.output.String())
		}
	})
	return s
}

func (s *s3Server) startProxy() string {
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: s.address})
			r.Out.Host = r.In.Host // which is signed
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.slow.Add(-1) >= 0 {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`))
			return
		}
		if s.killAfter.Add(-1) == 0 {
			s.kill()
			s.killed <- struct{}{}
		}
		proxy.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(front) }()
	s.t.Cleanup(func() { _ = server.Close() })
	return front.Addr().String()
}

func (s *s3Server) start() {
	s.process = exec.Command(os.Getenv("GORUNNER_VERSITYGW"), "--quiet", "--port", s.address, "posix", filepath.Join(s.dir, "data"))
	s.process.Env = append(os.Environ(), "ROOT_ACCESS_KEY=test-user", "ROOT_SECRET_KEY=test-secret")
	s.process.Stdout, s.process.Stderr = &s.output, &s.output
	if err := s.process.Start(); err != nil {
		s.t.Error(err)
	}
}

func (s *s3Server) kill() {
	_ = s.process.Process.Kill() // an error says that it has ended
	_ = s.process.Wait()
}

// Checkpoints go to an S3 server that is killed in the middle of each, and asks to
// be left alone for a while; the job goes on from there on another machine.
func TestS3(t *testing.T) {
	s := startS3(t)
	random := rand.New(rand.NewPCG(3, 3))
	opts := blob.Options{PartBytes: 5 << 20, Attempts: 3, MaxBackoff: 20 * time.Millisecond, RequestTimeout: 10 * time.Second}
	store, err := blob.Open(t.Context(), "s3://bucket/some/prefix", opts)
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, random, store)
	m.cfg.MaxTries = 1000
	dir := filepath.Join(m.root, "0")
	at := checkpoints.Place{Store: store.URI(), ID: "j"}
	least := journal.Seq(0)
	for n := range 3 {
		if err := m.open(dir); err != nil {
			t.Fatal(err)
		}
		if err := m.check(m.db, least); err != nil {
			t.Fatal(err)
		}
		m.queue(4, 2_000_000)
		if err := m.commits(10, 50_000); err != nil {
			t.Fatal(err)
		}
		before := m.db.Durable()
		s.slow.Store(int64(random.IntN(10)))
		if _, err := m.keeper.Make(t.Context(), checkpoint.Checkpoint); err != nil {
			t.Fatal(err)
		}
		s.killAfter.Store(int64(1 + random.IntN(8)))
		made := make(chan error, 1)
		go func() {
			_, err := m.keeper.Make(t.Context(), checkpoint.Checkpoint)
			made <- err
		}()
		if err := m.commits(10, 50_000); err != nil {
			t.Fatal(err)
		}
		<-s.killed
		s.start()
		if err := <-made; err != nil {
			t.Fatal(err)
		}
		least = before
		if err := m.close(); err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(m.root, string(rune('1'+n)))
		out, err := checkpoints.Restore(t.Context(), store, at, m.target(dir))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("restored from %d, %d bytes", out.Entry.Slot, out.Entry.Bytes())
	}
	if err := m.open(dir); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.check(m.db, least), m.keeper.End(t.Context(), false), m.close()); err != nil {
		t.Fatal(err)
	}
	for info, err := range store.List(t.Context(), "jobs/j/data/") {
		t.Errorf("%s is left, error %v", info.Name, err)
	}
}
