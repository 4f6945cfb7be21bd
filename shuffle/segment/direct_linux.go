package segment

import (
	"os"

	"golang.org/x/sys/unix"
)

// openDirect opens a file for writing past the system's cache; nil if its file
// system does not know how.
func openDirect(path string) *os.File {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil
	}
	return f
}
