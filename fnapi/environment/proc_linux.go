package environment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// proc is what the kernel tells about a process.
type proc struct {
	pid, parent, group int
	// start is the time of its start, in ticks since the machine's.
	start uint64
	// ended is true of a process that only its parent has yet to take note of.
	ended bool
}

// processes returns the processes of the machine by their id. Those that ended
// are among them only where they have not ended altogether: see proc.ended.
func processes() map[int]proc {
	procs := map[int]proc{}
	dir, err := os.Open("/proc")
	if err != nil {
		return procs
	}
	defer func() { _ = dir.Close() }() // only read from
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return procs
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, ok := readProc(pid); ok {
			procs[pid] = p
		}
	}
	return procs
}

func readProc(pid int) (proc, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return proc{}, false
	}
	return parseStat(pid, string(data))
}

// parseStat parses a line of /proc/PID/stat. The program's name in it may hold
// anything, parentheses and blanks included: the fields begin after the last
// parenthesis.
func parseStat(pid int, line string) (proc, bool) {
	end := strings.LastIndexByte(line, ')')
	if end < 0 {
		return proc{}, false
	}
	// Counted from the field after the name: state, parent, group, and the
	// start as number 19.
	fields := strings.Fields(line[end+1:])
	if len(fields) < 20 {
		return proc{}, false
	}
	parent, err1 := strconv.Atoi(fields[1])
	group, err2 := strconv.Atoi(fields[2])
	start, err3 := strconv.ParseUint(fields[19], 10, 64)
	if errors.Join(err1, err2, err3) != nil {
		return proc{}, false
	}
	ended := fields[0] == "Z" || fields[0] == "X"
	return proc{pid: pid, parent: parent, group: group, start: start, ended: ended}, true
}

// marked says whether the environment with which a process was started holds
// the token.
func marked(pid int, token string) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false // another user's, or gone
	}
	want := []byte(tokenVariable + "=" + token)
	for entry := range bytes.SplitSeq(data, []byte{0}) {
		if bytes.Equal(entry, want) {
			return true
		}
	}
	return false
}

// handle refers to a process, and never to a later one with the same id.
type handle struct {
	pid   int
	start uint64
	// file is the process's descriptor; nil where the kernel has none.
	file *os.File
}

func (h *handle) alive() bool {
	p, ok := readProc(h.pid)
	return ok && p.start == h.start && !p.ended
}

func (h *handle) close() {
	if h.file != nil {
		_ = h.file.Close() // never written to
	}
}

// signal sends a signal to the process, if it is still there.
func (h *handle) signal(sig syscall.Signal) error {
	var err error
	switch {
	case h.file != nil:
		err = h.control(func(fd int) error { return unix.PidfdSendSignal(fd, sig, nil, 0) })
	case h.alive():
		err = syscall.Kill(h.pid, sig)
	}
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

func (h *handle) control(f func(fd int) error) error {
	conn, err := h.file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := conn.Control(func(fd uintptr) { result = f(int(fd)) }); err != nil {
		return err
	}
	return result
}

// awaitPause is how often a process is looked at where the kernel cannot tell
// of its end.
const awaitPause = 20 * time.Millisecond

// await returns nil when the process has ended.
func (h *handle) await(ctx context.Context) error {
	if h.file == nil {
		return h.awaitPolling(ctx)
	}
	conn, err := h.file.SyscallConn()
	if err != nil {
		return err
	}
	// The descriptor becomes readable when the process ends.
	defer context.AfterFunc(ctx, func() { _ = h.file.SetReadDeadline(past()) })()
	err = conn.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	return err
}

func (h *handle) awaitPolling(ctx context.Context) error {
	tick := time.NewTicker(awaitPause)
	defer tick.Stop()
	for h.alive() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
