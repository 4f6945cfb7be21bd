// Package invariants states what the code believes to be true and stops a job
// when it is not.
//
// Assert panics with a [*Violation]. The panic crosses the code that holds the
// broken state, which must not go on, and is recovered at one place, the job
// boundary, which fails the job and leaves the process and its other jobs alone:
//
//	func (d *driver) run() (err error) {
//		defer func() { err = invariants.Recover(recover(), err) }()
//		...
//	}
//
// Assertions are compiled in under the race detector and with the build tag
// "invariants"; otherwise [Enabled] is the constant false and Assert does
// nothing. Its arguments are evaluated all the same, so an expensive condition
// stands behind the constant, and the compiler then removes it:
//
//	if invariants.Enabled {
//		invariants.Assert(q.recount() == q.bytes, "queue %s: counted %d bytes", q.id, q.bytes)
//	}
//
// Bad input, an SDK that fails and I/O are errors, never assertions. Where going
// on would lose or duplicate data, use [Failf], which is there in every build.
//
// All functions may be called from any goroutine.
package invariants

import (
	"fmt"
	"runtime/debug"
)

// Violation is what a broken invariant panics with.
type Violation struct {
	// Message says which invariant is broken, and of what.
	Message string
	// Stack is the stack of the goroutine that found it.
	Stack []byte
}

// Error returns the message without the stack, to fit one line of a log.
func (v *Violation) Error() string {
	return "broken invariant: " + v.Message
}

// Assert panics with a [*Violation] if cond is false and assertions are compiled in.
func Assert(cond bool, format string, args ...any) {
	if Enabled && !cond {
		Failf(format, args...)
	}
}

// Failf panics with a [*Violation] in every build.
func Failf(format string, args ...any) {
	panic(&Violation{Message: fmt.Sprintf(format, args...), Stack: debug.Stack()})
}

// Recover turns the value that a deferred function got from recover into the
// error of the surrounding function, which was about to return err. Without a
// panic that is err; a violation takes its place. A panic that is not a
// violation goes on, for nothing is known about what it left behind.
func Recover(recovered any, err error) error {
	switch v := recovered.(type) {
	case nil:
		return err
	case *Violation:
		return v
	default:
		panic(v)
	}
}
