//go:build linux

package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// Descendants returns the processes that a process has started, and those that
// they have started, in the order of their numbers.
func Descendants(pid int) []int {
	children := map[int][]int{}
	for _, child := range processes() {
		if ppid, alive := parent(child); alive {
			children[ppid] = append(children[ppid], child)
		}
	}
	found := slices.Clone(children[pid])
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	slices.Sort(found)
	return found
}

// Marked returns the living processes whose environment has the variable with the
// value. Children inherit it, so none is overlooked whose parent has died.
func Marked(name, value string) []int {
	mark := []byte(name + "=" + value)
	var found []int
	for _, pid := range processes() {
		// What cannot be read has ended, or belongs to somebody else.
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || !slices.ContainsFunc(bytes.Split(text, []byte{0}), func(v []byte) bool { return bytes.Equal(v, mark) }) {
			continue
		}
		if _, alive := parent(pid); alive {
			found = append(found, pid)
		}
	}
	return found
}

// KillProcess kills a process that may have ended already.
func KillProcess(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	return nil
}

func processes() []int {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil // the pattern is good
	}
	var pids []int
	for _, dir := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// parent returns the parent of a process and whether it is alive: a zombie is not.
func parent(pid int) (ppid int, alive bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The name, in parentheses, may hold anything.
	rest := stat[bytes.LastIndexByte(stat, ')')+1:]
	var state string
	if _, err := fmt.Sscan(string(rest), &state, &ppid); err != nil {
		return 0, false
	}
	return ppid, state != "Z"
}
