package coder_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gorunner/gorunner/coder"
)

// shape makes a coder from its printed form, kv<bytes,varint>.
func shape(t *testing.T, s string) *coder.Coder {
	t.Helper()
	c, rest, err := parse(s)
	if err != nil || rest != "" {
		t.Fatalf("shape %q: %v, rest %q", s, err, rest)
	}
	return c
}

func parse(s string) (*coder.Coder, string, error) {
	end := strings.IndexAny(s, "<,>")
	if end < 0 {
		end = len(s)
	}
	name, rest := s[:end], s[end:]
	var components []*coder.Coder
	if strings.HasPrefix(rest, "<") {
		for rest[0] != '>' {
			c, r, err := parse(rest[1:])
			if err != nil {
				return nil, "", err
			}
			if r == "" {
				return nil, "", fmt.Errorf("%s<… does not end", name)
			}
			components, rest = append(components, c), r
		}
		rest = rest[1:]
	}
	for _, kind := range kinds() {
		if kind.String() == name {
			c, err := coder.New(kind, components...)
			return c, rest, err
		}
	}
	return nil, "", fmt.Errorf("no kind %q", name)
}

func kinds() []coder.Kind {
	var all []coder.Kind
	for k := coder.Bytes; k <= coder.CustomWindow; k++ {
		all = append(all, k)
	}
	return all
}

// The values are written by hand after the descriptions of the standard coders.
func TestMeasure(t *testing.T) {
	long := strings.Repeat("x", 300)
	tests := []struct{ coder, name, value string }{
		{"bytes", "empty", "\x00"},
		{"bytes", "three", "\x03abc"},
		{"bytes", "length of two bytes", "\xac\x02" + long},
		{"bytes", "length with a superfluous byte", "\x83\x00abc"},
		{"length_prefix", "of a varint", "\x01\x05"},
		{"varint", "0", "\x00"},
		{"varint", "127", "\x7f"},
		{"varint", "128", "\x80\x01"},
		{"varint", "1000", "\xe8\x07"},
		{"varint", "-1", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
		{"varint", "the smallest", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"},
		{"bool", "false", "\x00"},
		{"bool", "true", "\x01"},
		{"double", "0.5", "\x3f\xe0\x00\x00\x00\x00\x00\x00"},
		{"kv<bytes,varint>", "key and value", "\x03abc\xe8\x07"},
		{"kv<bytes,bytes>", "both empty", "\x00\x00"},
		{"kv<kv<varint,bool>,kv<double,bytes>>", "nested", "\x01\x01\x3f\xe0\x00\x00\x00\x00\x00\x00\x01z"},
		{"kv<global_window,global_window>", "no byte at all", ""},
		{"iterable<varint>", "none", "\x00\x00\x00\x00"},
		{"iterable<varint>", "three", "\x00\x00\x00\x03\x01\x80\x01\x03"},
		{"iterable<varint>", "in chunks", "\xff\xff\xff\xff\x02\x01\x02\x01\x03\x00"},
		{"iterable<varint>", "no chunk", "\xff\xff\xff\xff\x00"},
		{"iterable<kv<bytes,bool>>", "of pairs", "\x00\x00\x00\x02\x01a\x00\x00\x01"},
		{"iterable<iterable<bool>>", "nested", "\x00\x00\x00\x02\x00\x00\x00\x01\x01\x00\x00\x00\x00"},
		{"iterable<global_window>", "elements without bytes", "\x00\x00\x00\x05"},
		{"iterable<global_window>", "as many of them as can be", "\x7f\xff\xff\xff"},
		{
			"iterable<kv<global_window,global_window>>", "chunks of elements without bytes",
			"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x05\x00",
		},
		{"state_backed_iterable<varint>", "in the element", "\x00\x00\x00\x01\x07"},
		{"state_backed_iterable<varint>", "in chunks", "\xff\xff\xff\xff\x01\x07\x00"},
		{
			"state_backed_iterable<varint>", "by token",
			"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x05token",
		},
		{
			"state_backed_iterable<varint>", "chunk, then token",
			"\xff\xff\xff\xff\x02\x07\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x05token",
		},
		{"nullable<varint>", "null", "\x00"},
		{"nullable<varint>", "not null", "\x01\x80\x01"},
		{"nullable<nullable<bytes>>", "null in it", "\x01\x00"},
		{"sharded_key<bytes>", "shard and key", "\x02s1\x03key"},
		{"sharded_key<varint>", "empty shard", "\x00\x07"},
		{"global_window", "the one", ""},
		{"interval_window", "[0, 1000)", "\x80\x00\x00\x00\x00\x00\x03\xe8\xe8\x07"},
		{"interval_window", "before 1970", "\x7f\xff\xff\xff\xff\xff\xff\xff\x01"},
		{"custom_window", "opaque", "\x80\x00\x00\x00\x00\x00\x03\xe7\x02ab"},
	}
	seen := make(map[coder.Kind]bool)
	for _, test := range tests {
		c := shape(t, test.coder)
		seen[c.Kind()] = true
		t.Run(test.coder+"/"+test.name, func(t *testing.T) {
			checkExtent(t, c.Measure, []byte(test.value))
		})
	}
	for _, kind := range kinds() {
		if !seen[kind] {
			t.Errorf("no case for %v", kind)
		}
	}
}

// checkExtent checks that measure finds the value at the start of longer data
// of any kind, and that every shorter piece of it is too short.
func checkExtent(t *testing.T, measure func([]byte) (int, error), value []byte) {
	t.Helper()
	for _, more := range []string{"", "\x00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
		got, err := measure(append(bytes.Clone(value), more...))
		if err != nil || got != len(value) {
			t.Fatalf("value %q before %q: got %d bytes and error %v, want %d", value, more, got, err, len(value))
		}
	}
	for n := range value {
		if _, err := measure(value[:n:n]); !errors.Is(err, coder.ErrShort) {
			t.Fatalf("%d of %d bytes of %q: got error %v, want ErrShort", n, len(value), value, err)
		}
	}
}

func TestMeasureMalformed(t *testing.T) {
	const endless = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
	const tooBig = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"
	tests := []struct{ coder, name, value string }{
		{"varint", "of eleven bytes", endless + "\x01"},
		{"varint", "of ten bytes without end", endless},
		{"varint", "of 65 bits", tooBig},
		{"bytes", "endless length", endless},
		{"bytes", "length 1<<31", "\x80\x80\x80\x80\x08"},
		{"bytes", "length 1<<63", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"},
		{"bytes", "length 1<<64-1", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
		{"kv<bool,varint>", "second component", "\x00" + endless},
		{"kv<varint,bool>", "first component", endless},
		{"iterable<bool>", "count -2", "\xff\xff\xff\xfe"},
		{"iterable<bool>", "the smallest count", "\x80\x00\x00\x00"},
		{"iterable<bool>", "chunk of -1 elements", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
		{"iterable<varint>", "element", "\x00\x00\x00\x02\x01" + endless},
		{"iterable<varint>", "element of a chunk", "\xff\xff\xff\xff\x02\x01" + endless},
		{"state_backed_iterable<bool>", "chunk of -2 elements", "\xff\xff\xff\xff\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
		{"state_backed_iterable<bool>", "length of the token", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + endless},
		{"nullable<bool>", "marker", "\x02"},
		{"sharded_key<bool>", "shard", endless},
		{"interval_window", "length", "\x80\x00\x00\x00\x00\x00\x00\x00" + endless},
		{"custom_window", "length", "\x80\x00\x00\x00\x00\x00\x00\x00" + endless},
	}
	for _, test := range tests {
		t.Run(test.coder+"/"+test.name, func(t *testing.T) {
			if _, err := shape(t, test.coder).Measure([]byte(test.value)); !errors.Is(err, coder.ErrMalformed) {
				t.Errorf("got error %v, want ErrMalformed", err)
			}
		})
	}
}

// A count or a length that promises more than there is must cost nothing.
func TestMeasureBelievesNoCount(t *testing.T) {
	tests := []struct{ coder, value string }{
		{"bytes", "\xff\xff\xff\xff\x07"},
		{"iterable<bool>", "\x7f\xff\xff\xff"},
		{"iterable<bool>", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"},
		{"iterable<iterable<global_window>>", "\x7f\xff\xff\xff\x7f\xff\xff\xff"},
	}
	for _, test := range tests {
		c := shape(t, test.coder)
		allocs := testing.AllocsPerRun(10, func() {
			if _, err := c.Measure([]byte(test.value)); !errors.Is(err, coder.ErrShort) {
				t.Errorf("%s of %q: got error %v, want ErrShort", test.coder, test.value, err)
			}
		})
		if allocs > 1 {
			t.Errorf("%s of %q: %v allocations", test.coder, test.value, allocs)
		}
	}
}

func TestNewCountsComponents(t *testing.T) {
	b := coder.Must(coder.Bytes)
	tests := []struct {
		kind       coder.Kind
		components []*coder.Coder
		want       string // part of the error; empty if there is none
	}{
		{coder.Bytes, nil, ""},
		{coder.Bytes, []*coder.Coder{b}, "bytes takes 0 components, not 1"},
		{coder.KV, []*coder.Coder{b, b}, ""},
		{coder.KV, []*coder.Coder{b}, "kv takes 2 components, not 1"},
		{coder.Iterable, nil, "iterable takes 1 components, not 0"},
		{coder.Nullable, []*coder.Coder{b}, ""},
		{coder.ShardedKey, []*coder.Coder{b}, ""},
		{coder.Kind(-1), nil, "unknown kind(-1)"},
		{coder.CustomWindow + 1, nil, "unknown kind(13)"},
	}
	for _, test := range tests {
		_, err := coder.New(test.kind, test.components...)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%v of %d components: %v", test.kind, len(test.components), err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%v of %d components: got error %v, want one with %q", test.kind, len(test.components), err, test.want)
		}
	}
}

func TestMustPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Must made a kv of nothing")
		}
	}()
	coder.Must(coder.KV)
}

func TestNewBoundsNesting(t *testing.T) {
	nest := func(kind coder.Kind, levels int) (c *coder.Coder, err error) {
		c = coder.Must(coder.GlobalWindow)
		for range levels {
			components := []*coder.Coder{c}
			if kind == coder.KV {
				components = []*coder.Coder{c, c}
			}
			if c, err = coder.New(kind, components...); err != nil {
				return nil, err
			}
		}
		return c, nil
	}
	t.Run("deep", func(t *testing.T) {
		c, err := nest(coder.Nullable, coder.MaxNodes-1)
		if err != nil {
			t.Fatal(err)
		}
		value := bytes.Repeat([]byte{1}, coder.MaxNodes-1)
		if n, err := c.Measure(value); err != nil || n != len(value) {
			t.Errorf("got %d bytes and error %v, want %d", n, err, len(value))
		}
		if _, err := c.Measure(value[1:]); !errors.Is(err, coder.ErrShort) {
			t.Errorf("cut short: got error %v, want ErrShort", err)
		}
		if !strings.HasSuffix(c.String(), strings.Repeat(">", coder.MaxNodes-1)) || !c.Equal(c) {
			t.Error("a deep coder is not equal to itself or does not print")
		}
		if _, err := nest(coder.Nullable, coder.MaxNodes); err == nil {
			t.Errorf("no error for %d nested coders", coder.MaxNodes+1)
		}
	})
	t.Run("wide by sharing", func(t *testing.T) {
		if _, err := nest(coder.KV, 60); err == nil || !strings.Contains(err.Error(), "nested coders") {
			t.Errorf("got error %v for a tree of 1<<60 coders", err)
		}
	})
}

func TestEqual(t *testing.T) {
	shapes := []string{
		"bytes", "length_prefix", "kv<bytes,varint>", "kv<varint,bytes>", "kv<bytes,bytes>",
		"iterable<bytes>", "state_backed_iterable<bytes>", "iterable<kv<bytes,bytes>>", "nullable<bytes>",
	}
	for _, a := range shapes {
		for _, b := range shapes {
			if got := shape(t, a).Equal(shape(t, b)); got != (a == b) {
				t.Errorf("%s equal to %s: got %v", a, b, got)
			}
		}
		if shape(t, a).Equal(nil) {
			t.Errorf("%s is equal to no coder", a)
		}
	}
}

func TestString(t *testing.T) {
	const want = "kv<length_prefix,iterable<nullable<interval_window>>>"
	c := shape(t, want)
	if got := c.String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := c.Component(1).Component(0).Kind(); got != coder.Nullable {
		t.Errorf("component: got %v, want nullable", got)
	}
	seen := make(map[string]bool)
	for _, kind := range kinds() {
		if name := kind.String(); seen[name] || strings.HasPrefix(name, "kind(") {
			t.Errorf("kind %d is named %q", int(kind), name)
		} else {
			seen[name] = true
		}
	}
}
