package engine

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/shuffle"
)

// piece is the work [from, to) of an element of the bundle's input. Whole
// elements have the work [0, pieceEnd).
type piece struct{ element, from, to byte }

const pieceEnd = 64

func (p piece) encode() []byte {
	return windowed(element.EventTime(p.element), nil, []byte{3, p.element, p.from, p.to})
}

// windowed encodes an element: in the global window if windows is nil, else in
// those.
func windowed(at element.EventTime, windows [][]byte, value []byte) []byte {
	h := element.Header{Timestamp: at, NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring}}
	if windows != nil {
		h.NumWindows, h.Windows = len(windows), slices.Concat(windows...)
	}
	return append(coder.PutHeader(nil, h), value...)
}

func bytesLayout() *shuffle.Layout {
	return &shuffle.Layout{Value: coder.Must(coder.Bytes), Window: coder.Must(coder.GlobalWindow)}
}

// pieces reads blocks, and checks them on the way.
func pieces(t rapid.TB, blocks []element.Block) []piece {
	t.Helper()
	var out []piece
	for _, b := range blocks {
		made, err := bytesLayout().MakeBlock(b.Data)
		if err != nil || made.Count != b.Count || made.MinTime < b.MinTime {
			t.Fatalf("block of %d elements from %v is %+v, error %v", b.Count, b.MinTime, made, err)
		}
		for data := b.Data; len(data) > 0; {
			e, err := bytesLayout().Cut(data)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, piece{e.Value[1], e.Value[2], e.Value[3]})
			data = data[e.Size:]
		}
	}
	return out
}

// drawInput makes a bundle of n elements in blocks of any size.
func drawInput(t *rapid.T, n int) []element.Block {
	var blocks []element.Block
	for at := 0; at < n; {
		b := element.Block{MinTime: element.MaxTime}
		for range rapid.IntRange(1, n-at).Draw(t, "block") {
			b.Data = append(b.Data, piece{byte(at), 0, pieceEnd}.encode()...)
			b.MinTime = min(b.MinTime, element.EventTime(at))
			b.Count++
			at++
		}
		blocks = append(blocks, b)
	}
	return blocks
}

// shareModel is a share as lists of pieces: has[i] is what it has of element i.
type shareModel struct {
	has   [][]piece
	share share
}

// end is the number behind the last element of which there is anything.
func (m *shareModel) end() int {
	n := len(m.has)
	for n > 0 && len(m.has[n-1]) == 0 {
		n--
	}
	return n
}

// split cuts the share and compares both sides with what they must be.
func (m *shareModel) split(t *rapid.T, cut harness.Split, keep, rest []piece) {
	gotKeep, gotRest, err := m.share.split(bytesLayout(), cut)
	if err != nil {
		t.Fatalf("split %+v: %v", cut, err)
	}
	if diff := cmp.Diff(keep, pieces(t, gotKeep), cmp.AllowUnexported(piece{})); diff != "" {
		t.Fatalf("kept of split %+v: (-want +got)\n%s", cut, diff)
	}
	if diff := cmp.Diff(rest, pieces(t, gotRest), cmp.AllowUnexported(piece{})); diff != "" {
		t.Fatalf("given back of split %+v: (-want +got)\n%s", cut, diff)
	}
}

// between splits between two elements, or behind the last.
func (m *shareModel) between(t *rapid.T) {
	at := rapid.IntRange(0, len(m.has)+2).Draw(t, "cut")
	from := min(at, len(m.has))
	m.split(t, harness.Split{LastPrimary: int64(at) - 1, FirstResidual: int64(at)},
		slices.Concat(m.has[:from]...), slices.Concat(m.has[from:]...))
	m.has = m.has[:from]
}

// within splits within an element: each of its pieces goes to one side, or is
// cut and goes to both.
func (m *shareModel) within(t *rapid.T) {
	if m.end() == 0 {
		return
	}
	at := rapid.IntRange(0, m.end()-1).Draw(t, "element")
	cut := harness.Split{LastPrimary: int64(at) - 1, FirstResidual: int64(at) + 1}
	var primaries []piece
	keep := func(p piece) {
		primaries = append(primaries, p)
		cut.Primaries = append(cut.Primaries, p.encode())
	}
	giveBack := func(p piece) { cut.Residuals = append(cut.Residuals, harness.Residual{Element: p.encode()}) }
	for _, p := range m.has[at] {
		mid := byte(rapid.IntRange(int(p.from), int(p.to)).Draw(t, "middle"))
		if mid > p.from {
			keep(piece{p.element, p.from, mid})
		}
		if mid < p.to {
			giveBack(piece{p.element, mid, p.to})
		}
	}
	m.split(t, cut, append(slices.Concat(m.has[:at]...), primaries...), slices.Concat(m.has[at+1:]...))
	m.has = append(m.has[:at:at], primaries)
}

// TestShareSplit splits a bundle again and again. After each split the bundle
// and what was given back, with the residuals, are what it had before.
func TestShareSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 9).Draw(t, "elements")
		input := drawInput(t, n)
		m := &shareModel{share: newShare(input)}
		for i := range n {
			m.has = append(m.has, []piece{{byte(i), 0, pieceEnd}})
		}
		t.Repeat(map[string]func(*rapid.T){
			"between": m.between,
			"within":  m.within,
			"":        func(*rapid.T) {},
		})
	})
}

// TestShareSplitAnyhow splits at places that make no sense too. A split that
// is taken loses no element and repeats none, and one that is refused leaves
// the share alone.
func TestShareSplitAnyhow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 5).Draw(t, "elements")
		s := newShare(drawInput(t, n))
		has := map[byte]bool{}
		for i := range n {
			has[byte(i)] = true
		}
		for range rapid.IntRange(1, 6).Draw(t, "splits") {
			last := rapid.Int64Range(-2, int64(n)+2).Draw(t, "last")
			cut := harness.Split{LastPrimary: last, FirstResidual: last + rapid.Int64Range(-1, 4).Draw(t, "first")}
			part := piece{byte(last + 1), 0, 1}.encode()
			for range rapid.IntRange(0, 1).Draw(t, "primaries") {
				cut.Primaries = append(cut.Primaries, part)
			}
			for range rapid.IntRange(0, 1).Draw(t, "residuals") {
				cut.Residuals = append(cut.Residuals, harness.Residual{Element: part})
			}
			before := s
			keep, rest, err := s.split(bytesLayout(), cut)
			if err != nil {
				if diff := cmp.Diff(before, s, cmp.AllowUnexported(share{})); diff != "" {
					t.Fatalf("refused split changed the share:\n%s", diff)
				}
				continue
			}
			sides := map[byte]bool{}
			if len(cut.Residuals) > 0 {
				sides[byte(last+1)] = true
			}
			for _, p := range pieces(t, rest) {
				sides[p.element] = true
			}
			kept := map[byte]bool{}
			for _, p := range pieces(t, keep) {
				if sides[p.element] && p.element != byte(last+1) {
					t.Fatalf("split %+v: element %d is on both sides", cut, p.element)
				}
				kept[p.element], sides[p.element] = true, true
			}
			if diff := cmp.Diff(has, sides); diff != "" {
				t.Fatalf("split %+v: (-had +sides)\n%s", cut, diff)
			}
			has = kept
		}
	})
}

// TestShareRefusesSplits shows what splits are refused, and that the share goes
// on as if they had not been.
func TestShareRefusesSplits(t *testing.T) {
	half := piece{2, 0, 9}.encode()
	residual := []harness.Residual{{Element: half}}
	tests := []struct {
		name string
		cut  harness.Split
		want error
	}{
		{"before the first", harness.Split{LastPrimary: -2, FirstResidual: 0}, errCutOrder},
		{"overlap", harness.Split{LastPrimary: 1, FirstResidual: 1}, errCutOrder},
		{"two between", harness.Split{LastPrimary: 0, FirstResidual: 3}, errCutOrder},
		{"nothing of the one between", harness.Split{LastPrimary: 1, FirstResidual: 3}, errCutLoses},
		{"primary of nothing", harness.Split{LastPrimary: 1, FirstResidual: 2, Primaries: [][]byte{half}}, errCutAdds},
		{"residual of nothing", harness.Split{LastPrimary: 1, FirstResidual: 2, Residuals: residual}, errCutAdds},
		{"element behind the last", harness.Split{LastPrimary: 2, FirstResidual: 4, Residuals: residual}, errCutBeyond},
		{"primary cut short", harness.Split{LastPrimary: 1, FirstResidual: 3, Primaries: [][]byte{half[:9]}}, coder.ErrShort},
		{"primary empty", harness.Split{LastPrimary: 1, FirstResidual: 3, Primaries: [][]byte{{}}}, errNotOne},
		{"primary of two", harness.Split{LastPrimary: 1, FirstResidual: 3, Primaries: [][]byte{slices.Concat(half, half)}}, errNotOne},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var input []element.Block
			for i := range byte(4) {
				b, err := bytesLayout().MakeBlock(piece{i, 0, pieceEnd}.encode())
				if err != nil {
					t.Fatal(err)
				}
				input = append(input, b)
			}
			s := newShare(input)
			// Element 3 is given back first, so that the share ends before the input.
			if _, _, err := s.split(bytesLayout(), harness.Split{LastPrimary: 2, FirstResidual: 3}); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.split(bytesLayout(), test.cut); !errors.Is(err, test.want) {
				t.Fatalf("got error %v, want %v", err, test.want)
			}
			keep, rest, err := s.split(bytesLayout(), harness.Split{LastPrimary: 0, FirstResidual: 1})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := fmt.Sprint(pieces(t, keep), pieces(t, rest)), "[{0 0 64}] [{1 0 64} {2 0 64}]"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}
