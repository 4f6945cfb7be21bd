package engine

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/windowing"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
)

// TestGate runs the scripts of testdata/gate:
//
//	gates VIEW... [custom=VIEW] [asked=VIEW]
//	    GATE MAIN_MS LATENESS_MS VIEW..., each
//	push GATE TIME NAME       show VIEW TIME
//	watermark VIEW TIME       passed GATE TIME
//	answer GATE TIME SIDE_TIME
//
// The main input of a gate is in fixed windows of MAIN_MS, a side input in
// fixed windows of 10 ms. Nobody knows how windows are mapped to those of a
// custom view; to those of an asked one, of which a gate may have one, the SDK
// does. A block of NAME is in the window that TIME is in, and so is all else. The
// answer is what came into the queues, what is asked, and which windows of views
// are not asked for any more.
func TestGate(t *testing.T) {
	datadriven.Walk(t, "testdata/gate", func(t *testing.T, path string) {
		t.Helper()
		var s *gateScript
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			if d.Cmd == "gates" {
				s = newGateScript(t, d)
				return ""
			}
			return s.run(t, d)
		})
	})
}

type gateScript struct {
	views map[string]*viewGate
	gates map[string]*gate
	mains map[string]time.Duration
	names []string
	// custom are the views that the runner cannot map to, with the function that
	// can.
	custom map[string]plan.StageID
}

func newGateScript(t *testing.T, d *datadriven.TestData) *gateScript {
	t.Helper()
	s := &gateScript{views: map[string]*viewGate{}, gates: map[string]*gate{}, mains: map[string]time.Duration{}, custom: map[string]plan.StageID{}}
	fixed := func(size time.Duration) *plan.Windowing {
		return &plan.Windowing{Fn: plan.FixedWindows{Size: size}, Window: coder.Must(coder.IntervalWindow)}
	}
	for i, a := range d.CmdArgs {
		w := fixed(10 * time.Millisecond)
		name := a.Key
		switch a.Key {
		case "custom":
			name = a.Vals[0]
			s.custom[name] = 0
		case "asked":
			name = a.Vals[0]
			s.custom[name] = 1
		}
		s.views[name] = newViewGate(plan.StageID(i), w)
	}
	for line := range strings.Lines(d.Input) {
		words := strings.Fields(line)
		main := fixed(time.Duration(times(t, words[1])) * time.Millisecond)
		main.AllowedLateness = time.Duration(times(t, words[2])) * time.Millisecond
		g := newGate(shuffle.NewQueue(0), main)
		for _, v := range words[3:] {
			side := fixed(10 * time.Millisecond)
			function, custom := s.custom[v]
			if custom {
				side.Fn = plan.CustomWindows{}
			}
			to, _ := windowing.Mapper(main, side)
			g.read(s.views[v], to, function)
		}
		s.names = append(s.names, words[0])
		s.gates[words[0]] = g
		s.mains[words[0]] = time.Duration(times(t, words[1]))
	}
	return s
}

func intervalOf(at element.EventTime, size time.Duration) []byte {
	start := at - at%element.EventTime(size)
	return windowing.Interval{Start: start, End: start + element.EventTime(size)}.Append(nil)
}

func (s *gateScript) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	name, at := d.CmdArgs[0].Key, times(t, d.CmdArgs[1].Key)
	var out strings.Builder
	var err error
	switch d.Cmd {
	case "push":
		data := []byte(d.CmdArgs[2].Key)
		err = s.gates[name].push(element.Unkeyed, element.Block{Data: data, Count: 1, Window: intervalOf(at, s.mains[name])})
	case "show":
		err = s.views[name].show(intervalOf(at, 10))
	case "watermark":
		s.views[name].advance(at)
	case "passed":
		s.gates[name].passed = at
		for _, side := range s.gates[name].sides {
			side.forget(s.gates[name])
		}
	case "answer":
		for _, side := range s.gates[name].sides {
			if side.function != 0 {
				err = side.answer(string(intervalOf(at, s.mains[name])), intervalOf(times(t, d.CmdArgs[2].Key), 10))
			}
		}
	default:
		d.Fatalf(t, "unknown command")
	}
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	for _, name := range s.names {
		g := s.gates[name]
		var blocks []string
		for g.queue.Available() {
			for _, b := range g.queue.Lease(shuffle.Limit{Bytes: 1}).Blocks {
				blocks = append(blocks, string(b.Data))
			}
		}
		if len(blocks) > 0 {
			fmt.Fprintf(&out, "%s: %s, %d wait\n", name, strings.Join(blocks, " "), g.waiting())
		}
		for _, side := range g.sides {
			for _, w := range side.questions {
				i, err := windowing.ReadInterval([]byte(w))
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&out, "%s asks for %d, has %d answers\n", name, i.Start, len(side.mapped.byKey))
			}
			side.questions = nil
			for _, w := range side.view.expired() {
				i, err := windowing.ReadInterval([]byte(w))
				if err != nil {
					t.Fatal(err)
				}
				out.WriteString("forget " + strconv.Itoa(int(i.Start)) + " of view " + strconv.Itoa(int(side.view.stage)) + "\n")
			}
		}
	}
	if out.Len() == 0 {
		return "nothing\n"
	}
	return out.String()
}

// Windows that are none are errors, not panics.
func TestGateRefusesBrokenWindows(t *testing.T) {
	w := &plan.Windowing{Fn: plan.FixedWindows{Size: 10}, Window: coder.Must(coder.IntervalWindow)}
	v := newViewGate(0, w)
	to, _ := windowing.Mapper(w, w)
	for _, to := range []func([]byte) ([]byte, error){to, nil} {
		g := newGate(shuffle.NewQueue(0), w)
		g.read(v, to, 0)
		if err := g.push(element.Unkeyed, element.Block{Window: []byte("?")}); err == nil {
			t.Error("a broken window of the main input passes")
		}
	}
	if err := v.show([]byte("?")); err == nil {
		t.Error("a broken window of a view is shown")
	}
}
