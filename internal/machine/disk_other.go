//go:build !linux

package machine

// FreeDisk is the bytes that may be written to files in a directory; ok is false
// if nobody knows.
func FreeDisk(string) (free int64, ok bool) { return 0, false }

// InMemory says whether files in a directory lie in memory.
func InMemory(string) bool { return false }
