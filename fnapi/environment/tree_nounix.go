//go:build !unix

package environment

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// tokenVariable is the environment variable that marks a worker's processes.
const tokenVariable = "GORUNNER_WORKER_TOKEN"

// tree is a process. Its descendants are not found on this system.
type tree struct{ err error }

func newTree(int, string) *tree { return &tree{} }

// ownGroup leaves a process where it is: there are no process groups.
func ownGroup() *syscall.SysProcAttr { return nil }

// signalGroup ends p, whatever the signal.
func signalGroup(p *os.Process, _ syscall.Signal) error { return p.Kill() }

// awaitExit returns when the process has ended.
func (t *tree) awaitExit(cmd *exec.Cmd) { t.err = cmd.Wait() }

// reap returns how the process ended.
func (t *tree) reap(*exec.Cmd) error { return t.err }

func (t *tree) look() []int { return nil }

func (t *tree) end(context.Context, time.Duration) error { return nil }

// endMarked does nothing: what carries a token is not found on this system. The
// guards of workers end them.
func endMarked(string, time.Duration) error { return nil }
