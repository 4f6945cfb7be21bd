package watermark_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/watermark"
	"github.com/gorunner/gorunner/plan"
)

// TestTracker runs the scripts of testdata:
//
//	graph             one line for each stage: its upstream stages
//	hold              lines of STAGE KIND TIME
//	release           the same
//	advance           prints the stages that moved
//	explain STAGE...
//
// Times are milliseconds or the names that EventTime prints. All but explain
// print the whole state.
func TestTracker(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		t.Helper()
		s := &script{}
		datadriven.RunTest(t, path, s.run)
	})
}

type script struct {
	tracker *watermark.Tracker
	stages  int
	holds   map[string]int
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	switch d.Cmd {
	case "graph":
		upstream := graph(t, d.Input)
		s.tracker, s.stages, s.holds = watermark.New(upstream), len(upstream), make(map[string]int)
		return s.print()
	case "hold", "release":
		for line := range strings.Lines(d.Input) {
			s.hold(t, d.Cmd, strings.TrimSpace(line))
		}
		return s.print()
	case "advance":
		return fmt.Sprintf("moved %v\n", s.tracker.Advance()) + s.print()
	case "explain":
		var b strings.Builder
		for _, arg := range d.CmdArgs {
			id := plan.StageID(number(t, arg.Key))
			if r, ok := s.tracker.Explain(id); ok {
				fmt.Fprintf(&b, "stage %d waits for %v of stage %d at %v\n", id, r.Kind, r.Stage, r.At)
			} else {
				fmt.Fprintf(&b, "stage %d waits for nothing\n", id)
			}
		}
		return b.String()
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return ""
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// graph reads lines of "STAGE: UPSTREAM...".
func graph(t *testing.T, input string) [][]plan.StageID {
	t.Helper()
	var upstream [][]plan.StageID
	for line := range strings.Lines(input) {
		_, ups, _ := strings.Cut(line, ":")
		ids := []plan.StageID{}
		for _, u := range strings.Fields(ups) {
			ids = append(ids, plan.StageID(number(t, u)))
		}
		upstream = append(upstream, ids)
	}
	return upstream
}

func (s *script) hold(t *testing.T, cmd, line string) {
	t.Helper()
	fields := strings.Fields(line)
	kinds := map[string]watermark.Kind{
		"pending": watermark.Pending, "running": watermark.Running, "buffered": watermark.Buffered,
		"timed": watermark.Timed,
	}
	kind, known := kinds[fields[1]]
	if !known {
		t.Fatalf("unknown kind in %q", line)
	}
	var at element.EventTime
	switch fields[2] {
	case "-inf":
		at = element.MinTime
	case "+inf":
		at = element.MaxTime
	case "end-of-global":
		at = element.EndOfGlobalWindow
	default:
		at = element.EventTime(number(t, fields[2]))
	}
	id := plan.StageID(number(t, fields[0]))
	if cmd == "hold" {
		s.tracker.Hold(id, kind, at)
		s.holds[line]++
		return
	}
	s.tracker.Release(id, kind, at)
	if s.holds[line]--; s.holds[line] == 0 {
		delete(s.holds, line)
	}
}

func (s *script) print() string {
	var b strings.Builder
	for id := range s.stages {
		fmt.Fprintf(&b, "stage %d: input %v, output %v", id, s.tracker.Input(plan.StageID(id)), s.tracker.Output(plan.StageID(id)))
		var holds []string
		for hold, n := range s.holds {
			if h, ok := strings.CutPrefix(hold, fmt.Sprint(id, " ")); ok {
				holds = append(holds, fmt.Sprintf("%s x%d", h, n))
			}
		}
		slices.Sort(holds)
		if len(holds) > 0 {
			fmt.Fprintf(&b, "; holds %s", strings.Join(holds, ", "))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// naive is the tracker as its definition has it: everything is computed anew
// from lists of holds.
type naive struct {
	upstream      [][]plan.StageID
	holds         [][]drawnHold
	input, output []element.EventTime
	relaxed       bool
}

type drawnHold struct {
	kind watermark.Kind
	at   element.EventTime
}

func (n *naive) advance() (moved []plan.StageID) {
	for id := range n.upstream {
		input, output := element.MaxTime, element.MaxTime
		for _, u := range n.upstream[id] {
			input = min(input, n.output[u])
		}
		for _, h := range n.holds[id] {
			at := min(h.at, element.MaxTime-1)
			if h.kind == watermark.Buffered || h.kind == watermark.Timed {
				output = min(output, at)
			} else {
				input = min(input, at)
			}
		}
		output = min(output, input)
		if !n.relaxed {
			input, output = max(input, n.input[id]), max(output, n.output[id])
		}
		if input != n.input[id] || output != n.output[id] {
			moved = append(moved, plan.StageID(id))
		}
		n.input[id], n.output[id] = input, output
	}
	return moved
}

func drawGraph(t *rapid.T) [][]plan.StageID {
	upstream := make([][]plan.StageID, rapid.IntRange(1, 12).Draw(t, "stages"))
	for id := range upstream {
		for u := range id {
			if rapid.IntRange(0, 3).Draw(t, "edge") == 0 {
				upstream[id] = append(upstream[id], plan.StageID(u))
			}
		}
	}
	return upstream
}

type trackerModel struct {
	tracker *watermark.Tracker
	naive   naive
}

func (m *trackerModel) hold(t *rapid.T) {
	id := rapid.IntRange(0, len(m.naive.holds)-1).Draw(t, "stage")
	h := drawnHold{
		kind: rapid.SampledFrom([]watermark.Kind{watermark.Pending, watermark.Running, watermark.Buffered, watermark.Timed}).Draw(t, "kind"),
		at: element.EventTime(rapid.OneOf(
			rapid.Int64Range(0, 5),
			rapid.SampledFrom([]int64{int64(element.MinTime), int64(element.MaxTime), int64(element.MaxTime) - 1}),
		).Draw(t, "time")),
	}
	m.tracker.Hold(plan.StageID(id), h.kind, h.at)
	m.naive.holds[id] = append(m.naive.holds[id], h)
}

func (m *trackerModel) release(t *rapid.T) {
	id := rapid.IntRange(0, len(m.naive.holds)-1).Draw(t, "stage")
	holds := m.naive.holds[id]
	if len(holds) == 0 {
		t.Skip("nothing held")
	}
	i := rapid.IntRange(0, len(holds)-1).Draw(t, "hold")
	m.tracker.Release(plan.StageID(id), holds[i].kind, holds[i].at)
	m.naive.holds[id] = slices.Delete(holds, i, i+1)
}

func (m *trackerModel) advance(t *rapid.T) {
	before := slices.Clone(m.naive.output)
	want := m.naive.advance()
	if got := m.tracker.Advance(); !slices.Equal(got, want) {
		t.Fatalf("moved stages %v, want %v", got, want)
	}
	for id := range m.naive.upstream {
		stage := plan.StageID(id)
		if got := m.tracker.Input(stage); got != m.naive.input[id] {
			t.Fatalf("stage %d: input watermark %v, want %v", id, got, m.naive.input[id])
		}
		if got := m.tracker.Output(stage); got != m.naive.output[id] || got < before[id] && !m.naive.relaxed {
			t.Fatalf("stage %d: output watermark %v, want %v; it was %v", id, got, m.naive.output[id], before[id])
		}
		m.explain(t, stage)
	}
	if moved := m.tracker.Advance(); len(moved) > 0 {
		t.Fatalf("stages %v moved without a cause", moved)
	}
}

// explain checks that the reason is a hold that there is, at or before the
// watermark, of the stage itself or of one upstream.
func (m *trackerModel) explain(t *rapid.T, id plan.StageID) {
	r, held := m.tracker.Explain(id)
	output := m.tracker.Output(id)
	if output < element.MaxTime && !held {
		t.Fatalf("nothing explains why stage %d is at %v", id, output)
	}
	if !held {
		return
	}
	if output < element.MaxTime && r.At > output {
		t.Fatalf("stage %d is at %v because of a hold at %v", id, output, r.At)
	}
	if !slices.ContainsFunc(m.naive.holds[r.Stage], func(h drawnHold) bool {
		return h.kind == r.Kind && min(h.at, element.MaxTime-1) == r.At
	}) {
		t.Fatalf("stage %d: stage %d has no hold of %v at %v", id, r.Stage, r.Kind, r.At)
	}
	if r.Stage != id && !m.reaches(r.Stage, id) {
		t.Fatalf("stage %d is explained by stage %d, which is not upstream", id, r.Stage)
	}
}

func (m *trackerModel) reaches(from, to plan.StageID) bool {
	return slices.ContainsFunc(m.naive.upstream[to], func(u plan.StageID) bool {
		return u == from || u > from && m.reaches(from, u)
	})
}

func TestTrackerAgainstDefinition(t *testing.T) {
	testAgainstDefinition(t, watermark.New, false)
}

func TestRelaxedTrackerAgainstDefinition(t *testing.T) {
	testAgainstDefinition(t, watermark.NewRelaxed, true)
}

func testAgainstDefinition(t *testing.T, tracker func([][]plan.StageID) *watermark.Tracker, relaxed bool) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		upstream := drawGraph(t)
		m := &trackerModel{
			tracker: tracker(upstream),
			naive: naive{
				relaxed:  relaxed,
				upstream: upstream,
				holds:    make([][]drawnHold, len(upstream)),
				input:    slices.Repeat([]element.EventTime{element.MinTime}, len(upstream)),
				output:   slices.Repeat([]element.EventTime{element.MinTime}, len(upstream)),
			},
		}
		t.Repeat(map[string]func(*rapid.T){"hold": m.hold, "release": m.release, "advance": m.advance})
		m.advance(t)
	})
}

func TestKindString(t *testing.T) {
	seen := make(map[string]bool)
	for _, kind := range []watermark.Kind{watermark.Pending, watermark.Running, watermark.Buffered, watermark.Timed} {
		if name := kind.String(); seen[name] || strings.HasPrefix(name, "kind(") {
			t.Errorf("kind %d is called %q", int(kind), name)
		} else {
			seen[name] = true
		}
	}
	if got := watermark.Kind(9).String(); got != "kind(9)" {
		t.Errorf("unknown kind: got %q", got)
	}
}

// ladder is a graph in which each stage reads the two before it: the number of
// ways upstream doubles with every stage.
func ladder(stages int) [][]plan.StageID {
	upstream := make([][]plan.StageID, stages)
	for id := 2; id < stages; id++ {
		upstream[id] = []plan.StageID{plan.StageID(id - 2), plan.StageID(id - 1)}
	}
	return upstream
}

// Explain follows one way upstream, not all: here each is better than the one
// before, and there are as many as Fibonacci numbers grow to.
func TestExplainFollowsOneWay(t *testing.T) {
	const stages = 200
	tracker := watermark.New(ladder(stages))
	for id := range plan.StageID(stages) {
		tracker.Hold(id, watermark.Buffered, element.EventTime(1000-id))
	}
	tracker.Advance()
	tracker.Hold(0, watermark.Pending, 2000)
	tracker.Hold(1, watermark.Pending, 2001)
	for id := range plan.StageID(stages) {
		tracker.Release(id, watermark.Buffered, element.EventTime(1000-id))
	}
	if r, ok := tracker.Explain(stages - 1); !ok || r.Stage != 1 || r.At != 2001 {
		t.Errorf("got %+v, %v; want the hold of stage 1", r, ok)
	}
}

func benchmarkAdvance(b *testing.B, stages int) {
	b.Helper()
	upstream := make([][]plan.StageID, stages)
	for id := 1; id < stages; id++ {
		upstream[id] = []plan.StageID{plan.StageID(id - 1)}
	}
	tracker := watermark.New(upstream)
	at := element.EventTime(0)
	tracker.Hold(0, watermark.Pending, at)
	tracker.Advance()
	b.ReportAllocs()
	for b.Loop() {
		tracker.Hold(0, watermark.Pending, at+1)
		tracker.Release(0, watermark.Pending, at)
		at++
		if moved := tracker.Advance(); len(moved) != stages {
			b.Fatalf("%d stages moved", len(moved))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(stages), "ns/stage")
}

func BenchmarkAdvanceChainOf1000(b *testing.B) { benchmarkAdvance(b, 1000) }

// What a bundle costs when its stage's watermark cannot move.
func BenchmarkHoldAndReleaseBehindOthers(b *testing.B) {
	tracker := watermark.New(ladder(1000))
	tracker.Hold(0, watermark.Pending, 0)
	for i := range element.EventTime(10_000) {
		tracker.Hold(500, watermark.Buffered, i)
	}
	tracker.Advance()
	b.ReportAllocs()
	at := element.EventTime(0)
	for b.Loop() {
		at++
		tracker.Hold(500, watermark.Running, at)
		tracker.Advance()
		tracker.Release(500, watermark.Running, at)
		tracker.Advance()
	}
}
