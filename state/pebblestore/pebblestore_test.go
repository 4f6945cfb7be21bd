package pebblestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"

	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
	"github.com/gorunner/gorunner/state/pebblestore"
	"github.com/gorunner/gorunner/state/statetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestContract checks the contract over a table, whatever stays in memory.
func TestContract(t *testing.T) {
	for name, limit := range map[string]int64{"nothing": 0, "little": 4 << 10, "most": 100 << 10} {
		t.Run(name, func(t *testing.T) {
			statetest.TestStore(t, func() state.Store {
				return store(limit, pebblestore.Params{FS: vfs.NewMem(), Dir: "state"})
			})
		})
	}
}

func store(limit int64, p pebblestore.Params) *state.Cache {
	return state.New(state.Params{
		Over:       func(used int64) bool { return used > limit },
		BatchBytes: 4 << 10,
		LoadBytes:  4 << 10,
		Open: func() (state.Table, error) {
			t, err := pebblestore.Open(p)
			if err != nil {
				return nil, err
			}
			return t, nil
		},
	})
}

// fill writes cells until the store fails or has so many bytes.
func fill(s state.Store, size int) error {
	source := rand.NewChaCha8([32]byte{})
	value := make([]byte, 1000)
	for i := range size / len(value) {
		txn := s.Begin()
		_, _ = source.Read(value)
		if err := txn.Append(state.Cell{State: "s", Key: fmt.Sprint(i)}, "", value); err != nil {
			return err
		}
		if err := txn.Settle(); err != nil {
			return err
		}
		if err := txn.Apply(0); err != nil {
			return err
		}
	}
	return nil
}

// TestFiles shows what is on disk, what it says of it, and that nothing is left.
func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "job", "state")
	memory, disk := shuffle.NewBudget(nil, 0), shuffle.NewBudget(nil, 0)
	s := store(10_000, pebblestore.Params{Dir: dir, Memory: memory.Account("state"), Disk: disk.Account("state")})
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is there before it is needed: %v", err)
	}
	if err := fill(s, 10<<20); err != nil {
		t.Fatal(err)
	}
	var size int64
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			size += info.Size()
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) { // files come and go
		t.Fatal(err)
	}
	if used := disk.Used(); used < 1<<20 || size < 1<<20 {
		t.Errorf("%d bytes are said to be on disk, %d are", used, size)
	}
	if used := memory.Used(); used < 8<<20 {
		t.Errorf("it says to take %d bytes of memory", used)
	}
	txn := s.Begin()
	for i := range 10_000 {
		got, err := state.Get(txn, state.Cell{State: "s", Key: fmt.Sprint(i)}, "")
		if err != nil || len(bytes.Join(got, nil)) != 1000 {
			t.Fatalf("cell %d: %d pieces, error %v", i, len(got), err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
	if m, d := memory.Used(), disk.Used(); m != 0 || d != 0 {
		t.Errorf("%d bytes of memory and %d of disk are in use after the end", m, d)
	}
}

// TestDiskFails lets the disk fail from some operation on: the store says so, and
// can be closed.
func TestDiskFails(t *testing.T) {
	failing := map[string]struct {
		kinds []errorfs.OpKind
		err   error
		want  string
	}{
		"full":          {[]errorfs.OpKind{errorfs.OpFileWrite}, syscall.ENOSPC, "the disk is full"},
		"not made":      {[]errorfs.OpKind{errorfs.OpCreate, errorfs.OpRename}, syscall.EIO, "input/output error"},
		"not readable":  {[]errorfs.OpKind{errorfs.OpFileReadAt, errorfs.OpFileRead}, syscall.EIO, ""},
		"not to open":   {[]errorfs.OpKind{errorfs.OpOpen}, syscall.EIO, ""},
		"nothing works": {[]errorfs.OpKind{errorfs.OpCreate, errorfs.OpOpen, errorfs.OpFileWrite, errorfs.OpRemove, errorfs.OpFileReadAt}, syscall.EIO, ""},
	}
	for name, f := range failing {
		t.Run(name, func(t *testing.T) {
			for _, after := range []int64{0, 1, 3, 10, 30, 100} {
				var left atomic.Int64
				left.Store(after)
				var on atomic.Bool
				on.Store(true)
				fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
					for _, kind := range f.kinds {
						if op.Kind == kind && on.Load() && left.Add(-1) < 0 {
							return &os.PathError{Op: "test", Path: op.Path, Err: f.err}
						}
					}
					return nil
				}))
				s := store(10_000, pebblestore.Params{FS: fs, Dir: "state"})
				err := fill(s, 4<<20)
				if err == nil {
					txn := s.Begin()
					for i := 0; i < 4000 && err == nil; i++ {
						_, err = state.Get(txn, state.Cell{State: "s", Key: fmt.Sprint(i)}, "")
					}
				}
				if err != nil && (!errors.Is(err, shuffle.ErrDisk) || !strings.Contains(err.Error(), f.want)) {
					t.Errorf("after %d: got error %v", after, err)
				}
				if err == nil && after == 0 {
					t.Error("nothing failed")
				}
				on.Store(false)
				_ = s.Close()
				if _, err := fs.Stat("state"); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("after %d: the directory is left: %v", after, err)
				}
			}
		})
	}
}
