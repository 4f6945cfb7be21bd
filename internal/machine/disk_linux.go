package machine

import "syscall"

// The types of file systems that lie in memory.
const (
	tmpfs = 0x01021994
	ramfs = 0x858458f6
)

// FreeDisk is the bytes that may be written to files in a directory; ok is false
// if nobody knows.
func FreeDisk(dir string) (free int64, ok bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * s.Bsize, true
}

// InMemory says whether files in a directory lie in memory.
func InMemory(dir string) bool {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return false
	}
	t := uint32(s.Type) //nolint:gosec // that is what it is, in a word
	return t == tmpfs || t == ramfs
}
