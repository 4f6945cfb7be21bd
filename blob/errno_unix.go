//go:build unix

package blob

import (
	"errors"
	"io/fs"
	"syscall"
)

// isPermanentErrno reports whether only a person can change what the file system
// has refused. A full disk is not among that: objects are deleted all the time.
func isPermanentErrno(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR)
}

// notDir says that what would lie below a file does not exist.
func notDir(err error) error {
	if errors.Is(err, syscall.ENOTDIR) {
		return fs.ErrNotExist
	}
	return err
}
