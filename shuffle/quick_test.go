package shuffle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
)

// quickLayouts are layouts that are cut quickly, and some that are not.
func quickLayouts() (known, others []*Layout) {
	b, n := coder.Must(coder.Bytes), coder.Must(coder.VarInt)
	kv := func(k, v *coder.Coder) *coder.Coder { return coder.Must(coder.KV, k, v) }
	global, interval := coder.Must(coder.GlobalWindow), coder.Must(coder.IntervalWindow)
	list := coder.Must(coder.Iterable, n)
	known = []*Layout{
		{Value: b, Window: global},
		{Value: n, Window: interval},
		{Value: kv(b, b), Window: global},
		{Value: kv(n, b), Window: interval},
		{Value: kv(kv(b, n), kv(coder.Must(coder.Bool), coder.Must(coder.Double))), Window: global},
		{Value: kv(coder.Must(coder.LengthPrefix), n), Window: global},
		{Value: kv(kv(b, n), b), Window: global, Key: b},
	}
	deep := b
	for range quickForms {
		deep = kv(deep, b)
	}
	others = []*Layout{
		{Value: list, Window: global},
		{Value: kv(b, list), Window: global},
		{Value: kv(list, b), Window: global},
		{Value: kv(b, b), Window: coder.Must(coder.CustomWindow)},
		{Value: kv(b, b), Window: global, Key: n},
		{Value: deep, Window: global},
	}
	return known, others
}

// drawValue encodes a value of the coder.
func drawValue(t *rapid.T, b []byte, c *coder.Coder) []byte {
	switch c.Kind() {
	case coder.Bytes, coder.LengthPrefix:
		size := rapid.SampledFrom([]int{0, 1, 127, 128, 300, 20_000}).Draw(t, "size")
		return append(binary.AppendUvarint(b, uint64(size)), make([]byte, size)...)
	case coder.VarInt:
		return binary.AppendUvarint(b, rapid.Uint64().Draw(t, "number"))
	case coder.Bool:
		return append(b, rapid.ByteRange(0, 1).Draw(t, "bool"))
	case coder.Double:
		return append(b, make([]byte, 8)...)
	case coder.KV:
		return drawValue(t, drawValue(t, b, c.Component(0)), c.Component(1))
	case coder.Iterable, coder.StateBackedIterable, coder.Nullable, coder.ShardedKey,
		coder.GlobalWindow, coder.IntervalWindow, coder.CustomWindow:
		t.Fatalf("no values of %v", c)
	}
	return nil
}

func drawElement(t *rapid.T, l *Layout) []byte {
	h := element.Header{
		Timestamp:  element.EventTime(rapid.Int64().Draw(t, "time")),
		NumWindows: rapid.SampledFrom([]int{1, 1, 1, 1, 0, 2}).Draw(t, "windows"),
		Pane:       rapid.SampledFrom([][]byte{{0x0f}, {0x0f}, {0x04}, {0x1f, 3}, {0x8f, 1, 9}}).Draw(t, "pane"),
	}
	if l.Window.Kind() == coder.GlobalWindow {
		h.NumWindows = min(h.NumWindows, 1)
	} else {
		for range h.NumWindows {
			h.Windows = coder.PutTime(h.Windows, 7)
			h.Windows = binary.AppendUvarint(h.Windows, rapid.Uint64().Draw(t, "length"))
		}
	}
	return drawValue(t, coder.PutHeader(nil, h), l.Value)
}

// What is cut quickly is cut as the layout says; and nothing else is.
func TestQuickCutsAsTheLayoutDoes(t *testing.T) {
	known, others := quickLayouts()
	for _, l := range others {
		if q := newQuick(l); len(q.forms) > 0 {
			t.Errorf("elements of %v in %v with key %v are cut quickly", l.Value, l.Window, l.Key)
		}
	}
	cuts := 0
	rapid.Check(t, func(t *rapid.T) {
		l := rapid.SampledFrom(known).Draw(t, "layout")
		q := newQuick(l)
		if len(q.forms) == 0 {
			t.Fatalf("elements of %v in %v are not cut quickly", l.Value, l.Window)
		}
		data := drawElement(t, l)
		simple := data[11] == 1 // one window
		for i := range min(len(data), 500) {
			if _, _, end := q.cut(data[:i]); end > 0 {
				t.Fatalf("%d of %d bytes are cut as %d", i, len(data), end)
			}
			checkCut(t, &q, l, data[:i])
		}
		checkCut(t, &q, l, data)
		if _, _, end := q.cut(data); end > 0 {
			cuts++
			if !simple {
				t.Fatal("an element in several windows is cut quickly")
			}
		}
		// Anything else may come from outside.
		for range 3 {
			data = bytes.Clone(data)
			data[rapid.IntRange(0, len(data)-1).Draw(t, "at")] ^= rapid.Byte().Draw(t, "flip")
			checkCut(t, &q, l, data)
		}
	})
	if cuts == 0 {
		t.Error("no element was cut quickly")
	}
}

func checkCut(t rapid.TB, q *quick, l *Layout, data []byte) {
	t.Helper()
	value, keyEnd, end := q.cut(data)
	if end == 0 {
		return
	}
	e, err := l.Cut(data)
	if end == cutShort {
		if !errors.Is(err, coder.ErrShort) {
			t.Fatalf("%x is taken for the beginning of an element: %v", data, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("cut %d bytes off %x, which are: %v", end, data, err)
	}
	if end != e.Size || !bytes.Equal(data[value:end], e.Value) || coder.TimeWithin(data) != e.Header.Timestamp {
		t.Fatalf("cut %x as value %d:%d at %v, want %+v", data, value, end, coder.TimeWithin(data), e)
	}
	if q.keys > 0 && keyEnd-value != e.KeySize {
		t.Fatalf("cut %x with a key of %d bytes, want %d", data, keyEnd-value, e.KeySize)
	}
}

func FuzzQuick(f *testing.F) {
	known, _ := quickLayouts()
	f.Add(byte(2), append(coder.PutHeader(nil, element.Header{NumWindows: 1, Pane: []byte{0x0f}}), "\x01a\x02bc"...))
	f.Fuzz(func(t *testing.T, i byte, data []byte) {
		l := known[int(i)%len(known)]
		q := newQuick(l)
		checkCut(t, &q, l, data)
	})
}
