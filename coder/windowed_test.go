package coder_test

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
)

const (
	at1000   = "\x80\x00\x00\x00\x00\x00\x03\xe8" // 1000 ms
	interval = "\x80\x00\x00\x00\x00\x00\x07\xd0\xe8\x07"
	custom   = "\x80\x00\x00\x00\x00\x00\x07\xcf\x02ab"
	endless  = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
)

func TestCutHeader(t *testing.T) {
	tests := []struct {
		name, window, timestamp, count, windows, pane string
	}{
		{"no window", "global_window", at1000, "\x00\x00\x00\x00", "", "\x0f"},
		{"no interval window", "interval_window", at1000, "\x00\x00\x00\x00", "", "\x0f"},
		{"global window", "global_window", at1000, "\x00\x00\x00\x01", "", "\x0f"},
		{"interval window", "interval_window", at1000, "\x00\x00\x00\x01", interval, "\x0f"},
		{"three interval windows", "interval_window", at1000, "\x00\x00\x00\x03", interval + interval + interval, "\x0f"},
		{"two custom windows", "custom_window", at1000, "\x00\x00\x00\x02", custom + custom, "\x0f"},
		{"opaque windows", "length_prefix", at1000, "\x00\x00\x00\x02", "\x00\x03win", "\x0f"},
		{"first firing", "global_window", at1000, "\x00\x00\x00\x01", "", "\x05"},
		{"one index", "global_window", at1000, "\x00\x00\x00\x01", "", "\x14\xac\x02"},
		{"two indices", "global_window", at1000, "\x00\x00\x00\x01", "", "\x28\xac\x02\x01"},
		{"an index of -1", "global_window", at1000, "\x00\x00\x00\x01", "", "\x20\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
		{"metadata", "global_window", at1000, "\x00\x00\x00\x01", "", "\x8f\x04meta"},
		{"empty metadata", "global_window", at1000, "\x00\x00\x00\x01", "", "\x8f\x00"},
		{"one index and metadata", "interval_window", at1000, "\x00\x00\x00\x01", interval, "\x94\x01\x02md"},
		{"two indices and metadata", "interval_window", at1000, "\x00\x00\x00\x01", interval, "\xa8\x01\x02\x02md"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			window := shape(t, test.window)
			whole := []byte(test.timestamp + test.count + test.windows + test.pane)
			want := element.Header{
				Timestamp:  1000,
				Windows:    []byte(test.windows),
				NumWindows: int(test.count[3]),
				Pane:       []byte(test.pane),
			}
			got, n, err := coder.CutHeader(append(bytes.Clone(whole), "value"...), window)
			if err != nil || n != len(whole) {
				t.Fatalf("got %d bytes and error %v, want %d", n, err, len(whole))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			if again := coder.PutHeader(nil, got); !bytes.Equal(again, whole) {
				t.Errorf("put back: got %q, want %q", again, whole)
			}
			checkExtent(t, func(b []byte) (int, error) {
				_, n, err := coder.CutHeader(b, window)
				return n, err
			}, whole)
		})
	}
}

func TestCutHeaderMalformed(t *testing.T) {
	tests := []struct{ name, window, header string }{
		{"negative number of windows", "interval_window", at1000 + "\xff\xff\xff\xff\x0f"},
		{"many windows without bytes", "global_window", at1000 + "\x7f\xff\xff\xff\x0f"},
		{"two windows without bytes", "kv<global_window,global_window>", at1000 + "\x00\x00\x00\x02\x0f"},
		{"window", "interval_window", at1000 + "\x00\x00\x00\x01" + at1000 + endless},
		{"pane of an unknown format", "global_window", at1000 + "\x00\x00\x00\x01\x30"},
		{"pane of a later format", "global_window", at1000 + "\x00\x00\x00\x01\x4f"},
		{"index", "global_window", at1000 + "\x00\x00\x00\x01\x10" + endless},
		{"second index", "global_window", at1000 + "\x00\x00\x00\x01\x20\x01" + endless},
		{"length of metadata", "global_window", at1000 + "\x00\x00\x00\x01\x80" + endless},
		{"huge metadata", "global_window", at1000 + "\x00\x00\x00\x01\x80\x80\x80\x80\x80\x08"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := coder.CutHeader([]byte(test.header), shape(t, test.window))
			if !errors.Is(err, coder.ErrMalformed) {
				t.Errorf("got error %v, want ErrMalformed", err)
			}
		})
	}
}

func TestCutHeaderBelievesNoCount(t *testing.T) {
	_, _, err := coder.CutHeader([]byte(at1000+"\x7f\xff\xff\xff"+interval), shape(t, "interval_window"))
	if !errors.Is(err, coder.ErrShort) {
		t.Errorf("got error %v, want ErrShort", err)
	}
}

func TestCutHeaderKeepsTimestampsWithinLimits(t *testing.T) {
	tests := []struct{ in, want element.EventTime }{
		{math.MinInt64, element.MinTime},
		{element.MinTime - 1, element.MinTime},
		{element.MinTime, element.MinTime},
		{-1, -1},
		{element.MaxTime, element.MaxTime},
		{math.MaxInt64, element.MaxTime},
	}
	for _, test := range tests {
		b := coder.PutHeader(nil, element.Header{Timestamp: test.in, NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring}})
		h, _, err := coder.CutHeader(b, coder.Must(coder.GlobalWindow))
		if err != nil || h.Timestamp != test.want {
			t.Errorf("timestamp %d: got %v and error %v, want %v", int64(test.in), h.Timestamp, err, test.want)
		}
	}
}

func TestTimeIsOrderedAsBytes(t *testing.T) {
	times := []element.EventTime{math.MinInt64, element.MinTime, -1000, -1, 0, 1, 1000, element.MaxTime, math.MaxInt64}
	var last []byte
	for _, at := range times {
		b := coder.PutTime(nil, at)
		if last != nil && bytes.Compare(last, b) >= 0 {
			t.Errorf("%d is not after its predecessor in bytes", int64(at))
		}
		if got, err := coder.Time(b); err != nil || got != at {
			t.Errorf("%d: got %d and error %v", int64(at), int64(got), err)
		}
		last = b
	}
	if got := string(coder.PutTime([]byte("p"), 1000)); got != "p"+at1000 {
		t.Errorf("1000 ms: got %q", got)
	}
	for n := range 8 {
		if _, err := coder.Time(make([]byte, n)); !errors.Is(err, coder.ErrShort) {
			t.Errorf("%d bytes: got error %v, want ErrShort", n, err)
		}
	}
}

func TestWindowEnd(t *testing.T) {
	first, last := string(make([]byte, 8)), "\xff\xff\xff\xff\xff\xff\xff\xff"
	tests := []struct {
		name, coder, window string
		want                element.EventTime
	}{
		{"global", "global_window", "", element.EndOfGlobalWindow},
		{"interval", "interval_window", interval, 1999},
		{"interval that ends before all time", "interval_window", first + "\x00", element.MinTime},
		{"interval that ends after all time", "interval_window", last + "\x00", element.MaxTime},
		{"custom", "custom_window", custom, 1999},
		{"custom that ends before all time", "custom_window", first + "\x00", element.MinTime},
		{"custom that ends after all time", "custom_window", last + "\x00", element.MaxTime},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := shape(t, test.coder).WindowEnd([]byte(test.window))
			if err != nil || got != test.want {
				t.Errorf("got %v and error %v, want %v", got, err, test.want)
			}
		})
	}
	for _, name := range []string{"interval_window", "custom_window"} {
		if _, err := shape(t, name).WindowEnd([]byte("short")); !errors.Is(err, coder.ErrShort) {
			t.Errorf("%s cut short: got error %v, want ErrShort", name, err)
		}
	}
	if _, err := shape(t, "kv<bytes,bool>").WindowEnd([]byte(interval)); err == nil {
		t.Error("a kv has an end")
	}
}
