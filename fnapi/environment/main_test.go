package environment

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

// roleVariable makes the test binary play another part.
const roleVariable = "GORUNNER_ENVIRONMENT_TEST_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) != "" {
		abandonWorker()
	}
	goleak.VerifyTestMain(m)
}

// abandonWorker is what the test binary does in another part: it starts the
// worker named by the environment, and waits to be killed.
func abandonWorker() {
	payload, err := proto.Marshal(&pipepb.ProcessPayload{Command: os.Getenv(roleVariable)})
	if err != nil {
		panic(err)
	}
	_, err = New(Options{StopGrace: time.Millisecond}).Start(context.Background(), Launch{
		WorkerID:    "w1",
		Environment: &pipepb.Environment{Urn: URNProcess, Payload: payload},
		Dir:         filepath.Dir(os.Getenv(roleVariable)),
		Log:         slog.New(slog.NewTextHandler(os.Stdout, nil)),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}

// testLimit bounds what a test waits for; it is met only by a failing test.
const testLimit = 30 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testLimit)
	t.Cleanup(cancel)
	return ctx
}

// lines is a log handler that hands on the lines of workers.
type lines chan string

func newLines() lines { return make(lines, 1000) }

func (l lines) Enabled(context.Context, slog.Level) bool { return true }
func (l lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l lines) WithGroup(string) slog.Handler            { return l }

func (l lines) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "line" {
			l <- a.Value.String()
		}
		return true
	})
	return nil
}

// await returns the first line that has the prefix, without it.
func (l lines) await(t *testing.T, prefix string) string {
	t.Helper()
	limit := time.After(testLimit)
	for {
		select {
		case line := <-l:
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return rest
			}
		case <-limit:
			t.Fatalf("no line begins with %q", prefix)
		}
	}
}

func awaitDone(t *testing.T, p Process) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(testLimit):
		t.Fatalf("the worker has not ended; its output: %q", p.Tail())
	}
}

// write makes a file that can be executed.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func environment(t *testing.T, urn string, payload proto.Message) *pipepb.Environment {
	t.Helper()
	data, err := proto.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	return &pipepb.Environment{Urn: urn, Payload: data}
}

func processEnv(t *testing.T, command string, env map[string]string) *pipepb.Environment {
	t.Helper()
	return environment(t, URNProcess, &pipepb.ProcessPayload{Command: command, Env: env})
}

func externalEnv(t *testing.T, address string) *pipepb.Environment {
	t.Helper()
	return environment(t, URNExternal, &pipepb.ExternalPayload{
		Endpoint: &pipepb.ApiServiceDescriptor{Url: address},
		Params:   map[string]string{"k": "v"},
	})
}

func containerEnv(t *testing.T, image string) *pipepb.Environment {
	t.Helper()
	return environment(t, URNContainer, &pipepb.DockerPayload{ContainerImage: image})
}

func anyOfEnv(t *testing.T, alternatives ...*pipepb.Environment) *pipepb.Environment {
	t.Helper()
	return environment(t, URNAnyOf, &pipepb.AnyOfEnvironmentPayload{Environments: alternatives})
}

func testEndpoints() Endpoints {
	return Endpoints{Control: "h:1", Logging: "h:2", Artifact: "h:3", Provision: "h:4", Status: "h:5"}
}
