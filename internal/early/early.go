//go:build unix

// Package early opens the port of the Job API before anything else of the
// process is initialized.
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
var opened = open(jobPort(os.Args[1:]))

// socket listens at a port of the loopback address.
type socket struct {
	port int
	file *os.File
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
	return &socket{port: port, file: os.NewFile(uintptr(fd), "job port")}
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
