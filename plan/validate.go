package plan

import (
	"errors"
	"fmt"

	"github.com/gorunner/gorunner/coder"
)

// Validate says what is wrong with the plan, all of it. What passes may be
// relied on by everything that executes plans:
//
//   - the id of a stage, edge is its index, that of a function goes on from
//     those of the stages, and every id used exists;
//   - a stage reads only edges whose writers all come before it, and views that
//     come before it;
//   - keyed inputs and multimap views have a KV, and a key coder is that of its
//     beginning;
//   - every edge has a wire coder, a windowing and a window coder whose end is
//     known;
//   - stages of user code have ports, the runner's own have none;
//   - what a GroupByKey, a TimeSort passes through is what its output edge says;
//   - side inputs of unbounded edges have a view, others have none;
//   - where only the SDK can merge windows, there is a function that does, of
//     the coders said with [GroupByKey.Merge];
//   - every source of a test stream is in one script, which only goes forward.
//
// An edge that no stage writes is allowed: it is an empty PCollection.
func (p *Plan) Validate() error {
	v := &validator{plan: p, lastWriter: make(map[EdgeID]StageID, len(p.Edges)), names: map[string]StageID{}}
	if p.KeyGroups < 1 {
		v.fail("%d key groups", p.KeyGroups)
	}
	for i, e := range p.Edges {
		v.edge(i, e)
	}
	for i, s := range p.Stages {
		v.identity(StageID(i), s)
	}
	for i, s := range p.Functions {
		v.identity(StageID(len(p.Stages)+i), s)
	}
	if len(v.errs) > 0 {
		return errors.Join(v.errs...)
	}
	for _, s := range p.Stages {
		for _, o := range s.Outputs {
			v.lastWriter[o.Edge] = s.ID
		}
	}
	for _, s := range p.Stages {
		v.stage(s)
	}
	for _, s := range p.Functions {
		v.function(s)
	}
	v.tests()
	return errors.Join(v.errs...)
}

type validator struct {
	plan       *Plan
	lastWriter map[EdgeID]StageID
	names      map[string]StageID
	errs       []error
}

func (v *validator) fail(format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf("plan: "+format, args...))
}

// identity checks that a stage is where its id says and has a name.
func (v *validator) identity(id StageID, s *Stage) {
	if s == nil || s.ID != id {
		v.fail("stage at %d has another id", id)
		return
	}
	if other, taken := v.names[s.Name]; taken || s.Name == "" {
		v.fail("stage %d: name %q is empty or that of stage %d", id, s.Name, other)
	}
	v.names[s.Name] = id
}

func (v *validator) edge(i int, e *Edge) {
	switch {
	case e == nil || e.ID != EdgeID(i):
		v.fail("edge at %d has another id", i)
	case e.Value == nil:
		v.fail("edge %d: no coder", i)
	case e.Windowing == nil || e.Windowing.Fn == nil || e.Windowing.Window == nil:
		v.fail("edge %d: no windowing", i)
	case !isWindow(e.Windowing.Window):
		v.fail("edge %d: %v is no window coder", i, e.Windowing.Window)
	case e.Key != nil && !startsWith(e.Value, e.Key):
		v.fail("edge %d: key %v is not at the start of %v", i, e.Key, e.Value)
	}
}

// startsWith says whether values of the coder begin with one of the other.
func startsWith(c, start *coder.Coder) bool {
	for c.Kind() == coder.KV {
		c = c.Component(0)
		if c.Equal(start) {
			return true
		}
	}
	return false
}

func isWindow(c *coder.Coder) bool {
	switch c.Kind() {
	case coder.GlobalWindow, coder.IntervalWindow, coder.CustomWindow:
		return true
	case coder.Bytes, coder.LengthPrefix, coder.VarInt, coder.Bool, coder.Double, coder.KV,
		coder.Iterable, coder.StateBackedIterable, coder.Nullable, coder.ShardedKey:
	}
	return false
}

func (v *validator) stage(s *Stage) {
	switch k := s.Kind.(type) {
	case nil:
		v.fail("stage %d: no kind", s.ID)
	case *Impulse, *TestSource:
		if s.Input != nil || len(s.SideInputs) > 0 {
			v.fail("stage %d: %v with inputs", s.ID, k)
		}
		v.outputs(s, false)
	case *GroupByKey:
		v.input(s, false)
		v.outputs(s, false)
		v.group(s, k)
	case *View:
		v.input(s, false)
		if len(s.Outputs) > 0 || s.Input != nil && s.Input.Keyed {
			v.fail("stage %d: a view with outputs or by key", s.ID)
		}
		v.merge(s, k.Windowing, k.Merge)
	case *TimeSort:
		v.input(s, false)
		v.outputs(s, false)
		v.timeSort(s, k)
	case *Executable:
		v.input(s, true)
		v.outputs(s, true)
		v.sideInputs(s)
		v.executable(s, k)
		v.splittable(s, k)
	}
}

// at returns an edge, nil if there is none of that id.
func (v *validator) at(id EdgeID) *Edge {
	if id < 0 || int(id) >= len(v.plan.Edges) {
		return nil
	}
	return v.plan.Edges[id]
}

// read returns the edge a stage reads, if that is allowed.
func (v *validator) read(s *Stage, id EdgeID, what string) *Edge {
	e := v.at(id)
	if e == nil {
		v.fail("stage %d: %s: no edge %d", s.ID, what, id)
		return nil
	}
	if w, written := v.lastWriter[id]; written && w >= s.ID {
		v.fail("stage %d: %s: edge %d is written by stage %d, which is not before it", s.ID, what, id, w)
	}
	return e
}

func (v *validator) input(s *Stage, ports bool) {
	if s.Input == nil {
		v.fail("stage %d: no input", s.ID)
		return
	}
	e := v.read(s, s.Input.Edge, "input")
	if e != nil && s.Input.Keyed && e.Value.Kind() != coder.KV {
		v.fail("stage %d: keyed input of coder %v", s.ID, e.Value)
	}
	if ports != (s.Input.Port != "") {
		v.fail("stage %d: input with port %q", s.ID, s.Input.Port)
	}
}

func (v *validator) outputs(s *Stage, ports bool) {
	seen := map[TransformID]bool{}
	for i, o := range s.Outputs {
		if v.at(o.Edge) == nil {
			v.fail("stage %d: output %d: no edge %d", s.ID, i, o.Edge)
		}
		if ports != (o.Port != "") || ports && seen[o.Port] {
			v.fail("stage %d: output %d with port %q", s.ID, i, o.Port)
		}
		seen[o.Port] = true
	}
}

func (v *validator) sideInputs(s *Stage) {
	for _, side := range s.SideInputs {
		e := v.read(s, side.Edge, "side input "+side.Tag)
		if e == nil {
			continue
		}
		if side.Access == AccessMultimap && e.Value.Kind() != coder.KV {
			v.fail("stage %d: multimap side input %s of coder %v", s.ID, side.Tag, e.Value)
		}
		if e.Bounded != (side.View == 0) {
			v.fail("stage %d: side input %s of edge %d, bounded %t, by view %d", s.ID, side.Tag, e.ID, e.Bounded, side.View)
		} else if side.View != 0 && !v.isView(s, side) {
			v.fail("stage %d: side input %s: stage %d is no view of edge %d before it", s.ID, side.Tag, side.View, e.ID)
		}
		if side.Map != 0 && !v.maps(s, side) {
			v.fail("stage %d: side input %s: function %d does not map windows", s.ID, side.Tag, side.Map)
		}
	}
}

// maps says whether the side input's function maps windows of the main input to
// those of a view.
func (v *validator) maps(s *Stage, side SideInput) bool {
	f := v.functionAt(side.Map)
	if side.View == 0 || s.Input == nil || f == nil || f.Input == nil || len(f.Outputs) != 1 {
		return false
	}
	main, in, out := v.at(s.Input.Edge), v.at(f.Input.Edge), v.at(f.Outputs[0].Edge)
	if main == nil || in == nil || out == nil {
		return false
	}
	nonce, view := coder.Must(coder.Bytes), v.at(side.Edge)
	return in.Value.Equal(coder.Must(coder.KV, nonce, main.Windowing.Window)) &&
		out.Value.Equal(coder.Must(coder.KV, nonce, view.Windowing.Window))
}

// isView says whether the stage of that id makes the view, before s.
func (v *validator) isView(s *Stage, side SideInput) bool {
	if side.View < 0 || side.View >= s.ID || int(side.View) >= len(v.plan.Stages) {
		return false
	}
	view := v.plan.Stages[side.View]
	_, is := view.Kind.(*View)
	return is && view.Input != nil && view.Input.Edge == side.Edge
}
