package shuffle

import (
	"bytes"
	"fmt"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
)

// windowBuffers are the blocks that are being filled of an output that is
// partitioned by window, in the order in which the windows came.
type windowBuffers struct {
	index   map[windowPart]int
	buffers []windowBuffer
	// scratch is an element that stands for one of its windows.
	scratch []byte
}

// windowPart is a partition: a window, and a key group or element.Unkeyed.
type windowPart struct {
	window string
	group  element.KeyGroup
}

type windowBuffer struct {
	buffer
	group element.KeyGroup
}

// placeByWindow writes an element once for each of its windows.
func (w *Writer) placeByWindow(e *Element, whole []byte, minEnd element.EventTime) error {
	group := element.Unkeyed
	if w.want.Groups > 0 {
		group = w.group(e.Key())
	}
	if e.Header.NumWindows == 1 {
		return w.placeInWindow(e.Header.Windows, group, some{whole, 1, e.Header.Timestamp, minEnd})
	}
	h, rest := e.Header, e.Header.Windows
	h.NumWindows = 1
	for range e.Header.NumWindows {
		n, err := w.layout.Window.Measure(rest)
		if err != nil {
			return fmt.Errorf("window: %w", err)
		}
		h.Windows, rest = rest[:n], rest[n:]
		one := append(coder.PutHeader(w.windows.scratch[:0], h), e.Value...)
		w.windows.scratch = one
		if err := w.placeInWindow(h.Windows, group, some{one, 1, h.Timestamp, minEnd}); err != nil {
			return err
		}
	}
	return nil
}

// placeInWindow writes an element that has only the given window.
func (w *Writer) placeInWindow(window []byte, group element.KeyGroup, one some) error {
	if w.want.Groups > 0 {
		b := w.windows.of(window, group)
		if err := w.add(&b.buffer, &w.out.Keyed[group], windowSizes, one); err != nil {
			return err
		}
	}
	switch {
	case w.want.Single:
		return w.addBlock(element.Block{Data: bytes.Clone(one.data), Count: 1, MinTime: one.minTime, MinEnd: one.minEnd, Window: bytes.Clone(window)})
	case w.want.Plain:
		b := w.windows.of(window, element.Unkeyed)
		return w.add(&b.buffer, &w.out.Plain, windowSizes, one)
	}
	return nil
}

// of returns the buffer of a partition.
func (b *windowBuffers) of(window []byte, group element.KeyGroup) *windowBuffer {
	if i, ok := b.index[windowPart{string(window), group}]; ok {
		return &b.buffers[i]
	}
	if b.index == nil {
		b.index = make(map[windowPart]int)
	}
	b.index[windowPart{string(window), group}] = len(b.buffers)
	b.buffers = append(b.buffers, windowBuffer{buffer: buffer{window: bytes.Clone(window)}, group: group})
	return &b.buffers[len(b.buffers)-1]
}
