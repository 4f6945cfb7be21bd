package shuffle

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
)

// Every element is in one part, that of its key, in the order of the block, and
// parts that are wanted are the same whether the block was divided or not.
func TestParter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &Layout{
			Value:  coder.Must(coder.KV, coder.Must(coder.Bytes), coder.Must(coder.VarInt)),
			Window: coder.Must(rapid.SampledFrom([]coder.Kind{coder.GlobalWindow, coder.IntervalWindow}).Draw(t, "window")),
		}
		var data []byte
		want := make([][]byte, PartsMax)
		for range rapid.IntRange(0, 40).Draw(t, "elements") {
			e := drawElement(t, l)
			cut, err := l.Cut(e)
			if err != nil {
				t.Fatal(err)
			}
			part := partOf(cut.Key())
			want[part] = append(want[part], e...)
			data = append(data, e...)
		}
		p := NewParter(l)
		n := 1 << rapid.IntRange(0, partBits).Draw(t, "bits")
		parts, err := p.Split(data, n)
		if err != nil || len(parts) != n {
			t.Fatalf("%d parts, error %v", len(parts), err)
		}
		for i, got := range parts {
			var sum int
			for _, w := range want[i*PartsMax/n : (i+1)*PartsMax/n] {
				sum += len(w)
			}
			if sum != len(got) || n == PartsMax && !bytes.Equal(got, want[i]) {
				t.Fatalf("part %d of %d has %d bytes, want %d", i, n, len(got), sum)
			}
		}
		if n > 1 {
			all := slices.Concat(parts...)
			for i := range want {
				if got, err := p.Append(nil, all, i, i+1); err != nil || !bytes.Equal(got, want[i]) {
					t.Fatalf("part %d: %x, want %x, error %v", i, got, want[i], err)
				}
			}
		}
	})
}
