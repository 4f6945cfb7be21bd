package coder_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
)

const (
	at2000  = "\x80\x00\x00\x00\x00\x00\x07\xd0" // 2000 ms
	theOne  = "\x00\x00\x00\x01"                 // the number of windows
	lowest  = "\x00\x00\x00\x00\x00\x00\x00\x00"
	highest = "\xff\xff\xff\xff\xff\xff\xff\xff"
)

// The timers are written by hand after the description of the timer coder.
func TestCutTimer(t *testing.T) {
	tests := []struct {
		name, key, window, timer string
		want                     coder.Timer
	}{
		{
			"global window", "bytes", "global_window", "\x01k" + "\x00" + theOne + "\x00" + at1000 + at2000 + "\x0f",
			coder.Timer{Key: []byte("\x01k"), NumWindows: 1, Fire: 1000, Hold: 2000, Pane: []byte{0x0f}},
		},
		{
			"dynamic tag", "bytes", "global_window", "\x01k" + "\x03tag" + theOne + "\x00" + at2000 + at1000 + "\x00",
			coder.Timer{Key: []byte("\x01k"), Tag: []byte("tag"), NumWindows: 1, Fire: 2000, Hold: 1000, Pane: []byte{0}},
		},
		{
			"cleared", "bytes", "interval_window", "\x01k" + "\x03tag" + theOne + interval + "\x01",
			coder.Timer{Key: []byte("\x01k"), Tag: []byte("tag"), Windows: []byte(interval), NumWindows: 1, Clear: true},
		},
		{
			"two windows", "varint", "interval_window",
			"\xe8\x07" + "\x00" + "\x00\x00\x00\x02" + interval + interval + "\x00" + at1000 + at1000 + "\x14\x05",
			coder.Timer{
				Key: []byte("\xe8\x07"), Windows: []byte(interval + interval), NumWindows: 2,
				Fire: 1000, Hold: 1000, Pane: []byte{0x14, 5},
			},
		},
		{
			"key without bytes", "global_window", "custom_window", "\x00" + theOne + custom + "\x00" + at1000 + at1000 + "\x8f\x02md",
			coder.Timer{Windows: []byte(custom), NumWindows: 1, Fire: 1000, Hold: 1000, Pane: []byte("\x8f\x02md")},
		},
		{
			"nested key", "kv<bytes,varint>", "global_window", "\x01k\x07" + "\x00" + theOne + "\x00" + at1000 + at1000 + "\x0f",
			coder.Timer{Key: []byte("\x01k\x07"), NumWindows: 1, Fire: 1000, Hold: 1000, Pane: []byte{0x0f}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			key, window := shape(t, test.key), shape(t, test.window)
			cut := func(b []byte) (int, error) {
				got, err := coder.CutTimer(b, key, window)
				return got.Size, err
			}
			checkExtent(t, cut, []byte(test.timer))
			got, err := coder.CutTimer([]byte(test.timer+"more"), key, window)
			if err != nil {
				t.Fatal(err)
			}
			test.want.Size = len(test.timer)
			// Parts without bytes may be nil or not.
			for _, part := range []*[]byte{&got.Key, &got.Tag, &got.Windows} {
				if len(*part) == 0 {
					*part = nil
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("timer (-want +got):\n%s", diff)
			}
			if again := coder.PutTimer([]byte("before"), test.want); string(again) != "before"+test.timer {
				t.Errorf("put: got %q, want %q", again, test.timer)
			}
		})
	}
}

func TestCutTimerKeepsTimesWithinLimits(t *testing.T) {
	timer := "\x00\x00" + theOne + "\x00" + highest + lowest + "\x0f"
	got, err := coder.CutTimer([]byte(timer), coder.Must(coder.Bytes), coder.Must(coder.GlobalWindow))
	if err != nil || got.Fire != element.MaxTime || got.Hold != element.MinTime {
		t.Errorf("got times %v and %v and error %v", got.Fire, got.Hold, err)
	}
}

// TestTimerThatEmitsNothing keeps what tells the SDK so.
func TestTimerThatEmitsNothing(t *testing.T) {
	want := coder.Timer{Key: []byte{0}, NumWindows: 1, Fire: 1, Hold: coder.HoldNothing, Pane: []byte{coder.PaneOnlyFiring}}
	data := coder.PutTimer(nil, want)
	got, err := coder.CutTimer(data, coder.Must(coder.Bytes), coder.Must(coder.GlobalWindow))
	want.Tag, want.Windows, want.Size = []byte{}, []byte{}, len(data)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v, timer (-want +got):\n%s", err, diff)
	}
}

func TestCutTimerMalformed(t *testing.T) {
	tests := []struct{ name, key, window, timer string }{
		{"key", "varint", "global_window", endless + "\x01"},
		{"tag", "bytes", "global_window", "\x00" + endless},
		{"huge tag", "bytes", "global_window", "\x00\x80\x80\x80\x80\x08"},
		{"negative number of windows", "bytes", "interval_window", "\x00\x00\xff\xff\xff\xff\x01"},
		{"many windows without bytes", "bytes", "global_window", "\x00\x00\x7f\xff\xff\xff\x01"},
		{"window", "bytes", "interval_window", "\x00\x00" + theOne + at1000 + endless},
		{"pane", "bytes", "global_window", "\x00\x00" + theOne + "\x00" + at1000 + at1000 + "\x30"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := coder.CutTimer([]byte(test.timer), shape(t, test.key), shape(t, test.window))
			if !errors.Is(err, coder.ErrMalformed) {
				t.Errorf("got error %v, want ErrMalformed", err)
			}
		})
	}
}

func FuzzCutTimer(f *testing.F) {
	f.Add(byte(0), []byte("\x01k\x00"+theOne+"\x00"+at1000+at2000+"\x0f"))
	f.Add(byte(1), []byte("\x01k\x03tag"+theOne+interval+"\x01"))
	f.Add(byte(2), []byte("\x00\x00\x00\x00\x00\x02"+custom+custom+"\x00"+highest+lowest+"\xa4\x01\x02\x02md"))
	f.Add(byte(3), []byte("\x07\x01t\x00\x00\x00\x02\x03win\x00\x00"+at1000+at1000+"\x14\x05"))
	f.Add(byte(0), []byte("\x00\x00\x7f\xff\xff\xff\x01"))
	keys := []*coder.Coder{coder.Must(coder.Bytes), coder.Must(coder.VarInt)}
	windows := []*coder.Coder{
		coder.Must(coder.GlobalWindow), coder.Must(coder.IntervalWindow),
		coder.Must(coder.CustomWindow), coder.Must(coder.LengthPrefix),
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		key, window := keys[int(which)/4%2], windows[which%4]
		timer, err := coder.CutTimer(b, key, window)
		checkMeasured(t, b, timer.Size, err, func(b []byte) (int, error) {
			again, err := coder.CutTimer(b, key, window)
			return again.Size, err
		})
		if err != nil {
			return
		}
		// Lengths and times may be written in more ways than one.
		whole := coder.PutTimer(nil, timer)
		again, err := coder.CutTimer(whole, key, window)
		if err != nil || again.Size != len(whole) {
			t.Fatalf("put back: got %d of %d bytes and error %v", again.Size, len(whole), err)
		}
		again.Size = timer.Size
		if diff := cmp.Diff(timer, again, cmp.Comparer(bytes.Equal)); diff != "" {
			t.Fatalf("put back (-want +got):\n%s", diff)
		}
	})
}
