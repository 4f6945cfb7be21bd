package coder_test

import (
	"errors"
	"testing"

	"github.com/gorunner/gorunner/coder"
)

// build makes a coder of a program, the bytes of which name kinds in prefix
// order. It uses up fuel, so that every program ends.
func build(program []byte, fuel *int) (*coder.Coder, []byte) {
	if len(program) == 0 || *fuel <= 0 {
		return coder.Must(coder.VarInt), program
	}
	*fuel--
	kind := coder.Kind(program[0]) % (coder.CustomWindow + 1)
	program = program[1:]
	var components []*coder.Coder
	for {
		c, err := coder.New(kind, components...)
		if err == nil {
			return c, program
		}
		var component *coder.Coder
		component, program = build(program, fuel)
		components = append(components, component)
	}
}

// checkMeasured checks what holds for any answer about any bytes.
func checkMeasured(t *testing.T, b []byte, n int, err error, again func([]byte) (int, error)) {
	t.Helper()
	if err != nil {
		if !errors.Is(err, coder.ErrShort) && !errors.Is(err, coder.ErrMalformed) {
			t.Fatalf("error %v is neither ErrShort nor ErrMalformed", err)
		}
		return
	}
	if n < 0 || n > len(b) {
		t.Fatalf("%d of %d bytes", n, len(b))
	}
	if m, err := again(b[:n:n]); err != nil || m != n {
		t.Fatalf("%d bytes alone: got %d and error %v", n, m, err)
	}
	// All prefixes of a long value would take long.
	for k := 0; k < n; k += max(1, n/256) {
		if _, err := again(b[:k:k]); !errors.Is(err, coder.ErrShort) {
			t.Fatalf("%d of the %d bytes: got error %v, want ErrShort", k, n, err)
		}
	}
}

func FuzzMeasure(f *testing.F) {
	f.Add([]byte{byte(coder.Bytes)}, []byte("\x03abc"))
	f.Add([]byte{byte(coder.KV), byte(coder.Bytes), byte(coder.VarInt)}, []byte("\x03abc\xe8\x07"))
	f.Add([]byte{byte(coder.Iterable), byte(coder.Bool)}, []byte("\xff\xff\xff\xff\x02\x00\x01\x00"))
	f.Add([]byte{byte(coder.Iterable), byte(coder.GlobalWindow)}, []byte("\x7f\xff\xff\xff"))
	f.Add([]byte{byte(coder.StateBackedIterable), byte(coder.Double)},
		[]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x05token"))
	f.Add([]byte{byte(coder.Nullable), byte(coder.ShardedKey), byte(coder.IntervalWindow)},
		[]byte("\x01\x01s\x80\x00\x00\x00\x00\x00\x03\xe8\xe8\x07"))
	f.Add([]byte{byte(coder.CustomWindow)}, []byte("\x80\x00\x00\x00\x00\x00\x03\xe7\x02ab"))
	f.Fuzz(func(t *testing.T, program, b []byte) {
		fuel := 64
		c, _ := build(program, &fuel)
		n, err := c.Measure(b)
		checkMeasured(t, b, n, err, c.Measure)
	})
}

func FuzzCutHeader(f *testing.F) {
	f.Add(byte(0), []byte(at1000+"\x00\x00\x00\x01\x0f"))
	f.Add(byte(1), []byte(at1000+"\x00\x00\x00\x02"+interval+interval+"\x14\x01"))
	f.Add(byte(2), []byte(at1000+"\x00\x00\x00\x01"+custom+"\xa4\x01\x02\x02md"))
	f.Add(byte(3), []byte(at1000+"\x00\x00\x00\x01\x03win\x0f"))
	f.Add(byte(0), []byte(at1000+"\x7f\xff\xff\xff\x0f"))
	windows := []*coder.Coder{
		coder.Must(coder.GlobalWindow), coder.Must(coder.IntervalWindow),
		coder.Must(coder.CustomWindow), coder.Must(coder.LengthPrefix),
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		window := windows[int(which)%len(windows)]
		h, n, err := coder.CutHeader(b, window)
		checkMeasured(t, b, n, err, func(b []byte) (int, error) {
			_, n, err := coder.CutHeader(b, window)
			return n, err
		})
		if err != nil {
			return
		}
		if got := 12 + len(h.Windows) + len(h.Pane); got != n {
			t.Fatalf("the parts have %d of %d bytes", got, n)
		}
		if _, err := window.WindowEnd(h.Windows); h.NumWindows > 0 && which%4 != 3 && err != nil {
			t.Fatalf("end of a whole window: %v", err)
		}
		again := coder.PutHeader(nil, h)
		if string(again[8:]) != string(b[8:n]) {
			t.Fatalf("put back: got %q, want %q", again, b[:n])
		}
	})
}
