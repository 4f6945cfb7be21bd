package conformance

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// goSuites are Beam's test packages of the Go SDK, relative to its go/test.
var goSuites = []struct {
	pkg   string
	modes []string
	// smoke says which of the modes are part of the smoke scope.
	smoke map[string]bool
	// na are tests that cannot run.
	na map[string]string
}{
	{
		pkg: "integration/wordcount", modes: []string{"loopback", "process", "container"},
		smoke: map[string]bool{"loopback": true, "process": true, "container": true},
	},
	{pkg: "integration/synthetic", modes: []string{"loopback"}, smoke: map[string]bool{"loopback": true}},
	{pkg: "regression", modes: []string{"loopback"}, smoke: map[string]bool{"loopback": true}},
	{pkg: "integration/primitives", modes: []string{"loopback", "process"}, na: map[string]string{
		"TestDrain":    "waits until somebody drains the job",
		"TestOomParDo": "needs an upload of heap dumps",
	}},
}

func TestGoSuites(t *testing.T) {
	for _, suite := range goSuites {
		for _, mode := range suite.modes {
			name := "go-" + filepath.Base(suite.pkg)
			t.Run(name+"."+mode, func(t *testing.T) {
				if suite.smoke[mode] {
					need(t, smoke, goSDK)
				} else {
					need(t, goSDK)
				}
				bin := buildGoSuite(t, suite.pkg)
				args := goModeArgs(t, mode, bin)
				s := startServer(t, serverModeArgs(mode)...)
				run := GoSuite{
					Binary: bin, Args: append(args, "--runner=universal", "--endpoint="+s.endpoint),
					Dir: t.TempDir(), NotApplicable: suite.na, Idle: goIdle, Log: createLog(t, "log"),
				}
				outcomes, err := run.Run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				check(t, name, mode, outcomes)
			})
		}
	}
}

// goModeArgs returns the flags of the Go SDK for an environment. A program that
// has a pipeline also is a worker for it.
func goModeArgs(t *testing.T, mode, worker string) []string {
	t.Helper()
	switch mode {
	case "loopback":
		return []string{"--environment_type=LOOPBACK"}
	case "process":
		config, err := json.Marshal(map[string]string{"command": must(t, boot)})
		if err != nil {
			t.Fatal(err)
		}
		return []string{"--environment_type=PROCESS", "--environment_config=" + string(config), "--worker_binary=" + worker}
	case "container":
		return []string{"--environment_type=DOCKER", "--environment_config=" + goImage(t), "--worker_binary=" + worker}
	}
	t.Fatalf("no flags for mode %q", mode)
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

// serverModeArgs returns the flags that a server needs for an environment.
func serverModeArgs(mode string) []string {
	if mode != "container" {
		return nil
	}
	args := []string{"--container-engine=" + os.Getenv(engineVariable)}
	for _, arg := range strings.Fields(os.Getenv(runArgsVariable)) {
		args = append(args, "--container-arg="+arg)
	}
	return args
}

// validatesRunner are the core modules of Beam's Python SDK with tests that are
// marked as validating a runner.
var validatesRunner = []string{
	"apache_beam.pipeline_test",
	"apache_beam.transforms.combinefn_lifecycle_test",
	"apache_beam.transforms.deduplicate_test",
	"apache_beam.transforms.combiners_test",
	"apache_beam.transforms.dofn_lifecycle_test",
	"apache_beam.transforms.util_test",
	"apache_beam.transforms.sideinputs_test",
	"apache_beam.transforms.ptransform_test",
	"apache_beam.metrics.metric_test",
	"apache_beam.runners.portability.fn_api_runner.fn_runner_test",
	"apache_beam.runners.portability.fn_api_runner.translations_test",
}

// pySuites are the suites of the Python SDK.
var pySuites = []struct {
	name, mode string
	smoke      bool
	// args select the tests, options are added to the pipeline options.
	args    []string
	options string
}{
	{name: "python-fnapirunner", mode: "batch", smoke: true, args: []string{"fn_api_runner_suite.py::Batch"}},
	{name: "python-fnapirunner", mode: "streaming", args: []string{"fn_api_runner_suite.py::Streaming"}},
	{
		name: "python-validatesrunner", mode: "batch", options: " --runner=PortableRunner",
		args: append([]string{"-m", "it_validatesrunner and not no_sickbay_batch", "--pyargs"}, validatesRunner...),
	},
	{
		name: "python-validatesrunner", mode: "streaming", options: " --runner=PortableRunner --streaming",
		args: append([]string{"-m", "it_validatesrunner and not no_sickbay_streaming", "--pyargs"}, validatesRunner...),
	},
}

// pyTestTimeout limits each Python test; the slowest takes ten seconds.
const pyTestTimeout = 60 * time.Second

func TestPythonSuites(t *testing.T) {
	for _, suite := range pySuites {
		t.Run(suite.name+"."+suite.mode, func(t *testing.T) {
			if suite.smoke {
				need(t, smoke, python)
			} else {
				need(t, python)
			}
			interpreter := mustPython(t)
			s := startServer(t)
			run := PySuite{
				Python: interpreter, Dir: filepath.Join(mustPaths(t).Root, "conformance", "python"),
				Args: append([]string{
					"--test-pipeline-options=--job_endpoint=" + s.endpoint + " --environment_type=LOOPBACK" + suite.options,
				}, suite.args...),
				Timeout: pyTestTimeout, Temp: t.TempDir(), Log: createLog(t, "log"),
			}
			outcomes, err := run.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			check(t, suite.name, suite.mode, outcomes)
		})
	}
}
