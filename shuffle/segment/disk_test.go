package segment

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

func open(tb testing.TB, p Params) *Disk {
	tb.Helper()
	if p.Dir == "" {
		p.Dir = tb.TempDir()
	}
	d, err := Open(p)
	if err != nil {
		tb.Fatal(err)
	}
	d.packer.now = nil // all that becomes small enough is compressed
	tb.Cleanup(func() {
		if err := d.Close(); err != nil {
			tb.Error(err)
		}
	})
	return d
}

// noise are bytes that cannot be compressed.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	var s [32]byte
	s[0], s[1] = byte(seed), byte(seed>>8)
	_, _ = rand.NewChaCha8(s).Read(b)
	return b
}

// text are bytes that can.
func text(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of a text that says the same again and again\n", i*i)
	}
	return b.Bytes()[:n]
}

func mustStore(t rapid.TB, d *Disk, data []byte) element.Stored {
	t.Helper()
	s, err := d.Store(data)
	if err != nil {
		t.Fatal(err)
	}
	if s.Size() != len(data) {
		t.Fatalf("stored %d bytes as %d", len(data), s.Size())
	}
	return s
}

// headerOf is the header of a region of one part.
func headerOf(t *testing.T, r *region) header {
	t.Helper()
	b := make([]byte, r.parts[0].stored)
	if err := r.segment.read(b, r.offset); err != nil {
		t.Fatal(err)
	}
	h, _, err := cutRegion(b)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// asRegion is the region that was stored.
func asRegion(t *testing.T, s element.Stored) *region {
	t.Helper()
	r, ok := s.(*region)
	if !ok {
		t.Fatalf("stored as %T", s)
	}
	return r
}

func checkLoad(t rapid.TB, s element.Stored, want []byte) {
	t.Helper()
	got, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("loaded %d bytes that are not the %d that were stored", len(got), len(want))
	}
}

func TestWhatIsStoredIsLoaded(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		d, err := Open(Params{Dir: dir, SegmentBytes: rapid.Int64Range(100, 100_000).Draw(t, "segment"), Codecs: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		var wants [][]byte
		var all []element.Stored
		for range rapid.IntRange(1, 20).Draw(t, "regions") {
			size := rapid.SampledFrom([]int{0, 1, 100, 4 << 10, 20_000, 300_000}).Draw(t, "size")
			data := text(size)
			if rapid.Bool().Draw(t, "noise") {
				data = noise(size, uint64(len(wants)))
			}
			given := bytes.Clone(data)
			all = append(all, mustStore(t, d, given))
			clear(given) // it is the caller's again
			wants = append(wants, data)
		}
		for i, s := range all {
			checkLoad(t, s, wants[i])
			checkLoad(t, s, wants[i])
		}
	})
}

func TestManyStoreAndLoadAtOnce(t *testing.T) {
	d := open(t, Params{SegmentBytes: 1 << 20, Codecs: 2})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				want := noise(1000+i*500, uint64(g))
				if i%2 == 0 {
					want = text(1000 + i*500)
				}
				s, err := d.Store(want)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := s.Load(); err != nil || !bytes.Equal(got, want) {
					t.Errorf("loaded other bytes than were stored, error %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func TestCompressionIsMeasured(t *testing.T) {
	records := func(n int) []byte { // random values with headers alike
		var b []byte
		for i := range n {
			b = append(b, "header of each\x01\x01\x01\x01\x01"...)
			b = append(b, noise(81, uint64(i))...)
		}
		return b
	}
	tests := []struct {
		name  string
		ratio float64
		data  []byte
		want  codec
	}{
		{"text", 0, text(64 << 10), zstandard},
		{"noise", 0, noise(64<<10, 1), plain},
		{"records of noise", 0, records(1000), plain},
		{"zeros", 0, make([]byte, 1<<20), zstandard},
		{"small text", 0, text(packedMin), zstandard},
		{"too small a text", 0, text(packedMin - 1), plain},
		{"never", -1, text(64 << 10), plain},
		{"seldom", 0.001, text(64 << 10), plain},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := mustStore(t, open(t, Params{Ratio: test.ratio}), test.data)
			if h := headerOf(t, asRegion(t, s)); h.codec != test.want || h.codec == zstandard && h.stored >= h.size {
				t.Errorf("%d bytes are stored as %d with codec %v, want codec %v", h.size, h.stored, h.codec, test.want)
			}
			checkLoad(t, s, test.data)
		})
	}
}

// What cannot be compressed is not tried for ever, but what comes later is.
func TestCompressionIsTriedAgain(t *testing.T) {
	d := open(t, Params{})
	for i := range 100 {
		mustStore(t, d, noise(8<<10, uint64(i)))
	}
	if tried := d.packer.failed.Load(); tried > 20 {
		t.Errorf("%d of 100 regions of noise were tried", tried)
	}
	packed := 0
	for range 100 {
		if s := mustStore(t, d, text(8<<10)); headerOf(t, asRegion(t, s)).codec == zstandard {
			packed++
		}
	}
	if packed < 80 {
		t.Errorf("only %d of 100 texts were compressed after 100 regions of noise", packed)
	}
}

// Compression pays where writing is slow, or space is scarce.
func TestCompressionSavesTime(t *testing.T) {
	tests := []struct {
		name             string
		writing, packing time.Duration // for 1000 bytes
		scarce           bool
		want             codec
	}{
		{"fast disk", 500, 2000, false, plain},
		{"slow disk", 5000, 2000, false, zstandard},
		{"fast disk that is nearly full", 500, 2000, true, zstandard},
		{"nothing known", 0, 0, false, plain},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newPacker(ratioDefault, 1)
			var at time.Time
			p.now = func() time.Time { // each sample takes the time that is given
				at = at.Add(test.packing * sampleBytes / 1000)
				return at
			}
			p.writing.add(1000, test.writing)
			p.packing.add(1000, test.packing)
			if test.packing == 0 {
				p.now = now
			}
			if _, got := p.pack(nil, text(20_000), test.scarce); got != test.want {
				t.Errorf("stored as %v, want %v", got, test.want)
			}
		})
	}
}

// collectUntil collects garbage until there is none of it.
func collectUntil(t *testing.T, d *Disk, done func() bool) {
	t.Helper()
	for range 100 {
		if done() {
			return
		}
		d.Collect()
	}
	t.Fatal("space of what nobody refers to was not given back")
}

func TestSpaceIsGivenBack(t *testing.T) {
	files := &faulty{space: -1}
	quota := shuffle.NewBudget(nil, 0)
	d := open(t, Params{Files: files, SegmentBytes: 10_000, Quota: quota})
	var all []element.Stored
	for i := range 20 {
		all = append(all, mustStore(t, d, noise(4000, uint64(i)))) // two a segment
	}
	if got, want := quota.Used(), int64(10*fileHeaderSize+20*(headerSize+4000)); got != want || files.openFiles() != 10 {
		t.Fatalf("%d bytes in %d files, want %d in 10", got, files.openFiles(), want)
	}
	if got := quota.Usage()["segments"]; got != quota.Used() {
		t.Errorf("account of segments has %d bytes of %d", got, quota.Used())
	}
	kept := all[5]
	clear(all)
	// The segment of what is kept, and the one that is appended to.
	collectUntil(t, d, func() bool { return files.openFiles() == 2 })
	if got, want := quota.Used(), int64(2*(fileHeaderSize+2*(headerSize+4000))); got != want {
		t.Errorf("%d bytes are used, want %d", got, want)
	}
	checkLoad(t, kept, noise(4000, 5))
	if err := d.Close(); err != nil || quota.Used() != 0 || files.openFiles() != 0 {
		t.Errorf("closed, error %v: %d bytes in %d files", err, quota.Used(), files.openFiles())
	}
	if _, err := kept.Load(); !errors.Is(err, shuffle.ErrDisk) {
		t.Errorf("load after close: error %v", err)
	}
	if _, err := d.StoreAll([][]byte{nil}); !errors.Is(err, shuffle.ErrDisk) || !errors.Is(err, errClosed) {
		t.Errorf("store all: error %v", err)
	}
	if _, err := d.Store(nil); !errors.Is(err, shuffle.ErrDisk) || !errors.Is(err, errClosed) {
		t.Errorf("store after close: error %v", err)
	}
	d.Collect() // what is found now was given back before
	if quota.Used() != 0 {
		t.Errorf("%d bytes are used after the end", quota.Used())
	}
}

// Regions that live long do not keep the space of their segments.
func TestHoles(t *testing.T) {
	for _, files := range []*faulty{{space: -1}, {space: -1, failPunch: errors.ErrUnsupported}, nil} {
		quota := shuffle.NewBudget(nil, 0)
		p := Params{SegmentBytes: 1 << 20, Quota: quota}
		if files != nil {
			p.Files = files
		}
		d := open(t, p)
		var kept []element.Stored
		for i := range 400 {
			s := mustStore(t, d, noise(20_000, uint64(i)))
			if i%40 == 7 {
				kept = append(kept, s)
			}
		}
		whole := int64(8*fileHeaderSize + 400*(headerSize+20_000))
		if files != nil && files.failPunch != nil {
			collectUntil(t, d, func() bool { return d.solid.Load() })
			if got := quota.Used(); got != whole {
				t.Errorf("%d bytes are used, want %d without holes", got, whole)
			}
		} else {
			// Holes are accounted for after they were made.
			collectUntil(t, d, func() bool {
				used := quota.Used()
				return used <= whole/3 && (files == nil || files.punched() == whole-used)
			})
		}
		for i, s := range kept {
			checkLoad(t, s, noise(20_000, uint64(i*40+7)))
		}
		if err := d.Close(); err != nil || quota.Used() != 0 {
			t.Errorf("closed, error %v: %d bytes are used", err, quota.Used())
		}
	}
}

// What is written directly gives back all of its pages, those that it fills in part
// as well.
func TestHolesOfDirectWrites(t *testing.T) {
	const pages = 17
	quota := shuffle.NewBudget(nil, 0)
	d := open(t, Params{SegmentBytes: 4 * 4 * pages * pageBytes, Quota: quota, Files: &faulty{space: -1}})
	store := func(seed uint64) *region {
		t.Helper()
		all, err := d.write([][]byte{noise((pages-1)*pageBytes, seed)}, []int{1}, true)
		if err != nil {
			t.Fatal(err)
		}
		return all[0]
	}
	for i := range 4 {
		store(uint64(i))
	}
	kept := store(4)
	collectUntil(t, d, func() bool { return quota.Used() == (1+pages)*pageBytes })
	checkLoad(t, kept, noise((pages-1)*pageBytes, 4))
}

func TestQuota(t *testing.T) {
	server := shuffle.NewBudget(nil, 150_000)
	for _, test := range []struct {
		name  string
		quota *shuffle.Budget
		fits  int // regions of 10,000 bytes and their headers
	}{
		{"own", shuffle.NewBudget(nil, 100_000), 9},
		{"server's", shuffle.NewBudget(server, 0), 14},
		{"none", nil, 50},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := open(t, Params{Quota: test.quota, SegmentBytes: 20_000})
			for range 100 { // of which nobody keeps anything
				mustStore(t, d, noise(10_000, 1))
			}
			var kept []element.Stored
			var err error
			for err == nil && len(kept) < 50 {
				var s element.Stored
				if s, err = d.Store(noise(10_000, uint64(len(kept)))); err == nil {
					kept = append(kept, s)
				}
			}
			if len(kept) != test.fits {
				t.Errorf("%d regions fit, want %d; error %v", len(kept), test.fits, err)
			}
			if test.quota == nil {
				return
			}
			if !errors.Is(err, shuffle.ErrDisk) || !errors.Is(err, shuffle.ErrQuota) || !strings.Contains(err.Error(), "quota") {
				t.Errorf("error %v, want one of the quota", err)
			}
			for i, s := range kept {
				checkLoad(t, s, noise(10_000, uint64(i)))
			}
			kept = kept[:0]
			clear(kept[:cap(kept)])
			for range 20 {
				mustStore(t, d, noise(10_000, 1))
			}
		})
	}
}

func TestFullDisk(t *testing.T) {
	files := &faulty{space: 50_000}
	quota := shuffle.NewBudget(nil, 0)
	d := open(t, Params{Files: files, Quota: quota})
	var kept []element.Stored
	var err error
	for err == nil {
		var s element.Stored
		if s, err = d.Store(noise(10_000, uint64(len(kept)))); err == nil {
			kept = append(kept, s)
		}
	}
	if len(kept) != 4 || !errors.Is(err, shuffle.ErrDisk) || !errors.Is(err, syscall.ENOSPC) ||
		!strings.Contains(err.Error(), ": at 40192 of mem: the disk is full") {
		t.Errorf("error %v after %d regions, want one of a full disk after 4", err, len(kept))
	}
	for i, s := range kept {
		checkLoad(t, s, noise(10_000, uint64(i)))
	}
	files.space = -1 // somebody has made room
	checkLoad(t, mustStore(t, d, noise(10_000, 9)), noise(10_000, 9))
	if err := d.Close(); err != nil || quota.Used() != 0 || files.openFiles() != 0 {
		t.Errorf("closed, error %v: %d bytes in %d files", err, quota.Used(), files.openFiles())
	}
}

// What is stored in one go is given back piece by piece.
func TestStoreAll(t *testing.T) {
	d := open(t, Params{SegmentBytes: 64 << 10})
	if all, err := d.StoreAll(nil); err != nil || len(all) != 0 {
		t.Fatalf("stored nothing as %v, %v", all, err)
	}
	data := [][]byte{noise(20_000, 1), {}, text(20_000), noise(10, 2)}
	all, err := d.StoreAll(data)
	if err != nil {
		t.Fatal(err)
	}
	segment := asRegion(t, all[0]).segment
	if segment.references != len(data)+1 {
		t.Fatalf("%d references to a segment of %d regions that is written to", segment.references, len(data))
	}
	for i := range all {
		checkLoad(t, all[i], data[i])
		all[i] = nil
		d.Collect()
		d.Collect()
		d.mu.Lock()
		if got, want := segment.references, len(data)-i; got != want {
			t.Errorf("%d references when %d regions are left", got, want-1)
		}
		d.mu.Unlock()
	}
}

// Much that is stored at once is written past the system's cache, where that is
// possible, between things that are not.
func TestStoreDirectly(t *testing.T) {
	for _, possible := range []bool{true, false} {
		t.Run(fmt.Sprint("possible is ", possible), func(t *testing.T) {
			d := open(t, Params{Named: true})
			d.indirect.Store(!possible)
			var all []element.Stored
			var want [][]byte
			for i := range 5 {
				want = append(want, noise(1000, uint64(i)))
				all = append(all, mustStore(t, d, want[len(want)-1]))
				some := [][]byte{noise(90_000, uint64(i)), text(200_000), noise(3, uint64(i))}
				stored, err := d.StoreAll(some)
				if err != nil {
					t.Fatal(err)
				}
				want, all = append(want, some...), append(all, stored...)
				if possible && !d.indirect.Load() && asRegion(t, stored[0]).offset%pageBytes != 0 {
					t.Error("it was not written directly")
				}
			}
			if err := d.Sync(); err != nil {
				t.Fatal(err)
			}
			for i := range all {
				checkLoad(t, all[i], want[i])
			}
			after := open(t, Params{Dir: d.params.Dir, Named: true})
			for i := range all {
				found, err := after.At(place(t, all[i]))
				if err != nil {
					t.Fatal(err)
				}
				checkLoad(t, found, want[i])
			}
		})
	}
}

func TestFailingFiles(t *testing.T) {
	errIO := errors.New("something is broken")
	t.Run("create", func(t *testing.T) {
		d := open(t, Params{Files: &faulty{failCreate: errIO, space: -1}})
		if _, err := d.Store([]byte("x")); !errors.Is(err, shuffle.ErrDisk) || !errors.Is(err, errIO) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("header", func(t *testing.T) {
		files := &faulty{space: 10}
		d := open(t, Params{Files: files})
		if _, err := d.Store([]byte("x")); !errors.Is(err, shuffle.ErrDisk) || !strings.Contains(err.Error(), "disk is full") {
			t.Errorf("error %v", err)
		}
		if files.openFiles() != 0 {
			t.Error("a file is left")
		}
	})
	t.Run("read", func(t *testing.T) {
		files := &faulty{space: -1}
		d := open(t, Params{Files: files})
		s := mustStore(t, d, noise(5000, 1))
		checkLoad(t, s, noise(5000, 1))
		files.failRead = errIO
		_, err := s.Load()
		if !errors.Is(err, shuffle.ErrDisk) || !errors.Is(err, errIO) || !strings.Contains(err.Error(), "load 5000 bytes at 32 of mem") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("no directory", func(t *testing.T) {
		if _, err := Open(Params{Dir: t.TempDir() + "/none"}); !errors.Is(err, shuffle.ErrDisk) || !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error %v", err)
		}
	})
}

// Parts are loaded by themselves, whichever of them are compressed.
func TestParts(t *testing.T) {
	d := open(t, Params{})
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) []byte {
			size := rapid.IntRange(0, 3*packedMin).Draw(t, "size")
			if rapid.Bool().Draw(t, "text") {
				return text(size)
			}
			return noise(size, uint64(size))
		}), 1, 5).Draw(t, "parts")
		stored, err := d.Store(parts...)
		if err != nil {
			t.Fatal(err)
		}
		checkLoad(t, stored, bytes.Join(parts, nil))
		p, ok := stored.(element.Parted)
		if !ok || p.Parts() != len(parts) {
			t.Fatalf("%T is not in %d parts", stored, len(parts))
		}
		from := rapid.IntRange(0, len(parts)).Draw(t, "from")
		to := rapid.IntRange(from, len(parts)).Draw(t, "to")
		dst := text(rapid.IntRange(0, 100).Draw(t, "before"))
		want := slices.Concat(dst, bytes.Join(parts[from:to], nil))
		if got, err := p.LoadParts(dst, from, to); err != nil || !bytes.Equal(got, want) {
			t.Errorf("parts %d to %d: %d bytes, want %d, error %v", from, to, len(got), len(want), err)
		}
		for i := range parts {
			if p.PartSize(i) != len(parts[i]) {
				t.Errorf("part %d has %d bytes, want %d", i, p.PartSize(i), len(parts[i]))
			}
		}
	})
}

// Whatever byte of a segment is another one, and wherever it ends, nothing but
// what was stored is loaded.
func TestDamageIsNoticed(t *testing.T) {
	files := &faulty{space: -1}
	d := open(t, Params{Files: files})
	wants := [][]byte{noise(300, 1), text(5000), nil, noise(100, 2)}
	var all []*region
	for _, data := range wants {
		all = append(all, asRegion(t, mustStore(t, d, data)))
	}
	if headerOf(t, all[1]).codec != zstandard {
		t.Fatal("nothing is compressed")
	}
	file := files.files[0]
	whole := bytes.Clone(file.data)
	look := func(what string, at int) (noticed int) {
		for i, r := range all {
			r.segment.verify = sync.Once{} // as when it is opened again
			got, err := r.Load()
			switch {
			case err != nil && !errors.Is(err, shuffle.ErrDisk):
				t.Errorf("%s at %d: region %d: error %v", what, at, i, err)
			case err != nil:
				noticed++
			case !bytes.Equal(got, wants[i]):
				t.Fatalf("%s at %d: region %d is loaded wrong", what, at, i)
			}
		}
		return noticed
	}
	for at := range whole {
		for _, flip := range []byte{1, 0x80, 0xff} {
			file.data[at] ^= flip
			if look("flip", at) == 0 {
				t.Errorf("flip at %d is not noticed", at)
			}
			file.data[at] ^= flip
		}
	}
	for end := range whole {
		file.data = slices.Clip(whole[:end])
		if look("end", end) == 0 {
			t.Errorf("end at %d is not noticed", end)
		}
	}
	// Regions that are whole, but elsewhere.
	file.data = bytes.Clone(whole)
	file.data = append(file.data[:fileHeaderSize], whole[all[3].offset:]...)
	file.data = append(file.data, whole...)
	if look("another region", 0) == 0 {
		t.Error("a region in the place of another is not noticed")
	}
	file.data = whole
	if look("nothing", 0) != 0 {
		t.Error("what is whole is not loaded")
	}
}

func FuzzCutRegion(f *testing.F) {
	region := append(make([]byte, headerSize), "data"...)
	(&header{size: 4, stored: 4, offset: 32, segment: 1}).put(region)
	f.Add(region)
	packed, c := newPacker(1, 1).pack(make([]byte, headerSize), text(packedMin), true)
	(&header{codec: c, size: packedMin, stored: uint32(len(packed) - headerSize)}).put(packed)
	f.Add(packed)
	p := newPacker(1, 1)
	f.Fuzz(func(t *testing.T, b []byte) {
		for range 2 {
			h, body, err := cutRegion(b)
			if err == nil {
				if len(body) != int(h.stored) || h.codec == plain && h.size != h.stored {
					t.Fatalf("header %+v of a region of %d bytes", h, len(body))
				}
				if h.codec == zstandard && h.size < 1<<20 {
					if data, err := p.unpack(nil, body, int(h.size)); err == nil && len(data) != int(h.size) {
						t.Fatalf("unpacked %d bytes, not %d", len(data), h.size)
					}
				}
			} else if !errors.Is(err, errCorrupt) {
				t.Fatal(err)
			}
			if len(b) < headerSize {
				return
			}
			// Again as if the checksum were right.
			b = bytes.Clone(b)
			h.stored = uint32(len(b) - headerSize)
			h.size = h.stored
			h.codec = codec(b[12] % 2)
			h.put(b)
		}
	})
}

func TestNothingIsLeft(t *testing.T) {
	dir := t.TempDir()
	d := open(t, Params{Dir: dir, SegmentBytes: 1000})
	for range 10 {
		mustStore(t, d, noise(900, 1))
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("files with names: %v, error %v", entries, err)
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
