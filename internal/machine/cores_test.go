package machine

import (
	"testing"
	"testing/fstest"
)

func TestCoreTimes(t *testing.T) {
	for text, want := range map[string]Cores{
		"cpu  10 1 20 300 40 2 3 4 50 6\ncpu0 1 1 1 1 1 1 1 1 1 1\n": {Busy: 10 + 1 + 20 + 2 + 3 + 4, Idle: 340},
		"cpu 1 2 3 4 5 6 7 8":  {Busy: 27, Idle: 9},
		"cpu 1 2 3 4 5 6 7":    {},
		"cpu 1 2 3 x 5 6 7 8":  {},
		"cpu0 1 2 3 4 5 6 7 8": {},
		"":                     {},
	} {
		got, ok := coreTimes(fstest.MapFS{"proc/stat": {Data: []byte(text)}})
		if got != want || ok != (want != Cores{}) {
			t.Errorf("%q: got %+v, %t, want %+v", text, got, ok, want)
		}
	}
	if _, ok := coreTimes(fstest.MapFS{}); ok {
		t.Error("times of a machine that does not tell")
	}
}
