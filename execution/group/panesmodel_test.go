package group_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/group"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/state"
)

// happening is what a job sees: an element, or a clock that moves on.
type happening struct {
	element   string
	watermark element.EventTime
	time      element.EventTime
}

// drawHappenings draws what a job sees, which ends with the end of time. Some
// elements are late.
func drawHappenings(t *rapid.T) []happening {
	var out []happening
	wm, now := element.EventTime(-20), element.EventTime(0)
	for i := range rapid.IntRange(0, 40).Draw(t, "happenings") {
		switch rapid.IntRange(0, 9).Draw(t, "happening") {
		case 0:
			wm += element.EventTime(rapid.IntRange(1, 15).Draw(t, "advance"))
			out = append(out, happening{watermark: wm, time: now})
		case 1:
			now += element.EventTime(rapid.IntRange(1, 5).Draw(t, "wait"))
			out = append(out, happening{watermark: wm, time: now})
		default:
			key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
			at := rapid.IntRange(-20, 60).Draw(t, "at")
			out = append(out, happening{element: fmt.Sprintf("%s:%d@%d", key, i, at)})
		}
	}
	return append(out, happening{watermark: element.MaxTime, time: now})
}

// play runs a job over happenings, in bundles that end where cut says so. It
// checks what holds of any job.
func play(t *rapid.T, j *job, all []happening, cut func() bool) {
	playAhead(t, j, all, cut, func() bool { return false })
}

// playAhead is play for a job whose bundles are told what follows them where
// ahead says so.
func playAhead(t *rapid.T, j *job, all []happening, cut, ahead func() bool) {
	ctx := t.Context()
	var input []string
	flush := func() {
		if len(input) == 0 {
			return
		}
		b, err := j.input(input)
		if err != nil {
			t.Fatal(err)
		}
		check(t, j, func() error { return j.run(ctx, []element.Block{b}, nil) })
		input = nil
	}
	for _, h := range all {
		if h.element != "" {
			input = append(input, h.element)
			if cut() {
				flush()
			}
			continue
		}
		if h.time == j.time.Processing && ahead() {
			j.time.Ahead = h.watermark
		}
		flush()
		j.time.Watermark, j.time.Processing = h.watermark, h.time
		check(t, j, func() error { return j.fire(ctx) })
	}
	if cells, err := j.live(); err != nil || len(cells) > 0 || len(j.timers) > 0 {
		t.Fatalf("in the end: %d timers, state %v, error %v", len(j.timers), cells, err)
	}
}

// check holds that what f emits is not late where it is said not to be, and
// accepted downstream where it is.
func check(t *rapid.T, j *job, f func() error) {
	j.output = max(j.output, j.outputWatermark())
	from := len(j.out)
	if err := f(); err != nil {
		t.Fatal(err)
	}
	for _, f := range j.out[from:] {
		if f.pane.Timing != element.Late && f.at < j.output {
			t.Fatalf("%v after the watermark %v", f, j.output)
		}
		if f.expiry < j.output {
			t.Fatalf("%v is dropped downstream at %v", f, j.output)
		}
	}
}

// What is emitted is not late where it is said not to be, and accepted
// downstream where it is, though its window may have changed.
func TestPanesHoldTheWatermark(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWindowing(t, rapid.Bool().Draw(t, "merge"))
		all := drawHappenings(t)
		j, err := newJob(w, group.PanesParams{}, false, false)
		if err != nil {
			t.Fatal(err)
		}
		play(t, j, all, func() bool { return rapid.IntRange(0, 3).Draw(t, "cut") == 0 })
	})
}

// A bundle that is told of the watermark behind it does what the timers would do
// that it would set for the time up to there.
func TestPanesAhead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWindowing(t, rapid.Bool().Draw(t, "merge"))
		view := rapid.Bool().Draw(t, "view")
		all := drawHappenings(t)
		var out [2][]string
		var dropped [2]int64
		cuts, aheads := rapid.SliceOfN(rapid.Bool(), len(all), len(all)).Draw(t, "cuts"), rapid.SliceOfN(rapid.Bool(), len(all), len(all)).Draw(t, "ahead")
		for i := range out {
			j, err := newJob(w, group.PanesParams{}, view, false)
			if err != nil {
				t.Fatal(err)
			}
			cut, ahead := 0, 0
			playAhead(t, j, all,
				func() bool { cut++; return cuts[cut-1] },
				func() bool { ahead++; return i > 0 && aheads[ahead-1] })
			for _, f := range slices.Concat(j.out, j.shown) {
				out[i] = append(out[i], f.String())
			}
			slices.Sort(out[i]) // windows that end together end in some order
			dropped[i] = j.dropped
		}
		if diff := cmp.Diff(out[0], out[1]); diff != "" || dropped[0] != dropped[1] {
			t.Fatalf("told by timers (-) and ahead (+), %d and %d dropped:\n%s", dropped[0], dropped[1], diff)
		}
	})
}

// Input that is not late, with a trigger that fires at the end of the window,
// has the panes that a Grouper makes of all of it, however it comes.
func TestPanesAsGrouped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drawn := drawWindowing(t, rapid.Bool().Draw(t, "merge"))
		w := &plan.Windowing{Fn: drawn.Fn, Window: drawn.Window, OutputTime: drawn.OutputTime}
		params := group.Params{
			PagedBytes: rapid.SampledFrom([]int{0, 5}).Draw(t, "paged"),
			BlockBytes: rapid.SampledFrom([]int{1, 60, 1 << 20}).Draw(t, "block"), Token: tokens(),
		}
		var elements []string
		for _, h := range drawHappenings(t) {
			if h.element != "" {
				elements = append(elements, h.element)
			}
		}
		j, err := newJob(w, group.PanesParams{Params: params}, false, true)
		if err != nil {
			t.Fatal(err)
		}
		all := make([]happening, len(elements), len(elements)+1)
		for i, e := range elements {
			all[i].element = e
		}
		play(t, j, append(all, happening{watermark: element.MaxTime}), func() bool { return rapid.Bool().Draw(t, "cut") })

		grouped, err := newJob(w, group.PanesParams{}, false, true)
		if err != nil {
			t.Fatal(err)
		}
		params.Merge = grouped.merge
		kind, ok := grouped.stage.Kind.(*plan.GroupByKey)
		if !ok {
			t.Fatalf("stage is %T", grouped.stage.Kind)
		}
		g, err := group.New(kind, params)
		if err != nil {
			t.Fatal(err)
		}
		b, err := grouped.input(elements)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Run(t.Context(), []element.Block{b}, grouped.emit); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sorted(grouped), sorted(j)); diff != "" {
			t.Fatalf("(-grouped +panes):\n%s", diff)
		}
	})
}

// sorted returns the panes in some order. The numbers of custom windows say how
// often they were merged, which makes a difference for once.
func sorted(j *job) []string {
	var out []string
	for _, f := range j.out {
		f.window, _, _ = strings.Cut(f.window, "#")
		slices.Sort(f.values)
		out = append(out, f.String())
	}
	slices.Sort(out)
	return out
}

// errBroken is what something around a bundle fails with.
var errBroken = errors.New("broken")

// brokenTxn fails from the nth call on.
type brokenTxn struct {
	state.Txn
	left int
}

func (b *brokenTxn) call() error {
	if b.left--; b.left < 0 {
		return errBroken
	}
	return nil
}

func (b *brokenTxn) Scan(c state.Cell, from state.Place, to string, f func(state.Piece) bool) error {
	if err := b.call(); err != nil {
		return err
	}
	return b.Txn.Scan(c, from, to, f)
}

func (b *brokenTxn) Append(c state.Cell, entry string, data []byte) error {
	if err := b.call(); err != nil {
		return err
	}
	return b.Txn.Append(c, entry, data)
}

func (b *brokenTxn) Value(c state.Cell, entry string) ([]byte, error) {
	if err := b.call(); err != nil {
		return nil, err
	}
	return b.Txn.Value(c, entry)
}

func (b *brokenTxn) Replace(c state.Cell, entry string, data []byte) error {
	if err := b.call(); err != nil {
		return err
	}
	return b.Txn.Replace(c, entry, data)
}

func (b *brokenTxn) Clear(c state.Cell, entry string) error {
	if err := b.call(); err != nil {
		return err
	}
	return b.Txn.Clear(c, entry)
}

func (b *brokenTxn) ClearAll(c state.Cell) error {
	if err := b.call(); err != nil {
		return err
	}
	return b.Txn.ClearAll(c)
}

// Every error on the way ends the bundle.
func TestPanesFail(t *testing.T) {
	for _, fn := range []plan.WindowFn{plan.FixedWindows{Size: 10 * time.Millisecond}, plan.Sessions{Gap: 10 * time.Millisecond}} {
		w := &plan.Windowing{Fn: fn, Window: coder.Must(coder.IntervalWindow), AllowedLateness: time.Second}
		j, err := newJob(w, group.PanesParams{Params: group.Params{BlockBytes: 1}}, false, false)
		if err != nil {
			t.Fatal(err)
		}
		first, err := j.input([]string{"k:a@1", "k:b@18", "l:c@12", "l:d@50"})
		if err != nil {
			t.Fatal(err)
		}
		if err := j.run(t.Context(), []element.Block{first}, nil); err != nil {
			t.Fatal(err)
		}
		second, err := j.input([]string{"k:c@10", "k:d@2", "l:e@30"})
		if err != nil {
			t.Fatal(err)
		}
		j.time.Watermark = 25
		due := j.takeDue()
		for n := 0; ; n++ {
			broken := &brokenTxn{j.store.Begin(), n}
			b := &group.Bundle{
				Input: []element.Block{second}, Due: due, Time: j.time, State: broken,
				Set:   func(group.Timer) error { return broken.call() },
				Clear: func(group.Timer) error { return broken.call() },
				Emit:  func(element.Block) error { return broken.call() },
			}
			err := j.panes.Run(t.Context(), b)
			if err == nil {
				if n < 15 {
					t.Errorf("%v: only %d calls", fn, n)
				}
				break
			}
			if !errors.Is(err, errBroken) {
				t.Fatalf("%v: call %d: got error %v", fn, n, err)
			}
		}
	}
}

func TestPanesEndWithTheirContext(t *testing.T) {
	for _, fn := range []plan.WindowFn{plan.FixedWindows{Size: time.Second}, plan.Sessions{Gap: time.Second}} {
		j, err := newJob(&plan.Windowing{Fn: fn, Window: coder.Must(coder.IntervalWindow)}, group.PanesParams{}, false, false)
		if err != nil {
			t.Fatal(err)
		}
		block, err := j.input([]string{"k:a@1"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errBroken)
		if err := j.run(ctx, []element.Block{block}, nil); !errors.Is(err, errBroken) {
			t.Errorf("%v: with input: got error %v", fn, err)
		}
		due := []group.Timer{{Key: []byte("\x01k"), Window: assign(fn, 1)[0], Fire: 5}}
		if err := j.run(ctx, nil, due); !errors.Is(err, errBroken) {
			t.Errorf("%v: with timers: got error %v", fn, err)
		}
		// A timer of a window that is not there any more does nothing.
		if err := j.run(t.Context(), nil, due); err != nil || len(j.out) > 0 {
			t.Errorf("%v: stale timer: %d panes, error %v", fn, len(j.out), err)
		}
	}
}

func TestPanesRefuse(t *testing.T) {
	sessions := &plan.Windowing{Fn: plan.Sessions{Gap: time.Second}, Window: coder.Must(coder.CustomWindow)}
	if _, err := newJob(sessions, group.PanesParams{}, false, false); err == nil || !strings.Contains(err.Error(), "custom_window") {
		t.Errorf("sessions in windows of another coder: got error %v", err)
	}
	w := &plan.Windowing{Fn: plan.GlobalWindows{}, Window: coder.Must(coder.GlobalWindow)}
	_, err := group.NewPanes(group.PanesParams{
		Windowing: w, Stage: &plan.Stage{Kind: &plan.Impulse{}}, Edge: &plan.Edge{Value: coder.Must(coder.Bytes)},
	})
	if err == nil || !strings.Contains(err.Error(), "impulse") {
		t.Errorf("an impulse: got error %v", err)
	}
}

// FuzzPanesState reads any bytes as state.
func FuzzPanesState(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 1, 1, 2}, []byte{1, 2, 0, 0, 1, 'w'}, "k:b@5")
	for _, fn := range []plan.WindowFn{plan.GlobalWindows{}, plan.CustomWindows{URN: "mine", Merging: true}} {
		j, err := newJob(&plan.Windowing{Fn: fn, Window: coder.Must(coder.GlobalWindow)}, group.PanesParams{}, false, false)
		if err != nil {
			f.Fatal(err)
		}
		b, err := j.input([]string{"k:a@1"})
		if err != nil {
			f.Fatal(err)
		}
		if err := j.run(f.Context(), []element.Block{b}, nil); err != nil {
			f.Fatal(err)
		}
		var memory, windows []byte
		txn := j.store.Begin()
		for c := range j.cells {
			if data, err := state.Get(txn, c, "memory"); err == nil && data != nil {
				memory = data[0]
			} else if data, err := state.Get(txn, c, ""); err == nil && data != nil {
				windows = data[0]
			}
		}
		f.Add(memory, windows, "k:b@1")
	}
	f.Fuzz(func(t *testing.T, memory, windows []byte, in string) {
		for _, fn := range []plan.WindowFn{plan.GlobalWindows{}, plan.CustomWindows{URN: "mine", Merging: true}} {
			j, err := newJob(&plan.Windowing{Fn: fn, Window: coder.Must(coder.GlobalWindow), Trigger: plan.AfterCount{Elements: 2}}, group.PanesParams{}, false, false)
			if err != nil {
				t.Fatal(err)
			}
			b, err := j.input([]string{in})
			if err != nil {
				return
			}
			txn := j.store.Begin()
			for c, data := range map[state.Cell][]byte{
				{Transform: "stage", State: "window", Key: "\x01k"}:               memory,
				{Transform: "stage", State: "window", Key: "\x01k", Window: "#0"}: memory,
				{Transform: "stage", State: "windows", Key: "\x01k"}:              windows,
			} {
				entry := "memory"
				if c.State == "windows" {
					entry = ""
				}
				if err := txn.Append(c, entry, data); err != nil {
					t.Fatal(err)
				}
			}
			if err := txn.Apply(0); err != nil {
				t.Fatal(err)
			}
			// It may fail, but not panic.
			if err := j.run(t.Context(), []element.Block{b}, nil); errors.Is(err, errForm) && !strings.Contains(err.Error(), "timer at") {
				t.Log(err)
			}
		}
	})
}
