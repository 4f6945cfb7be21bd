package element_test

import (
	"math"
	"testing"

	"github.com/gorunner/gorunner/element"
)

func TestEventTimeString(t *testing.T) {
	tests := []struct {
		at   element.EventTime
		want string
	}{
		{element.MinTime, "-inf"},
		{element.MaxTime, "+inf"},
		{element.EndOfGlobalWindow, "end-of-global"},
		{0, "0ms"},
		{-1500, "-1500ms"},
		{element.MinTime + 1, "-9223372036854774ms"},
	}
	for _, test := range tests {
		if got := test.at.String(); got != test.want {
			t.Errorf("EventTime(%d): got %q, want %q", int64(test.at), got, test.want)
		}
	}
}

// The model counts microseconds in 64 bits, and every SDK must be able to
// represent the limits.
func TestLimitsFitMicroseconds(t *testing.T) {
	for _, at := range []element.EventTime{element.MinTime, element.EndOfGlobalWindow, element.MaxTime} {
		if us := int64(at) * 1000; us/1000 != int64(at) {
			t.Errorf("%v overflows in microseconds", at)
		}
	}
	if got, want := int64(element.MaxTime), int64(9223372036854775); got != want {
		t.Errorf("MaxTime: got %d, want %d", got, want)
	}
	if got, want := int64(element.EndOfGlobalWindow), int64(9223371950454775); got != want {
		t.Errorf("EndOfGlobalWindow: got %d, want %d", got, want)
	}
}

func TestUnkeyedIsNoGroupOfAnEdge(t *testing.T) {
	if element.Unkeyed != math.MaxUint16 {
		t.Errorf("got %d: a partitioned edge could have that group", element.Unkeyed)
	}
}

func TestBlockBytes(t *testing.T) {
	b := element.Block{
		Data:  make([]byte, 10),
		Count: 2,
		Pages: []*element.Page{
			{Token: "not counted", Chunks: []element.Chunk{{Data: make([]byte, 100)}, {}, {Data: make([]byte, 20)}}},
			{Chunks: []element.Chunk{{Data: make([]byte, 3)}}},
		},
	}
	if got, want := b.Bytes(), 133; got != want {
		t.Errorf("got %d bytes, want %d", got, want)
	}
}
