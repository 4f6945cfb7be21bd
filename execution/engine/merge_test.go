package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/windowing"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// mergePlan has a function, with id 1, that merges interval windows.
func mergePlan() *plan.Plan {
	bytes := coder.Must(coder.Bytes)
	window := coder.Must(coder.IntervalWindow)
	windows := coder.Must(coder.Iterable, window)
	merged := coder.Must(coder.Iterable, coder.Must(coder.KV, window, windows))
	return &plan.Plan{
		KeyGroups: 1,
		Edges: []*plan.Edge{
			{ID: 0, Name: "question", Value: coder.Must(coder.KV, bytes, windows), Windowing: global()},
			{ID: 1, Name: "answer", Value: coder.Must(coder.KV, bytes, coder.Must(coder.KV, windows, merged)), Windowing: global()},
			{ID: 2, Name: "impulse", Value: bytes, Windowing: global()},
		},
		Stages: []*plan.Stage{{ID: 0, Name: "impulse", Kind: &plan.Impulse{}, Outputs: []plan.Output{{Edge: 2}}}},
		Functions: []*plan.Stage{{
			ID: 1, Name: "merge", Kind: &plan.Executable{Environment: "a"},
			Input: &plan.Input{Edge: 0, Port: "in"}, Outputs: []plan.Output{{Edge: 1, Port: "out"}},
		}},
	}
}

// iterable encodes an iterable of encoded values.
func iterable(values ...string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(values)))) + strings.Join(values, "")
}

// chunked encodes an iterable of unknown length.
func chunked(values ...string) string {
	s := "\xff\xff\xff\xff"
	for _, v := range values {
		s += "\x01" + v
	}
	return s + "\x00"
}

func answer(question int, alone string, merged string) []byte {
	return windowed(0, nil, []byte("\x01"+string(rune(question))+alone+merged))
}

// TestMergeQuestions holds that each set of windows becomes one question, whose
// nonce is its number.
func TestMergeQuestions(t *testing.T) {
	p := mergePlan()
	m := newMerging(p, p.Functions[0])
	sets := [][][]byte{{[]byte(interval(1)), []byte(interval(2))}, {}, {[]byte(interval(3))}}
	blocks := m.ask(sets)
	var want []byte
	for i, set := range []string{iterable(interval(1), interval(2)), iterable(), iterable(interval(3))} {
		want = append(want, windowed(element.MinTime, nil, []byte("\x01"+string(rune(i))+set))...)
	}
	if len(blocks) != 1 || blocks[0].Count != 3 || string(blocks[0].Data) != string(want) {
		t.Errorf("got %+v, want one block of 3 elements: %q", blocks, want)
	}
	for range 1 << 17 {
		sets = append(sets, sets[0])
	}
	count := 0
	for _, b := range m.ask(sets) {
		made, err := m.question.MakeBlock(b.Data)
		if err != nil || made.Count != b.Count || len(b.Data) > 2*questionBlockBytes {
			t.Fatalf("block of %d elements and %d bytes is %+v, error %v", b.Count, len(b.Data), made, err)
		}
		count += b.Count
	}
	if count != len(sets) {
		t.Errorf("%d questions for %d sets", count, len(sets))
	}
}

// TestMergeAnswers holds what is read from answers, and what is none.
func TestMergeAnswers(t *testing.T) {
	p := mergePlan()
	m := newMerging(p, p.Functions[0])
	w := func(n int) []byte { return []byte(interval(n)) }
	into := func(n int, from ...int) windowing.Merged {
		one := windowing.Merged{Window: w(n)}
		for _, f := range from {
			one.From = append(one.From, w(f))
		}
		return one
	}
	sets := [][][]byte{{w(1), w(2), w(3)}, {w(1)}}
	one := answer(1, iterable(interval(1)), iterable())
	for _, test := range []struct {
		name string
		data []byte
		want []windowing.Merged // of the first set
		err  error
	}{
		{
			name: "merged", want: []windowing.Merged{into(9, 3, 1), into(2, 2)},
			data: answer(0, iterable(interval(2)), iterable(interval(9)+iterable(interval(3), interval(1)))),
		},
		{
			name: "chunked", want: []windowing.Merged{into(9, 3, 1), into(2, 2)},
			data: answer(0, chunked(interval(2)), chunked(interval(9)+chunked(interval(3), interval(1)))),
		},
		{
			name: "none merged", want: []windowing.Merged{into(1, 1), into(2, 2), into(3, 3)},
			data: answer(0, iterable(interval(3), interval(1), interval(2)), iterable()),
		},
		{
			name: "two groups become one window", want: []windowing.Merged{into(3, 1, 2, 3)},
			data: answer(0, iterable(interval(3)), iterable(interval(3)+iterable(interval(1)), interval(3)+iterable(interval(2)))),
		},
		{
			name: "a window is not mentioned", want: []windowing.Merged{into(9, 1), into(2, 2), into(3, 3)},
			data: answer(0, iterable(interval(3)), iterable(interval(9)+iterable(interval(1)))),
		},
		{
			name: "merged of nothing", want: []windowing.Merged{into(1, 1), into(2, 2), into(3, 3)},
			data: answer(0, iterable(), iterable(interval(9)+iterable())),
		},
		{name: "unknown window", err: errUnasked, data: answer(0, iterable(), iterable(interval(9)+iterable(interval(4))))},
		{name: "merged twice", err: errUnasked, data: answer(0, iterable(), iterable(interval(9)+iterable(interval(1), interval(1))))},
		{name: "no answer", err: errUnanswered},
		{name: "no question", err: errNonce, data: answer(2, iterable(), iterable())},
		{name: "two answers", err: errNonce, data: one},
		{name: "nonce of two bytes", err: errNonce, data: windowed(0, nil, []byte("\x02\x00\x00"+iterable()+iterable()))},
		{name: "cut short", err: coder.ErrShort, data: one[:len(one)-1]},
	} {
		got, err := m.read(sets, []element.Block{{Data: one}, {Data: test.data}})
		if !errors.Is(err, test.err) {
			t.Errorf("%s: got error %v, want %v", test.name, err, test.err)
		}
		if err != nil {
			continue
		}
		if diff := cmp.Diff([][]windowing.Merged{test.want, {into(1, 1)}}, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
	}
}

// TestMergeFunc holds that the function is asked once for all sets, and not for
// none.
func TestMergeFunc(t *testing.T) {
	p := mergePlan()
	calls := 0
	merge := newMergeFunc(p, 1, func(_ context.Context, fn *plan.Stage, input []element.Block) ([]shuffle.Output, error) {
		calls++
		if fn != p.Functions[0] || len(input) != 1 {
			t.Errorf("call of %s with %d blocks", fn.Name, len(input))
		}
		if input[0].Count > 1 {
			return nil, errSim
		}
		return []shuffle.Output{{Plain: []element.Block{{Data: answer(0, iterable(interval(1)), iterable())}}}}, nil
	})
	set := [][]byte{[]byte(interval(1))}
	got, err := merge(t.Context(), [][][]byte{set})
	if want := [][]windowing.Merged{{{Window: set[0], From: set}}}; err != nil || !cmp.Equal(want, got) {
		t.Errorf("got %v, error %v, want %v", got, err, want)
	}
	if _, err := merge(t.Context(), [][][]byte{set, set}); !errors.Is(err, errSim) {
		t.Errorf("got error %v, want %v", err, errSim)
	}
	if got, err := merge(t.Context(), nil); got != nil || err != nil || calls != 2 {
		t.Errorf("no sets: got %v, error %v; %d calls", got, err, calls)
	}
	if newMergeFunc(p, 0, nil) != nil {
		t.Error("a function that does not exist")
	}
}

// FuzzMergeAnswers holds that no answer of an SDK panics, and that what is read
// is the windows that were asked for, each once.
func FuzzMergeAnswers(f *testing.F) {
	p := mergePlan()
	m := newMerging(p, p.Functions[0])
	set := [][]byte{[]byte(interval(1)), []byte(interval(2))}
	f.Add(answer(0, iterable(interval(2)), chunked(interval(9)+iterable(interval(1)))))
	f.Add(answer(0, iterable(), iterable(interval(1)+iterable(interval(1), interval(2)))))
	f.Fuzz(func(t *testing.T, data []byte) {
		merged, err := m.read([][][]byte{set}, []element.Block{{Data: data}})
		if err != nil {
			return
		}
		var got []string
		for _, one := range merged[0] {
			for _, w := range one.From {
				got = append(got, string(w))
			}
		}
		slices.Sort(got)
		if want := []string{interval(1), interval(2)}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
