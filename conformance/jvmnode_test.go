package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// javaClassPath builds our programs in Java and returns the class path that they
// and Beam's tests need.
var javaClassPath = sync.OnceValues(func() (string, error) {
	p, err := paths()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(p.Cache, "java")
	list := filepath.Join(dir, "classpath")
	cmd := exec.Command("mvn", "-q", "-B", "-Dconformance.output="+dir, "package", "dependency:build-classpath", "-Dmdep.outputFile="+list)
	cmd.Dir = filepath.Join(p.Root, "conformance", "java")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mvn in %s: %w\n%s", cmd.Dir, err, out)
	}
	rest, err := os.ReadFile(list)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "conformance-java-1.jar") + ":" + strings.TrimSpace(string(rest)), nil
})

// javaBoot returns the boot program of Java workers.
var javaBoot = sync.OnceValues(func() (string, error) {
	return build("java-boot", "conformance/gosuite", "github.com/apache/beam/sdks/v2/java/container")
})

// javaOptions returns the options of the Java SDK for an environment.
func javaOptions(t *testing.T, s *server, env Environment) []string {
	t.Helper()
	options := []string{"--jobEndpoint=" + s.endpoint}
	switch env {
	case Loopback:
		// Without a file to stage the client stages its class path, for each job.
		none := filepath.Join(t.TempDir(), "none.jar")
		if err := os.WriteFile(none, []byte("PK\x05\x06"+strings.Repeat("\x00", 18)), 0o644); err != nil {
			t.Fatal(err)
		}
		return append(options, "--defaultEnvironmentType=LOOPBACK", "--filesToStage="+none)
	case Process:
		config, err := json.Marshal(map[string]string{"command": must(t, javaBoot)})
		if err != nil {
			t.Fatal(err)
		}
		return append(options, "--defaultEnvironmentType=PROCESS", "--defaultEnvironmentConfig="+string(config), "--experiments=disable_jamm_agent")
	case Loopback2, Container, DropIn:
	}
	t.Fatalf("the suites of the Java SDK have no environment %d", env)
	return nil
}

// javaTestSeconds limits each of Beam's Java tests.
const javaTestSeconds = "60"

func TestJavaSuites(t *testing.T) {
	for _, suite := range JavaSuites() {
		for _, mode := range suite.Modes {
			t.Run(suite.Name+"."+mode.Name, func(t *testing.T) {
				needMode(t, mode, java)
				needTool(t, "mvn")
				classPath := must(t, javaClassPath)
				options := javaOptions(t, startServer(t), mode.Environment)
				c := Command{Path: "java", Args: []string{"-cp", classPath}, Dir: t.TempDir(), Log: createLog(t, "log")}
				if suite.Name == "java-programs" {
					c.Args = append(c.Args, "gorunner.conformance.Main", "all", "--runner=PortableRunner")
					c.Args = append(c.Args, options...)
					check(t, suite, mode, func() ([]Outcome, error) { return RunPrograms(t.Context(), c) })
					return
				}
				list, err := json.Marshal(append(options, "--runner=TestUniversalRunner"))
				if err != nil {
					t.Fatal(err)
				}
				check(t, suite, mode, func() ([]Outcome, error) {
					file := filepath.Join(t.TempDir(), "outcomes.jsonl")
					c := c
					c.Args = append([]string{"-DbeamTestPipelineOptions=" + string(list)}, c.Args...)
					c.Args = append(c.Args, "gorunner.conformance.Validate", file, javaTestSeconds)
					return RunValidate(t.Context(), c, file, suite.NotApplicable)
				})
			})
		}
	}
}

// needTool skips the test where a machine lacks a program.
func needTool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skip(err)
	}
}

// nodeProject makes a copy of a folder of TypeScript in the cache, and compiles it.
func nodeProject(t *testing.T, from, name string) string {
	t.Helper()
	dir := filepath.Join(mustPaths(t).Cache, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"cp", "-rT", "--no-preserve=mode", from, dir},
		{"npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"},
		{"npx", "ttsc", "-p", "."},
	} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s in %s: %v\n%s", strings.Join(args, " "), dir, err, out)
		}
	}
	return dir
}

func TestTypeScriptSuites(t *testing.T) {
	for _, suite := range TypeScriptSuites() {
		for _, mode := range suite.Modes {
			t.Run(suite.Name+"."+mode.Name, func(t *testing.T) {
				needMode(t, mode, typescript)
				needTool(t, "npm")
				c := Command{Log: createLog(t, "log")}
				if suite.Name == "typescript-programs" {
					c.Dir = nodeProject(t, filepath.Join(mustPaths(t).Root, "conformance", "typescript"), suite.Name)
					c.Path, c.Args = "node", []string{"dist/main.js", startServer(t).endpoint}
					check(t, suite, mode, func() ([]Outcome, error) { return RunPrograms(t.Context(), c) })
					return
				}
				c.Dir = nodeProject(t, beamTypeScript(t), suite.Name)
				file := filepath.Join(t.TempDir(), "report.json")
				c.Path = "npx"
				c.Args = []string{"mocha", "--exit", "--timeout=60000", "--reporter=json", "--reporter-option=output=" + file, "--grep=@ulr", "dist/test/primitives_test.js"}
				services, err := json.Marshal(map[string]string{
					"python:apache_beam.runners.portability.local_job_service_main": startServer(t).endpoint,
				})
				if err != nil {
					t.Fatal(err)
				}
				c.Env = []string{"BEAM_SERVICE_OVERRIDES=" + string(services)}
				check(t, suite, mode, func() ([]Outcome, error) { return RunMocha(t.Context(), c, file, suite.NotApplicable) })
			})
		}
	}
}

// beamTypeScript returns the folder of Beam's TypeScript SDK, which is part of
// the module of its Go SDK.
func beamTypeScript(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/apache/beam/sdks/v2")
	cmd.Dir = filepath.Join(mustPaths(t).Root, "conformance", "gosuite")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "typescript")
}
