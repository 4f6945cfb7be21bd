package conformance

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestGoSuites(t *testing.T) {
	for _, suite := range GoSuites() {
		for _, mode := range suite.Modes {
			t.Run(suite.Name+"."+mode.Name, func(t *testing.T) {
				needMode(t, mode, goSDK)
				runGoSuite(t, suite, mode, startServer)
			})
		}
	}
}

func runGoSuite(t *testing.T, suite Suite, mode Mode, start startsServer) {
	t.Helper()
	bin := buildGoSuite(t, suite.Package)
	flags := goFlags(t, mode.Environment, bin)
	s := start(t, serverFlags(mode.Environment)...)
	run := GoSuite{
		Binary: bin, Args: append(flags, "--runner=universal", "--endpoint="+s.endpoint),
		Dir: t.TempDir(), NotApplicable: suite.notApplicable(mode), Idle: goIdle, Log: createLog(t, "log"),
		Beside: map[string]func(context.Context){"TestDrain": s.drainJobs(t)},
	}
	check(t, suite, mode, func() ([]Outcome, error) { return run.Run(t.Context()) })
}

// drainJobs returns what drains the jobs of the server while a test runs.
func (s *server) drainJobs(t *testing.T) func(context.Context) {
	t.Helper()
	return func(ctx context.Context) {
		if err := DrainJobs(ctx, s.endpoint); err != nil {
			t.Log(err)
		}
	}
}

// goFlags returns the flags of the Go SDK for an environment. A program that
// has a pipeline also is a worker for it.
func goFlags(t *testing.T, env Environment, worker string) []string {
	t.Helper()
	switch env {
	case Loopback:
		return []string{"--environment_type=LOOPBACK"}
	case Process:
		config, err := json.Marshal(map[string]string{"command": must(t, boot)})
		if err != nil {
			t.Fatal(err)
		}
		return []string{"--environment_type=PROCESS", "--environment_config=" + string(config), "--worker_binary=" + worker}
	case Container:
		return []string{"--environment_type=DOCKER", "--environment_config=" + goImage(t), "--worker_binary=" + worker}
	case Loopback2, DropIn:
	}
	t.Fatalf("the Go SDK has no environment %d", env)
	return nil
}

// The environment variables that name the container engine, a command with
// arguments, and the arguments that its run subcommand needs.
const (
	engineVariable  = "GORUNNER_TEST_CONTAINER_ENGINE"
	runArgsVariable = "GORUNNER_TEST_CONTAINER_RUN_ARGS"
)

// goImage makes the image for workers of Go pipelines and returns its name.
func goImage(t *testing.T) string {
	t.Helper()
	engine := os.Getenv(engineVariable)
	if engine == "" {
		t.Skipf("no container engine: set %s to what conformance/images/engine.sh prints", engineVariable)
	}
	const image = "localhost/gorunner-conformance-go:1"
	cmd := exec.CommandContext(t.Context(), filepath.Join(mustPaths(t).Root, "conformance", "images", "go.sh"), image)
	cmd.Env = append(os.Environ(), "CONTAINER_ENGINE="+engine)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make the image: %v\n%s", err, out)
	}
	return image
}

// serverFlags returns the flags that a server needs for an environment.
func serverFlags(env Environment) []string {
	if env != Container {
		return nil
	}
	args := []string{"--container-engine=" + os.Getenv(engineVariable)}
	for _, arg := range strings.Fields(os.Getenv(runArgsVariable)) {
		args = append(args, "--container-arg="+arg)
	}
	return args
}

// pyTestTimeout limits each Python test; the slowest takes ten seconds.
const pyTestTimeout = 60 * time.Second

func TestPythonSuites(t *testing.T) {
	for _, suite := range PythonSuites() {
		for _, mode := range suite.Modes {
			t.Run(suite.Name+"."+mode.Name, func(t *testing.T) {
				needMode(t, mode, python)
				runPythonSuite(t, suite, mode, startServer)
			})
		}
	}
}

func runPythonSuite(t *testing.T, suite Suite, mode Mode, start startsServer) {
	t.Helper()
	interpreter := mustPython(t)
	run := PySuite{
		Python: interpreter, Dir: filepath.Join(mustPaths(t).Root, "conformance", "python"),
		Options: append(pythonOptions(t, mode.Environment, interpreter, start), mode.Options...),
		Tests:   slices.Concat(mode.Tests, suite.Tests), NotApplicable: suite.notApplicable(mode),
		Timeout: pyTestTimeout, Log: createLog(t, "log"),
	}
	check(t, suite, mode, func() ([]Outcome, error) {
		run.Temp = t.TempDir()
		return run.Run(t.Context())
	})
}

// pythonOptions returns the options of the Python SDK for an environment, and
// starts a server unless the tests do.
func pythonOptions(t *testing.T, env Environment, interpreter string, start startsServer) []string {
	t.Helper()
	if env == DropIn {
		return []string{"--prism_bin=" + dropIn(t), "--environment_type=LOOPBACK"}
	}
	options := []string{"--job_endpoint=" + start(t).endpoint}
	switch env {
	case Loopback:
		return append(options, "--environment_type=LOOPBACK")
	case Loopback2:
		return append(options, "--environment_type=LOOPBACK", "--sdk_worker_parallelism=2", "--experiments=use_loopback_process_worker")
	case Process:
		config, err := json.Marshal(map[string]any{
			"command": filepath.Join(mustPaths(t).Root, "conformance", "python", "worker.sh"),
			"env":     map[string]string{"PYTHON": interpreter},
		})
		if err != nil {
			t.Fatal(err)
		}
		return append(options, "--environment_type=PROCESS", "--environment_config="+string(config))
	case Container, DropIn:
	}
	t.Fatalf("the suites of the Python SDK have no environment %d", env)
	return nil
}
