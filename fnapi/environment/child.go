package environment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gorunner/gorunner/execution/harness"
)

// ExitError says that a worker ended without having been stopped. It wraps
// harness.ErrWorkerLost.
type ExitError struct {
	Worker harness.WorkerID
	// Command names what was run.
	Command string
	// Status is the exit status in words.
	Status string
	// Tail holds the last lines that the worker printed.
	Tail []string
}

func (e *ExitError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "worker %s: %s ended: %s", e.Worker, e.Command, e.Status)
	if len(e.Tail) == 0 {
		b.WriteString("; it printed nothing")
		return b.String()
	}
	b.WriteString("; its last lines:")
	for _, line := range e.Tail {
		b.WriteString("\n\t")
		b.WriteString(line)
	}
	return b.String()
}

// Unwrap returns harness.ErrWorkerLost.
func (e *ExitError) Unwrap() error { return harness.ErrWorkerLost }

// child is an operating system process with all its descendants.
//
//	running --- Stop: SIGTERM to the group ---> stopping --- grace over: SIGKILL
//	   |                                            |
//	   +--------- the first process ends -----------+
//	                       v
//	       what is left of its descendants is killed
//	                       v
//	   reaped, output drained, cleanup, guard released --> done
type child struct {
	worker harness.WorkerID
	// command names the child in messages.
	command string
	cmd     *exec.Cmd
	tree    *tree
	out     *output
	guard   *guard
	log     *slog.Logger
	grace   time.Duration
	kill    time.Duration
	// cleanup removes what the child used; it runs before done is closed.
	cleanup func(context.Context) error
	// graceOver is called when the stragglers' time is over.
	graceOver context.CancelFunc

	done chan struct{}
	// err and stopErr are set before done is closed.
	err, stopErr error

	mu sync.Mutex
	// stopping is set by the first Stop; reaped once the process id, and with
	// it the group's, may belong to somebody else. Guarded by mu.
	stopping, reaped bool
}

// childParams say how to start a child.
type childParams struct {
	launch  Launch
	options Options
	command string
	cmd     *exec.Cmd
	// token marks the child's descendants by an environment variable; empty for
	// none: then only the child's process group is ended with it.
	token string
	// guard starts what ends the child when this process dies.
	guard   func() (*guard, error)
	cleanup func(context.Context) error
}

// startChild starts a process in a process group of its own. It outlives ctx.
func startChild(ctx context.Context, p childParams) (*child, error) {
	out, write, err := newOutput(p.launch.WorkerID, p.launch.Log, p.options)
	if err != nil {
		return nil, fmt.Errorf("%s: make a pipe for its output: %w", p.command, err)
	}
	guard, guardErr := p.guard()
	p.cmd.Stdout, p.cmd.Stderr = write, write
	p.cmd.SysProcAttr = ownGroup()
	err = p.cmd.Start()
	_ = write.Close() // the child has its own
	if err != nil {
		out.drain(ctx, 0)
		guard.release()
		return nil, fmt.Errorf("%s: %w", p.command, err)
	}
	c := &child{
		worker:  p.launch.WorkerID,
		command: p.command,
		cmd:     p.cmd,
		tree:    newTree(p.cmd.Process.Pid, p.token),
		out:     out,
		guard:   guard,
		log:     p.launch.Log,
		grace:   p.options.StopGrace,
		kill:    p.options.KillWait,
		cleanup: p.cleanup,
		done:    make(chan struct{}),
	}
	if err := errors.Join(guardErr, guard.watch(p.cmd.Process.Pid)); err != nil {
		// The guard is a second line of defence.
		c.log.Warn("the worker has no guard", "worker", c.worker, "error", err)
	}
	graceCtx, graceOver := context.WithCancel(context.WithoutCancel(ctx))
	c.graceOver = graceOver
	go c.run(graceCtx)
	return c, nil
}

// run waits for the child's end and puts everything away. stragglers ends when
// the descendants that outlive the first process are out of time.
func (c *child) run(stragglers context.Context) {
	defer close(c.done)
	defer c.graceOver()
	ctx := context.WithoutCancel(stragglers)
	looking := c.keepLooking(ctx)
	c.tree.awaitExit(c.cmd)
	looking()
	c.mu.Lock()
	stopped := c.stopping
	c.mu.Unlock()
	if !stopped {
		c.graceOver()
	}
	treeErr := c.tree.end(stragglers, c.kill)

	c.mu.Lock()
	c.reaped = true
	c.mu.Unlock()
	waitErr := c.tree.reap(c.cmd)
	c.out.drain(ctx, c.kill)
	c.stopErr = errors.Join(treeErr, c.cleanup(ctx))
	c.guard.release() // last: it would do what could not be done any more
	if c.stopErr != nil {
		c.stopErr = fmt.Errorf("worker %s: %s: %w", c.worker, c.command, c.stopErr)
		c.log.Warn("something of the worker is left behind", "worker", c.worker, "error", c.stopErr)
	}
	if !stopped {
		c.err = &ExitError{Worker: c.worker, Command: c.command, Status: exitStatus(waitErr), Tail: c.out.tail()}
	}
}

// keepLooking looks at the child's descendants a few times while they start,
// so that what they are is known if they die; the function that it returns
// ends that.
func (c *child) keepLooking(ctx context.Context) func() {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for _, pause := range []time.Duration{time.Second, 4 * time.Second, 25 * time.Second} {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
				c.tree.look()
			case <-ctx.Done():
				timer.Stop()
				return
			}
		}
	}()
	return func() {
		cancel()
		<-over
	}
}

func exitStatus(err error) string {
	if err == nil {
		return "exit status 0, though nobody stopped it"
	}
	return err.Error()
}

func (c *child) Done() <-chan struct{} { return c.done }

func (c *child) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

func (c *child) Tail() []string { return c.out.tail() }

func (c *child) Stop(ctx context.Context) error {
	if c.beginStop() {
		c.terminate()
	}
	return c.awaitStop(ctx)
}

// beginStop notes that the child's end is wanted; it is true once.
func (c *child) beginStop() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := !c.stopping
	c.stopping = true
	return first
}

// terminate asks the child to end.
func (c *child) terminate() {
	// Once their parents have ended, descendants cannot be told by descent.
	c.tree.look()
	c.signal(syscall.SIGTERM)
}

// awaitStop waits for the child's end, for as long as the grace lasts, and
// forces it then.
func (c *child) awaitStop(ctx context.Context) error {
	grace, cancel := context.WithTimeout(ctx, c.grace)
	defer cancel()
	select {
	case <-c.done:
	case <-grace.Done():
		c.graceOver()
		c.signal(syscall.SIGKILL)
		<-c.done // all that run does from here on has limits
	}
	return c.stopErr
}

// signal sends a signal to the process group, if it is still the child's.
func (c *child) signal(sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reaped {
		return
	}
	if err := signalGroup(c.cmd.Process, sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.log.Warn("cannot signal the worker", "worker", c.worker, "signal", sig, "error", err)
	}
}
