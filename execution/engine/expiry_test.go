package engine

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// TestExpirations holds that a bundle sets one timer for each key and window of
// its input, for a millisecond after the window and its lateness.
func TestExpirations(t *testing.T) {
	bytes := coder.Must(coder.Bytes)
	window := coder.Must(coder.IntervalWindow)
	interval := func(end element.EventTime, size uint64) []byte {
		return binary.AppendUvarint(coder.PutTime(nil, end), size)
	}
	data := []byte{}
	add := func(kv []byte, windows ...[]byte) {
		h := element.Header{NumWindows: len(windows), Pane: []byte{0}}
		for _, w := range windows {
			h.Windows = append(h.Windows, w...)
		}
		data = append(coder.PutHeader(data, h), kv...)
	}
	add(pair("a", "1"), interval(100, 100), interval(150, 100))
	add(pair("a", "2"), interval(100, 100))
	add(pair("b", "3"), interval(100, 100))
	for _, test := range []struct {
		lateness time.Duration
		fire     []element.EventTime
	}{
		{0, []element.EventTime{100, 150, 100}},
		{20 * time.Millisecond, []element.EventTime{120, 170, 120}},
		{math.MaxInt64, []element.EventTime{
			100 + math.MaxInt64/1_000_000, 150 + math.MaxInt64/1_000_000, 100 + math.MaxInt64/1_000_000,
		}},
	} {
		p := &plan.Plan{KeyGroups: 4, Edges: []*plan.Edge{{
			Value:     coder.Must(coder.KV, bytes, bytes),
			Windowing: &plan.Windowing{Fn: plan.CustomWindows{}, Window: window, AllowedLateness: test.lateness},
		}}}
		p.Stages = []*plan.Stage{{Input: &plan.Input{Keyed: true}, Kind: &plan.Executable{Timers: []plan.TimerSpec{
			{Transform: "t", Family: "user", Key: bytes}, {Transform: "t", Family: "expires", Key: bytes, Expiration: true},
		}}}}
		block, err := newPipes(p)[0].input.MakeBlock(data)
		if err != nil {
			t.Fatal(err)
		}
		changes, err := newPipes(p)[0].endings(nil, []element.Block{block}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var fire []element.EventTime
		for _, c := range changes {
			fire = append(fire, c.timer.Fire)
			cut, err := coder.CutTimer(c.timer.Data, bytes, window)
			if err != nil {
				t.Fatal(err)
			}
			if cut.Fire != c.timer.Fire || cut.Hold != c.timer.Hold || string(cut.Key) != c.timer.Key ||
				string(cut.Windows) != c.timer.Window || c.timer.Family != 1 || c.timer.Group != shuffle.KeyGroup(cut.Key, 4) {
				t.Errorf("timer %+v is encoded as %+v", c.timer, cut)
			}
		}
		if diff := cmp.Diff(test.fire, fire); diff != "" {
			t.Errorf("lateness %v: (-want +got)\n%s", test.lateness, diff)
		}
	}
}
