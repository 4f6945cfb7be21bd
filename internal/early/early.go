//go:build unix

// Package early does what has to be done before anything else of the process is
// initialized: it opens the port of the Job API, and restarts a server with timers
// that are less exact.
//
// An SDK that starts the runner itself connects within a few milliseconds. If
// nobody listens then, its gRPC library tries again after a second, which is as
// long as the whole of a small pipeline takes. Initializing packages takes 5 ms:
// too long. A socket that listens is enough, because connections wait in it until
// they are accepted.
//
// Go initializes packages in the order of their import paths, each after its
// imports. This one is among the first as long as it imports nothing but what
// package os needs anyway; net, above all, would make it one of the last.
package early

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// opened is the socket that listens; its use is that it is made in time.
//
//nolint:gochecknoglobals // nothing of main runs early enough
var opened = begin(os.Args[1:])

// socket listens at a port of the loopback address.
type socket struct {
	port, fd int
	file     *os.File
}

// restarted is the environment variable of a process that has restarted itself. It
// says which file is the socket that it had opened, if it had.
const restarted = "GORUNNER_RESTARTED"

// begin opens the port that the arguments say. A server restarts on the way.
func begin(args []string) *socket {
	port := jobPort(args)
	if fd, again := os.LookupEnv(restarted); again {
		_ = os.Unsetenv(restarted) // what this process starts is not concerned
		return inherited(fd, port)
	}
	s := open(port)
	if port != 0 || len(args) > 0 && args[0] == "serve" {
		restart(s)
	}
	return s
}

// inherited is the socket that the process had opened before it was restarted; nil
// if fd is none that listens at the port.
func inherited(fd string, port int) *socket {
	n, err := strconv.Atoi(fd)
	if err != nil || port == 0 {
		return nil
	}
	at, err := syscall.Getsockname(n)
	if at, ok := at.(*syscall.SockaddrInet4); err != nil || !ok || at.Port != port {
		return nil
	}
	syscall.CloseOnExec(n)
	return newSocket(port, n)
}

func newSocket(port, fd int) *socket {
	return &socket{port: port, fd: fd, file: os.NewFile(uintptr(fd), "job port")}
}

// Take returns the socket that listens at the port of 127.0.0.1, nil if there is
// none. It is the caller's from then on.
func Take(port int) *os.File {
	if opened == nil || opened.port != port {
		return nil
	}
	file := opened.file
	opened = nil
	return file
}

// jobPort finds the port in the command line with which SDKs start a runner; it
// is 0 if there is none, or one that is not to be used so early.
func jobPort(args []string) int {
	port := 0
	for i, arg := range args {
		name, value, ok := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if name != "job_port" || arg[0] != '-' {
			continue
		}
		if !ok && i+1 < len(args) {
			value = args[i+1]
		}
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return 0 // main says what is wrong with it
		}
		port = int(n)
	}
	return port
}

// open listens at the port. It returns nil if that cannot be done: main tries
// again, and says why.
func open(port int) *socket {
	if port == 0 {
		return nil
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil
	}
	syscall.CloseOnExec(fd)
	if listen(fd, port) != nil {
		_ = syscall.Close(fd) // it never was of use
		return nil
	}
	return newSocket(port, fd)
}

func listen(fd, port int) error {
	// As net does, so that a port that was in use a moment ago is free.
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	return syscall.Listen(fd, syscall.SOMAXCONN)
}
