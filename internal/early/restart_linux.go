package early

import (
	"os"
	"strconv"
	"syscall"
)

// timerSlack is by how many nanoseconds a wait may exceed its time; the system's
// default is a twentieth of that.
//
// Go's runtime waits for 3 us before it takes work from a thread that is about to
// do it, and its monitor for 20 us between two looks while anything runs. A runner
// wakes up with every message, and most of what it did was this waiting, which
// takes the processor more than a microsecond's work each time: with bundles of one
// element 30 % of its time, and with state requests half of it. No option of the
// runtime says otherwise, and no thread may set the slack of another without
// privileges; but threads have it from those that start them, and from before they
// executed the program. Nothing that a runner waits for needs to be more exact.
const timerSlack = 1_000_000

// restart executes the program anew, with another timer slack and the socket that
// was opened, unless it has that slack already. If this cannot be done nothing is
// lost but time.
func restart(s *socket) {
	slack, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_GET_TIMERSLACK, 0, 0)
	if errno != 0 || slack >= timerSlack {
		return
	}
	path, err := os.Executable()
	if err != nil {
		return
	}
	if _, _, errno = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_TIMERSLACK, timerSlack, 0); errno != 0 {
		return
	}
	fd := ""
	if s != nil {
		fd = strconv.Itoa(s.fd)
		if _, _, errno = syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(s.fd), syscall.F_SETFD, 0); errno != 0 {
			return
		}
	}
	_ = syscall.Exec(path, os.Args, append(os.Environ(), restarted+"="+fd))
	if s != nil {
		syscall.CloseOnExec(s.fd)
	}
}
