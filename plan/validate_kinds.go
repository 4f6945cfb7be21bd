package plan

import "github.com/gorunner/gorunner/coder"

func (v *validator) group(s *Stage, k *GroupByKey) {
	if s.Input == nil || !s.Input.Keyed || k.Windowing == nil || k.Key == nil || k.Value == nil {
		v.fail("stage %d: incomplete GroupByKey", s.ID)
		return
	}
	values := coder.Iterable
	if k.PagedValues {
		values = coder.StateBackedIterable
	}
	want := coder.Must(coder.KV, k.Key, coder.Must(values, k.Value))
	for _, o := range s.Outputs {
		if e := v.at(o.Edge); e != nil && !e.Value.Equal(want) {
			v.fail("stage %d: writes %v to edge %d of %v", s.ID, want, e.ID, e.Value)
		}
	}
	v.merge(s, k.Windowing, k.Merge)
	in := v.at(s.Input.Edge)
	if in == nil {
		return
	}
	if !in.Value.Equal(coder.Must(coder.KV, k.Key, k.Value)) {
		v.fail("stage %d: groups %v and %v, reads %v", s.ID, k.Key, k.Value, in.Value)
	}
	if !in.Bounded && !k.Streaming {
		v.fail("stage %d: groups unbounded edge %d all at once", s.ID, in.ID)
	}
}

// merge checks that windows that the SDK must merge have a function for it.
func (v *validator) merge(s *Stage, w *Windowing, by StageID) {
	if w == nil {
		v.fail("stage %d: no windowing", s.ID)
		return
	}
	custom, ok := w.Fn.(CustomWindows)
	if (ok && custom.Merging) != (by != 0) {
		v.fail("stage %d: windows %v merged by function %d", s.ID, w.Fn, by)
	}
	if by == 0 {
		return
	}
	f := v.functionAt(by)
	if f == nil || f.Input == nil || len(f.Outputs) != 1 || v.at(f.Input.Edge) == nil || v.at(f.Outputs[0].Edge) == nil {
		v.fail("stage %d: no function %d to merge windows", s.ID, by)
		return
	}
	nonce, windows := coder.Must(coder.Bytes), coder.Must(coder.Iterable, w.Window)
	merged := coder.Must(coder.Iterable, coder.Must(coder.KV, w.Window, windows))
	in, out := v.at(f.Input.Edge).Value, v.at(f.Outputs[0].Edge).Value
	if !in.Equal(coder.Must(coder.KV, nonce, windows)) ||
		!out.Equal(coder.Must(coder.KV, nonce, coder.Must(coder.KV, windows, merged))) {
		v.fail("stage %d: function %d makes %v of %v, not merged windows", s.ID, by, out, in)
	}
}

func (v *validator) timeSort(s *Stage, k *TimeSort) {
	if s.Input == nil || !s.Input.Keyed || k.Windowing == nil {
		v.fail("stage %d: incomplete TimeSort", s.ID)
		return
	}
	in := v.at(s.Input.Edge)
	for _, o := range s.Outputs {
		if out := v.at(o.Edge); in != nil && out != nil && !out.Value.Equal(in.Value) {
			v.fail("stage %d: sorts %v into edge %d of %v", s.ID, in.Value, out.ID, out.Value)
		}
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
		if st.Split != 0 {
			v.split(s, st)
		}
	}
	for _, tm := range k.Timers {
		if tm.Domain == SynchronizedDomain {
			v.fail("stage %d: timers %q of user code are of domain %v", s.ID, tm.Family, tm.Domain)
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

// split checks the function that tells values of a state apart.
func (v *validator) split(s *Stage, st StateSpec) {
	f := v.functionAt(st.Split)
	if st.Protocol != MultimapState || st.Value != nil ||
		f == nil || f.Input == nil || len(f.Outputs) != 1 || v.at(f.Outputs[0].Edge) == nil ||
		v.at(f.Outputs[0].Edge).Value.Kind() != coder.LengthPrefix {
		v.fail("stage %d: state %q: function %d does not tell its values apart", s.ID, st.ID, st.Split)
	}
}

// splittable checks what goes with restrictions, and with order of time.
func (v *validator) splittable(s *Stage, k *Executable) {
	if k.Unbounded && !k.Splittable {
		v.fail("stage %d: unbounded, but not splittable", s.ID)
	}
	if s.Input == nil {
		return
	}
	if in := v.at(s.Input.Edge); in != nil && !in.Bounded && k.TimeSorted {
		v.fail("stage %d: unbounded edge %d cannot be sorted whole", s.ID, in.ID)
	}
	if k.Truncate == 0 {
		return
	}
	f := v.functionAt(k.Truncate)
	if !k.Splittable || f == nil || f.Input == nil || f.Input.Edge != s.Input.Edge || len(f.Outputs) != 1 ||
		f.Outputs[0].Edge != s.Input.Edge {
		v.fail("stage %d: function %d does not truncate what it reads", s.ID, k.Truncate)
	}
}

// functionAt returns a function, nil if there is none of that id.
func (v *validator) functionAt(id StageID) *Stage {
	if i := int(id) - len(v.plan.Stages); i >= 0 && i < len(v.plan.Functions) {
		return v.plan.Functions[i]
	}
	return nil
}

// function checks a stage outside the graph: it has edges, but no place among
// those that write them.
func (v *validator) function(s *Stage) {
	k, ok := s.Kind.(*Executable)
	if !ok || s.Input == nil || s.Input.Keyed || s.Input.Port == "" || v.at(s.Input.Edge) == nil || len(s.Outputs) == 0 ||
		len(k.States)+len(k.Timers) > 0 || k.Splittable {
		v.fail("stage %d: not the function of an SDK", s.ID)
		return
	}
	for _, side := range s.SideInputs {
		if v.at(side.Edge) == nil {
			v.fail("stage %d: side input %s: no edge %d", s.ID, side.Tag, side.Edge)
		}
	}
	v.outputs(s, true)
	v.executable(s, k)
}

// tests checks the scripts.
func (v *validator) tests() {
	scripted := map[StageID]bool{}
	for i, test := range v.plan.Tests {
		own := map[StageID]bool{}
		for _, id := range test.Sources {
			if !v.isTestSource(id) || scripted[id] {
				v.fail("test %d: source %d is none, or in another script", i, id)
			}
			scripted[id], own[id] = true, true
		}
		v.events(i, test.Events, own)
	}
	for _, s := range v.plan.Stages {
		if v.isTestSource(s.ID) && !scripted[s.ID] {
			v.fail("stage %d: a test source in no script", s.ID)
		}
	}
}

func (v *validator) isTestSource(id StageID) bool {
	if id < 0 || int(id) >= len(v.plan.Stages) {
		return false
	}
	_, is := v.plan.Stages[id].Kind.(*TestSource)
	return is
}

func (v *validator) events(test int, events []TestEvent, own map[StageID]bool) {
	watermarks := map[StageID]TestWatermark{}
	for i, e := range events {
		switch e := e.(type) {
		case TestElements:
			if !own[e.Source] || e.Block.Count < 1 {
				v.fail("test %d: event %d: %d elements from stage %d", test, i, e.Block.Count, e.Source)
			}
		case TestWatermark:
			if before, ok := watermarks[e.Source]; !own[e.Source] || ok && e.To < before.To {
				v.fail("test %d: event %d: watermark of stage %d to %v", test, i, e.Source, e.To)
			}
			watermarks[e.Source] = e
		case TestProcessingTime:
			if e.By < 0 {
				v.fail("test %d: event %d: processing time %v", test, i, e.By)
			}
		}
	}
}
