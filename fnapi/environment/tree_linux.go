package environment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tokenVariable is the environment variable that marks a worker's processes.
// They inherit it, wherever they move.
const tokenVariable = "GORUNNER_WORKER_TOKEN"

// killRounds bounds how often what is left is looked for and killed. Between
// two rounds only what was just being forked can have escaped.
const killRounds = 20

// tree is a process and its descendants: those of its process group, those
// that descend from it, and those that carry its token.
type tree struct {
	pid   int
	token string

	mu sync.Mutex
	// start is when the first process was started, as far as it is known.
	// Guarded by mu.
	start uint64
	// known are the processes found so far, by their id; the value is the time
	// of their start, which tells them from later ones. Guarded by mu.
	known map[int]uint64
	// copies are the directories of boot programs' copies of the worker binary.
	// Guarded by mu.
	copies map[string]bool
}

func newTree(pid int, token string) *tree {
	return &tree{pid: pid, token: token, known: map[int]uint64{}, copies: map[string]bool{}}
}

// ownGroup puts a process into a process group of its own.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// signalGroup sends a signal to the process group that p leads.
func signalGroup(p *os.Process, sig syscall.Signal) error {
	err := syscall.Kill(-p.Pid, sig)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// awaitExit returns when the first process has ended, and leaves it unreaped:
// until reap, no other process can get its id or its group's.
func (t *tree) awaitExit(*exec.Cmd) {
	for {
		err := unix.Waitid(unix.P_PID, t.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// reap takes note of the first process's end and returns how it ended.
func (t *tree) reap(cmd *exec.Cmd) error { return cmd.Wait() }

// look notes the descendants there are. The first process must not have been
// reaped.
func (t *tree) look() []int {
	procs := processes()
	t.mu.Lock()
	defer t.mu.Unlock()
	if root, ok := procs[t.pid]; ok {
		t.start = root.start
	}
	for pid, start := range t.known {
		if p, ok := procs[pid]; !ok || p.start != start || p.ended {
			delete(t.known, pid)
		}
	}
	for pid, p := range procs {
		// Nothing that is older descends from it: most need not be looked into.
		if pid != t.pid && !p.ended && p.start >= t.start && t.owns(procs, p) {
			t.known[pid] = p.start
		}
	}
	var pids []int
	for pid := range t.known {
		pids = append(pids, pid)
		t.noteCopy(pid)
	}
	return pids
}

// owns says whether a process belongs to the tree. t.mu is held.
func (t *tree) owns(procs map[int]proc, p proc) bool {
	if p.group == t.pid {
		return true
	}
	if t.token == "" {
		return false
	}
	if marked(p.pid, t.token) {
		return true
	}
	// Processes change while they are read: the steps up are bounded, in case
	// they seem to form a circle.
	for range len(procs) {
		if p.parent == t.pid {
			return true
		}
		if start, ok := t.known[p.parent]; ok && start == procs[p.parent].start {
			return true
		}
		parent, ok := procs[p.parent]
		if !ok {
			return false
		}
		p = parent
	}
	return false
}

// end waits for the descendants' end until stragglers ends, kills what is left
// then and waits up to limit for that to be gone. The first process has ended
// and is not reaped yet.
func (t *tree) end(stragglers context.Context, limit time.Duration) error {
	for _, h := range t.open(t.look()) {
		_ = h.await(stragglers) // what is not gone in time is killed
		h.close()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(stragglers), limit)
	defer cancel()
	for range killRounds {
		left := t.freeze()
		if len(left) == 0 {
			return t.removeCopies()
		}
		if err := killAll(ctx, left); err != nil {
			return errors.Join(fmt.Errorf("%w (limit %v)", err, limit), t.removeCopies())
		}
	}
	return errors.New("processes appear as fast as they are killed")
}

// endMarked kills the processes that carry a token, and what descends from them.
func endMarked(token string, limit time.Duration) error {
	const nobody = -1 // no process, and no process group, has this number
	now, cancel := context.WithCancel(context.Background())
	cancel()
	return newTree(nobody, token).end(now, limit)
}

// freeze stops the descendants until no other appears: a child that is born
// just before its parent is killed could not be told for the parent's.
func (t *tree) freeze() []*handle {
	var frozen []*handle
	seen := map[int]bool{}
	for range killRounds {
		var fresh []int
		for _, pid := range t.look() {
			if !seen[pid] {
				seen[pid] = true
				fresh = append(fresh, pid)
			}
		}
		if len(fresh) == 0 {
			break
		}
		for _, h := range t.open(fresh) {
			_ = h.signal(syscall.SIGSTOP) // killing it tells whether it can be reached
			frozen = append(frozen, h)
		}
	}
	return frozen
}

// killAll kills processes and waits until they are gone.
func killAll(ctx context.Context, handles []*handle) error {
	var errs []error
	for _, h := range handles {
		if err := h.signal(syscall.SIGKILL); err != nil {
			errs = append(errs, fmt.Errorf("kill process %d: %w", h.pid, err))
		}
	}
	for _, h := range handles {
		if err := h.await(ctx); err != nil {
			errs = append(errs, fmt.Errorf("process %d was killed and is not gone: %w", h.pid, err))
		}
		h.close()
	}
	return errors.Join(errs...)
}

// open returns handles of those of the processes that are still there.
func (t *tree) open(pids []int) []*handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	var handles []*handle
	for _, pid := range pids {
		h := &handle{pid: pid, start: t.known[pid]}
		if fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK); err == nil {
			h.file = os.NewFile(uintptr(fd), "pidfd")
		}
		// The id may have become another's before it was opened.
		if !h.alive() {
			h.close()
			continue
		}
		handles = append(handles, h)
	}
	return handles
}

// noteCopy notes the directory in which the boot program of Beam's Go SDK puts
// a copy of the worker binary, and which it never removes. t.mu is held.
func (t *tree) noteCopy(pid int) {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return
	}
	dir, name := filepath.Split(strings.TrimSuffix(exe, " (deleted)"))
	digits, ok := strings.CutPrefix(filepath.Clean(dir), "/tmp/bin")
	if _, err := strconv.ParseUint(digits, 10, 64); !ok || err != nil || name != "worker" {
		return
	}
	t.copies[filepath.Clean(dir)] = true
}

func (t *tree) removeCopies() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for dir := range t.copies {
		// Only what the boot program made: the binary, then the empty directory.
		for _, path := range []string{filepath.Join(dir, "worker"), dir} {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, fmt.Errorf("remove copy of the worker binary: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}
