package shuffle

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/internal/invariants"
)

// Partitions says which forms of an output its consumers need.
type Partitions struct {
	// Plain consumers read all elements in one queue.
	Plain bool
	// Single puts every element into a plain block of its own: for edges whose
	// elements are few and each is worth a bundle.
	Single bool
	// Groups is the number of key groups for keyed consumers, 0 if there are
	// none.
	Groups int
	// Parts says that what goes to disk of a key group is read part by part.
	Parts bool
	// Soon says that what is written in whole blocks will be read at once: it may
	// exceed the budget a little.
	Soon bool
	// Ends says that blocks are to tell when their windows end.
	Ends bool
	// Windows partitions either form by window besides: a block holds elements
	// of one window only, and an element of several is written once for each.
	Windows bool
	// Expected is about how many bytes will be written, as far as that is known,
	// so that each block need not be found to be too small first.
	Expected int64
}

// Output is what one bundle wrote to one edge. Its blocks are immutable.
type Output struct {
	// Plain holds the blocks for plain consumers.
	Plain []element.Block
	// Keyed holds the blocks of each group for keyed consumers.
	Keyed [][]element.Block
	// Count and Bytes measure the elements, once.
	Count, Bytes int64
}

// blocks are those of either form.
func (o *Output) blocks() iter.Seq[*element.Block] {
	return func(yield func(*element.Block) bool) {
		for i := range o.Plain {
			if !yield(&o.Plain[i]) {
				return
			}
		}
		for _, group := range o.Keyed {
			for i := range group {
				if !yield(&group[i]) {
					return
				}
			}
		}
	}
}

// Writer collects one output of one bundle. What it holds in memory is bounded
// by its budget: once that is exceeded, sealed blocks go to disk, and those
// being filled together take [Spill.OpenBytes] at most. What is to last
// is on disk, or will be, when it is closed.
type Writer struct {
	layout *Layout
	want   Partitions
	// each says that elements are placed one by one.
	each bool
	// quick cuts most elements, if they can all be put where they belong by their
	// keys alone.
	quick   quick
	scatter *scatter // made when it is needed
	parter  *Parter  // made when it is needed
	spill   *Spill
	out     Output
	// sealed is what the blocks of out take in memory, and open what those that
	// are being filled do.
	sealed, open int64
	plain        buffer
	groups       []buffer
	groupSizes   sizes // of the elements at hand
	// windows stands in for plain and groups where windows are told apart.
	windows windowBuffers
	// partial is the beginning of an element. It is not cut again before it
	// has grown to partialNext bytes, so that an element in many pieces is
	// measured in time proportional to its size.
	partial     []byte
	partialNext int
}

// NewWriter makes a writer for the edge of the layout. spill says where its
// blocks lie; nil is in memory.
func NewWriter(layout *Layout, want Partitions, spill *Spill) *Writer {
	invariants.Assert(want.Groups == 0 || layout.Value.Kind() == coder.KV, "values of coder %v have no keys", layout.Value)
	w := &Writer{layout: layout, want: want, spill: spill, each: want.Groups > 0 || want.Single || want.Windows || want.Ends}
	if !want.Single && !want.Windows {
		w.quick = newQuick(layout)
	}
	return w
}

// Write takes the next bytes of the output and copies what it keeps. The
// bytes may end within an element if the next call continues it. An error
// means that the bytes are not elements of the edge; it may come as late as
// Close.
func (w *Writer) Write(data []byte) error {
	data, err := w.complete(data)
	if err != nil || len(data) == 0 {
		return err
	}
	n, err := w.take(data)
	if err != nil {
		return err
	}
	if n < len(data) {
		w.setPartial(data[n:])
	}
	return nil
}

// setPartial keeps the beginning of an element for the next call.
func (w *Writer) setPartial(data []byte) {
	const growthMin = 512
	w.partial = append(w.partial[:0], data...)
	w.partialNext = len(data) + max(len(data), growthMin)
}

// complete adds to the partial element what it lacks and consumes it. It
// returns the rest of data.
func (w *Writer) complete(data []byte) ([]byte, error) {
	const recutBytes = 4 << 10 // cutting again so much costs little
	for len(w.partial) > 0 && len(data) > 0 {
		had := len(w.partial)
		n := min(len(data), w.partialNext-had)
		w.partial = append(w.partial, data[:n]...)
		if len(w.partial) < w.partialNext && len(w.partial) > recutBytes {
			return nil, nil
		}
		taken, err := w.take(w.partial)
		if err != nil {
			return nil, err
		}
		if taken > had {
			data = data[taken-had:]
			w.partial = w.partial[:0]
		} else {
			data = data[n:]
			w.setPartial(w.partial[taken:])
		}
	}
	return data, nil
}

// whole consumes what is left. It fails when the last element is not whole.
func (w *Writer) whole() error {
	n, err := w.take(w.partial)
	if err != nil {
		return err
	}
	if n < len(w.partial) {
		return fmt.Errorf("output ends within element %d: %w", w.out.Count, coder.ErrShort)
	}
	w.partial = w.partial[:0]
	return nil
}

// take consumes the whole elements of data and returns their length.
func (w *Writer) take(data []byte) (int, error) {
	all := some{minTime: element.MaxTime, minEnd: element.MaxTime}
	if w.want.Groups > 0 {
		// A quarter more than an even share, so that most need no second block.
		share := max(int64(len(data)), w.want.Expected-w.out.Bytes) / int64(w.want.Groups)
		if w.spill.Over() { // all blocks together have to fit, or they go to disk while they are small
			share = min(share, w.spill.openBytes()/int64(2*w.want.Groups))
		}
		w.groupSizes = groupSizes.expecting(int(min(share*5/4, int64(groupSizes.max))))
	}
	for len(all.data) < len(data) {
		at := len(all.data)
		more, err := w.takeQuick(data[at:])
		if err == nil && more.count == 0 {
			more, err = w.takeOne(data[at:])
		}
		if errors.Is(err, coder.ErrShort) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("element %d: %w", w.out.Count+int64(all.count), err)
		}
		all.data = data[:at+len(more.data)]
		all.count += more.count
		all.minTime = min(all.minTime, more.minTime)
		all.minEnd = min(all.minEnd, more.minEnd)
	}
	if w.want.Plain && !w.want.Single && !w.want.Windows && all.count > 0 {
		if err := w.add(&w.plain, &w.out.Plain, plainSizes.expecting(len(data)), all); err != nil {
			return 0, err
		}
	}
	w.out.Count += int64(all.count)
	w.out.Bytes += int64(len(all.data))
	return len(all.data), nil
}

// takeOne consumes one element, of any kind.
func (w *Writer) takeOne(data []byte) (some, error) {
	if len(w.quick.forms) > 0 {
		// Every message ends within an element, and an error that says where costs
		// more than the element.
		if _, _, end := w.quick.cut(data); end == cutShort {
			return some{}, coder.ErrShort
		}
	}
	e, err := w.layout.Cut(data)
	if err != nil {
		return some{}, err
	}
	one := some{data: data[:e.Size], count: 1, minTime: e.Header.Timestamp}
	if w.want.Ends {
		if one.minEnd, err = w.layout.minEnd(&e.Header); err != nil {
			return some{}, err
		}
	}
	if w.each {
		err = w.place(&e, one)
	}
	return one, err
}

// takeQuick consumes elements as long as they are among those that are cut
// quickly.
func (w *Writer) takeQuick(data []byte) (some, error) {
	switch {
	case len(w.quick.forms) == 0:
		return some{}, nil
	case w.want.Groups == 0 && w.want.Ends:
		return some{}, nil // there are few
	case w.want.Groups == 0:
		return w.quick.count(data), nil
	case w.scatter == nil && len(data) < scatterBytesMin:
		return some{}, nil
	}
	if w.scatter == nil {
		w.scatter = newScatter(w.want.Groups)
	}
	return w.scatter.take(w, data)
}

// place puts one element where it belongs.
func (w *Writer) place(e *Element, one some) error {
	if w.want.Windows {
		return w.placeByWindow(e, one.data, one.minEnd)
	}
	if w.want.Groups > 0 {
		g := w.group(e.Key())
		if err := w.add(&w.groups[g], &w.out.Keyed[g], w.groupSizes, one); err != nil {
			return err
		}
	}
	if w.want.Single {
		return w.addBlock(element.Block{Data: bytes.Clone(one.data), Count: 1, MinTime: one.minTime, MinEnd: one.minEnd})
	}
	return nil
}

// group is the key group of an encoded key.
func (w *Writer) group(key []byte) element.KeyGroup {
	if w.out.Keyed == nil {
		w.out.Keyed = make([][]element.Block, w.want.Groups)
		w.groups = make([]buffer, w.want.Groups)
	}
	return KeyGroup(key, w.want.Groups)
}

// WriteBlock takes over a block of whole elements that is already immutable.
func (w *Writer) WriteBlock(b element.Block) error {
	if err := w.whole(); err != nil {
		return err
	}
	if !w.each {
		if err := w.seal(&w.plain, &w.out.Plain); err != nil {
			return err
		}
		w.out.Count += int64(b.Count)
		w.out.Bytes += int64(b.Size())
		return w.addBlock(b)
	}
	b, err := b.InMemory()
	if err != nil {
		return fmt.Errorf("block of %d elements: %w", b.Count, err)
	}
	if len(b.Pages) == 0 {
		return w.Write(b.Data)
	}
	return w.writePaged(b)
}

// addBlock adds a block to the plain ones.
func (w *Writer) addBlock(b element.Block) error {
	if !w.want.Soon || !w.spill.spares() {
		if err := w.spill.Block(&b, nil); err != nil {
			return err
		}
	}
	if cap(b.Data) > 2*len(b.Data) {
		b.Data = bytes.Clone(b.Data) // it may be there for long
	}
	w.sealed += int64(b.Resident())
	w.out.Plain = append(w.out.Plain, b)
	return nil
}

// writePaged writes a block with pages into blocks that hold nothing else.
// Any of them may have the elements that refer to the pages; pages are shared
// by reference, so that each block keeps them all.
func (w *Writer) writePaged(b element.Block) error {
	if err := w.sealAll(); err != nil {
		return err
	}
	plain := len(w.out.Plain)
	keyed := make([]int, len(w.out.Keyed))
	for g := range w.out.Keyed {
		keyed[g] = len(w.out.Keyed[g])
	}
	if err := w.Write(b.Data); err != nil {
		return err
	}
	if err := w.sealAll(); err != nil {
		return err
	}
	w.sealed += int64(b.Resident() - cap(b.Data))
	addPages(w.out.Plain[plain:], b.Pages)
	for g := range w.out.Keyed {
		from := 0
		if len(keyed) > 0 {
			from = keyed[g]
		}
		addPages(w.out.Keyed[g][from:], b.Pages)
	}
	return nil
}

func addPages(blocks []element.Block, pages []*element.Page) {
	for i := range blocks {
		blocks[i].Pages = slices.Clip(pages)
	}
}

// Close returns what was written. It fails when the last element is not
// whole.
func (w *Writer) Close() (Output, error) {
	if err := w.whole(); err != nil {
		return Output{}, err
	}
	if err := w.sealAll(); err != nil {
		return Output{}, err
	}
	w.spill.Last(w.out.blocks())
	return w.out, nil
}

// Written returns the elements and bytes taken so far, without those of which
// the end may be missing.
func (w *Writer) Written() (elements, bytes int64) { return w.out.Count, w.out.Bytes }

// Resident is the memory that the writer takes: blocks that are not on disk,
// and those that are being filled.
func (w *Writer) Resident() int64 { return w.sealed + w.open + int64(cap(w.partial)) }
