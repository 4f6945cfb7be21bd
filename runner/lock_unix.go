//go:build unix

package runner

import (
	"os"
	"syscall"
)

// locks says whether lock does anything.
const locks = true

// lock takes the file for this process, or fails if another one has it. The
// lock ends with the process, however that ends.
func lock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
