package engine

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/state"
)

// entries is a cell with entries in it.
func entries(t rapid.TB, names []string, chunks map[string][][]byte) *cellPart {
	t.Helper()
	txn := state.NewMemory().Begin()
	for _, name := range names {
		for _, c := range chunks[name] {
			if err := txn.Append(state.Cell{}, name, c); err != nil {
				t.Fatal(err)
			}
		}
	}
	return &cellPart{txn: txn}
}

// TestPagesAreTheWhole reads cells of random chunks page by page: nothing is
// missing or twice, no chunk is cut, and no page is larger than it must be.
func TestPagesAreTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var names []string
		chunks := make(map[string][][]byte)
		var all [][]byte
		for i := range rapid.IntRange(0, 4).Draw(t, "entries") {
			name := string(rune('a' + i))
			names = append(names, name)
			for range rapid.IntRange(0, 5).Draw(t, "chunks") {
				size := rapid.SampledFrom([]int{0, 1, pageBytes / 2, pageBytes, pageBytes + 1}).Draw(t, "size")
				c := bytes.Repeat([]byte{byte(len(all))}, size)
				chunks[name] = append(chunks[name], c)
				all = append(all, c)
			}
		}
		for _, cell := range []paged{entries(t, names, chunks), listOf(all)} {
			var got []byte
			var token []byte
			for pages := 0; pages == 0 || len(token) > 0; pages++ {
				page, next, err := cell.page(token)
				if err != nil {
					t.Fatal(err)
				}
				if len(page) > pageBytes && page[0] != page[len(page)-1] {
					t.Fatalf("a page of %d bytes is more than one chunk", len(page))
				}
				if len(got) > 0 && len(page) > 0 && got[len(got)-1] == page[0] {
					t.Fatalf("a chunk is on two pages")
				}
				got, token = append(got, page...), next
			}
			if !bytes.Equal(got, bytes.Join(all, nil)) {
				t.Fatalf("%T: read %d bytes, want %d", cell, len(got), len(bytes.Join(all, nil)))
			}
		}
	})
}

// FuzzContinuationToken reads with tokens that nobody has given out.
func FuzzContinuationToken(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("\x01\x00\x00a"))
	f.Add([]byte("\x80"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00b"))
	chunks := map[string][][]byte{"a": {[]byte("one"), []byte("two")}, "b": {nil, []byte("three")}}
	f.Fuzz(func(t *testing.T, token []byte) {
		for _, cell := range []paged{entries(t, []string{"a", "b"}, chunks), listOf(chunks["a"]), listOf(nil)} {
			if page, next, err := cell.page(token); err != nil && (!errors.Is(err, errToken) || len(page)+len(next) > 0) {
				t.Errorf("%T: got %q, next %q, error %v", cell, page, next, err)
			}
		}
	})
}
