package environment

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
)

// A Python process executes one bundle at a time, whatever the number of its
// threads, because they share the interpreter. A pool of threads, which is what a
// client's own process is in loopback, can therefore be helped by processes that
// this package starts beside it:
//
//	pool environment --Python--> what it is made with
//	                 --Process-> environment of a process on this machine
//
// The process is to find all that user code finds in the client: it has the same
// interpreter, the same environment variables and working directory, and imports
// from the directory of the client's program. What the program itself defines
// comes with the pipeline.

// capabilitySDK begins the capability that names the SDK of an environment.
const capabilitySDK = "beam:version:sdk_base:"

// PythonPool is a pool of workers in Python on this machine.
type PythonPool struct {
	address string
	// python and beam are the versions with which the pipeline was made.
	python, beam string
}

// Python says whether the environment is a worker pool on this machine whose
// workers are in Python.
func Python(env *pipepb.Environment) (PythonPool, bool) {
	where, err := parse(env)
	if err != nil {
		return PythonPool{}, false
	}
	pool, ok := where.(external)
	if !ok || !onThisMachine(pool.address) {
		return PythonPool{}, false
	}
	for _, urn := range env.GetCapabilities() {
		image, ok := strings.CutPrefix(urn, capabilitySDK)
		if !ok {
			continue
		}
		// As in apache/beam_python3.11_sdk:2.77.0.
		_, version, _ := strings.Cut(image, "/beam_python")
		python, beam, ok := strings.Cut(version, "_sdk:")
		if ok && python != "" && beam != "" {
			return PythonPool{address: pool.address, python: python, beam: beam}, true
		}
	}
	return PythonPool{}, false
}

// onThisMachine says whether a pool's address is one of the loopback.
func onThisMachine(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// pythonWorker is the program of a worker process, which finds it in an
// environment variable: a command line is for people, too.
//
//go:embed python_worker.py
var pythonWorker string

const (
	pythonVariable = "GORUNNER_PYTHON_WORKER"
	pythonCommand  = `import os; exec(os.environ.pop("` + pythonVariable + `"))`
)

// pythonClient is the process that serves a pool, as far as it could be found.
type pythonClient struct {
	// interpreter is the absolute path of its program.
	interpreter string
	// directory is its working directory, path that of the script it executes;
	// either may be empty.
	directory, path string
	// env are its environment variables.
	env map[string]string
}

// Process returns an environment of a process that works beside the pool. The
// interpreter is the client's if none is given.
func (p PythonPool) Process(interpreter string) (*pipepb.Environment, error) {
	client, err := findPythonClient(p.address)
	if interpreter != "" {
		if client.interpreter, err = executable(interpreter); err != nil {
			return nil, fmt.Errorf("interpreter of worker processes (gorunner_worker_python): %w", err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("interpreter of the client at %s: %w; set gorunner_worker_python", p.address, err)
	}
	words := []string{client.interpreter, "-c", pythonCommand, client.directory, client.path, p.python, p.beam}
	for i, word := range words {
		words[i] = quote(word)
	}
	env := maps.Clone(client.env)
	if env == nil {
		env = map[string]string{}
	}
	env[pythonVariable] = pythonWorker
	payload, err := proto.Marshal(&pipepb.ProcessPayload{Command: strings.Join(words, " "), Env: env})
	if err != nil {
		return nil, fmt.Errorf("environment of a worker process: %w", err)
	}
	return &pipepb.Environment{Urn: URNProcess, Payload: payload}, nil
}

// clientOf makes out of a process' command line, working directory and
// environment what a worker needs of it. find looks for a program on a path.
func clientOf(args []string, directory string, env map[string]string, find func(name, path string) (string, error)) (pythonClient, error) {
	c := pythonClient{directory: directory, env: env}
	if len(args) == 0 {
		return c, errors.New("it has no command line")
	}
	name := args[0]
	switch {
	case filepath.IsAbs(name):
		c.interpreter = name
	case strings.ContainsRune(name, filepath.Separator):
		c.interpreter = filepath.Join(directory, name)
	default:
		var err error
		if c.interpreter, err = find(name, env["PATH"]); err != nil {
			return c, err
		}
	}
	if base := filepath.Base(name); !strings.Contains(base, "python") && !strings.Contains(base, "pypy") {
		return c, fmt.Errorf("%s is no Python", name)
	}
	if script := scriptOf(args[1:]); script != "" {
		if !filepath.IsAbs(script) {
			script = filepath.Join(directory, script)
		}
		c.path = filepath.Dir(script)
	}
	return c, nil
}

// scriptOf finds the script in the arguments of a Python interpreter; empty if it
// executes none.
func scriptOf(args []string) string {
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "-W" || arg == "-X" || arg == "--check-hash-based-pycs":
			i++ // the next is its value
		case arg == "-c" || arg == "-m" || arg == "-" || arg == "":
			return ""
		case arg[0] != '-':
			return arg
		}
	}
	return ""
}
