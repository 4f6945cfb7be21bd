package coder_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/gorunner/gorunner/coder"
)

func TestElements(t *testing.T) {
	refused := errors.New("refused")
	chunk := func(n uint64, rest string) string { return string(binary.AppendUvarint(nil, n)) + rest }
	for _, test := range []struct {
		name, data, want string
		err              error
	}{
		{name: "none", data: "\x00\x00\x00\x00", want: ""},
		{name: "counted", data: "\x00\x00\x00\x02\x01a\x02bcrest", want: "\x01a|\x02bc|"},
		{name: "in chunks", data: "\xff\xff\xff\xff\x01\x01a\x02\x02bc\x00\x00rest", want: "\x01a|\x02bc|\x00|"},
		{name: "without a count", data: "\x00\x00\x00", err: coder.ErrShort},
		{name: "cut short", data: "\x00\x00\x00\x02\x01a\x02b", err: coder.ErrShort},
		{name: "chunk cut short", data: "\xff\xff\xff\xff\x02\x01a", err: coder.ErrShort},
		{name: "without an end", data: "\xff\xff\xff\xff\x01\x01a", err: coder.ErrShort},
		{name: "negative count", data: "\xff\xff\xff\xfe", err: coder.ErrMalformed},
		{name: "negative chunk", data: "\xff\xff\xff\xff" + chunk(1<<63, ""), err: coder.ErrMalformed},
		{name: "refused", data: "\x00\x00\x00\x01\x01!", err: refused},
	} {
		got := ""
		n, err := coder.Must(coder.Iterable, coder.Must(coder.Bytes)).Elements([]byte(test.data), func(e []byte) error {
			got += string(e) + "|"
			if string(e) == "\x01!" {
				return refused
			}
			return nil
		})
		if !errors.Is(err, test.err) {
			t.Errorf("%s: got error %v, want %v", test.name, err, test.err)
		}
		if want := len(strings.TrimSuffix(test.data, "rest")); err == nil && (got != test.want || n != want) {
			t.Errorf("%s: got %q of %d bytes, want %q of %d", test.name, got, n, test.want, want)
		}
	}
}

// An iterable of values without bytes has at most one: the count alone, which
// comes from outside, makes no long loop.
func TestElementsWithoutBytes(t *testing.T) {
	c := coder.Must(coder.Iterable, coder.Must(coder.GlobalWindow))
	calls := 0
	count := func([]byte) error { calls++; return nil }
	if n, err := c.Elements([]byte{0, 0, 0, 1}, count); n != 4 || err != nil || calls != 1 {
		t.Errorf("one: %d bytes, %d calls, error %v", n, calls, err)
	}
	if _, err := c.Elements([]byte{0x7f, 0xff, 0xff, 0xff}, count); !errors.Is(err, coder.ErrMalformed) || calls != 2 {
		t.Errorf("many: %d calls, error %v", calls, err)
	}
	if _, err := coder.Must(coder.Bytes).Elements([]byte{0}, count); err == nil {
		t.Error("the elements of what has none")
	}
}

// FuzzElements holds that the elements of an iterable, as far as they are
// values, are as long together as it says.
func FuzzElements(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02\x01a\x02bc"))
	f.Add([]byte("\xff\xff\xff\xff\x01\x01a\x02\x02bc\x00\x00"))
	c := coder.Must(coder.Iterable, coder.Must(coder.Bytes))
	f.Fuzz(func(t *testing.T, data []byte) {
		total := 0
		n, err := c.Elements(data, func(e []byte) error { total += len(e); return nil })
		m, measured := c.Measure(data)
		if (err == nil) != (measured == nil) || err == nil && (n != m || total > n) {
			t.Errorf("%d bytes, %d of elements, error %v; measured %d bytes, error %v", n, total, err, m, measured)
		}
	})
}
