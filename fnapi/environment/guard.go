package environment

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// guard is a small process that ends a worker when this process dies without
// having done so, be it by SIGKILL: it then reads the end of a pipe, on which
// otherwise it is told to go. It is there before the worker, so that at no time
// a worker is without one.
type guard struct {
	cmd  *exec.Cmd
	tell io.WriteCloser
}

// processGuard ends the processes whose environment holds $1, gently for up to
// $2 seconds, and removes the directory $3. It is first told the worker's
// process group, which stands in where the system does not show the
// environments of processes, and then to go. If it never learns the group, the
// worker may be about to start.
const processGuard = `
read -r group && read -r _ && exit 0
left() {
	if [ -e /proc/self/environ ]; then
		for p in $(grep -lF -e "$1" /proc/[0-9]*/environ 2>/dev/null); do
			p=${p#/proc/}
			echo "${p%/environ}"
		done
	elif [ -n "$group" ] && kill -s 0 -- "-$group" 2>/dev/null; then
		echo "-$group"
	fi
}
signal() { for p in $(left "$2"); do kill -s "$1" -- "$p" 2>/dev/null; done; }
[ -n "$group" ] || sleep 1
signal TERM "$1"
i=0
while [ "$i" -lt "$2" ] && [ -n "$(left "$1")" ]; do sleep 1; i=$((i + 1)); done
signal KILL "$1"
rm -rf -- "$3"`

// containerGuard removes a container by a command. The container may be about
// to start.
const containerGuard = `
read -r _ && read -r _ && exit 0
for i in 1 2 3 4 5; do "$@"; sleep 1; done >/dev/null 2>&1`

func guardProcess(token string, grace time.Duration, dir string) (*guard, error) {
	return startGuard(processGuard, tokenVariable+"="+token, strconv.Itoa(int(grace/time.Second)+1), dir)
}

func guardContainer(remove ...string) (*guard, error) { return startGuard(containerGuard, remove...) }

func startGuard(script string, args ...string) (*guard, error) {
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, args...)...)
	// Out of the way of what would be unmounted, and of the terminal's signals.
	cmd.Dir = string(os.PathSeparator)
	cmd.SysProcAttr = ownGroup()
	tell, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		_ = tell.Close() // nobody reads it
		return nil, err
	}
	return &guard{cmd: cmd, tell: tell}, nil
}

// watch tells the guard the worker's process group. A nil guard is fine.
func (g *guard) watch(group int) error {
	if g == nil {
		return nil
	}
	_, err := fmt.Fprintln(g.tell, group)
	return err
}

// release ends a guard that is no longer needed. A nil guard is fine.
func (g *guard) release() {
	if g == nil {
		return
	}
	// Two lines, in case it waits for the group yet.
	if _, err := io.WriteString(g.tell, "\n\n"); err != nil {
		// It must not take the end of the pipe for our death.
		_ = g.cmd.Process.Kill()
	}
	_ = g.tell.Close() // the lines before have told it
	_ = g.cmd.Wait()   // whatever its status: it is gone
}
