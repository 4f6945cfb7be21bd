package workergc

import (
	"math"
	"os"
	"runtime/debug"
	"testing"

	"github.com/gorunner/gorunner/internal/machine"
)

func TestTune(t *testing.T) {
	gc, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(math.MaxInt64)
	defer func() {
		debug.SetGCPercent(gc)
		debug.SetMemoryLimit(limit)
	}()
	read := func() (int, int64) {
		n := debug.SetGCPercent(100)
		return n, debug.SetMemoryLimit(math.MaxInt64)
	}
	t.Setenv("GOGC", "100")
	t.Setenv("GOMEMLIMIT", "off")
	Tune()
	if n, limit := read(); n != 100 || limit != math.MaxInt64 {
		t.Errorf("the user's settings became %d %%, %d bytes", n, limit)
	}
	if err := os.Unsetenv("GOGC"); err != nil {
		t.Fatal(err)
	}
	if err := os.Unsetenv("GOMEMLIMIT"); err != nil {
		t.Fatal(err)
	}
	want := int64(math.MaxInt64)
	if memory := machine.Memory(); memory > 0 {
		want = memory / memoryShare
	}
	Tune()
	if n, limit := read(); n != percent || limit != want {
		t.Errorf("%d %%, %d bytes, want %d %%, %d", n, limit, percent, want)
	}
}
