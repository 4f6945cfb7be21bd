package shuffle_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

// A block says when the first window of its elements ends, whatever their times
// are, and however the writer cuts them.
func TestBlocksTellWhenWindowsEnd(t *testing.T) {
	bytes := coder.Must(coder.Bytes)
	layout := &shuffle.Layout{Window: coder.Must(coder.IntervalWindow), Value: coder.Must(coder.KV, bytes, bytes)}
	rapid.Check(t, func(t *rapid.T) {
		var data []byte
		for i := range rapid.IntRange(1, 200).Draw(t, "elements") {
			h := element.Header{
				Timestamp:  element.EventTime(rapid.IntRange(-5, 100).Draw(t, "time")),
				NumWindows: rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(t, "windows"), Pane: []byte{coder.PaneOnlyFiring},
			}
			for range h.NumWindows {
				end := uint64(rapid.IntRange(1, 100).Draw(t, "end"))
				h.Windows = binary.AppendUvarint(binary.BigEndian.AppendUint64(h.Windows, end^(1<<63)), 10)
			}
			value := fmt.Sprintf("value %d %032d", i, i)
			data = append(coder.PutHeader(data, h), 1, byte('a'+i%3), byte(len(value)))
			data = append(data, value...)
		}
		want := shuffle.Partitions{Ends: true, Plain: rapid.Bool().Draw(t, "plain")}
		if !want.Plain {
			want.Groups = 3
		}
		w := shuffle.NewWriter(layout, want, nil)
		if err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		out, err := w.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, blocks := range append(out.Keyed, out.Plain) {
			for i := range blocks {
				first := element.MaxTime
				if err := layout.Each(&blocks[i], func(_ *shuffle.Element, window []byte) error {
					end, err := layout.Window.WindowEnd(window)
					first = min(first, end)
					return err
				}); err != nil {
					t.Fatal(err)
				}
				if blocks[i].MinEnd != first {
					t.Fatalf("block of %d elements ends at %v, want %v", blocks[i].Count, blocks[i].MinEnd, first)
				}
			}
		}
	})
}
