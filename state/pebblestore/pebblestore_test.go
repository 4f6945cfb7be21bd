package pebblestore_test

import (
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/state"
	"github.com/gorunner/gorunner/state/pebblestore"
	"github.com/gorunner/gorunner/state/statetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestContract checks the contract over a table, whatever stays in memory.
func TestContract(t *testing.T) {
	for name, limit := range map[string]int64{"nothing": 0, "little": 4 << 10, "most": 100 << 10} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			statetest.TestStore(t, func() state.Store {
				dir := t.TempDir()
				n.Add(1)
				return state.New(state.Params{
					Over:       func(used int64) bool { return used > limit },
					BatchBytes: 1 << 10,
					LoadBytes:  1 << 10,
					Open:       func() (state.Table, error) { return pebblestore.Open(pebblestore.Params{Dir: dir}) },
				})
			})
		})
	}
	_ = rapid.Check
}
