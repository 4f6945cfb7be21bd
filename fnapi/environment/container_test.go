//go:build linux

package environment

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/gorunner/gorunner/execution/harness"
)

// engineVariable holds the command of a container engine that works;
// conformance/images/engine.sh prints it.
const engineVariable = "GORUNNER_TEST_CONTAINER_ENGINE"

// runArgsVariable holds what its subcommand run takes in addition.
const runArgsVariable = "GORUNNER_TEST_CONTAINER_RUN_ARGS"

// fakeEngine is a container engine whose containers are processes. It notes
// its calls in the file calls, and a container's client, and whether it
// ignores its end, in the file named after the container.
const fakeEngine = `#!/bin/sh
dir=$(dirname "$0")
echo "$*" >> "$dir/calls"
[ "$1" = --flag ] && shift
sub=$1; shift
case $sub in
run)
	name=$4
	for image; do case $image in image:*) break;; esac; done
	[ "$image" = image:none ] && { echo "no such image" >&2; exit 125; }
	echo $$ > "$dir/$name"
	echo "container $image"
	# As a client does, it stays while the container does.
	case $image in
	image:deaf) trap '' TERM ;;
	*) trap 'rm "$dir/$name"; exit 143' TERM ;;
	esac
	while [ -e "$dir/$name" ]; do sleep 0.01; done
	exit 137
	;;
stop)
	name=$3
	[ -e "$dir/$name" ] || { echo "no such container" >&2; exit 1; }
	[ -e "$dir/broken" ] && exit 1
	rm "$dir/$name"
	;;
rm)
	[ -e "$dir/unremovable" ] && { echo "cannot" >&2; exit 1; }
	[ -e "$dir/$2" ] || { echo "no such container" >&2; exit 1; }
	rm "$dir/$2"
	;;
ps)
	[ -e "$dir/unremovable" ] && echo 0123456789
	exit 0
	;;
esac
`

// startContainer starts a worker with the fake engine, whose directory it
// returns.
func startContainer(t *testing.T, o Options, image string) (Process, lines, string) {
	t.Helper()
	dir, log := t.TempDir(), newLines()
	o.ContainerEngine = []string{write(t, dir, "engine", fakeEngine), "--flag"}
	o.ContainerRunArgs = []string{"--ulimit", "nproc=9"}
	p, err := New(o).Start(testContext(t), Launch{
		WorkerID: "w/1", Endpoints: testEndpoints(), Environment: containerEnv(t, image), Log: slog.New(log),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testLimit) //nolint:usetesting // the test's has ended
		defer cancel()
		_ = p.Stop(ctx) // checked where it matters
	})
	return p, log, dir
}

// engineCalls returns the calls of the fake engine, NAME for the container's.
func engineCalls(t *testing.T, dir string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	calls := string(data)
	_, after, ok := strings.Cut(calls, "--name ")
	if !ok {
		t.Fatalf("no container was run: %s", calls)
	}
	name, _, _ := strings.Cut(after, " ")
	if !strings.HasPrefix(name, "gorunner-w_1-") {
		t.Errorf("the container's name is %s", name)
	}
	return strings.Split(strings.TrimSpace(strings.ReplaceAll(calls, name, "NAME")), "\n")
}

func TestContainer(t *testing.T) {
	p, log, dir := startContainer(t, Options{StopGrace: testLimit}, "image:good")
	log.await(t, "container image:good")
	stop(t, p)
	got := strings.Join(engineCalls(t, dir), "\n")
	if want := `--flag run --rm --network=host --name NAME --ulimit nproc=9 image:good --id=w/1 --provision_endpoint=h:4 --logging_endpoint=h:2 --artifact_endpoint=h:3 --control_endpoint=h:1 --semi_persist_dir=/tmp
--flag stop -t 30 NAME
--flag rm --force NAME
--flag ps --all --quiet --filter name=^NAME$`; got != want {
		t.Errorf("the engine was called with\n%s\nwant\n%s", got, want)
	}
}

// TestContainerGoSettings: the user's own arguments come later, and so override.
func TestContainerGoSettings(t *testing.T) {
	env := containerEnv(t, "image:good")
	env.Capabilities = []string{capabilityGo}
	dir, log := t.TempDir(), newLines()
	p, err := New(Options{
		ContainerEngine:  []string{write(t, dir, "engine", fakeEngine)},
		ContainerRunArgs: []string{"--env=GOGC=50"},
		GoMemory:         1000,
	}).Start(testContext(t), Launch{WorkerID: "w/1", Environment: env, Log: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	log.await(t, "container image:good")
	stop(t, p)
	want := "run --rm --network=host --name NAME --env=GOGC=400 --env=GOMEMLIMIT=1000 --env=GOGC=50 image:good"
	if got := engineCalls(t, dir)[0]; !strings.HasPrefix(got, want) {
		t.Errorf("the engine was called with %s, want %s", got, want)
	}
}

func TestContainerExits(t *testing.T) {
	p, _, _ := startContainer(t, Options{}, "image:none")
	awaitDone(t, p)
	wantError(t, p.Err(), "w/1", "image:none", "engine", "exit status 125", "no such image")
}

// TestContainerEngineBroken has an engine that does not stop containers: its
// client is ended, and the container removed by force.
func TestContainerEngineBroken(t *testing.T) {
	p, log, dir := startContainer(t, Options{StopGrace: 50 * time.Millisecond}, "image:deaf")
	log.await(t, "container")
	write(t, dir, "broken", "")
	stop(t, p)
	if left, _ := filepath.Glob(dir + "/gorunner-*"); len(left) > 0 {
		t.Errorf("a container is left: %q", left)
	}
}

func TestContainerLeft(t *testing.T) {
	p, log, dir := startContainer(t, Options{}, "image:good")
	log.await(t, "container")
	write(t, dir, "unremovable", "")
	wantError(t, p.Stop(testContext(t)), "w/1", "remove container gorunner-w_1-", "cannot")
}

func TestContainerNoEngine(t *testing.T) {
	_, err := New(Options{ContainerEngine: []string{"no-such-engine", "--flag"}}).Start(testContext(t),
		Launch{WorkerID: "w1", Environment: containerEnv(t, "image:1")})
	wantError(t, err, "w1", `container engine "no-such-engine --flag"`, "set the container engine", "not found")
}

// fnServer is what the boot program of a worker meets first.
type fnServer struct {
	fnpb.UnimplementedProvisionServiceServer
	address string
	// asked gets the id of every worker that asks for its provisions.
	asked chan string
	// hold is the id of the worker that gets no answer.
	hold string
}

func (s *fnServer) GetProvisionInfo(ctx context.Context, _ *fnpb.GetProvisionInfoRequest) (*fnpb.GetProvisionInfoResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	id := strings.Join(md.Get("worker_id"), ",")
	s.asked <- id
	if id == s.hold {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	at := &pipepb.ApiServiceDescriptor{Url: s.address}
	return &fnpb.GetProvisionInfoResponse{Info: &fnpb.ProvisionInfo{
		ControlEndpoint: at, LoggingEndpoint: at, ArtifactEndpoint: at,
	}}, nil
}

func serveFn(t *testing.T, hold string) *fnServer {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fnServer{address: lis.Addr().String(), asked: make(chan string, 10), hold: hold}
	server := grpc.NewServer()
	fnpb.RegisterProvisionServiceServer(server, s)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(lis) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	return s
}

// TestContainerForReal runs the boot program of Beam's Go SDK in a container.
func TestContainerForReal(t *testing.T) {
	engine := strings.Fields(os.Getenv(engineVariable))
	if len(engine) == 0 {
		t.Skipf("no container engine: %s is not set; conformance/images/engine.sh prints a value", engineVariable)
	}
	image := fmt.Sprintf("localhost/gorunner-test-environment:%d", os.Getpid())
	build := exec.Command("../../conformance/images/go.sh", image)
	build.Env = append(os.Environ(), "CONTAINER_ENGINE="+strings.Join(engine, " "))
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("make the image: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command(engine[0], append(slices.Clone(engine[1:]), "rmi", "--force", image)...).CombinedOutput(); err != nil {
			t.Errorf("remove the image: %v\n%s", err, out)
		}
	})

	l := New(Options{
		ContainerEngine:  engine,
		ContainerRunArgs: strings.Fields(os.Getenv(runArgsVariable)),
		StopGrace:        2 * time.Second,
		KillWait:         time.Minute,
	})
	fn, log := serveFn(t, "held"), newLines()
	run := func(id harness.WorkerID) Process {
		t.Helper()
		p, err := l.Start(testContext(t), Launch{
			WorkerID: id, Environment: containerEnv(t, image), Log: slog.New(log),
			Endpoints: Endpoints{Control: fn.address, Logging: fn.address, Artifact: fn.address, Provision: fn.address},
		})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-fn.asked:
			if got != string(id) {
				t.Errorf("worker %q asks for provisions, want %s", got, id)
			}
		case <-p.Done():
			t.Fatal(p.Err())
		case <-time.After(2 * testLimit):
			t.Fatalf("the worker does not ask for provisions; its output: %q", p.Tail())
		}
		return p
	}

	held := run("held")
	if listContainers(t, engine) == "" {
		t.Error("no container is listed while one runs")
	}
	stop(t, held)

	// There is no artifact to retrieve: the boot program gives up.
	p := run("fails")
	awaitDone(t, p)
	wantError(t, p.Err(), "fails", image, "exit status")

	if left := listContainers(t, engine); left != "" {
		t.Errorf("containers left: %s", left)
	}
}

// listContainers lists the containers of this test.
func listContainers(t *testing.T, engine []string) string {
	t.Helper()
	args := append(slices.Clone(engine[1:]), "ps", "--all", "--quiet", "--filter", "name=gorunner-held-", "--filter", "name=gorunner-fails-")
	out, err := exec.Command(engine[0], args...).CombinedOutput()
	if err != nil {
		t.Errorf("list containers: %v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}
