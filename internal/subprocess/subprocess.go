//go:build linux

// Package subprocess runs a server as a process of its own and watches what it
// consumes. The conformance suites and the benchmarks start runners with it.
//
// A [Process] has a process group of its own, so that stopping it takes its
// children along. Its methods may be called from any goroutine.
//
//	p, err := subprocess.Start(ctx, subprocess.Spec{Path: bin, Args: args, Addr: addr})
//	if err != nil { ... }
//	defer p.Stop()
package subprocess

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// The defaults of a [Spec].
const (
	DefaultReadyTimeout = 30 * time.Second
	DefaultGrace        = 5 * time.Second
)

// readyInterval is how often a starting server is tried.
const readyInterval = 20 * time.Millisecond

// Spec says what to start.
type Spec struct {
	Path string
	Args []string
	// Env is added to the environment of this process.
	Env []string
	// Dir is the working directory; empty is that of this process.
	Dir string
	// Log is the file that takes standard output and standard error; empty
	// throws both away.
	Log string
	// Addr is the address that accepts connections once the server is ready.
	Addr string
	// ReadyTimeout limits the wait for Addr, Grace the time between asking the
	// process to end and killing it.
	ReadyTimeout, Grace time.Duration
}

// Process is a running server.
type Process struct {
	spec Spec
	cmd  *exec.Cmd
	done chan struct{}
	err  error // written before done is closed
}

// Start starts the server and returns once it accepts connections.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	if spec.ReadyTimeout == 0 {
		spec.ReadyTimeout = DefaultReadyTimeout
	}
	if spec.Grace == 0 {
		spec.Grace = DefaultGrace
	}
	p := &Process{spec: spec, done: make(chan struct{})}
	// Not CommandContext: it would kill the process alone, not its group.
	p.cmd = exec.Command(spec.Path, spec.Args...)
	p.cmd.Dir = spec.Dir
	p.cmd.Env = append(os.Environ(), spec.Env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Path, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if err := p.waitReady(ctx); err != nil {
		stopErr := p.Stop()
		return nil, errors.Join(fmt.Errorf("wait for %s at %s (log %q): %w", spec.Path, spec.Addr, spec.Log, err), stopErr)
	}
	return p, nil
}

func (p *Process) start() error {
	if p.spec.Log == "" {
		return p.cmd.Start()
	}
	log, err := os.Create(p.spec.Log)
	if err != nil {
		return err
	}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	return errors.Join(p.cmd.Start(), log.Close())
}

func (p *Process) waitReady(ctx context.Context) error {
	if p.spec.Addr == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.spec.ReadyTimeout)
	defer cancel()
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "tcp", p.spec.Addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("it exited: %w", errOrExit(p.err))
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

func errOrExit(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// PID returns the process id, which is also that of its group.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop ends the process and its group: it asks, waits for the grace time and
// kills what is left. Stopping twice is harmless.
func (p *Process) Stop() error {
	select {
	case <-p.done:
	default:
		if err := p.signal(syscall.SIGTERM); err != nil {
			return err
		}
		select {
		case <-p.done:
		case <-time.After(p.spec.Grace):
		}
	}
	// Children may outlive a process that ended well.
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

func (p *Process) signal(sig syscall.Signal) error {
	err := syscall.Kill(-p.PID(), sig)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %v to process group %d: %w", sig, p.PID(), err)
	}
	return nil
}

// FreeAddr returns an address of the loopback interface that nobody listens
// on. Somebody else may take it before the caller does: ports are not reserved.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("look for a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Port returns the port of an address that [FreeAddr] returned.
func Port(addr string) (int, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, fmt.Errorf("port of %q: %w", addr, err)
	}
	return strconv.Atoi(port)
}
