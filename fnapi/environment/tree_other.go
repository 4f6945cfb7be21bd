//go:build unix && !linux

package environment

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// tokenVariable is the environment variable that marks a worker's processes.
const tokenVariable = "GORUNNER_WORKER_TOKEN"

// tree is a process and its process group. Descendants that have left the
// group are not found on this system.
type tree struct {
	pid int
	err error
}

func newTree(pid int, _ string) *tree { return &tree{pid: pid} }

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

// awaitExit returns when the first process has ended.
func (t *tree) awaitExit(cmd *exec.Cmd) { t.err = cmd.Wait() }

// reap returns how the first process ended.
func (t *tree) reap(*exec.Cmd) error { return t.err }

func (t *tree) look() []int { return nil }

// end kills what is left of the group.
func (t *tree) end(context.Context, time.Duration) error {
	err := syscall.Kill(-t.pid, syscall.SIGKILL)
	if err != nil && !errors.Is(err, syscall.ESRCH) && !errors.Is(err, syscall.EPERM) {
		return err
	}
	return nil
}

// endMarked does nothing: what carries a token is not found on this system. The
// guards of workers end them.
func endMarked(string, time.Duration) error { return nil }
