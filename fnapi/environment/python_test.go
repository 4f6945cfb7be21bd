package environment

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

const capabilityPython = "beam:version:sdk_base:apache/beam_python3.11_sdk:2.77.0"

func pythonPool(t *testing.T, address string) *pipepb.Environment {
	t.Helper()
	env := externalEnv(t, address)
	env.Capabilities = []string{"beam:coder:bytes:v1", capabilityPython}
	return env
}

func TestPython(t *testing.T) {
	for _, tt := range []struct {
		env  *pipepb.Environment
		want string // python and beam, empty if it is no such pool
	}{
		{pythonPool(t, "localhost:1"), "3.11 2.77.0"},
		{pythonPool(t, "127.0.0.1:1"), "3.11 2.77.0"},
		{pythonPool(t, "[::1]:1"), "3.11 2.77.0"},
		{pythonPool(t, "worker.example:1"), ""},
		{pythonPool(t, "10.0.0.1:1"), ""},
		{pythonPool(t, "localhost"), ""},
		{externalEnv(t, "localhost:1"), ""},
		{processEnv(t, "boot", nil), ""},
		{&pipepb.Environment{Urn: URNExternal, Payload: []byte{1}, Capabilities: []string{capabilityPython}}, ""},
		{withCapability(externalEnv(t, "localhost:1"), "beam:version:sdk_base:apache/beam_java11_sdk:2.77.0"), ""},
		{withCapability(externalEnv(t, "localhost:1"), "beam:version:sdk_base:apache/beam_python3.11_sdk"), ""},
		{withCapability(externalEnv(t, "localhost:1"), "beam:version:sdk_base:example/beam_python3.9_sdk:2.78.0.dev"), "3.9 2.78.0.dev"},
	} {
		pool, ok := Python(tt.env)
		if got := strings.TrimSpace(pool.python + " " + pool.beam); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %q, %v, want %q", Describe(tt.env), got, ok, tt.want)
		}
	}
}

func withCapability(env *pipepb.Environment, urn string) *pipepb.Environment {
	env.Capabilities = []string{urn}
	return env
}

func TestClientOf(t *testing.T) {
	find := func(name, path string) (string, error) {
		if path == "" {
			return "", errors.New("not found")
		}
		return filepath.Join(path, name), nil
	}
	for _, tt := range []struct{ args, path, want string }{
		{"/venv/bin/python pipe.py --runner=x", "", "/venv/bin/python in /work of /work"},
		{"/venv/bin/python3.11 /src/pipe.py", "", "/venv/bin/python3.11 in /work of /src"},
		{"venv/bin/python -u -W ignore -X dev sub/pipe.py", "", "/work/venv/bin/python in /work of /work/sub"},
		{"python3 -m pipes.main x.py", "/bin", "/bin/python3 in /work of "},
		{"pypy3 -c import", "/bin", "/bin/pypy3 in /work of "},
		{"python", "/bin", "/bin/python in /work of "},
		{"python -", "/bin", "/bin/python in /work of "},
		{"python pipe.py", "", "not found"},
		{"/usr/bin/java -jar x", "", "/usr/bin/java is no Python"},
		{"", "", "it has no command line"},
	} {
		c, err := clientOf(strings.Fields(tt.args), "/work", map[string]string{"PATH": tt.path}, find)
		got := fmt.Sprintf("%s in %s of %s", c.interpreter, c.directory, c.path)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.args, got, tt.want)
		}
	}
}

func TestQuote(t *testing.T) {
	for _, word := range []string{"", "plain", "it's", `a "b" \c $d`, "two\nlines", "'"} {
		if got, err := split(quote(word) + " next"); err != nil || len(got) != 2 || got[0] != word {
			t.Errorf("%q: %q, %v", word, got, err)
		}
	}
}

// TestPythonProcess has the client found by its port: it is this test, which is
// no Python.
func TestPythonProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("clients are found on Linux only")
	}
	var fake fakePool
	address, end := fake.serve(t)
	pool, ok := Python(pythonPool(t, address))
	if !ok {
		t.Fatal("this is a pool of Python")
	}
	_, err := pool.Process("")
	wantError(t, err, address, "is no Python", "set gorunner_worker_python")
	_, err = pool.Process("/does/not/exist")
	wantError(t, err, "gorunner_worker_python", "/does/not/exist")

	dir := t.TempDir()
	script := write(t, dir, "py thon", "#!/bin/sh\nprintf '%s|' \"$@\"; echo; echo \"$WORKER_ID in $MARK\"; exec sleep 1000\n")
	env, err := pool.Process(script)
	if err != nil {
		t.Fatal(err)
	}
	log := newLines()
	p, err := New(Options{}).Start(testContext(t), Launch{
		WorkerID: "w1", Endpoints: testEndpoints(), Environment: env, Dir: t.TempDir(), Log: slog.New(log),
	})
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	log.await(t, "-c|"+pythonCommand+"|"+here+"|")
	log.await(t, "w1 in ")
	if err := p.Stop(testContext(t)); err != nil {
		t.Error(err)
	}
	end()
	_, err = pool.Process("")
	wantError(t, err, "no process of this user listens there")
}

// TestPythonWorker executes the program of the workers with a Beam that only says
// what it was given.
func TestPythonWorker(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no Python")
	}
	out, err := exec.CommandContext(t.Context(), python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").Output()
	if err != nil {
		t.Fatal(err)
	}
	version := strings.TrimSpace(string(out))
	lib, work := t.TempDir(), t.TempDir()
	for _, dir := range []string{"apache_beam/runners/worker", "empty"} {
		if err := os.MkdirAll(filepath.Join(lib, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for file, text := range map[string]string{
		"__init__.py": "", "runners/__init__.py": "", "runners/worker/__init__.py": "",
		"version.py": "__version__ = '2.77.0'\n",
		"runners/worker/sdk_worker_main.py": `
import logging, os, sys
def main(argv):
  logging.warning('not to be printed')
  print('main in %s of %s, %s' % (os.getcwd(), sys.path[0], os.environ.get('GORUNNER_PYTHON_WORKER')))
`,
	} {
		write(t, filepath.Join(lib, "apache_beam"), file, text)
	}
	for _, tt := range []struct{ lib, path, python, beam, want string }{
		{lib, "/scripts", version, "2.77.0", "main in " + work + " of /scripts, None"},
		{lib, "", version, "2.77.0", "main in " + work + " of " + work + ", None"},
		{lib, "", "2.7", "2.77.0", "but the pipeline was made with Python 2.7: set gorunner_worker_python"},
		{lib, "", version, "2.76.0", "has apache-beam 2.77.0, but the pipeline was made with 2.76.0"},
		{filepath.Join(lib, "empty"), "", version, "2.77.0", "cannot import apache_beam"},
	} {
		cmd := exec.CommandContext(t.Context(), python, "-S", "-c", pythonCommand, work, tt.path, tt.python, tt.beam, "--id=w1")
		cmd.Env = append(os.Environ(), pythonVariable+"="+pythonWorker, "PYTHONPATH="+tt.lib)
		out, err := cmd.CombinedOutput()
		if failed := err != nil; failed == strings.HasPrefix(tt.want, "main") || !strings.Contains(string(out), tt.want) ||
			strings.Contains(string(out), "not to be printed") {
			t.Errorf("%+v: %v\n%s", tt, err, out)
		}
	}
}

// TestPythonProcessNames keeps the program itself out of messages.
func TestPythonProcessNames(t *testing.T) {
	pool, _ := Python(pythonPool(t, "localhost:1"))
	env, err := pool.Process("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	var payload pipepb.ProcessPayload
	if err := proto.Unmarshal(env.GetPayload(), &payload); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(Describe(env), "\n") || payload.GetEnv()[pythonVariable] != pythonWorker {
		t.Errorf("%s", Describe(env))
	}
}
