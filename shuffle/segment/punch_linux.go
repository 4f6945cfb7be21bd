package segment

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Punch makes a hole in the file.
func (f file) Punch(at, n int64) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = unix.Fallocate(int(fd), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, n)
	})
	return errors.Join(err, failed)
}
