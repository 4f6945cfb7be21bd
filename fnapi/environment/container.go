package environment

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// containerSemiPersistDir is where boot programs stage artifacts inside a
// container; it goes with the container.
const containerSemiPersistDir = "/tmp"

// engine runs subcommands of a container engine.
type engine struct {
	path string
	args []string
	// limit bounds a subcommand.
	limit time.Duration
}

func newEngine(o Options) (engine, error) {
	path, err := executable(o.ContainerEngine[0])
	if err != nil {
		return engine{}, fmt.Errorf("container engine %q cannot be run; install it, or set the container engine to another's command: %w",
			strings.Join(o.ContainerEngine, " "), err)
	}
	return engine{path: path, args: o.ContainerEngine[1:], limit: o.KillWait}, nil
}

// command returns the whole command of a subcommand.
func (e engine) command(args ...string) []string {
	return slices.Concat([]string{e.path}, e.args, args)
}

// run executes a subcommand; the error holds what it printed.
func (e engine) run(ctx context.Context, args ...string) error {
	command := e.command(args...)
	var printed bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = &printed, &printed
	cmd.WaitDelay = e.limit
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, bytes.TrimSpace(printed.Bytes()))
	}
	return nil
}

// contained is a worker in a container. Its child is the engine's client, which
// lives as long as the container.
type contained struct {
	*child
	engine engine
	name   string
}

func (l *Launcher) startContainer(ctx context.Context, launch Launch, where container) (Process, error) {
	engine, err := newEngine(l.options)
	if err != nil {
		return nil, err
	}
	name := "gorunner-" + fileName(launch.WorkerID) + "-" + strings.ToLower(rand.Text()[:8])
	unrecord, err := writeRecord(launch, record{Container: name})
	if err != nil {
		return nil, err
	}
	run := []string{"run", "--rm", "--network=host", "--name", name}
	// Before the user's arguments, which so override them.
	for _, setting := range l.options.goSettings(launch.Environment, func(string) bool { return false }) {
		run = append(run, "--env="+setting)
	}
	args := slices.Concat(
		run,
		l.options.ContainerRunArgs,
		[]string{where.image},
		bootFlags(launch, containerSemiPersistDir),
	)
	command := engine.command(args...)
	c, err := startChild(ctx, childParams{
		launch:  launch,
		options: l.options,
		command: where.String() + " (" + strings.Join(l.options.ContainerEngine, " ") + ")",
		cmd:     exec.Command(command[0], command[1:]...),
		// No token: the engine may leave processes of its own to tidy up.
		token: "",
		guard: func() (*guard, error) { return guardContainer(engine.command("rm", "--force", name)...) },
		// The client may have been killed, or have lost its engine.
		cleanup: func(ctx context.Context) error { return errors.Join(engine.remove(ctx, name), unrecord()) },
	})
	if err != nil {
		return nil, errors.Join(err, unrecord())
	}
	return &contained{child: c, engine: engine, name: name}, nil
}

// Stop asks the engine to stop the container, and ends the client then: the
// container may not be there yet, as long as the image is on its way.
func (c *contained) Stop(ctx context.Context) error {
	if c.beginStop() {
		c.stopContainer(ctx)
		c.terminate()
	}
	return c.awaitStop(ctx)
}

func (c *contained) stopContainer(ctx context.Context) {
	select {
	case <-c.done:
		return
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, c.grace+c.kill)
	defer cancel()
	seconds := strconv.Itoa(int((c.grace + time.Second - 1) / time.Second))
	if err := c.engine.run(ctx, "stop", "-t", seconds, c.name); err != nil {
		c.log.DebugContext(ctx, "the engine did not stop the container", "worker", c.worker, "container", c.name, "error", err)
	}
}

// remove removes a container that is left, and is content with none.
func (e engine) remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, e.limit)
	defer cancel()
	err := e.run(ctx, "rm", "--force", name)
	if err == nil || e.absent(ctx, name) {
		return nil
	}
	return fmt.Errorf("remove container %s: %w", name, err)
}

// absent says whether the engine knows of no such container. Engines differ in
// how they report that a container to remove is not there.
func (e engine) absent(ctx context.Context, name string) bool {
	command := e.command("ps", "--all", "--quiet", "--filter", "name=^"+name+"$")
	listed, err := exec.CommandContext(ctx, command[0], command[1:]...).Output()
	if err != nil {
		var exit *exec.ExitError
		// An engine that does not work has no containers to remove, or none that
		// could be removed; what it said first is in the worker's own output.
		return errors.As(err, &exit)
	}
	return len(bytes.TrimSpace(listed)) == 0
}
