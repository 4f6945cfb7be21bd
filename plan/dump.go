package plan

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Text prints the plan for people and for golden tests: each stage with what
// it reads, executes and writes, then the edges. Equal plans give equal text.
func (p *Plan) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plan: %d stages, %d edges, %d key groups\n", len(p.Stages), len(p.Edges), p.KeyGroups)
	for _, s := range p.Stages {
		s.text(&b, "")
	}
	for _, s := range p.Functions {
		s.text(&b, "function ")
	}
	p.testText(&b)
	b.WriteString("\n")
	for _, e := range p.Edges {
		more := ""
		if !e.Bounded {
			more = " unbounded"
		}
		if e.Key != nil {
			more += fmt.Sprintf(", key %v", e.Key)
		}
		fmt.Fprintf(&b, "e%d %s: %v in %v%s\n", e.ID, e.Name, e.Value, e.Windowing, more)
	}
	return b.String()
}

func (p *Plan) testText(b *strings.Builder) {
	for i, test := range p.Tests {
		fmt.Fprintf(b, "\ntest %d\n", i)
		for _, e := range test.Events {
			switch e := e.(type) {
			case TestElements:
				fmt.Fprintf(b, "  s%d emits %d elements of %d bytes\n", e.Source, e.Block.Count, len(e.Block.Data))
			case TestWatermark:
				fmt.Fprintf(b, "  s%d watermark %v\n", e.Source, e.To)
			case TestProcessingTime:
				fmt.Fprintf(b, "  processing time +%v\n", e.By)
			}
		}
	}
}

func (s *Stage) text(b *strings.Builder, what string) {
	fmt.Fprintf(b, "\n%ss%d %v %q\n", what, s.ID, s.Kind, s.Name)
	if s.Input != nil {
		keyed := ""
		if s.Input.Keyed {
			keyed = " by key"
		}
		fmt.Fprintf(b, "  read e%d%s%s\n", s.Input.Edge, keyed, via(s.Input.Port))
	}
	for _, side := range s.SideInputs {
		by := ""
		if side.View != 0 {
			by = fmt.Sprintf(" by s%d", side.View)
		}
		if side.Map != 0 {
			by += fmt.Sprintf(", mapped by s%d", side.Map)
		}
		fmt.Fprintf(b, "  view e%d%s as %s, %s of %s\n", side.Edge, by, side.Access, side.Tag, side.Transform)
	}
	if x, ok := s.Kind.(*Executable); ok {
		for _, t := range x.Transforms {
			fmt.Fprintf(b, "  run %s %s %q\n", t.ID, shortURN(t.URN), t.Name)
		}
		if x.TimeSorted {
			b.WriteString("  in order of time\n")
		}
		for _, st := range x.States {
			fmt.Fprintf(b, "  state %s of %s: %v", st.ID, st.Transform, st.Protocol)
			if st.Split != 0 {
				fmt.Fprintf(b, " split by s%d", st.Split)
			}
			b.WriteByte('\n')
		}
		for _, tm := range x.Timers {
			fmt.Fprintf(b, "  timers %s of %s: %v\n", tm.Family, tm.Transform, tm.Domain)
		}
	}
	for _, o := range s.Outputs {
		fmt.Fprintf(b, "  write e%d%s\n", o.Edge, via(o.Port))
	}
}

func via(port TransformID) string {
	if port == "" {
		return ""
	}
	return " through " + string(port)
}

func shortURN(urn string) string {
	return strings.TrimSuffix(strings.TrimPrefix(urn, "beam:transform:"), ":v1")
}

// DOT prints the plan as a graph for Graphviz: boxes are stages, arrows are
// edges, dashed ones side inputs.
func (p *Plan) DOT() string {
	var b strings.Builder
	b.WriteString("digraph plan {\n  node [shape=box];\n")
	for _, s := range p.Stages {
		label := fmt.Sprintf("s%d %v\n%s", s.ID, s.Kind, s.Name)
		fmt.Fprintf(&b, "  s%d [label=%s];\n", s.ID, quote(label))
	}
	for _, e := range p.Edges {
		fmt.Fprintf(&b, "  e%d [shape=ellipse, label=%s];\n", e.ID, quote(e.Name))
	}
	for _, s := range p.Stages {
		if s.Input != nil {
			style := ""
			if s.Input.Keyed {
				style = " [label=\"by key\"]"
			}
			fmt.Fprintf(&b, "  e%d -> s%d%s;\n", s.Input.Edge, s.ID, style)
		}
		for _, side := range s.SideInputs {
			fmt.Fprintf(&b, "  e%d -> s%d [style=dashed, label=%s];\n", side.Edge, s.ID, quote(side.Tag))
		}
		for _, o := range s.Outputs {
			fmt.Fprintf(&b, "  s%d -> e%d;\n", s.ID, o.Edge)
		}
	}
	b.WriteString("}\n")
	return b.String()
}

// quote makes a DOT string: Graphviz knows no escapes but of the quote and
// the backslash, and \n for a new line.
func quote(s string) string {
	r := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	return `"` + r.Replace(s) + `"`
}

// String names the kind.
func (*Impulse) String() string { return "impulse" }

// String names the kind.
func (*TestSource) String() string { return "test source" }

// String names the kind and what it groups.
func (k *GroupByKey) String() string {
	s := fmt.Sprintf("group %v by %v", k.Value, k.Key)
	if k.PagedValues {
		s += " paged"
	}
	if k.Streaming {
		s += " streaming"
	}
	return s + merged(k.Merge)
}

// String names the kind.
func (k *View) String() string { return "view" + merged(k.Merge) }

// String names the kind.
func (k *TimeSort) String() string { return "sort by time" }

func merged(by StageID) string {
	if by == 0 {
		return ""
	}
	return fmt.Sprintf(" merged by s%d", by)
}

// String names the kind and where it runs.
func (k *Executable) String() string {
	s := "execute "
	if k.Unbounded {
		s += "unbounded "
	}
	if k.Splittable {
		s += "splittable "
	}
	s += "in " + string(k.Environment)
	if k.Truncate != 0 {
		s += fmt.Sprintf(" truncated by s%d", k.Truncate)
	}
	if k.StableInput {
		s += " with stable input"
	}
	return s
}

// String prints the windowing; what is the default or makes no difference is
// left out.
func (w *Windowing) String() string {
	s := w.Fn.String()
	if w.AllowedLateness != 0 {
		s += ", late " + w.AllowedLateness.String()
	}
	if w.Accumulation != Discarding {
		s += ", " + w.Accumulation.String()
	}
	if w.OutputTime != EndOfWindow {
		s += ", " + w.OutputTime.String()
	}
	if _, def := w.Trigger.(DefaultTrigger); !def && w.Trigger != nil {
		s += ", " + w.Trigger.String()
		if w.OnTime != FireIfNonEmpty {
			s += ", on-time pane always"
		}
	}
	if w.Closing != EmitIfNonEmpty && w.AllowedLateness > 0 {
		s += ", closing pane always"
	}
	return s
}

// String names the WindowFn.
func (GlobalWindows) String() string { return "global" }

// String names the WindowFn with its size.
func (f FixedWindows) String() string {
	return "fixed(" + f.Size.String() + plusOffset(f.Offset) + ")"
}

// String names the WindowFn with size and period.
func (f SlidingWindows) String() string {
	return "sliding(" + f.Size.String() + "/" + f.Period.String() + plusOffset(f.Offset) + ")"
}

// String names the WindowFn with its gap.
func (f Sessions) String() string { return "sessions(" + f.Gap.String() + ")" }

// String names the WindowFn by its URN.
func (f CustomWindows) String() string {
	if f.Merging {
		return "custom(" + f.URN + ", merging)"
	}
	return "custom(" + f.URN + ")"
}

func plusOffset(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return "+" + d.String()
}

// String names the access pattern.
func (a Access) String() string { return name(int(a), "iterable", "multimap") }

// String names the protocol.
func (p StateProtocol) String() string { return name(int(p), "bag", "multimap", "ordered_list") }

// String names the time domain.
func (d TimeDomain) String() string {
	return name(int(d), "event_time", "processing_time", "synchronized_processing_time")
}

// String names the accumulation mode.
func (a Accumulation) String() string { return name(int(a), "discarding", "accumulating") }

// String names the timestamp combiner.
func (t OutputTime) String() string { return name(int(t), "end_of_window", "latest", "earliest") }

func name(i int, names ...string) string {
	if i < 0 || i >= len(names) {
		return strconv.Itoa(i)
	}
	return names[i]
}
