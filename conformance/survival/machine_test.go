//go:build linux

package survival

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorunner/gorunner/runner/jobclient"
)

// TestJobOutlivesItsMachine takes the data directory away from a job that makes
// checkpoints, and restores it from these into another one. The job ends as if
// nothing had happened. Where it was, it cannot be gone on with any more.
func TestJobOutlivesItsMachine(t *testing.T) {
	tests := []struct {
		name string
		pass map[gate]int
	}{
		{"at the first part", map[gate]int{atPart: 0}},
		{"among the parts", map[gate]int{atPart: parts / 2}},
		{"among the keys", map[gate]int{atKey: keys / 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			keeper.reset(tt.pass)
			dir := t.TempDir()
			store := "file://" + filepath.Join(dir, "store")
			args := []string{"--checkpoint-uri=" + store, "--checkpoint-interval=100ms"}
			r := newRunner(t, dir, args...)
			id := r.submit()
			reached := <-keeper.reached
			client := jobclient.Of(r.conn, r.endpoint)
			savepoint, err := client.MakeSavepoint(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if prefix := store + "/jobs/" + id + "/log/"; !strings.HasPrefix(savepoint.URI, prefix) || savepoint.Bytes == 0 {
				t.Errorf("savepoint %+v, want one below %s", savepoint, prefix)
			}
			r.end(syscall.SIGKILL)
			r.data, r.args = "elsewhere", append(args, "--restore="+store)
			keeper.open(reached)
			r.start()
			states, messages := r.follow(id)
			if want := []string{"STOPPED", "STARTING", "RUNNING", "DONE"}; !reflect.DeepEqual(states, want) {
				t.Errorf("states %v; messages %q", states, messages)
			}
			keeper.mu.Lock()
			if want := wantSums(); !reflect.DeepEqual(keeper.sums, want) {
				t.Errorf("sums %v, want %v", keeper.sums, want)
			}
			keeper.mu.Unlock()
			if p, k := r.committed(id, "parts"), r.committed(id, "keys"); p != parts || k != keys {
				t.Errorf("committed %d parts and %d keys, want %d and %d", p, k, parts, keys)
			}
			r.checkEnded(id, store)
			if list := r.command("savepoint", "list", store); !strings.Contains(list, savepoint.URI) || strings.Count(list, "\n") != 2 {
				t.Errorf("the savepoint is not the only one:\n%s", list)
			}
			if text := r.command("savepoint", "inspect", savepoint.URI); !strings.Contains(text, "savepoint") || !strings.Contains(text, "yes") {
				t.Errorf("the savepoint is not whole:\n%s", text)
			}
			r.command("savepoint", "delete", savepoint.URI)
			if names, err := filepath.Glob(filepath.Join(dir, "store", "jobs", id, "data", "*", "*")); err != nil || len(names) > 0 {
				t.Errorf("files are left: %q, error %v", names, err)
			}
		})
	}
}

// command runs the binary, and returns what it prints.
func (r *runner) command(args ...string) string {
	r.t.Helper()
	out, err := exec.CommandContext(r.t.Context(), r.bin, args...).CombinedOutput()
	if err != nil {
		r.t.Errorf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}

// checkEnded looks at a job that has ended elsewhere than it began.
func (r *runner) checkEnded(id, store string) {
	r.t.Helper()
	// An empty machine has nothing to restore.
	r.end(syscall.SIGKILL)
	r.data = "third"
	r.start()
	client := jobclient.Of(r.conn, r.endpoint)
	jobs, err := client.Details(r.t.Context())
	if err != nil || len(jobs) > 0 {
		r.t.Errorf("jobs restored after the end: %+v, error %v", jobs, err)
	}
	// The first machine comes back: the job is not its own any more.
	r.end(syscall.SIGKILL)
	r.data, r.args = "data", []string{"--checkpoint-uri=" + store, "--checkpoint-interval=" + time.Minute.String()}
	r.start()
	states, messages := r.follow(id)
	if last := states[len(states)-1]; last != "FAILED" || !strings.Contains(strings.Join(messages, "\n"), "another runner has taken the job over") {
		r.t.Errorf("where it began, the job is %s; messages %q", last, messages)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "data", "jobs", id, "job")); err != nil {
		r.t.Error(err)
	}
}
