// Package blobtest says by tests what a blob.Bucket owes, and has one in memory
// that fails as it is told.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/blob"
)

// Subject is a bucket under test.
type Subject struct {
	// Bucket is empty, or only has objects under other names than the tests use.
	Bucket blob.Bucket
	// LargeBytes is the size of an object that is stored in several steps.
	LargeBytes int
	// Steps is how many random operations are tried in a row; 0 is 60.
	Steps int
}

// Run tests a bucket. Each call of open returns an empty one.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s Subject)
	}{
		{"Model", testModel},
		{"Ranges", testRanges},
		{"Pages", testPages},
		{"OneWinner", testOneWinner},
		{"ReplacedAsAWhole", testReplacedAsAWhole},
		{"ListWhileWriting", testListWhileWriting},
		{"CancelledPut", testCancelledPut},
		{"FailingSource", testFailingSource},
		{"Large", testLarge},
		{"Names", testNames},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func newStore(s Subject) *blob.Store { return blob.New("test:", s.Bucket) }

// The names lie in such an order that one is a prefix, and one a directory, of
// others: "a/b" cannot be beside "a" in a file system, and no Bucket need have both.
func modelNames() []blob.Name {
	return []blob.Name{"a/1", "a/1.x", "a/2/3", "a-/1", "ab", "b/1", "b/10", "b/2"}
}

// testModel compares random operations with a map.
func testModel(t *testing.T, s Subject) {
	t.Helper()
	ctx, store := t.Context(), newStore(s)
	steps := s.Steps
	if steps == 0 {
		steps = 60
	}
	rapid.Check(t, func(t *rapid.T) {
		model := make(map[blob.Name]string)
		if err := store.Delete(ctx, modelNames()...); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, steps).Draw(t, "steps") {
			name := rapid.SampledFrom(modelNames()).Draw(t, "name")
			content := rapid.StringN(0, 100, -1).Draw(t, "content")
			switch rapid.SampledFrom([]Kind{Put, PutIfAbsent, Get, Stat, List, Delete}).Draw(t, "op") {
			case Put:
				if _, err := store.Put(ctx, name, strings.NewReader(content)); err != nil {
					t.Fatal(err)
				}
				model[name] = content
			case PutIfAbsent:
				_, err := store.PutIfAbsent(ctx, name, strings.NewReader(content))
				if _, taken := model[name]; taken != errors.Is(err, blob.ErrExist) || (!taken && err != nil) {
					t.Fatalf("put %s if absent, which is taken: %v; got error %v", name, taken, err)
				}
				if err == nil {
					model[name] = content
				}
			case Get:
				got, err := store.ReadAll(ctx, name, 1<<20)
				checkOne(t, model, name, string(got), err)
			case Stat:
				info, err := store.Stat(ctx, name)
				checkOne(t, model, name, strings.Repeat("x", int(info.Size)), err)
			case List:
				prefix := rapid.SampledFrom([]string{"", "a", "a/", "a/1", "b/1", "c"}).Draw(t, "prefix")
				checkList(ctx, t, store, model, prefix)
			case Delete:
				if err := store.Delete(ctx, name, "never/was"); err != nil {
					t.Fatal(err)
				}
				delete(model, name)
			case Sweep:
			}
		}
	})
}

// checkOne compares what was read, or something of its size, with the model.
func checkOne(t *rapid.T, model map[blob.Name]string, name blob.Name, got string, err error) {
	want, ok := model[name]
	switch {
	case !ok:
		if !errors.Is(err, blob.ErrNotExist) || !blob.IsPermanent(err) {
			t.Fatalf("%s does not exist; got error %v", name, err)
		}
	case err != nil:
		t.Fatal(err)
	case len(got) != len(want) || (got != want && strings.Trim(got, "x") != ""):
		t.Fatalf("%s: got %q, want %q", name, got, want)
	}
}

func checkList(ctx context.Context, t *rapid.T, store *blob.Store, model map[blob.Name]string, prefix string) {
	var got, want []blob.Info
	for info, err := range store.List(ctx, prefix) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info)
	}
	for name, content := range model {
		if strings.HasPrefix(string(name), prefix) {
			want = append(want, blob.Info{Name: name, Size: int64(len(content))})
		}
	}
	slices.SortFunc(want, func(a, b blob.Info) int { return strings.Compare(string(a.Name), string(b.Name)) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("list %q (-want +got):\n%s", prefix, diff)
	}
}

func testRanges(t *testing.T, s Subject) {
	t.Helper()
	ctx, store := t.Context(), newStore(s)
	content := pattern(10_000, 1)
	if _, err := store.Put(ctx, "r", bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		offset, size int64
		ends         bool // before the range does
	}{
		{0, 1, false},
		{0, 10_000, false},
		{9_999, 1, false},
		{5_000, 33, false},
		{0, 10_001, true},
		{9_990, 20, true},
		{9_990, 100, true},
		{10_000, 1, true},
		{10_020, 4, true},
		{50_000, 1, true},
	} {
		body, err := store.GetRange(ctx, "r", r.offset, r.size)
		if err != nil {
			t.Fatalf("range %+v: %v", r, err)
		}
		got, err := io.ReadAll(iotest.OneByteReader(body))
		if r.ends != errors.Is(err, io.ErrUnexpectedEOF) || (!r.ends && err != nil) {
			t.Errorf("range %+v: got error %v", r, err)
		}
		if want := content[min(10_000, r.offset):min(10_000, r.offset+r.size)]; !bytes.Equal(got, want) {
			t.Errorf("range %+v: got %d bytes, want %d", r, len(got), len(want))
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, r := range [][2]int64{{-1, 5}, {0, 0}, {0, -1}, {1 << 62, 1 << 62}} {
		if _, err := store.GetRange(ctx, "r", r[0], r[1]); !errors.Is(err, blob.ErrPermanent) {
			t.Errorf("range %v: got error %v, want a permanent one", r, err)
		}
	}
	if _, err := store.GetRange(ctx, "none", 0, 1); !errors.Is(err, blob.ErrNotExist) {
		t.Errorf("range of nothing: got error %v", err)
	}
}

// testPages lists with pages of all sizes.
func testPages(t *testing.T, s Subject) {
	t.Helper()
	ctx, store := t.Context(), newStore(s)
	var want []blob.Name
	for i := range 12 {
		name := blob.Name(fmt.Sprintf("p/%d/%d", i/4, i))
		if _, err := store.Put(ctx, name, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	slices.Sort(want)
	for limit := 1; limit <= 13; limit++ {
		var got []blob.Name
		for more := true; more; {
			var after blob.Name
			if len(got) > 0 {
				after = got[len(got)-1]
			}
			var page []blob.Info
			var err error
			page, more, err = s.Bucket.List(ctx, "p/", after, limit)
			if err != nil || len(page) > limit || (more && len(page) == 0) {
				t.Fatalf("pages of %d: got %d, more %v, error %v", limit, len(page), more, err)
			}
			for _, info := range page {
				got = append(got, info.Name)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", limit, diff)
		}
	}
}

func testOneWinner(t *testing.T, s Subject) {
	t.Helper()
	ctx, store := t.Context(), newStore(s)
	for round := range 5 {
		name := blob.Name(fmt.Sprintf("race/%d", round))
		errs := make([]error, 6)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { _, errs[i] = store.PutIfAbsent(ctx, name, bytes.NewReader(pattern(1000, i))) })
		}
		wg.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner < 0:
				winner = i
			case err == nil:
				t.Fatalf("%s: %d and %d have both won", name, winner, i)
			case !errors.Is(err, blob.ErrExist):
				t.Fatal(err)
			}
		}
		got, err := store.ReadAll(ctx, name, 1<<20)
		if err != nil || winner < 0 || !bytes.Equal(got, pattern(1000, winner)) {
			t.Fatalf("%s: winner %d, then read %d bytes, error %v", name, winner, len(got), err)
		}
	}
}

// testReplacedAsAWhole reads an object while others replace it.
func testReplacedAsAWhole(t *testing.T, s Subject) {
	t.Helper()
	ctx, store := t.Context(), newStore(s)
	const name, size = "whole", 50_000
	put := func(seed int) error {
		_, err := store.Put(ctx, name, bytes.NewReader(pattern(size+seed, seed)))
		return err
	}
	if err := put(0); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := range 8 {
				if err := put(8*w + i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 10 {
		got, err := store.ReadAll(ctx, name, 1<<20)
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, pattern(len(got), len(got)-size)) {
			t.Errorf("read %d bytes of more than one put", len(got))
		}
	}
	wg.Wait()
}

// testListWhileWriting looks for objects that stay while others come and go.
func testListWhileWriting(t *testing.T, s Subject) {
	t.Helper()
	ctx, store := t.Context(), newStore(s)
	var stay []blob.Name
	for i := range 10 {
		stay = append(stay, blob.Name(fmt.Sprintf("l/%d/stay", i)))
		if _, err := store.Put(ctx, stay[i], strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := range 20 {
				name := blob.Name(fmt.Sprintf("l/%d/go-%d", i%10, w))
				if _, err := store.Put(ctx, name, strings.NewReader("x")); err != nil {
					t.Error(err)
				}
				if err := store.Delete(ctx, name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 5 {
		seen := make(map[blob.Name]bool)
		for info, err := range store.List(ctx, "l/") {
			if err != nil {
				t.Error(err)
				break
			}
			seen[info.Name] = true
		}
		for _, name := range stay {
			if !seen[name] {
				t.Errorf("%s is missing", name)
			}
		}
	}
	wg.Wait()
}

// cancelling ends a context when it is read for the nth time in its middle.
type cancelling struct {
	*bytes.Reader
	cancel func()

	mu   sync.Mutex
	left int // guarded by mu
}

func (c *cancelling) ReadAt(p []byte, at int64) (int, error) {
	c.mu.Lock()
	if at <= c.Size()/2 && c.Size()/2 < at+int64(len(p)) {
		if c.left--; c.left == 0 {
			c.cancel()
		}
	}
	c.mu.Unlock()
	return c.Reader.ReadAt(p, at)
}

func testCancelledPut(t *testing.T, s Subject) {
	t.Helper()
	store := newStore(s)
	if _, err := store.Put(t.Context(), "c/old", strings.NewReader("old")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []blob.Name{"c/new", "c/old"} {
		for _, nth := range []int{1, 2} { // when it is hashed, when it is stored
			ctx, cancel := context.WithCancel(t.Context())
			source := &cancelling{Reader: bytes.NewReader(pattern(s.LargeBytes, 3)), cancel: cancel, left: nth}
			_, err := store.Put(ctx, name, source)
			cancel()
			if !errors.Is(err, context.Canceled) || !blob.IsPermanent(err) {
				t.Fatalf("put %s, cancelled at pass %d: got error %v", name, nth, err)
			}
		}
	}
	checkUntouched(t, s)
}

func testFailingSource(t *testing.T, s Subject) {
	t.Helper()
	store := newStore(s)
	if _, err := store.Put(t.Context(), "c/old", strings.NewReader("old")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []blob.Name{"c/new", "c/old"} {
		if _, err := store.Put(t.Context(), name, short{strings.NewReader("too short")}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("put %s of a source that ends early: got error %v", name, err)
		}
	}
	checkUntouched(t, s)
}

// short says that it is longer than it is.
type short struct{ *strings.Reader }

func (s short) Size() int64 { return s.Reader.Size() + 1 }

// checkUntouched fails unless c/ has what it had before the puts that failed.
func checkUntouched(t *testing.T, s Subject) {
	t.Helper()
	ctx, store := t.Context(), newStore(s)
	if got, err := store.ReadAll(ctx, "c/old", 100); err != nil || string(got) != "old" {
		t.Errorf("c/old: got %q, error %v", got, err)
	}
	if _, err := store.Stat(ctx, "c/new"); !errors.Is(err, blob.ErrNotExist) {
		t.Errorf("c/new: got error %v", err)
	}
	for info, err := range store.List(ctx, "c/") {
		if err != nil || info.Name != "c/old" {
			t.Errorf("list: got %v, error %v", info, err)
		}
	}
	// A server may have been at work for a put that was given up, and have left
	// something behind; but not twice.
	for round := range 2 {
		n, err := store.Sweep(ctx, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
		if err != nil || n > 2-2*round {
			t.Errorf("swept %d in round %d, error %v", n, round, err)
		}
	}
}

func testLarge(t *testing.T, s Subject) {
	t.Helper()
	ctx, store := t.Context(), newStore(s)
	content := pattern(s.LargeBytes, 5)
	for range 2 {
		if info, err := store.Put(ctx, "large", bytes.NewReader(content)); err != nil || info.Size != int64(len(content)) {
			t.Fatalf("got %+v, error %v", info, err)
		}
	}
	got, err := store.ReadAll(ctx, "large", int64(len(content)))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("read %d bytes of %d, error %v", len(got), len(content), err)
	}
	if _, err := store.ReadAll(ctx, "large", int64(len(content))-1); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("larger than allowed: got error %v", err)
	}
	if _, err := store.PutIfAbsent(ctx, "large", bytes.NewReader(content)); !errors.Is(err, blob.ErrExist) {
		t.Errorf("large, taken: got error %v", err)
	}
	if _, err := store.PutIfAbsent(ctx, "large-2", bytes.NewReader(content)); err != nil {
		t.Errorf("large, not taken: %v", err)
	}
}

func testNames(t *testing.T, s Subject) {
	t.Helper()
	ctx, store := t.Context(), newStore(s)
	for _, name := range []blob.Name{
		"", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "../a", ".a", "a/.put-x", "a\\b", "a b", "a\x00", "ä",
		blob.Name(strings.Repeat("a", 201)), blob.Name(strings.Repeat("a/", 256) + "a"),
	} {
		_, put := store.Put(ctx, name, strings.NewReader("x"))
		_, get := store.Get(ctx, name)
		_, stat := store.Stat(ctx, name)
		for _, err := range []error{put, get, stat, store.Delete(ctx, name)} {
			if !errors.Is(err, blob.ErrPermanent) || errors.Is(err, blob.ErrNotExist) {
				t.Errorf("name %q: got error %v, want that it is not valid", name, err)
			}
		}
	}
	longest := blob.Name(strings.Repeat(strings.Repeat("a", 169)+"/", 3) + "aa")
	if _, err := store.Put(ctx, longest, strings.NewReader("x")); err != nil {
		t.Errorf("a name of %d bytes: %v", len(longest), err)
	}
}

// pattern makes bytes that differ from seed to seed and nowhere repeat soon.
func pattern(size, seed int) []byte {
	b := make([]byte, size)
	x := uint32(seed)*2654435761 + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}
