package coder_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
)

func TestPaneEncoding(t *testing.T) {
	tests := []struct {
		pane element.Pane
		want string
	}{
		{element.Pane{First: true, Last: true, Timing: element.Unknown}, "\x0f"},
		{element.Pane{First: true, Last: true, Timing: element.OnTime}, "\x07"},
		{element.Pane{First: true, Timing: element.Early, NonSpeculative: -1}, "\x11\x00"},
		{element.Pane{Timing: element.Early, Index: 300, NonSpeculative: -1}, "\x10\xac\x02"},
		{element.Pane{Timing: element.OnTime, Index: 3}, "\x24\x03\x00"},
		{element.Pane{First: true, Timing: element.Late}, "\x09"},
		{element.Pane{Last: true, Timing: element.Late, Index: 2, NonSpeculative: 2}, "\x1a\x02"},
		{element.Pane{Timing: element.Late, Index: 2, NonSpeculative: 1}, "\x28\x02\x01"},
		{
			element.Pane{First: true, Last: true, Timing: element.Unknown, Metadata: []byte("\x02\x08\x01")},
			"\x8f\x02\x08\x01",
		},
		{
			element.Pane{Timing: element.Late, Index: 2, NonSpeculative: 1, Metadata: []byte("\x00")},
			"\xa8\x02\x01\x00",
		},
	}
	for _, test := range tests {
		if got := coder.PutPane(nil, test.pane); string(got) != test.want {
			t.Errorf("%+v: got %x, want %x", test.pane, got, test.want)
		}
		got, n, err := coder.CutPane([]byte(test.want + "rest"))
		if err != nil || n != len(test.want) {
			t.Errorf("%x: got %d bytes and error %v", test.want, n, err)
		}
		if diff := cmp.Diff(test.pane, got); diff != "" {
			t.Errorf("%x (-want +got):\n%s", test.want, diff)
		}
	}
}

// What a pane is read from, it is written as.
func TestPaneReadAndWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := element.Pane{
			First:  rapid.Bool().Draw(t, "first"),
			Last:   rapid.Bool().Draw(t, "last"),
			Timing: element.Timing(rapid.IntRange(0, 3).Draw(t, "timing")),
		}
		if p.Timing != element.Unknown {
			p.Index = rapid.Int64Range(0, 1<<40).Draw(t, "index")
			p.NonSpeculative = rapid.Int64Range(0, p.Index).Draw(t, "non-speculative")
		}
		if p.Timing == element.Early {
			p.NonSpeculative = -1
		}
		if rapid.Bool().Draw(t, "metadata") {
			message := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "message")
			p.Metadata = append([]byte{byte(len(message))}, message...)
		}
		data := coder.PutPane([]byte("before"), p)[len("before"):]
		got, n, err := coder.CutPane(append(bytes.Clone(data), "after"...))
		if err != nil || n != len(data) {
			t.Fatalf("%x: got %d of %d bytes and error %v", data, n, len(data), err)
		}
		if diff := cmp.Diff(p, got); diff != "" {
			t.Fatalf("%x (-want +got):\n%s", data, diff)
		}
		for n := range data {
			if _, _, err := coder.CutPane(data[:n:n]); !errors.Is(err, coder.ErrShort) {
				t.Fatalf("%d of %d bytes: got error %v, want ErrShort", n, len(data), err)
			}
		}
	})
}

func TestPaneMalformed(t *testing.T) {
	for _, data := range []string{"\x30", "\x70\x00", "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		if _, _, err := coder.CutPane([]byte(data)); !errors.Is(err, coder.ErrMalformed) {
			t.Errorf("%x: got error %v, want ErrMalformed", data, err)
		}
	}
}
