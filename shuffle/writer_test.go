package shuffle_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// pairs is the layout of KVs of byte strings in interval windows.
func pairs() *shuffle.Layout {
	b := coder.Must(coder.Bytes)
	return &shuffle.Layout{Value: coder.Must(coder.KV, b, b), Window: coder.Must(coder.IntervalWindow)}
}

// lists is a layout whose elements are measured element by element.
func lists() *shuffle.Layout {
	value := coder.Must(coder.KV, coder.Must(coder.Bytes), coder.Must(coder.Iterable, coder.Must(coder.Bool)))
	return &shuffle.Layout{Value: value, Window: coder.Must(coder.GlobalWindow)}
}

func prefixed(s string) []byte { return append([]byte{byte(len(s) | 0x80), byte(len(s) >> 7)}, s...) }

// pair encodes an element of the layout pairs.
func pair(at element.EventTime, windows int, key, value string) []byte {
	var w []byte
	for i := range windows {
		w = append(coder.PutTime(w, element.EventTime(10*i)), 10)
	}
	b := coder.PutHeader(nil, element.Header{
		Timestamp: at, Windows: w, NumWindows: windows, Pane: []byte{coder.PaneOnlyFiring},
	})
	b = append(b, prefixed(key)...)
	return append(b, prefixed(value)...)
}

// list encodes an element of the layout lists with n items.
func list(key string, n int) []byte {
	b := coder.PutHeader(nil, element.Header{NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring}})
	b = append(b, prefixed(key)...)
	b = append(b, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	return append(b, make([]byte, n)...)
}

// drawnPair is a generated element and what of it matters.
type drawnPair struct {
	key  string
	at   element.EventTime
	data string
}

func drawPairs(t *rapid.T) []drawnPair {
	drawn := make([]drawnPair, rapid.IntRange(0, 60).Draw(t, "elements"))
	for i := range drawn {
		p := &drawn[i]
		p.key = rapid.SampledFrom([]string{"", "a", "b", "key", "another"}).Draw(t, "key")
		p.at = element.EventTime(rapid.Int64Range(-5, 1000).Draw(t, "timestamp"))
		size := rapid.SampledFrom([]int{0, 1, 10, 100, 300, 5000}).Draw(t, "size")
		p.data = string(pair(p.at, rapid.IntRange(0, 3).Draw(t, "windows"), p.key, strings.Repeat("v", size)))
	}
	return drawn
}

// writeInPieces writes the data cut at random.
func writeInPieces(t *rapid.T, w *shuffle.Writer, data []byte) {
	for len(data) > 0 {
		n := rapid.SampledFrom([]int{1, 2, 30, 100, 511, 1000, 5000, 100_000}).Draw(t, "piece")
		piece := bytes.Clone(data[:min(n, len(data))])
		if err := w.Write(piece); err != nil {
			t.Fatal(err)
		}
		clear(piece) // the writer must have copied what it keeps
		data = data[min(n, len(data)):]
	}
}

// checkBlocks returns the elements of the blocks, which must say of themselves
// what is true.
func checkBlocks(t rapid.TB, l *shuffle.Layout, blocks []element.Block) string {
	t.Helper()
	var all strings.Builder
	for i, b := range blocks {
		b, err := b.InMemory()
		if err != nil {
			t.Fatal(err)
		}
		want, err := l.MakeBlock(b.Data)
		if err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		if b.Count == 0 {
			t.Fatalf("block %d is empty", i)
		}
		if b.Count != want.Count || b.MinTime != want.MinTime {
			t.Fatalf("block %d: got %d elements from %v on, want %d from %v", i, b.Count, b.MinTime, want.Count, want.MinTime)
		}
		all.Write(b.Data)
	}
	return all.String()
}

// However the bytes are cut, each form of the output has all elements in
// order, and a key is in one group.
func TestWriterKeepsElements(t *testing.T) {
	wants := []shuffle.Partitions{
		{Plain: true},
		{Plain: true, Single: true},
		{Groups: 1},
		{Groups: 7},
		{Plain: true, Groups: 3},
		{Single: true, Groups: 3},
		{},
	}
	for _, want := range wants {
		t.Run(fmt.Sprintf("%+v", want), rapid.MakeCheck(func(t *rapid.T) {
			l := pairs()
			drawn := drawPairs(t)
			var data []byte
			groups := make(map[element.KeyGroup]string)
			for _, p := range drawn {
				data = append(data, p.data...)
				if want.Groups > 0 {
					groups[shuffle.KeyGroup(prefixed(p.key), want.Groups)] += p.data
				}
			}
			w := shuffle.NewWriter(l, want, drawSpill(t))
			writeInPieces(t, w, data)
			out, err := w.Close()
			if err != nil {
				t.Fatal(err)
			}
			if out.Count != int64(len(drawn)) || out.Bytes != int64(len(data)) {
				t.Fatalf("got %d elements of %d bytes, want %d of %d", out.Count, out.Bytes, len(drawn), len(data))
			}
			if count, size := w.Written(); count != out.Count || size != out.Bytes {
				t.Fatalf("written: got %d elements of %d bytes", count, size)
			}
			plain := ""
			if want.Plain || want.Single {
				plain = string(data)
			}
			if got := checkBlocks(t, l, out.Plain); got != plain {
				t.Fatalf("plain blocks hold\n%q, want\n%q", got, plain)
			}
			if want.Single && len(out.Plain) != len(drawn) {
				t.Fatalf("%d blocks for %d single elements", len(out.Plain), len(drawn))
			}
			keyed := make(map[element.KeyGroup]string)
			for g, blocks := range out.Keyed {
				if len(blocks) > 0 {
					keyed[element.KeyGroup(g)] = checkBlocks(t, l, blocks)
				}
			}
			if !maps.Equal(keyed, groups) {
				t.Fatalf("groups hold (-want +got):\n%s", cmp.Diff(groups, keyed))
			}
		}))
	}
}

// An element that comes in many pieces is measured a few times, not once for
// each piece: this would take hours otherwise.
func TestWriterTakesElementsInManyPieces(t *testing.T) {
	const items = 4 << 20
	data := slicesConcat(list("small", 3), list("big", items), list("last", 2))
	w := shuffle.NewWriter(lists(), shuffle.Partitions{Plain: true, Groups: 2}, nil)
	for at := 0; at < len(data); at += 64 {
		if err := w.Write(data[at:min(at+64, len(data))]); err != nil {
			t.Fatal(err)
		}
	}
	out, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if got := checkBlocks(t, lists(), out.Plain); got != string(data) || out.Count != 3 {
		t.Errorf("got %d elements of %d bytes, want 3 of %d", out.Count, len(got), len(data))
	}
}

func slicesConcat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestWriterFillsBlocks(t *testing.T) {
	l := pairs()
	one := pair(0, 1, "key", strings.Repeat("v", 1000))
	tests := []struct {
		name       string
		perWrite   int // elements
		writes     int
		want       shuffle.Partitions
		blockBytes int // the most, if one Write brings less
	}{
		{"plain, small writes", 10, 500, shuffle.Partitions{Plain: true}, 1 << 20},
		{"plain, big writes", 2000, 3, shuffle.Partitions{Plain: true}, 2000 * len(one)},
		{"one group", 10, 500, shuffle.Partitions{Groups: 1}, 256 << 10},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := shuffle.NewWriter(l, test.want, nil)
			for range test.writes {
				if err := w.Write(bytes.Repeat(one, test.perWrite)); err != nil {
					t.Fatal(err)
				}
			}
			out, err := w.Close()
			if err != nil {
				t.Fatal(err)
			}
			blocks := out.Plain
			if test.want.Groups > 0 {
				blocks = out.Keyed[0]
			}
			checkBlocks(t, l, blocks)
			for i, b := range blocks {
				if len(b.Data) > test.blockBytes {
					t.Errorf("block %d has %d bytes, more than %d", i, len(b.Data), test.blockBytes)
				}
				if i > 8 && i < len(blocks)-1 && len(b.Data) < test.blockBytes/2 {
					t.Errorf("block %d of %d has only %d bytes", i, len(blocks), len(b.Data))
				}
			}
		})
	}
}

// An element larger than any block is a block.
func TestWriterBigElements(t *testing.T) {
	b := coder.Must(coder.Bytes)
	l := &shuffle.Layout{Value: coder.Must(coder.KV, b, b), Window: coder.Must(coder.GlobalWindow)}
	var data []byte
	for i := range 3 {
		data = coder.PutHeader(data, element.Header{NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring}})
		data = append(data, 1, byte('a'+i))
		data = append(data, 0x80, 0x80, 0x80, 0x01) // 2 MiB
		data = append(data, make([]byte, 2<<20)...)
	}
	w := shuffle.NewWriter(l, shuffle.Partitions{Plain: true, Groups: 2}, nil)
	for at := 0; at < len(data); at += 1 << 20 {
		if err := w.Write(data[at:min(at+1<<20, len(data))]); err != nil {
			t.Fatal(err)
		}
	}
	out, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if got := checkBlocks(t, l, out.Plain); got != string(data) {
		t.Error("plain blocks are not what was written")
	}
	if got := len(checkBlocks(t, l, out.Keyed[0])) + len(checkBlocks(t, l, out.Keyed[1])); got != len(data) {
		t.Errorf("groups hold %d of %d bytes", got, len(data))
	}
}

func TestWriterErrorsNameTheElement(t *testing.T) {
	bad := coder.PutHeader(nil, element.Header{NumWindows: -1})
	good := pair(1, 1, "k", "v")
	notKV := coder.PutHeader(nil, element.Header{Pane: []byte{coder.PaneOnlyFiring}})
	notKV = append(notKV, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"...)
	tests := []struct {
		name   string
		pieces [][]byte
		is     error
		want   string
	}{
		{"first", [][]byte{bad}, coder.ErrMalformed, "element 0: header: "},
		{"third", [][]byte{slicesConcat(good, good, bad)}, coder.ErrMalformed, "element 2: header: "},
		{"in a later write", [][]byte{good, good, slicesConcat(good, bad)}, coder.ErrMalformed, "element 3: header: "},
		{"across writes", [][]byte{good, slicesConcat(good, bad[:5]), bad[5:]}, coder.ErrMalformed, "element 2: header: "},
		{"value", [][]byte{good, notKV}, coder.ErrMalformed, "element 1: value kv<bytes,bytes>: "},
		{"cut short", [][]byte{good, good[:10]}, coder.ErrShort, "output ends within element 1: "},
		{"cut short in pieces", [][]byte{good[:10], good[10:20]}, coder.ErrShort, "output ends within element 0: "},
	}
	for _, test := range tests {
		for _, want := range []shuffle.Partitions{{Plain: true}, {Groups: 4}, {Single: true}} {
			t.Run(fmt.Sprintf("%s/%+v", test.name, want), func(t *testing.T) {
				w := shuffle.NewWriter(pairs(), want, nil)
				var err error
				for _, piece := range test.pieces {
					if err == nil {
						err = w.Write(piece)
					}
				}
				if err == nil {
					_, err = w.Close()
				}
				if !errors.Is(err, test.is) || !strings.HasPrefix(err.Error(), test.want) {
					t.Errorf("got error %v, want one that begins with %q", err, test.want)
				}
			})
		}
	}
}

func TestWriteBlock(t *testing.T) {
	l := pairs()
	first := slicesConcat(pair(5, 1, "a", "1"), pair(6, 1, "b", "2"))
	block := func(page string) element.Block {
		b, err := l.MakeBlock(slicesConcat(pair(7, 1, "a", page), pair(3, 1, "c", "4")))
		if err != nil {
			t.Fatal(err)
		}
		if page != "" {
			b.Pages = []*element.Page{{Token: page, Chunks: []element.Chunk{{Data: []byte("value")}}}}
		}
		return b
	}
	for _, want := range []shuffle.Partitions{
		{Plain: true},
		{Plain: true, Single: true},
		{Groups: 3},
		{Plain: true, Groups: 3},
		{Plain: true, Windows: true},
		{Plain: true, Groups: 3, Windows: true},
	} {
		t.Run(fmt.Sprintf("%+v", want), func(t *testing.T) {
			w := shuffle.NewWriter(l, want, nil)
			if err := w.Write(first); err != nil {
				t.Fatal(err)
			}
			blocks := []element.Block{block(""), block("p1"), block("p2")}
			whole := bytes.Clone(first)
			for _, b := range blocks {
				if err := w.WriteBlock(b); err != nil {
					t.Fatal(err)
				}
				whole = append(whole, b.Data...)
			}
			out, err := w.Close()
			if err != nil {
				t.Fatal(err)
			}
			if out.Count != 8 || out.Bytes != int64(len(whole)) {
				t.Errorf("got %d elements of %d bytes, want 8 of %d", out.Count, out.Bytes, len(whole))
			}
			if got := checkBlocks(t, l, out.Plain); want.Plain && got != string(whole) {
				t.Errorf("plain blocks hold\n%q, want\n%q", got, whole)
			}
			if want.Single && len(out.Plain) != 8 {
				t.Errorf("%d blocks for 8 single elements", len(out.Plain))
			}
			got := 0
			for _, blocks := range out.Keyed {
				got += len(checkBlocks(t, l, blocks))
				checkPages(t, blocks)
			}
			if want.Groups > 0 && got != len(whole) {
				t.Errorf("groups hold %d of %d bytes", got, len(whole))
			}
			checkPages(t, out.Plain)
		})
	}
}

// checkPages checks that a block has the pages it refers to, and that no block
// has the pages of another writing.
func checkPages(t *testing.T, blocks []element.Block) {
	t.Helper()
	for i, b := range blocks {
		pages := make(map[string]bool)
		for _, p := range b.Pages {
			pages[p.Token] = true
		}
		for _, token := range []string{"p1", "p2"} {
			if bytes.Contains(b.Data, []byte(token)) && !pages[token] {
				t.Errorf("block %d lacks the page %s", i, token)
			}
		}
		if len(b.Pages) > 1 {
			t.Errorf("block %d keeps %d pages alive, one is enough", i, len(b.Pages))
		}
	}
}

func TestWriteBlockAfterHalfAnElement(t *testing.T) {
	w := shuffle.NewWriter(pairs(), shuffle.Partitions{Plain: true}, nil)
	whole := pair(0, 1, "k", "v")
	if err := w.Write(whole[:5]); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteBlock(element.Block{Data: whole, Count: 1}); !errors.Is(err, coder.ErrShort) {
		t.Errorf("got error %v, want ErrShort", err)
	}
}

// FuzzWriter writes any bytes, cut in two, and compares with the same bytes in
// one piece.
func FuzzWriter(f *testing.F) {
	f.Add(slicesConcat(pair(0, 1, "a", "1"), pair(1, 2, "b", "2")), uint16(40), byte(0))
	f.Add(list("key", 5), uint16(3), byte(3))
	f.Add([]byte("\x80\x00\x00\x00\x00\x00\x03\xe8\x7f\xff\xff\xff\x0f"), uint16(9), byte(4))
	wants := []shuffle.Partitions{{Plain: true}, {Single: true}, {Groups: 4}, {Plain: true, Groups: 4, Windows: true}}
	layouts := []*shuffle.Layout{pairs(), lists()}
	f.Fuzz(func(t *testing.T, data []byte, cut uint16, how byte) {
		l, want := layouts[int(how)%2], wants[int(how)/2%4]
		write := func(pieces ...[]byte) (shuffle.Output, error) {
			w := shuffle.NewWriter(l, want, nil)
			for _, p := range pieces {
				if err := w.Write(p); err != nil {
					return shuffle.Output{}, err
				}
			}
			return w.Close()
		}
		one, err := write(data)
		if err != nil && !errors.Is(err, coder.ErrShort) && !errors.Is(err, coder.ErrMalformed) {
			t.Fatalf("error %v is neither ErrShort nor ErrMalformed", err)
		}
		at := min(int(cut), len(data))
		two, err2 := write(data[:at], data[at:])
		if fmt.Sprint(err) != fmt.Sprint(err2) {
			t.Fatalf("in one piece: error %v, in two: %v", err, err2)
		}
		if err != nil {
			return
		}
		if one.Bytes != int64(len(data)) {
			t.Fatalf("took %d of %d bytes", one.Bytes, len(data))
		}
		join := func(out shuffle.Output) []string {
			texts := []string{checkBlocks(t, l, out.Plain)}
			for _, blocks := range out.Keyed {
				texts = append(texts, checkBlocks(t, l, blocks))
			}
			return texts
		}
		if diff := cmp.Diff(join(one), join(two)); diff != "" {
			t.Fatalf("in one piece and in two (-one +two):\n%s", diff)
		}
	})
}
