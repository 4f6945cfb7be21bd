//go:build !unix

package blob

func isPermanentErrno(error) bool { return false }

func notDir(err error) error { return err }
