package checkpoint

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sample() *Entry {
	return &Entry{
		Job: "job-7", Slot: 5, Epoch: 2, Kind: Savepoint, Runner: "host-1", Kept: []Slot{3, 4}, Plan: "0123",
		Files: []File{
			{Kind: Snapshot, Name: "scheduler", Size: 0, Sum: 1<<64 - 1, Blob: "data/0000000000000002/00000001-snapshot-scheduler"},
			{Kind: Table, Name: "000012.sst", Size: 1 << 40, Sum: 7, Blob: "data/0000000000000001/00000001-table-000012.sst"},
		},
	}
}

// The format is that of objects that are kept for years.
func TestFormat(t *testing.T) {
	const want = `gorunner-checkpoint 1 1cc6b2355f5cd3da
{
 "job": "job-7",
 "slot": 5,
 "epoch": 2,
 "kind": "savepoint",
 "runner": "host-1",
 "kept": [
  3,
  4
 ],
 "plan": "0123",
 "files": [
  {
   "kind": "snapshot",
   "name": "scheduler",
   "size": 0,
   "sum": "ffffffffffffffff",
   "blob": "data/0000000000000002/00000001-snapshot-scheduler"
  },
  {
   "kind": "table",
   "name": "000012.sst",
   "size": 1099511627776,
   "sum": "0000000000000007",
   "blob": "data/0000000000000001/00000001-table-000012.sst"
  }
 ]
}
`
	if diff := cmp.Diff(want, string(sample().Encode())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got, err := Decode([]byte(want), 5)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	whole := sample().Encode()
	for i := range whole {
		for what, b := range map[string][]byte{"cut": whole[:i], "flipped": flip(whole, i)} {
			if _, err := Decode(b, 5); err == nil {
				t.Errorf("%s at %d: no error", what, i)
			}
		}
	}
	for name, change := range map[string]func(*Entry){
		"another slot":       func(e *Entry) { e.Slot = 6 },
		"kind":               func(e *Entry) { e.Kind = "x" },
		"end with files":     func(e *Entry) { e.Kind = Ended },
		"claim with files":   func(e *Entry) { e.Kind, e.Epoch = Claim, 5 },
		"epoch to come":      func(e *Entry) { e.Epoch = 5 },
		"no epoch":           func(e *Entry) { e.Epoch = 0 },
		"kept in disorder":   func(e *Entry) { e.Kept = []Slot{4, 3} },
		"kept to come":       func(e *Entry) { e.Kept = []Slot{5} },
		"no snapshot":        func(e *Entry) { e.Files = e.Files[1:] },
		"two snapshots":      func(e *Entry) { e.Files[1].Kind = Snapshot },
		"file twice":         func(e *Entry) { e.Files = append(e.Files, e.Files[1]) },
		"file of no kind":    func(e *Entry) { e.Files[1].Kind = "" },
		"file with a path":   func(e *Entry) { e.Files[1].Name = "../x" },
		"file without place": func(e *Entry) { e.Files[1].Blob = "log/0000000000000001" },
		"size":               func(e *Entry) { e.Files[1].Size = -1 },
	} {
		e := sample()
		change(e)
		if _, err := Decode(e.Encode(), 5); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: got error %v", name, err)
		}
	}
	other := bytes.Replace(whole, []byte("gorunner-checkpoint 1 "), []byte("gorunner-checkpoint 2 "), 1)
	if _, err := Decode(other, 5); err == nil || errors.Is(err, ErrDamaged) || !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), `"2", want 1`) {
		t.Errorf("another version: got error %v", err)
	}
}

func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 0x20
	return b
}

func TestNames(t *testing.T) {
	for name, want := range map[BlobName]Slot{
		Slot(1).Blob(): 1, Slot(1<<64 - 1).Blob(): 1<<64 - 1,
		"log/": 0, "log/1": 0, "log/0000000000000000": 0, "log/000000000000000A": 0, "data/0000000000000001": 0, Latest: 0,
	} {
		if got, ok := SlotOf(name); got != want && ok || ok != (want > 0) {
			t.Errorf("%s: got slot %d, %v", name, got, ok)
		}
	}
	for _, slot := range []Slot{1, 17, 1 << 63} {
		if got, err := DecodeLatest(EncodeLatest(slot)); got != slot || err != nil {
			t.Errorf("latest %d: got %d, error %v", slot, got, err)
		}
	}
	for _, text := range []string{"", "0\n", "x", "-1", "10000000000000000"} {
		if _, err := DecodeLatest([]byte(text)); !errors.Is(err, ErrDamaged) {
			t.Errorf("latest %q: got error %v", text, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sample().Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, slot := range []Slot{1, 5} {
			e, err := Decode(b, slot)
			if err != nil {
				continue
			}
			again, err := Decode(e.Encode(), slot)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(e, again); diff != "" {
				t.Errorf("(-decoded +again):\n%s", diff)
			}
		}
	})
}
