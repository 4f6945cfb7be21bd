package conformance

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorunner/gorunner/internal/subprocess"
)

var rewrite = flag.Bool("rewrite", os.Getenv("GORUNNER_REWRITE") == "1", "write the expected lists anew")

// scope is how much runs, see the package comment.
type scope string

const (
	none       scope = "none"
	smoke      scope = "smoke"
	goSDK      scope = "go"
	python     scope = "python"
	java       scope = "java"
	typescript scope = "typescript"
	all        scope = "all"
	// underChaos is not among all: it takes long, and finds other things.
	underChaos scope = "chaos"
)

// chosen returns what runs.
func chosen(t *testing.T) scope {
	t.Helper()
	s := scope(os.Getenv("GORUNNER_CONFORMANCE"))
	switch s {
	case "":
		return smoke
	case none, smoke, goSDK, python, java, typescript, all, underChaos:
		return s
	}
	t.Fatalf("GORUNNER_CONFORMANCE=%q is none of none, smoke, go, python, java, typescript, all, chaos", s)
	return none
}

// need skips the test unless one of the scopes, or all, is chosen.
func need(t *testing.T, scopes ...scope) {
	t.Helper()
	c := chosen(t)
	for _, s := range append(scopes, all) {
		if s == c {
			return
		}
	}
	t.Skipf("not part of GORUNNER_CONFORMANCE=%s", c)
}

// needMode skips the test unless the mode's SDK, or a part that it is in, is chosen.
func needMode(t *testing.T, m Mode, sdk scope) {
	t.Helper()
	scopes := []scope{sdk}
	if m.Smoke {
		scopes = append(scopes, smoke)
	}
	need(t, scopes...)
}

var paths = sync.OnceValues(func() (Paths, error) {
	dir, err := os.Getwd()
	if err != nil {
		return Paths{}, err
	}
	p, err := FindPaths(dir)
	if err != nil {
		return Paths{}, err
	}
	return p, p.NoteSources()
})

func mustPaths(t *testing.T) Paths {
	t.Helper()
	p, err := paths()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// gorunner returns the binary under test.
var gorunner = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("GORUNNER_BIN"); bin != "" {
		_, err := os.Stat(bin)
		return bin, err
	}
	return build("gorunner", ".", "./cmd/gorunner")
})

// programs returns the binary with our pipelines.
var programs = sync.OnceValues(func() (string, error) {
	return build("pipelines", ".", "./conformance/pipelines")
})

// boot returns the boot program of Go workers.
var boot = sync.OnceValues(func() (string, error) {
	return build("go-boot", "conformance/gosuite", "github.com/apache/beam/sdks/v2/go/container")
})

func build(name, dir, pkg string) (string, error) {
	p, err := paths()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(p.Cache, name)
	return bin, p.GoBuild(context.Background(), dir, "build", "-o", bin, pkg)
}

// buildGoSuite builds a test binary of Beam's.
func buildGoSuite(t *testing.T, pkg string) string {
	t.Helper()
	p := mustPaths(t)
	bin := filepath.Join(p.Cache, filepath.Base(pkg)+".test")
	err := p.GoBuild(t.Context(), "conformance/gosuite", "test", "-c", "-ldflags=-s -w", "-o", bin, "github.com/apache/beam/sdks/v2/go/"+pkg)
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

func must(t *testing.T, f func() (string, error)) string {
	t.Helper()
	s, err := f()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mustPython returns the Python interpreter. A machine without one may go
// without the Python suites, CI may not.
func mustPython(t *testing.T) string {
	t.Helper()
	python, err := mustPaths(t).Python()
	if err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return python
}

// peer returns the runner that is measured in the place of ours, if one is.
func peer() string { return os.Getenv("GORUNNER_CONFORMANCE_PEER") }

// prism returns the binary of Beam's runner Prism.
var prism = sync.OnceValues(func() (string, error) {
	return build("prism", "conformance/gosuite", "github.com/apache/beam/sdks/v2/go/cmd/prism")
})

// dropIn returns the binary that takes the place of Prism.
func dropIn(t *testing.T) string {
	t.Helper()
	if peer() == "prism" {
		return must(t, prism)
	}
	return must(t, gorunner)
}

// serverCommand returns what starts the runner that is measured, on a port, and
// the arguments of a peer. Ours takes more, see startServer.
func serverCommand(t *testing.T, port int) (string, []string) {
	t.Helper()
	switch peer() {
	case "":
		return must(t, gorunner), nil
	case "prism":
		return must(t, prism), []string{fmt.Sprintf("--job_port=%d", port), "--serve_http=false", "--idle_shutdown_timeout=10h", "--log_level=warn"}
	case "python":
		return mustPython(t), []string{"-m", "apache_beam.runners.portability.local_job_service_main", fmt.Sprintf("--port=%d", port)}
	}
	t.Fatalf("GORUNNER_CONFORMANCE_PEER=%q is neither prism nor python", peer())
	return "", nil
}

// server is a running job service.
type server struct {
	// endpoint is the address of the job service, http that of the debug pages.
	endpoint, http string
	// process is nil if the server is not ours.
	process *subprocess.Process
	// stopped says that the test has ended the server itself.
	stopped bool
}

// startsServer starts a server for a test, with arguments of its own.
type startsServer func(t *testing.T, args ...string) *server

// startServer starts a server for the test; its log is kept in out.
func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	if addr := os.Getenv("GORUNNER_CONFORMANCE_ENDPOINT"); addr != "" {
		return &server{endpoint: addr}
	}
	s := &server{}
	var err1, err2 error
	s.endpoint, err1 = subprocess.FreeAddr()
	s.http, err2 = subprocess.FreeAddr()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	port, err := subprocess.Port(s.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	path, command := serverCommand(t, port)
	if command == nil {
		command = append([]string{"serve", "--listen=" + s.endpoint, "--http=" + s.http}, args...)
		command = append(command, strings.Fields(os.Getenv("GORUNNER_CONFORMANCE_SERVE"))...)
	}
	log := outFile(t, "server.log")
	s.process, err = subprocess.Start(t.Context(), subprocess.Spec{
		Path: path,
		Args: command,
		Dir:  t.TempDir(),
		Log:  log,
		Addr: s.endpoint,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		select {
		case <-s.process.Done():
			if !s.stopped {
				t.Errorf("the server died, see %s", log)
			}
		default:
		}
		if err := s.process.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// get returns a page of the server's debug pages.
func (s *server) get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.http+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: %s: %s", path, resp.Status, text)
	}
	return string(text), err
}

// outFile returns the name of a file of the test that is kept.
func outFile(t *testing.T, name string) string {
	t.Helper()
	base := strings.NewReplacer("/", ".", " ", "_").Replace(t.Name())
	return filepath.Join(mustPaths(t).Out, base+"."+name)
}

// createLog makes a file for the output of what a test runs.
func createLog(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Create(outFile(t, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// runs returns how often each suite runs: a test that does not always end the
// same way has failed.
func runs(t *testing.T) int {
	t.Helper()
	text := os.Getenv("GORUNNER_CONFORMANCE_COUNT")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("GORUNNER_CONFORMANCE_COUNT=%q is not a number of runs", text)
	}
	return n
}

// check runs a suite and compares the outcomes with its expected list.
func check(t *testing.T, suite Suite, mode Mode, run func() ([]Outcome, error)) {
	t.Helper()
	var all [][]Outcome
	for range runs(t) {
		outcomes, err := run()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, outcomes)
	}
	outcomes := MergeRuns(all)
	p := mustPaths(t)
	lists, out := p.lists(peer())
	if chosen(t) == underChaos { // which makes no difference to what is expected
		out = filepath.Join(out, "chaos")
	}
	if err := errors.Join(os.MkdirAll(lists, 0o755), os.MkdirAll(out, 0o755)); err != nil {
		t.Fatal(err)
	}
	name := suite.Name + "." + mode.Name
	if err := WriteTSV(filepath.Join(out, name+".tsv"), suite.Name, mode.Name, outcomes); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(lists, name+".txt")
	expected, err := LoadExpected(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %s", name, Summary(outcomes))
	diff := expected.Diff(outcomes)
	if len(diff) == 0 {
		return
	}
	if *rewrite {
		expected.Update(outcomes)
		if err := os.WriteFile(file, expected.Format(), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s rewritten:\n  %s", file, strings.Join(diff, "\n  "))
		return
	}
	t.Errorf("%d outcomes differ from %s (run with GORUNNER_REWRITE=1 to write the list anew):\n  %s",
		len(diff), file, strings.Join(diff, "\n  "))
}

// goIdle is how long a Go test of Beam's may go without a sign of life.
const goIdle = 60 * time.Second
