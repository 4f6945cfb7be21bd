// Package machine says how much of memory and disk there is for this process.
package machine

import (
	"bufio"
	"bytes"
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

// Memory is the bytes of memory that the process may use: those of the machine,
// or what its control group allows if that is less. It is 0 if nobody knows.
func Memory() int64 { return memory(os.DirFS("/")) }

// memory reads it from a file system with Linux' /proc and /sys.
func memory(root fs.FS) int64 {
	limit := int64(math.MaxInt64)
	if total := physical(root); total > 0 {
		limit = total
	}
	for _, file := range groupLimits(root) {
		text, err := fs.ReadFile(root, file)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64); err == nil && n > 0 { // else "max"
			limit = min(limit, n)
		}
	}
	if limit == math.MaxInt64 {
		return 0
	}
	return limit
}

// physical is the memory of the machine.
func physical(root fs.FS) int64 {
	text, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "MemTotal:" && fields[2] == "kB" {
			if n, err := strconv.ParseInt(fields[1], 10, 54); err == nil {
				return n << 10
			}
		}
	}
	return 0
}

// groupLimits are the files that may hold limits of the process' control group,
// and of those above it, in either version of control groups. Within a container
// the process often sees its own group as the root.
func groupLimits(root fs.FS) (files []string) {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return nil
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		parts := strings.SplitN(lines.Text(), ":", 3)
		if len(parts) != 3 {
			continue
		}
		mount, name := "sys/fs/cgroup", "memory.max"
		switch {
		case parts[1] == "memory":
			mount, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		case parts[1] != "":
			continue
		}
		for group := path.Clean("/" + parts[2]); ; group = path.Dir(group) {
			files = append(files, path.Join(mount, group, name))
			if group == "/" {
				break
			}
		}
	}
	return files
}
