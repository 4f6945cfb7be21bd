package environment

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// findPythonClient finds the process of the user that listens at the address.
func findPythonClient(address string) (pythonClient, error) {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return pythonClient{}, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return pythonClient{}, fmt.Errorf("port %q is not a number", text)
	}
	pid := ownerOf(listeningSockets(uint16(port)))
	if pid == 0 {
		return pythonClient{}, errors.New("no process of this user listens there")
	}
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	line, err1 := os.ReadFile(filepath.Join(proc, "cmdline"))
	environ, err2 := os.ReadFile(filepath.Join(proc, "environ"))
	directory, err3 := os.Readlink(filepath.Join(proc, "cwd"))
	if err := errors.Join(err1, err2, err3); err != nil {
		return pythonClient{}, err
	}
	env := map[string]string{}
	for entry := range strings.SplitSeq(string(environ), "\x00") {
		if name, value, ok := strings.Cut(entry, "="); ok && name != "" {
			env[name] = value
		}
	}
	args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	return clientOf(args, directory, env, lookPath)
}

// lookPath finds a program on a path that need not be this process' own.
func lookPath(name, path string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		if file, err := executable(filepath.Join(dir, name)); err == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s is not on its path", name)
}

// listeningSockets returns the names, as /proc has them, of the TCP sockets that
// listen at the port.
func listeningSockets(port uint16) map[string]bool {
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		file, err := os.Open(table)
		if err != nil {
			continue // a machine without one of the two
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			const stateListen = "0A"
			// The local address is field 1, the state 3, the inode 9.
			fields := strings.Fields(lines.Text())
			if len(fields) > 9 && fields[3] == stateListen && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
				sockets["socket:["+fields[9]+"]"] = true
			}
		}
		_ = file.Close() // only read from
	}
	return sockets
}

// ownerOf returns a process that has one of the sockets, 0 if none is found.
func ownerOf(sockets map[string]bool) int {
	if len(sockets) == 0 {
		return 0
	}
	for pid := range processes() {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		files, err := os.ReadDir(dir)
		if err != nil {
			continue // another user's, or gone
		}
		for _, f := range files {
			if name, err := os.Readlink(filepath.Join(dir, f.Name())); err == nil && sockets[name] {
				return pid
			}
		}
	}
	return 0
}
