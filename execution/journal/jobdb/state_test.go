package jobdb_test

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
	"github.com/gorunner/gorunner/shuffle/segment/segmenttest"
	"github.com/gorunner/gorunner/state"
)

// Rows of state are committed with the rest, and apart from it, whatever their
// keys.
func TestStateIsCommittedWithTheRest(t *testing.T) {
	fs := vfs.NewMem()
	open := func() *jobdb.DB {
		d, err := jobdb.Open(jobdb.Params{Dir: "job", FS: fs, Files: segmenttest.Files{FS: fs}})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := open()
	own := &state.Changes{}
	for _, key := range []string{"", "b", "d", "\xff", "gone", "gone too"} {
		own.Set([]byte(key), []byte("value of "+key))
	}
	own.Delete([]byte("gone"))
	own.DeleteRange([]byte("gone "), []byte("gone z"))
	seq, err := d.Append(t.Context(), &journal.Commit{
		State:  own,
		Queued: []journal.Block{{Group: element.Unkeyed, Due: element.MinTime, Block: element.Block{Number: 1, Count: 1, Data: []byte("x")}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Wait(t.Context(), seq); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		rows, err := d.State().Rows(nil, []byte("a"), nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for err = rows.Seek([]byte("a")); err == nil && rows.Key() != nil; err = rows.Next() {
			value, err := rows.Value()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%q=%q", rows.Key(), value))
		}
		if want := `["b"="value of b" "d"="value of d" "\xff"="value of \xff"]`; err != nil || fmt.Sprint(got) != want {
			t.Errorf("got rows %v, want %s, error %v", got, want, err)
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		d = open()
		if n := len(d.Image().Queued); n != 1 {
			t.Errorf("%d blocks", n)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
