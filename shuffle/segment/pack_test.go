package segment

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// What is unpacked elsewhere, pack by pack in any order, is found there by the
// places it had.
func TestPackedRegionsAreFoundElsewhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := makeDir(t), makeDir(t)
		defer os.RemoveAll(from)
		defer os.RemoveAll(to)
		d, err := Open(Params{Dir: from, Named: true, SegmentBytes: 32 << 10})
		if err != nil {
			t.Fatal(err)
		}
		want := map[element.Place][]byte{}
		var held []element.Stored
		packs := make([][]Extent, 3)
		for i := range rapid.IntRange(1, 40).Draw(t, "regions") {
			data := bytes.Repeat([]byte{byte(i)}, rapid.IntRange(1, 9000).Draw(t, "size"))
			s, err := d.Store(data, data[:len(data)/2])
			if err != nil {
				t.Fatal(err)
			}
			p := place(t, s)
			want[p] = append(bytes.Clone(data), data[:len(data)/2]...)
			held = append(held, s)
			n := rapid.IntRange(0, len(packs)-1).Draw(t, "pack")
			packs[n] = append(packs[n], Extent{p.File, int64(p.Offset), int64(p.Offset) + int64(p.Bytes)})
		}
		for _, extents := range packs {
			pack, err := d.NewPack(extents)
			if err != nil {
				t.Fatal(err)
			}
			if err := Unpack(nil, to, io.NewSectionReader(pack, 0, pack.Size())); err != nil {
				t.Fatal(err)
			}
		}
		runtime.KeepAlive(held)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := Open(Params{Dir: to, Named: true})
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		for p, data := range want {
			s, err := again.At(p)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := s.Load(); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%+v: %d bytes, error %v", p, len(got), err)
			}
		}
	})
}

func makeDir(t *rapid.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pack-*")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Bytes that are no pack are refused.
func TestUnpackRefuses(t *testing.T) {
	d, err := Open(Params{Dir: t.TempDir(), Named: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s, err := d.Store([]byte("some bytes of a region"))
	if err != nil {
		t.Fatal(err)
	}
	p := place(t, s)
	pack, err := d.NewPack([]Extent{{p.File, int64(p.Offset), int64(p.Offset) + int64(p.Bytes)}})
	if err != nil {
		t.Fatal(err)
	}
	good := make([]byte, pack.Size())
	if _, err := pack.ReadAt(good, 0); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(good); i += 1 + i/20 {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if err := Unpack(nil, t.TempDir(), bytes.NewReader(bad)); !errors.Is(err, shuffle.ErrDisk) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		if i > 0 {
			if err := Unpack(nil, t.TempDir(), bytes.NewReader(good[:i])); !errors.Is(err, shuffle.ErrDisk) {
				t.Fatalf("cut at %d: %v", i, err)
			}
		}
	}
	if _, err := d.NewPack([]Extent{{p.File + 1, 32, 64}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pack of a segment that is not there: %v", err)
	}
	if n, err := pack.ReadAt(good, pack.Size()-1); n != 1 || !errors.Is(err, io.EOF) {
		t.Errorf("read beyond the end: %d, %v", n, err)
	}
	runtime.KeepAlive(s)
}
