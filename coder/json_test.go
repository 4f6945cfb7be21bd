package coder_test

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"testing"

	"github.com/gorunner/gorunner/coder"
)

func TestAppendJSON(t *testing.T) {
	must := coder.Must
	text, number := must(coder.Bytes), must(coder.VarInt)
	interval := binary.AppendUvarint(coder.PutTime(nil, 3000), 1000)
	for _, tt := range []struct {
		coder *coder.Coder
		data  string
		want  string
	}{
		{text, "\x03a\"b", `"a\"b"`},
		{text, "\x02\x00\xff", `{"hex":"00ff"}`},
		{must(coder.LengthPrefix), "\x01\x80", `{"hex":"80"}`},
		{number, "\x85\x01", `133`},
		{number, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", `-1`},
		{must(coder.Bool), "\x01", `true`},
		{must(coder.Double), string(binary.BigEndian.AppendUint64(nil, math.Float64bits(-2.5))), `-2.5`},
		{must(coder.Double), string(binary.BigEndian.AppendUint64(nil, math.Float64bits(math.Inf(1)))), `"+Inf"`},
		{must(coder.KV, text, number), "\x01k\x07", `{"key":"k","value":7}`},
		{must(coder.Iterable, number), "\x00\x00\x00\x02\x01\x02", `[1,2]`},
		{must(coder.Iterable, number), "\xff\xff\xff\xff\x02\x01\x02\x01\x03\x00", `[1,2,3]`},
		{must(coder.StateBackedIterable, number), "\xff\xff\xff\xff\x01\x09\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01t", `[9,{"page":"t"}]`},
		{must(coder.Nullable, number), "\x00", `null`},
		{must(coder.Nullable, number), "\x01\x04", `4`},
		{must(coder.ShardedKey, text), "\x01s\x01k", `{"shard":"s","key":"k"}`},
		{must(coder.GlobalWindow), "", `"global"`},
		{must(coder.IntervalWindow), string(interval), `{"start_ms":2000,"end_ms":3000}`},
		{must(coder.CustomWindow), string(coder.PutTime(nil, 9)) + "\x01w", `{"max_ms":9,"window":"w"}`},
	} {
		got, n, err := tt.coder.AppendJSON(nil, []byte(tt.data+"rest"))
		if err != nil || string(got) != tt.want || n != len(tt.data) {
			t.Errorf("%v of %x: %s, %d bytes, %v; want %s", tt.coder, tt.data, got, n, err, tt.want)
		}
		for cut := range len(tt.data) {
			if _, _, err := tt.coder.AppendJSON(nil, []byte(tt.data[:cut])); err == nil {
				t.Errorf("%v of %x: no error", tt.coder, tt.data[:cut])
			}
		}
	}
}

// FuzzAppendJSON: whatever can be measured is shown as JSON, in the same extent.
func FuzzAppendJSON(f *testing.F) {
	must := coder.Must
	c := must(coder.KV, must(coder.Iterable, must(coder.Nullable, must(coder.KV, must(coder.Bytes), must(coder.Double)))),
		must(coder.StateBackedIterable, must(coder.ShardedKey, must(coder.CustomWindow))))
	f.Add([]byte("\x00\x00\x00\x01\x01\x01a12345678\x00\x00\x00\x00"))
	f.Add([]byte("\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01t"))
	f.Fuzz(func(t *testing.T, data []byte) {
		want, err := c.Measure(data)
		if err != nil {
			return
		}
		shown, n, err := c.AppendJSON(nil, data)
		if err != nil || n != want || !json.Valid(shown) {
			t.Fatalf("%x: %s, %d bytes of %d, %v", data, shown, n, want, err)
		}
	})
}
