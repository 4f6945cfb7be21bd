package segment

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

func place(t rapid.TB, s element.Stored) element.Place {
	t.Helper()
	p, err := s.Place()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func namesIn(t rapid.TB, dir string) []string {
	t.Helper()
	names, err := system{}.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Whoever comes after finds what is still asked for, as often as it is, and
// nothing else is left.
func TestNamedSegmentsOutliveTheirDisk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "named-*") //nolint:usetesting // one for each check
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		want := map[element.Place][]byte{}
		for range rapid.IntRange(1, 4).Draw(t, "lives") {
			d, err := Open(Params{Dir: dir, Named: true, SegmentBytes: 64 << 10})
			if err != nil {
				t.Fatal(err)
			}
			kept := map[element.Place]element.Stored{}
			for p := range want {
				if rapid.Bool().Draw(t, "forget") {
					delete(want, p)
					continue
				}
				if kept[p], err = d.At(p); err != nil {
					t.Fatal(err)
				}
				if again, err := d.At(p); err != nil || again != kept[p] {
					t.Fatalf("asked again: %v, %v", again, err)
				}
			}
			if err := d.Sweep(); err != nil {
				t.Fatal(err)
			}
			files := map[uint64]bool{}
			for p := range want {
				files[p.File] = true
			}
			if names := namesIn(t, dir); len(names) != len(files) {
				t.Fatalf("%d files are left, want %d", len(names), len(files))
			}
			for range rapid.IntRange(0, 20).Draw(t, "stores") {
				data := noise(rapid.IntRange(1, 30<<10).Draw(t, "size"), rapid.Uint64().Draw(t, "seed"))
				if rapid.Bool().Draw(t, "text") {
					data = text(len(data))
				}
				all := [][]byte{data}
				for range rapid.IntRange(0, 3).Draw(t, "more") {
					all = append(all, noise(rapid.IntRange(0, 9000).Draw(t, "size"), rapid.Uint64().Draw(t, "seed")))
				}
				stored, err := d.StoreAll(all)
				if err != nil {
					t.Fatal(err)
				}
				for i, s := range stored {
					if rapid.Bool().Draw(t, "keep") {
						kept[place(t, s)], want[place(t, s)] = s, all[i]
					}
				}
			}
			if err := d.Sync(); err != nil {
				t.Fatal(err)
			}
			for p, data := range want {
				if got, err := kept[p].Load(); err != nil || !bytes.Equal(got, data) {
					t.Fatalf("load %+v: %d bytes, %v; want %d bytes", p, len(got), err, len(data))
				}
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// What is damaged is said, and where.
func TestDamageOfNamedSegmentsIsNoticed(t *testing.T) {
	flip := func(at int64) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			t.Helper()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data[at] ^= 1
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(t *testing.T, path string) {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	cut := func(n int64) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			t.Helper()
			if err := os.Truncate(path, n); err != nil {
				t.Fatal(err)
			}
		}
	}
	const size = 1000
	for name, c := range map[string]struct {
		damage func(t *testing.T, path string)
		atOnce bool // noticed before anything is loaded
		says   string
	}{
		"file header":   {flip(9), true, "header of the file"},
		"region header": {flip(fileHeaderSize + 12), false, "checksum"},
		"data":          {flip(fileHeaderSize + headerSize + size/2), false, "checksum"},
		"no file":       {remove, true, "no such file"},
		"no data":       {cut(fileHeaderSize + headerSize + size - 1), true, "the file ends"},
		"no header":     {cut(3), true, "the file ends"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d, err := Open(Params{Dir: dir, Named: true})
			if err != nil {
				t.Fatal(err)
			}
			p := place(t, mustStore(t, d, noise(size, 1)))
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			c.damage(t, filepath.Join(dir, nameOf(p.File)))
			d = open(t, Params{Dir: dir, Named: true})
			s, err := d.At(p)
			if !c.atOnce && err == nil {
				_, err = s.Load()
			}
			if !errors.Is(err, shuffle.ErrDisk) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), nameOf(p.File)) {
				t.Errorf("got %v, want one of the disk that says %q", err, c.says)
			}
		})
	}
}

// A file whose regions are all gone is removed while the disk is open.
func TestNamedSegmentsAreRemoved(t *testing.T) {
	d := open(t, Params{Dir: t.TempDir(), Named: true, SegmentBytes: 4 << 10})
	for i := range 10 {
		mustStore(t, d, noise(5<<10, uint64(i)))
	}
	d.Collect()
	d.Collect()
	if names := namesIn(t, d.params.Dir); len(names) != 1 {
		t.Errorf("%d files, want that which is appended to", len(names))
	}
}

// The first segment has the number that was asked for, though all before are gone;
// those that are found are found by theirs, and stay the lower ones.
func TestFirstNumber(t *testing.T) {
	dir := t.TempDir()
	for _, first := range []uint64{0, 2<<32 + 1, 1<<63 + 1} {
		d, err := Open(Params{Dir: dir, Named: true, First: first})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Sweep(); err != nil {
			t.Fatal(err)
		}
		p := place(t, mustStore(t, d, noise(10, 1)))
		if want := max(first, 1); p.File != want {
			t.Errorf("the first segment is %x, want %x", p.File, want)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		found := open(t, Params{Dir: dir, Named: true, First: 1})
		if s, err := found.At(p); err != nil {
			t.Errorf("segment %x: %v", p.File, err)
		} else {
			checkLoad(t, s, noise(10, 1))
		}
		if next := place(t, mustStore(t, found, noise(10, 1))); next.File != p.File+1 {
			t.Errorf("segment %x comes behind %x", next.File, p.File)
		}
		if err := found.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnnamedSegmentsHaveNoPlace(t *testing.T) {
	if p, err := mustStore(t, open(t, Params{}), noise(10, 1)).Place(); !errors.Is(err, errUnnamed) {
		t.Errorf("got %v, %v", p, err)
	}
}

// What was stored in parts is found as a whole.
func TestNamedParts(t *testing.T) {
	dir := t.TempDir()
	parts := [][]byte{noise(100, 1), text(2 * packedMin), nil, noise(50, 2)}
	before := open(t, Params{Dir: dir, Named: true})
	stored, err := before.Store(parts...)
	if err != nil {
		t.Fatal(err)
	}
	p := place(t, stored)
	after := open(t, Params{Dir: dir, Named: true})
	found, err := after.At(p)
	if err != nil {
		t.Fatal(err)
	}
	checkLoad(t, found, bytes.Join(parts, nil))
	if again := place(t, found); again != p {
		t.Errorf("found at %+v, stored at %+v", again, p)
	}
}
