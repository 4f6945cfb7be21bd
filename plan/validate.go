package plan

import (
	"errors"
	"fmt"

	"github.com/gorunner/gorunner/coder"
)

// Validate says what is wrong with the plan, all of it. What passes may be
// relied on by everything that executes plans:
//
//   - the id of a stage, edge is its index, and every id used exists;
//   - a stage reads only edges whose writers all come before it;
//   - keyed inputs and multimap views have a KV;
//   - every edge has a wire coder, a windowing and a window coder whose end is
//     known;
//   - stages of user code have ports, the runner's own have none;
//   - what a GroupByKey or TimeSort passes through is what its output edge says;
//   - functions are user code, and what calls them names one;
//   - every test source is driven by one script, which names no other stage.
//
// An edge that no stage writes is allowed: it is an empty PCollection.
func (p *Plan) Validate() error {
	v := &validator{plan: p, lastWriter: make(map[EdgeID]StageID, len(p.Edges))}
	if p.KeyGroups < 1 {
		v.fail("%d key groups", p.KeyGroups)
	}
	for i, e := range p.Edges {
		v.edge(i, e)
	}
	if len(v.errs) > 0 {
		return errors.Join(v.errs...)
	}
	names := make(map[string]StageID, len(p.Stages))
	for i, s := range p.Stages {
		if s == nil || s.ID != StageID(i) {
			v.fail("stage at %d has another id", i)
			continue
		}
		if other, taken := names[s.Name]; taken || s.Name == "" {
			v.fail("stage %d: name %q is empty or that of stage %d", i, s.Name, other)
		}
		names[s.Name] = s.ID
		for _, o := range s.Outputs {
			v.lastWriter[o.Edge] = s.ID
		}
	}
	for _, s := range p.Stages {
		if s != nil {
			v.stage(s)
		}
	}
	v.functions()
	v.tests()
	return errors.Join(v.errs...)
}

type validator struct {
	plan       *Plan
	lastWriter map[EdgeID]StageID
	errs       []error
}

func (v *validator) fail(format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf("plan: "+format, args...))
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
	}
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
		return
	case *Impulse:
		if s.Input != nil || len(s.SideInputs) > 0 {
			v.fail("stage %d: an impulse with inputs", s.ID)
		}
		v.outputs(s, false)
	case *TestSource:
		if s.Input != nil || len(s.SideInputs) > 0 {
			v.fail("stage %d: a test source with inputs", s.ID)
		}
		v.outputs(s, false)
	case *GroupByKey:
		v.input(s, false)
		v.outputs(s, false)
		v.group(s, k)
		v.function(s, k.Merge)
	case *View:
		v.input(s, false)
		if len(s.Outputs) > 0 || k.Windowing == nil || s.Input != nil && s.Input.Keyed {
			v.fail("stage %d: a view with outputs, without windowing or by key", s.ID)
		}
		v.function(s, k.Merge)
	case *TimeSort:
		v.input(s, false)
		v.outputs(s, false)
		v.timeSort(s, k)
	case *Executable:
		v.input(s, true)
		v.outputs(s, true)
		v.sideInputs(s)
		v.executable(s, k)
		v.function(s, k.Truncate)
	}
}

// function checks that a stage calls one, unless its id is 0.
func (v *validator) function(s *Stage, id StageID) {
	first := StageID(len(v.plan.Stages))
	if id != 0 && (id < first || int(id-first) >= len(v.plan.Functions)) {
		v.fail("stage %d: no function %d", s.ID, id)
	}
}

func (v *validator) functions() {
	for i, f := range v.plan.Functions {
		if f == nil || f.ID != StageID(len(v.plan.Stages)+i) {
			v.fail("function at %d has another id", i)
			continue
		}
		if _, ok := f.Kind.(*Executable); !ok {
			v.fail("function %d is no user code", f.ID)
			continue
		}
		v.stage(f)
	}
}

// tests checks the scripts of test streams.
func (v *validator) tests() {
	drivenBy := make(map[StageID]int)
	for i, t := range v.plan.Tests {
		own := make(map[StageID]bool)
		for _, id := range t.Sources {
			if other, driven := drivenBy[id]; driven || !v.isTestSource(id) {
				v.fail("test %d: stage %d is no test source, or that of test %d", i, id, other)
			}
			drivenBy[id], own[id] = i, true
		}
		for j, event := range t.Events {
			var id StageID
			switch e := event.(type) {
			case TestElements:
				id = e.Source
			case TestWatermark:
				id = e.Source
			case TestProcessingTime:
				continue
			}
			if !own[id] {
				v.fail("test %d: event %d: stage %d is no source of it", i, j, id)
			}
		}
	}
	for _, s := range v.plan.Stages {
		if s == nil {
			continue
		}
		if _, driven := drivenBy[s.ID]; !driven && v.isTestSource(s.ID) {
			v.fail("stage %d: a test source without a script", s.ID)
		}
	}
}

func (v *validator) isTestSource(id StageID) bool {
	if id < 0 || int(id) >= len(v.plan.Stages) || v.plan.Stages[id] == nil {
		return false
	}
	_, ok := v.plan.Stages[id].Kind.(*TestSource)
	return ok
}

func (v *validator) timeSort(s *Stage, k *TimeSort) {
	if s.Input == nil || !s.Input.Keyed || k.Windowing == nil {
		v.fail("stage %d: an incomplete sort by time", s.ID)
		return
	}
	for _, o := range s.Outputs {
		if v.exists(o.Edge) && v.exists(s.Input.Edge) && !v.plan.Edges[o.Edge].Value.Equal(v.plan.Edges[s.Input.Edge].Value) {
			v.fail("stage %d: sorts %v into edge %d of %v", s.ID,
				v.plan.Edges[s.Input.Edge].Value, o.Edge, v.plan.Edges[o.Edge].Value)
		}
	}
}

func (v *validator) exists(id EdgeID) bool { return id >= 0 && int(id) < len(v.plan.Edges) }

// read returns the edge a stage reads, if that is allowed.
func (v *validator) read(s *Stage, id EdgeID, what string) *Edge {
	if !v.exists(id) {
		v.fail("stage %d: %s: no edge %d", s.ID, what, id)
		return nil
	}
	if w, written := v.lastWriter[id]; written && w >= s.ID {
		v.fail("stage %d: %s: edge %d is written by stage %d, which is not before it", s.ID, what, id, w)
	}
	return v.plan.Edges[id]
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
		if !v.exists(o.Edge) {
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
		if e != nil && side.Access == AccessMultimap && e.Value.Kind() != coder.KV {
			v.fail("stage %d: multimap side input %s of coder %v", s.ID, side.Tag, e.Value)
		}
	}
}

func (v *validator) group(s *Stage, k *GroupByKey) {
	if s.Input == nil || k.Windowing == nil || k.Key == nil || k.Value == nil {
		v.fail("stage %d: incomplete GroupByKey", s.ID)
		return
	}
	values := coder.Iterable
	if k.PagedValues {
		values = coder.StateBackedIterable
	}
	want := coder.Must(coder.KV, k.Key, coder.Must(values, k.Value))
	for _, o := range s.Outputs {
		if !v.exists(o.Edge) {
			continue // said already
		}
		if e := v.plan.Edges[o.Edge]; !e.Value.Equal(want) {
			v.fail("stage %d: writes %v to edge %d of %v", s.ID, want, e.ID, e.Value)
		}
	}
	if !v.exists(s.Input.Edge) {
		return
	}
	if got := v.plan.Edges[s.Input.Edge].Value; !got.Equal(coder.Must(coder.KV, k.Key, k.Value)) {
		v.fail("stage %d: groups %v and %v, reads %v", s.ID, k.Key, k.Value, got)
	}
}

func (v *validator) executable(s *Stage, k *Executable) {
	if k.Environment == "" {
		v.fail("stage %d: no environment", s.ID)
	}
	if keyed := s.Input != nil && s.Input.Keyed; !keyed && (len(k.States)+len(k.Timers) > 0 || k.TimeSorted) {
		v.fail("stage %d: state, timers or order of time on an input that is not keyed", s.ID)
	}
	for _, st := range k.States {
		if st.Protocol == OrderedListState && st.Value == nil || st.Protocol == BagState && st.Value != nil {
			v.fail("stage %d: state %q: value coder %v", s.ID, st.ID, st.Value)
		}
	}
	transforms := make(map[TransformID]bool, len(k.Transforms))
	for _, t := range k.Transforms {
		if transforms[t.ID] {
			v.fail("stage %d: transform %q twice", s.ID, t.ID)
		}
		transforms[t.ID] = true
	}
	for _, side := range s.SideInputs {
		if !transforms[side.Transform] {
			v.fail("stage %d: side input of transform %q, which it has not", s.ID, side.Transform)
		}
	}
}
