//go:build linux

package subprocess

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU time in /proc: the kernel's interface fixes it
// at 100 a second, whatever the timer does.
const clockTick = 10 * time.Millisecond

// Usage is what a process has consumed so far.
type Usage struct {
	// CPU is user and system time of all its threads, children excluded.
	CPU time.Duration
	// RSS and PeakRSS are in bytes.
	RSS, PeakRSS int64
	// OpenFiles counts file descriptors.
	OpenFiles int
}

// Usage returns what the process has consumed. It fails once the process is gone.
func (p *Process) Usage() (Usage, error) { return UsageOf(p.PID()) }

// UsageOf returns what a process of this machine has consumed.
func UsageOf(pid int) (Usage, error) {
	var u Usage
	dir := fmt.Sprintf("/proc/%d", pid)
	stat, err1 := os.ReadFile(dir + "/stat")
	status, err2 := os.ReadFile(dir + "/status")
	files, err3 := os.ReadDir(dir + "/fd")
	err := errors.Join(err1, err2, err3)
	if err == nil {
		u.CPU, err = parseStat(stat)
	}
	if err == nil {
		err = parseStatus(status, &u)
	}
	if err != nil {
		return Usage{}, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	u.OpenFiles = len(files)
	return u, nil
}

// ResetPeakRSS makes the kernel measure the peak of resident memory anew.
func (p *Process) ResetPeakRSS() error {
	path := fmt.Sprintf("/proc/%d/clear_refs", p.PID())
	if err := os.WriteFile(path, []byte("5"), 0); err != nil {
		return fmt.Errorf("reset peak memory: %w", err)
	}
	return nil
}

// parseStat returns the CPU time from the text of /proc/PID/stat. The second
// field, the command, may hold spaces and parentheses.
func parseStat(text []byte) (time.Duration, error) {
	_, rest, ok := bytes.Cut(text[max(bytes.LastIndexByte(text, ')'), 0):], []byte(") "))
	fields := strings.Fields(string(rest))
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("stat has %d fields after the command: %q", len(fields), text)
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time in stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// parseStatus fills in the memory of u from the text of /proc/PID/status. A
// zombie has none.
func parseStatus(text []byte, u *Usage) error {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		var to *int64
		switch name {
		case "VmRSS":
			to = &u.RSS
		case "VmHWM":
			to = &u.PeakRSS
		default:
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return fmt.Errorf("%s in status: %w", name, err)
		}
		*to = kib << 10
	}
	return lines.Err()
}

// GroupCPU returns the CPU time of the processes of a group that live.
func GroupCPU(group int) (time.Duration, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	found := false
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil || !inGroup(text, group) {
			continue // it has ended meanwhile
		}
		cpu, err := parseStat(text)
		if err != nil {
			return 0, fmt.Errorf("usage of process group %d: %s: %w", group, name, err)
		}
		sum, found = sum+cpu, true
	}
	if !found {
		return 0, fmt.Errorf("usage of process group %d: it has no process", group)
	}
	return sum, nil
}

// inGroup says whether the process of which text is /proc/PID/stat is in the
// group.
func inGroup(text []byte, group int) bool {
	fields := strings.Fields(string(text[max(bytes.LastIndexByte(text, ')'), 0):]))
	return len(fields) > 3 && fields[3] == strconv.Itoa(group)
}
