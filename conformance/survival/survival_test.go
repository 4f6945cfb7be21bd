//go:build linux

package survival

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/extworker"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/gorunner/gorunner/conformance"
	"github.com/gorunner/gorunner/internal/subprocess"
)

// The work of the pipeline: parts, each with elements for keys.
const (
	parts   = 40
	perPart = 100
	keys    = 7
)

// A gate is a place in the pipeline where the test is waited for.
type gate int

const (
	atPart gate = iota // before a part is read
	atKey              // before a key is summed up
	gates
)

// gateKeeper lets user code, which runs in this process, wait for the test.
type gateKeeper struct {
	mu sync.Mutex
	// closed gates open when the channel is closed; guarded by mu.
	closed map[gate]chan struct{}
	// left is how many may yet pass a gate; guarded by mu.
	left map[gate]int
	// reached is told when somebody waits at a gate.
	reached chan gate
	// sums are what came out, by key; guarded by mu.
	sums map[int]int
}

// User code has no other way to its test.
var keeper = &gateKeeper{}

// reset lets so many through each gate.
func (k *gateKeeper) reset(pass map[gate]int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed, k.left = make(map[gate]chan struct{}), make(map[gate]int)
	maps.Copy(k.left, pass)
	k.reached = make(chan gate, parts*gateCount)
	k.sums = make(map[int]int)
	for g := range pass {
		k.closed[g] = make(chan struct{})
	}
}

const gateCount = int(gates)

// pass waits at the gate, if it is closed and enough have passed.
func (k *gateKeeper) pass(g gate) {
	k.mu.Lock()
	opened := k.closed[g]
	k.left[g]--
	free := opened == nil || k.left[g] >= 0
	k.mu.Unlock()
	if !free {
		k.reached <- g
		<-opened
	}
}

func (k *gateKeeper) open(g gate) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed[g] != nil {
		close(k.closed[g])
		k.closed[g] = nil
	}
}

func split(_ []byte, emit func(int)) {
	for i := range parts {
		emit(i)
	}
}

func read(ctx context.Context, part int, emit func(int, int)) {
	keeper.pass(atPart)
	beam.NewCounter("survival", "parts").Inc(ctx, 1)
	for i := range perPart {
		emit(i%keys, part*perPart+i)
	}
}

func sum(ctx context.Context, key int, values func(*int) bool) int {
	keeper.pass(atKey)
	total, v := 0, 0
	for values(&v) {
		total += v
	}
	beam.NewCounter("survival", "keys").Inc(ctx, 1)
	keeper.mu.Lock()
	defer keeper.mu.Unlock()
	keeper.sums[key] = total
	return total
}

func init() {
	register.Function2x0(split)
	register.Function3x0(read)
	register.Function3x1(sum)
	register.Emitter1[int]()
	register.Emitter2[int, int]()
	register.Iter1[int]()
}

func TestMain(m *testing.M) {
	beam.Init()
	os.Exit(m.Run())
}

func wantSums() map[int]int {
	sums := make(map[int]int)
	for part := range parts {
		for i := range perPart {
			sums[i%keys] += part*perPart + i
		}
	}
	return sums
}

// runner is the server of a test, one process after the other.
type runner struct {
	t   *testing.T
	bin string
	dir string
	// data is the name of the data directory in dir, args what else the server is
	// told.
	data     string
	args     []string
	endpoint string
	process  *subprocess.Process
	starts   int
	conn     *grpc.ClientConn
	jobs     jobpb.JobServiceClient
}

func newRunner(t *testing.T, dir string, args ...string) *runner {
	t.Helper()
	if os.Getenv("GORUNNER_CONFORMANCE") == "none" {
		t.Skip("not part of GORUNNER_CONFORMANCE=none")
	}
	endpoint, err := subprocess.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{t: t, bin: serverBinary(t), dir: dir, data: "data", args: args, endpoint: endpoint}
	r.conn, err = grpc.NewClient("passthrough:///"+endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	r.jobs = jobpb.NewJobServiceClient(r.conn)
	r.start()
	t.Cleanup(func() {
		if err := r.process.Stop(); err != nil {
			t.Error(err)
		}
		if err := r.conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// serverBinary is the server to test.
func serverBinary(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("GORUNNER_BIN"); bin != "" {
		return bin
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := conformance.FindPaths(dir)
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(paths.Cache, "gorunner")
	if err := paths.GoBuild(t.Context(), ".", "build", "-o", bin, "./cmd/gorunner"); err != nil {
		t.Fatal(err)
	}
	return bin
}

func (r *runner) start() {
	r.t.Helper()
	r.starts++
	var err error
	r.process, err = subprocess.Start(r.t.Context(), subprocess.Spec{
		Path: r.bin,
		Args: append([]string{"serve", "--listen=" + r.endpoint, "--http=off", "--data-dir=" + filepath.Join(r.dir, r.data)}, r.args...),
		Log:  filepath.Join(r.dir, fmt.Sprintf("server-%d.log", r.starts)),
		Addr: r.endpoint,
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// end ends the process by a signal.
func (r *runner) end(sig syscall.Signal) {
	r.t.Helper()
	if err := syscall.Kill(r.process.PID(), sig); err != nil {
		r.t.Fatal(err)
	}
	<-r.process.Done()
}

// submit runs the pipeline with workers in this process.
func (r *runner) submit() string {
	r.t.Helper()
	pool, err := extworker.StartLoopback(r.t.Context(), 0)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = pool.Stop(context.Background()) })
	return r.submitTo("beam:env:external:v1", pool.EnvironmentConfig)
}

// submitTo runs the pipeline in an environment.
func (r *runner) submitTo(urn string, config func(context.Context) string) string {
	r.t.Helper()
	ctx := r.t.Context()
	p, s := beam.NewPipelineWithRoot()
	read := beam.ParDo(s, read, beam.Reshuffle(s, beam.ParDo(s, split, beam.Impulse(s))))
	beam.ParDo(s, sum, beam.GroupByKey(s, read))
	edges, _, err := p.Build()
	if err != nil {
		r.t.Fatal(err)
	}
	env, err := graphx.CreateEnvironment(ctx, urn, config)
	if err != nil {
		r.t.Fatal(err)
	}
	env.Dependencies = nil // workers have their files
	pipeline, err := graphx.Marshal(edges, &graphx.Options{Environment: env})
	if err != nil {
		r.t.Fatal(err)
	}
	prepared, err := r.jobs.Prepare(ctx, &jobpb.PrepareJobRequest{Pipeline: pipeline, JobName: "survivor"})
	if err != nil {
		r.t.Fatal(err)
	}
	job, err := r.jobs.Run(ctx, &jobpb.RunJobRequest{PreparationId: prepared.GetPreparationId()})
	if err != nil {
		r.t.Fatal(err)
	}
	return job.GetJobId()
}

// follow reads the messages and states of a job to their end.
func (r *runner) follow(id string) (states, messages []string) {
	r.t.Helper()
	stream, err := r.jobs.GetMessageStream(r.t.Context(), &jobpb.JobMessagesRequest{JobId: id})
	if err != nil {
		r.t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return states, messages
		}
		if m.GetStateResponse() != nil {
			states = append(states, m.GetStateResponse().GetState().String())
			continue
		}
		messages = append(messages, m.GetMessageResponse().GetMessageText())
	}
}

// committed is the value of a counter of the pipeline.
func (r *runner) committed(id, name string) int {
	r.t.Helper()
	m, err := r.jobs.GetJobMetrics(r.t.Context(), &jobpb.GetJobMetricsRequest{JobId: id})
	if err != nil {
		r.t.Fatal(err)
	}
	total := 0
	for _, info := range m.GetMetrics().GetCommitted() {
		if info.GetLabels()["NAME"] == name {
			n, _ := binary.Uvarint(info.GetPayload())
			total += int(n)
		}
	}
	return total
}

// TestJobOutlivesItsServer ends the server when the pipeline has come to a place,
// once or several times, and starts it again. The job ends as if nothing had
// happened: what was committed is not done again, and nothing is counted twice.
func TestJobOutlivesItsServer(t *testing.T) {
	tests := []struct {
		name string
		// pass is how many pass each gate before the server is ended, once by each
		// signal.
		pass map[gate]int
		ends []syscall.Signal
	}{
		{"killed at the first part", map[gate]int{atPart: 0}, []syscall.Signal{syscall.SIGKILL}},
		{"killed among the parts", map[gate]int{atPart: parts / 2}, []syscall.Signal{syscall.SIGKILL}},
		{"killed at the first key", map[gate]int{atKey: 0}, []syscall.Signal{syscall.SIGKILL}},
		{"killed among the keys", map[gate]int{atKey: keys / 2}, []syscall.Signal{syscall.SIGKILL}},
		{"stopped among the parts", map[gate]int{atPart: parts / 2}, []syscall.Signal{syscall.SIGTERM}},
		{"again and again", map[gate]int{atPart: parts / 2, atKey: 1}, []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			keeper.reset(tt.pass)
			r := newRunner(t, t.TempDir())
			id := r.submit()
			reached := <-keeper.reached
			for i, sig := range tt.ends {
				if i > 0 {
					reached = <-keeper.reached
				}
				r.end(sig)
				if i == len(tt.ends)-1 {
					keeper.open(reached)
				}
				r.start()
			}
			for g := range gates {
				keeper.open(g)
			}
			states, messages := r.follow(id)
			if want := []string{"STOPPED", "STARTING", "RUNNING", "DONE"}; !reflect.DeepEqual(states, want) {
				t.Errorf("states %v; messages %q", states, messages)
			}
			resumed := 0
			for _, m := range messages {
				if strings.HasPrefix(m, "resumed from commit") {
					resumed++
				}
			}
			if resumed != len(tt.ends) {
				t.Errorf("resumed %d times: %q", resumed, messages)
			}
			keeper.mu.Lock()
			if want := wantSums(); !reflect.DeepEqual(keeper.sums, want) {
				t.Errorf("sums %v, want %v", keeper.sums, want)
			}
			keeper.mu.Unlock()
			if p, k := r.committed(id, "parts"), r.committed(id, "keys"); p != parts || k != keys {
				t.Errorf("committed %d parts and %d keys, want %d and %d", p, k, parts, keys)
			}
			// It has ended for the next process as well.
			r.end(syscall.SIGKILL)
			r.start()
			if again, _ := r.follow(id); !reflect.DeepEqual(again, states) {
				t.Errorf("states in the process after: %v", again)
			}
			if p := r.committed(id, "parts"); p != parts {
				t.Errorf("committed %d parts in the process after", p)
			}
		})
	}
}

// TestStreamsOfAnEndedServer: who follows a job learns that the server is gone,
// not that the job has ended.
func TestStreamsOfAnEndedServer(t *testing.T) {
	keeper.reset(map[gate]int{atPart: 0})
	r := newRunner(t, t.TempDir())
	id := r.submit()
	<-keeper.reached
	stream, err := r.jobs.GetStateStream(t.Context(), &jobpb.GetJobStateRequest{JobId: id})
	if err != nil {
		t.Fatal(err)
	}
	r.end(syscall.SIGTERM)
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v", err)
	}
	keeper.open(atPart)
	r.start()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := r.jobs.Cancel(ctx, &jobpb.CancelJobRequest{JobId: id}); err != nil {
		t.Error(err)
	}
	if states, _ := r.follow(id); states[len(states)-1] != "CANCELLED" && states[len(states)-1] != "DONE" {
		t.Errorf("%v", states)
	}
}

// TestDamagedFiles flips a byte in each file of a suspended job. The job then ends
// as if nothing had happened, because nobody needs the byte, or it is shown as failed
// for the file. It never goes on from somewhere else, and goes on once the file is
// as it was.
func TestDamagedFiles(t *testing.T) {
	keeper.reset(map[gate]int{atKey: 2})
	r := newRunner(t, t.TempDir())
	id := r.submit()
	<-keeper.reached
	r.end(syscall.SIGTERM)
	keeper.open(atKey)
	dir, kept := filepath.Join(r.dir, "data", "jobs", id), filepath.Join(t.TempDir(), "kept")
	if err := os.CopyFS(kept, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	var from string // where the job goes on if no file is damaged
	for _, name := range append([]string{""}, filesIn(t, kept)...) {
		if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(kept))); err != nil {
			t.Fatal(err)
		}
		if name != "" {
			flipByte(t, filepath.Join(dir, name))
		}
		keeper.reset(nil)
		r.start()
		states, messages := r.follow(id)
		if name == "" {
			i := slices.IndexFunc(messages, func(m string) bool { return strings.HasPrefix(m, "resumed from") })
			from = messages[i]
		}
		switch last := states[len(states)-1]; {
		case last == "DONE":
			if k := r.committed(id, "keys"); k != keys || !slices.Contains(messages, from) {
				t.Errorf("%s: committed %d keys: %q", name, k, messages)
			}
		case last != "FAILED" || name == "" || !strings.Contains(messages[len(messages)-1], dir):
			t.Errorf("%s: %q", name, messages)
		}
		t.Logf("%s: %s", name, states[len(states)-1])
		r.end(syscall.SIGKILL)
	}
	r.start()
}

func filesIn(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		files = append(files, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// flipByte changes the byte in the middle of a file that is not empty.
func flipByte(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil && len(data) > 0 {
		data[len(data)/2] ^= 0x10
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestOrphans: a worker that a dead server has left is ended by the next one, even
// if its guard has died with the server.
func TestOrphans(t *testing.T) {
	keeper.reset(nil)
	dir := t.TempDir()
	pids := filepath.Join(dir, "pids")
	if err := syscall.Mkfifo(pids, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo, err := os.OpenFile(pids, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	started := func() (pid int) {
		t.Helper()
		if _, err := fmt.Fscanln(fifo, &pid); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	boot := filepath.Join(dir, "boot")
	if err := os.WriteFile(boot, []byte("#!/bin/sh\ntrap '' TERM\necho $$ >"+pids+"\nwhile :; do sleep 1; done\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := newRunner(t, dir)
	id := r.submitTo("beam:env:process:v1", func(context.Context) string { return fmt.Sprintf(`{"command": %q}`, boot) })
	worker := started()
	guards := childrenOf(t, r.process.PID(), worker)
	r.end(syscall.SIGKILL)
	for _, pid := range guards {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Errorf("kill guard %d: %v", pid, err)
		}
	}
	if !alive(worker) {
		t.Error("the worker died with the server")
	}
	r.start()
	if next := started(); next == worker {
		t.Error("the same worker was started")
	}
	if alive(worker) {
		t.Error("the orphan is there when the next worker starts")
	}
	if _, err := r.jobs.Cancel(t.Context(), &jobpb.CancelJobRequest{JobId: id}); err != nil {
		t.Error(err)
	}
}

// childrenOf returns the processes that a process has started, but one.
func childrenOf(t *testing.T, parent, but int) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, path := range stats {
		pid, _, from, err := readStat(path)
		if err != nil {
			continue // it has ended
		}
		if from == parent && pid != but {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		t.Fatal("the worker has no guard")
	}
	return pids
}

// readStat reads what the kernel says of a process.
func readStat(path string) (pid int, state string, parent int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, "", 0, err
	}
	_, err = fmt.Sscan(string(text), &pid)
	if err == nil {
		// The name of the program may hold anything, parentheses too.
		_, err = fmt.Sscan(string(text[bytes.LastIndexByte(text, ')')+1:]), &state, &parent)
	}
	return pid, state, parent, err
}

// alive says whether a process is more than what its parent has yet to take note of.
func alive(pid int) bool {
	_, state, _, err := readStat(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && state != "Z"
}
