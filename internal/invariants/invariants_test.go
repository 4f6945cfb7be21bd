package invariants_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gorunner/gorunner/internal/invariants"
)

var errOrdinary = errors.New("ordinary error")

// boundary is a job boundary in small: it runs f and turns a violation into its error.
func boundary(f func() error) (err error) {
	defer func() { err = invariants.Recover(recover(), err) }()
	return f()
}

func TestAssertStopsOnlyWhenEnabledAndFalse(t *testing.T) {
	for _, cond := range []bool{true, false} {
		err := boundary(func() error {
			invariants.Assert(cond, "queue %s holds %d bytes", "q1", -1)
			return nil
		})
		if got, want := err != nil, invariants.Enabled && !cond; got != want {
			t.Errorf("Assert(%v) with Enabled=%v: got error %v, want an error: %v", cond, invariants.Enabled, err, want)
		}
	}
}

func TestFailfInEveryBuild(t *testing.T) {
	err := boundary(func() error {
		invariants.Failf("queue %s holds %d bytes", "q1", -1)
		return errOrdinary
	})
	var violation *invariants.Violation
	if !errors.As(err, &violation) {
		t.Fatalf("got %v, want a violation", err)
	}
	if got, want := violation.Error(), "broken invariant: queue q1 holds -1 bytes"; got != want {
		t.Errorf("got message %q, want %q", got, want)
	}
	if !strings.Contains(string(violation.Stack), "TestFailfInEveryBuild") {
		t.Errorf("the stack does not lead to the caller:\n%s", violation.Stack)
	}
}

func TestRecoverKeepsOrdinaryErrors(t *testing.T) {
	if err := boundary(func() error { return errOrdinary }); !errors.Is(err, errOrdinary) {
		t.Errorf("got %v, want %v", err, errOrdinary)
	}
	if err := boundary(func() error { return nil }); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

func TestRecoverPassesForeignPanicsOn(t *testing.T) {
	defer func() {
		if got := recover(); got != "foreign" {
			t.Errorf("got panic %v, want the foreign one to go on", got)
		}
	}()
	err := boundary(func() error { panic("foreign") })
	t.Errorf("the foreign panic was swallowed; got error %v", err)
}
