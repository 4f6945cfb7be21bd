package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gorunner/gorunner/runner"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNormalize(t *testing.T) {
	tests := []struct{ in, want string }{
		{"-job_port=1 -serve_http=false", "--job_port=1 --serve_http=false"},
		{"-job_port 1 --log_kind json", "--job_port 1 --log_kind json"},
		{"--serve_http false --job_port 2", "--serve_http=false --job_port 2"},
		{"-serve_http true -log_level=warn", "--serve_http=true --log_level=warn"},
		{"--serve_http --job_port=1", "--serve_http --job_port=1"},
		{"-job_prot 3", "--job_prot 3"},
		{"-h", "-h"},
		{"plan -", "plan -"},
		{"-- -x -serve_http", "-- -x -serve_http"},
	}
	for _, tt := range tests {
		if got := strings.Join(normalize(strings.Fields(tt.in), newRoot()), " "); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
}

// TestDropInFlags runs the command lines with which the SDKs start the binary.
func TestDropInFlags(t *testing.T) {
	tests := []struct {
		args string
		want config
	}{
		{
			"--job_port 9000 --log_level info --log_kind json --serve_http=false",
			config{listen: "127.0.0.1:9000", http: httpOff, httpMay: true, logKind: "json", logLevel: "info"},
		},
		{
			"-job_port=9000 -serve_http=true -idle_shutdown_timeout=5m -log_level=warn",
			config{
				listen: "127.0.0.1:9000", http: "127.0.0.1:8074", httpMay: true, logKind: "dev", logLevel: "warn",
				idle: 5 * time.Minute,
			},
		},
		{"--job_port 0 --web_port=1", config{listen: "127.0.0.1:0", http: "127.0.0.1:1", httpMay: true, logKind: "dev", logLevel: "info"}},
	}
	for _, tt := range tests {
		var got config
		root := newRootWith(func(_ context.Context, c config) error {
			got = c
			return nil
		})
		root.SetArgs(normalize(strings.Fields(tt.args), root))
		if err := root.Execute(); err != nil {
			t.Errorf("%s: %v", tt.args, err)
		}
		if !equalConfig(got, tt.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.args, got, tt.want)
		}
	}
}

func equalConfig(a, b config) bool {
	return slices.Equal(a.engineArgs, b.engineArgs) && a.listen == b.listen && a.http == b.http && a.httpMay == b.httpMay &&
		a.logKind == b.logKind && a.logLevel == b.logLevel && a.idle == b.idle && a.memory == b.memory && a.disk == b.disk && a.workers == b.workers
}

func TestBadCommandLines(t *testing.T) {
	taken := listen(t)
	defer taken.Close()
	tests := []struct{ args, want string }{
		{"--job_port=99999", "--job_port: 99999 is not a port"},
		{"-job_prot=3", "unknown flag: --job_prot (see gorunner --help)"},
		{"--jm_override=host:1", "--jm_override is not supported"},
		{"--job_port=0 --log_level=loud", `log level "loud": want debug, info, warn or error`},
		{"--job_port=0 --log_kind=xml", `log kind "xml": want dev, text or json`},
		{"--job_port=x", "invalid argument"},
		{"dance", `unknown command "dance"`},
		{"serve --memory=lots", `--memory: "lots" is not a size`},
		{"serve --disk=lots", `--disk: "lots" is not a size`},
		{"serve --http=off --listen=nowhere", "listen for the Job API"},
		{"serve --listen=127.0.0.1:0 --http=" + taken.Addr().String(), "choose another address with --http"},
		{"serve --durability=forever", `--durability: "forever" is not a durability: use none, local or remote`},
		{"serve --durability=local", "--durability=local: give the jobs a place with --data-dir"},
		{"serve --cpuprofile=/does/not/exist", "--cpuprofile: open /does/not/exist"},
		{"serve extra", `unknown command "extra"`},
		{"plan", "accepts 1 arg"},
		{"plan --format=png x", `"png": want text or dot`},
		{"plan /does/not/exist", "no such file"},
		{"job dance", `unknown command "dance"`},
		{"job drain", "gorunner job drain: want the id of one job"},
		{"job cancel a b", "want the id of one job"},
		{"job list --endpoint=127.0.0.1:1", "no server answers at 127.0.0.1:1"},
	}
	for _, tt := range tests {
		root := newRoot()
		root.SetArgs(normalize(strings.Fields(tt.args), root))
		root.SetContext(t.Context())
		if err := root.Execute(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.args, err, tt.want)
		}
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func freePort(t *testing.T) string {
	t.Helper()
	l := listen(t)
	defer l.Close()
	return l.Addr().String()
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"plan", "--help"}, {"version"}, {"job"}, {"job", "drain", "--help"}} {
		var out bytes.Buffer
		root := newRoot()
		root.SetOut(&out)
		root.SetArgs(args)
		if err := root.Execute(); err != nil || out.Len() == 0 {
			t.Errorf("%v: %q, %v", args, out.String(), err)
		}
	}
}

func TestPlan(t *testing.T) {
	file := filepath.Join("..", "..", "translate", "testdata", "pipelines", "go_wordcount.pb")
	for format, want := range map[string]string{"text": "impulse", "dot": "digraph"} {
		var out bytes.Buffer
		root := newRoot()
		root.SetOut(&out)
		root.SetArgs([]string{"plan", "--format=" + format, file})
		if err := root.Execute(); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %v\n%s", format, err, out.String())
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{"truncated": data[:len(data)/2], "empty": nil, "text": []byte("hello")} {
		root := newRoot()
		root.SetIn(bytes.NewReader(bad))
		root.SetOut(io.Discard)
		root.SetArgs([]string{"plan", "-"})
		if err := root.Execute(); err == nil || !strings.Contains(err.Error(), "plan -") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlanCompare(t *testing.T) {
	pipeline := func(name string) string {
		return filepath.Join("..", "..", "translate", "testdata", "pipelines", name+".pb")
	}
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		root := newRoot()
		root.SetOut(&out)
		root.SetArgs(append([]string{"plan", "compare"}, args...))
		err := root.Execute()
		return out.String(), err
	}
	if out, err := run(pipeline("go_wordcount"), pipeline("go_wordcount")); err != nil || out != "" {
		t.Errorf("%q, %v", out, err)
	}
	out, err := run(pipeline("go_wordcount"), pipeline("go_cogbk"))
	if err == nil || !strings.Contains(err.Error(), "not compatible") || !strings.Contains(out, "dropped: ") || !strings.Contains(out, "added: ") {
		t.Errorf("%q, %v", out, err)
	}
	mapping := filepath.Join(t.TempDir(), "mapping")
	if err := os.WriteFile(mapping, []byte(`{"nobody": "x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]string{
		"--mapping={":           "--mapping: unexpected end",
		"--mapping=@" + mapping: `the old pipeline has no transform "nobody"`,
		"--mapping=@/none":      "--mapping: open /none",
	} {
		if _, err := run(pipeline("go_wordcount"), pipeline("go_wordcount"), flag); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", flag, err)
		}
	}
	if _, err := run(t.TempDir(), pipeline("go_wordcount")); err == nil || !strings.Contains(err.Error(), "there is no job") {
		t.Errorf("%v", err)
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{"": 0, "100": 100, "4GiB": 4 << 30, "4g": 4 << 30, "1.5M": 3 << 19, "2 kb": 2000, "1T": 1 << 40} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"x", "-1", "0", "1X", "GiB", "1e30", "NaN"} {
		if n, err := parseSize(in); err == nil {
			t.Errorf("%q: %d", in, n)
		}
	}
}

func TestFormatSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1024: "1.0KiB", 3 << 19: "1.5MiB", 5 << 30: "5.0GiB", 1 << 50: "1024.0TiB"} {
		if got := formatSize(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// TestJSONLog holds the shape that Python parses.
func TestJSONLog(t *testing.T) {
	var out bytes.Buffer
	log, err := newLogger(&out, "json", "info")
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("not wanted")
	log.LogAttrs(t.Context(), slog.LevelError+2, "log from SDK worker",
		slog.Group("worker", slog.String("ID", "w1")), slog.Group("sdk", slog.String("msg", "a\nb")))
	var line struct {
		Level, Msg, Time string
		Worker           struct{ ID string }
		SDK              struct{ Msg string }
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if _, err := time.Parse(time.RFC3339Nano, line.Time); err != nil || line.Level != "ERROR+2" ||
		line.Worker.ID != "w1" || line.SDK.Msg != "a\nb" || line.Msg != "log from SDK worker" {
		t.Errorf("%s", out.String())
	}
}

func TestDevLog(t *testing.T) {
	var out bytes.Buffer
	h := newDevHandler(&out, slog.LevelInfo)
	log := slog.New(h).With("job", "j1").WithGroup("g").With("x", 1)
	log.Debug("not wanted")
	log.Info("done", "name", "two words", slog.Group("sub", slog.String("k", "v")), "trace", "line 1\nline 2")
	_, rest, _ := strings.Cut(out.String(), " ")
	want := "INFO  done job=j1 g.x=1 g.name=\"two words\" g.sub.k=v\n    g.trace:\n      line 1\n      line 2\n"
	if rest != want {
		t.Errorf("%q, want %q", rest, want)
	}
}

// TestServe runs a server until it is told to stop, with HTTP beside it.
func TestServe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	profile := filepath.Join(t.TempDir(), "cpu.prof")
	c := config{listen: freePort(t), http: freePort(t), dataDir: t.TempDir(), logKind: "text", logLevel: "error", cpuProfile: profile}
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, c) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string) string {
		t.Helper()
		var last error
		for ctx.Err() == nil {
			resp, err := client.Get("http://" + c.http + path)
			if err != nil { // not yet listening
				last = err
				select {
				case err := <-ended:
					t.Fatal(errors.Join(last, err))
				case <-time.After(10 * time.Millisecond):
				}
				continue
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %s, %v", path, resp.Status, err)
			}
			return string(body)
		}
		return ""
	}
	for path, want := range map[string]string{
		"/": "href=\"/api/jobs\"", "/healthz": "ok", "/metrics": "gorunner_memory_limit_bytes", "/api/jobs": "[]", "/debug/workers": "", "/debug/pprof/cmdline": "test",
	} {
		if got := get(path); !strings.Contains(got, want) {
			t.Errorf("%s: %s", path, got)
		}
	}
	for args, want := range map[string]string{
		"job list": "ID  STATE  CREATED  DURABILITY  DISK  NAME\n", "job delete x": "no such job", "job state x": "no such job", "job drain x": "no such job", "job cancel --wait x": "no such job",
	} {
		var out bytes.Buffer
		root := newRoot()
		root.SetOut(&out)
		root.SetArgs(append(strings.Fields(args), "--endpoint="+c.listen))
		if err := root.ExecuteContext(ctx); err != nil {
			fmt.Fprint(&out, err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: %q, want %q", args, out.String(), want)
		}
	}
	begin := time.Now()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("it took %v to stop", took)
	}
	// A profile is a gzipped message.
	if data, err := os.ReadFile(profile); err != nil || !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		t.Errorf("a profile of %d bytes, %v", len(data), err)
	}
}

func TestWriteWorkers(t *testing.T) {
	out := httptest.NewRecorder()
	writeWorkers(out, []runner.WorkerInfo{
		{Job: "j", Worker: "w1", Environment: "py", Status: "2 threads\n"},
		{Job: "j", Worker: "w2", Environment: "go", Err: errors.New("no status stream")},
	})
	want := "== worker w1 of job j, environment py\n2 threads\n\n== worker w2 of job j, environment go\nno status stream\n\n"
	if got := out.Body.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestDropInToleratesABusyHTTPPort(t *testing.T) {
	taken := listen(t)
	defer taken.Close()
	c := config{
		listen: "127.0.0.1:0", http: taken.Addr().String(), httpMay: true, dataDir: t.TempDir(),
		logKind: "text", logLevel: "error", idle: time.Millisecond,
	}
	if err := serve(t.Context(), c); err != nil { // it ends by itself: nobody comes
		t.Error(err)
	}
}
