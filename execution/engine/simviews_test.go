package engine

import (
	"bytes"
	"fmt"
	"maps"

	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// showViews lets the views of a simulation have what a bundle has committed.
func (s *sim) showViews(b *simBundle, done *bundleDone) error {
	id := b.stage.ID
	if int(id) >= len(s.plan.Stages) {
		return nil
	}
	for i, out := range b.stage.Outputs {
		s.views.add(out.Edge, done.outputs[i].Plain)
	}
	if s.stream == nil {
		return nil
	}
	s.views.show(id, b.out.shown)
	for _, w := range b.out.shown {
		var text bytes.Buffer
		for i := range w.chunks {
			data, err := newViewData(w.chunks, nil, &viewMemory{account: s.memory.Account("test")}).load(uint32(i))
			if err != nil {
				return err
			}
			text.Write(data)
		}
		s.showWindow(id, string(w.window), text.String())
	}
	return nil
}

type viewWindow struct {
	view   plan.StageID
	window string
}

// forgetWindows lets a view forget. In a later process it may do so again, or not.
func (s *sim) forgetWindows(o forgetWindows) {
	s.views.forget(o.view, o.windows)
	for _, w := range o.windows {
		if s.stream != nil {
			s.stream.forgotten[viewWindow{o.view, w}] = true
		}
	}
}

// showWindow notes what a window of a view holds from now on.
func (s *sim) showWindow(view plan.StageID, window, text string) {
	show := func(shown map[plan.StageID]map[string]string) {
		if shown[view] == nil {
			shown[view] = map[string]string{}
		}
		shown[view][window] = text
	}
	show(s.stream.shown)
	s.journal.did(func(w *simWorld) { show(w.shown) })
}

// checkComplete checks that the side inputs of a stage that are complete hold what
// was committed, in one bundle of some.
func (s *sim) checkComplete(st *plan.Stage) error {
	if s.stream != nil || s.rand.IntN(8) > 0 {
		return nil
	}
	for i, side := range s.views.open(st) {
		edge := st.SideInputs[i].Edge
		view, ok := side.(*completeView)
		if !ok {
			return fmt.Errorf("side input of edge %d is a %T", edge, side)
		}
		index, err := view.index()
		if err != nil {
			return err
		}
		got := map[string]int{}
		for _, c := range index {
			if err := c.data.each(c.spans, func(e *shuffle.Element, _, _ uint32) error {
				got[string(e.Value)]++
				return nil
			}); err != nil {
				return err
			}
		}
		if want := s.committed[edge]; !maps.Equal(got, want) {
			return fmt.Errorf("stage %s: side input of edge %d holds %v, want %v", st.Name, edge, got, want)
		}
	}
	return nil
}

// checkShown checks that a window of a view holds what was shown in it last.
func (s *sim) checkShown(side *plan.SideInput, window []byte) error {
	want, shown := s.stream.shown[side.View][string(window)]
	view := s.views.shown[side.View]
	if !shown || view == nil {
		return nil
	}
	open := view.open()
	defer open.release()
	c, err := open.in(window)
	if err != nil || c == nil && s.stream.forgotten[viewWindow{side.View, string(window)}] {
		return err
	}
	if c == nil {
		return fmt.Errorf("window %x of view %d holds nothing, want %q", window, side.View, want)
	}
	var got bytes.Buffer
	for i := range c.data.chunks {
		data, err := c.data.load(uint32(i))
		if err != nil {
			return err
		}
		got.Write(data)
	}
	if got.String() != want {
		return fmt.Errorf("window %x of view %d holds %q, want %q", window, side.View, got.String(), want)
	}
	return nil
}
