package jobdb_test

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gorunner/gorunner/execution/journal/jobdb"
	"github.com/gorunner/gorunner/shuffle/segment/segmenttest"
)

// A database is of one plan, and of one process at a time. Each that opens it is
// told that it is another.
func TestOpenAgain(t *testing.T) {
	fs := vfs.NewMem()
	params := func(plan string) jobdb.Params {
		return jobdb.Params{Dir: "job", Plan: plan, FS: fs, Files: segmenttest.Files{FS: fs}}
	}
	for epoch := uint64(1); epoch < 4; epoch++ {
		d, err := jobdb.Open(params("a plan"))
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Epoch(); got != epoch {
			t.Errorf("epoch %d, want %d", got, epoch)
		}
		if second, err := jobdb.Open(params("a plan")); err == nil {
			t.Errorf("it was opened twice: %v", second.Close())
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := jobdb.Open(params("another plan")); !errors.Is(err, jobdb.ErrPlan) {
		t.Errorf("opened with another plan: %v", err)
	}
}
