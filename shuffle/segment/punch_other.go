//go:build !linux

package segment

import "errors"

// Punch leaves the file as it is: its space is given back as a whole.
func (f file) Punch(int64, int64) error { return errors.ErrUnsupported }
