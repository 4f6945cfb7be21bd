package fnapi

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

// timedBundle is of a stage with two families of one transform and one of
// another.
func timedBundle(out harness.Output, timers ...harness.Timers) *harness.Bundle {
	b := testBundle(1, out, "in")
	b.Stage.Kind = &plan.Executable{Timers: []plan.TimerSpec{
		{Transform: userStep, Family: "f"}, {Transform: userStep, Family: "g"}, {Transform: "other", Family: "f"},
	}}
	b.Timers = timers
	return b
}

func timersOf(id, transform, family, timers string, last bool) *fnpb.Elements_Timers {
	t := &fnpb.Elements_Timers{InstructionId: id, TransformId: transform, TimerFamilyId: family, IsLast: last}
	if timers != "" {
		t.Timers = []byte(timers)
	}
	return t
}

// ends closes all families.
func ends(id string) []*fnpb.Elements_Timers {
	return []*fnpb.Elements_Timers{
		timersOf(id, userStep, "f", "", true), timersOf(id, userStep, "g", "", true), timersOf(id, "other", "f", "", true),
	}
}

func (s *sdk) sendTimers(timers ...*fnpb.Elements_Timers) {
	s.t.Helper()
	if err := s.data.Send(&fnpb.Elements{Timers: timers}); err != nil {
		s.t.Fatalf("send timers: %v", err)
	}
}

// receiveUntilEnd receives the input of a bundle, timers and all.
func (s *sdk) receiveUntilEnd() *fnpb.Elements {
	s.t.Helper()
	var all fnpb.Elements
	for {
		m, err := s.data.Recv()
		if err != nil {
			s.t.Fatalf("receive data: %v", err)
		}
		all.Data = append(all.Data, m.GetData()...)
		all.Timers = append(all.Timers, m.GetTimers()...)
		if n := len(all.Timers); n > 0 && all.Timers[n-1].GetIsLast() {
			return &all
		}
	}
}

// Timers that fire come in the order of the bundle, and before their family is
// closed.
func TestTimersAreSent(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connect("w1")
		x := start(t, w, timedBundle(&sink{},
			harness.Timers{Family: 2, Data: []byte("first")},
			harness.Timers{Family: 0, Data: []byte("second")},
			harness.Timers{Family: 2, Data: []byte("third")}))
		id := s.nextBundle()
		got := s.receiveUntilEnd().GetTimers()
		want := append([]*fnpb.Elements_Timers{
			timersOf(id, "other", "f", "first", false),
			timersOf(id, userStep, "f", "second", false),
			timersOf(id, "other", "f", "third", false),
		}, ends(id)...)
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("timers (-want +got):\n%s", diff)
		}
		s.closeOutputs(id)
		s.sendTimers(ends(id)...)
		s.answerBundle(id, &fnpb.ProcessBundleResponse{})
		if _, err := x.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// A harness that counts ends by transforms gets one for each. It is told of the
// other families all the same, so that it closes them in its turn.
func TestTimersEndOnceForATransform(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(func(s *WorkerSpec) { s.Capabilities = []string{"beam:version:sdk_base:go:apache/beam_go_sdk:2.77.0"} })
		s := e.connect("w1")
		x := start(t, w, timedBundle(&sink{}))
		id := s.nextBundle()
		want := ends(id)
		want[0].IsLast = false
		if diff := cmp.Diff(want, s.receiveUntilEnd().GetTimers(), protocmp.Transform()); diff != "" {
			t.Errorf("timers (-want +got):\n%s", diff)
		}
		s.closeOutputs(id)
		s.sendTimers(ends(id)...)
		s.answerBundle(id, &fnpb.ProcessBundleResponse{})
		if _, err := x.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// Timers that the bundle sets come by the data stream, in any pieces, and with
// the response; both go to the family they are of.
func TestTimersAreReceived(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connect("w1")
		out := &sink{}
		x := start(t, w, timedBundle(out))
		id := s.nextBundle()
		s.closeOutputs(id)
		s.sendTimers(timersOf(id, userStep, "g", "one, ", false), timersOf(id, "other", "f", "three", true))
		s.sendTimers(timersOf(id, userStep, "g", "two, ", false))
		// The data stream is not ordered with the response.
		synctest.Wait()
		s.answerBundle(id, &fnpb.ProcessBundleResponse{Elements: &fnpb.Elements{Timers: []*fnpb.Elements_Timers{
			timersOf(id, userStep, "g", "four", true), timersOf(id, userStep, "f", "five", true),
		}}})
		if _, err := x.Wait(); err != nil {
			t.Fatal(err)
		}
		want := map[int][]byte{0: []byte("five"), 1: []byte("one, two, four"), 2: []byte("three")}
		if diff := cmp.Diff(want, out.timers); diff != "" {
			t.Errorf("timers (-want +got):\n%s", diff)
		}
	})
}

func TestTimersThatAreRefused(t *testing.T) {
	tests := []struct {
		name string
		act  func(s *sdk, id string)
		want string
	}{
		{"transform without timers", func(s *sdk, id string) {
			s.sendTimers(timersOf(id, "nowhere", "f", "timer", false))
		}, `timers of transform "nowhere", which has none`},
		{"an output", func(s *sdk, id string) {
			s.sendTimers(timersOf(id, sinkPort0, "f", "timer", false))
		}, `timers of transform "sink0", which has none`},
		{"unknown family", func(s *sdk, id string) {
			s.sendTimers(timersOf(id, "other", "g", "timer", false))
		}, `timers of family "g" of transform "other"`},
		{"closed family", func(s *sdk, id string) {
			s.sendTimers(timersOf(id, userStep, "f", "timer", true), timersOf(id, userStep, "f", "timer", false))
		}, `timers of family "f" of transform "user"`},
		{"unknown family with the response", func(s *sdk, id string) {
			s.answerBundle(id, &fnpb.ProcessBundleResponse{Elements: &fnpb.Elements{
				Timers: []*fnpb.Elements_Timers{timersOf(id, userStep, "h", "timer", true)},
			}})
		}, `timers of family "h" of transform "user"`},
		{"data of a transform with timers", func(s *sdk, id string) {
			s.write(id, userStep, []byte("data"), false)
		}, `data of transform "user", which is not an output`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, Options{}, func(e *env) {
				t := e.t
				w := e.expect(nil)
				s := e.connect("w1")
				x := start(t, w, timedBundle(&sink{}))
				tt.act(s, s.nextBundle())
				if _, err := x.Wait(); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want one with %q", err, tt.want)
				}
			})
		})
	}
}

func TestTimersThatCannotBeWritten(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connect("w1")
		full := errors.New("full")
		x := start(t, w, timedBundle(&sink{err: full}))
		s.sendTimers(timersOf(s.nextBundle(), "other", "f", "timer", false))
		if _, err := x.Wait(); !errors.Is(err, full) || !strings.Contains(err.Error(), "transform other") {
			t.Errorf("error %v, want that of the output", err)
		}
	})
}

// The timers of a bundle that nobody wants any more do not fire.
func TestTimersOfAnAbandonedBundle(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connectControl("w1")
		ctx, cancel := context.WithCancel(t.Context())
		x, err := w.Start(ctx, timedBundle(&sink{}, harness.Timers{Family: 1, Data: []byte("timer")}))
		if err != nil {
			t.Fatal(err)
		}
		id := s.nextBundle()
		cancel()
		if _, err := x.Wait(); err == nil {
			t.Error("an abandoned bundle has succeeded")
		}
		if s.data, err = fnpb.NewBeamFnDataClient(s.conn).Data(s.ctx); err != nil {
			t.Fatal(err)
		}
		got := s.receiveUntilEnd()
		want := &fnpb.Elements{
			Data:   []*fnpb.Elements_Data{{InstructionId: id, TransformId: sourcePort, IsLast: true}},
			Timers: ends(id),
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("input (-want +got):\n%s", diff)
		}
	})
}

func TestTimersThatNoMessageTakes(t *testing.T) {
	inBubble(t, Options{MaxMessageBytes: 2 << 20}, func(e *env) {
		half := harness.Timers{Data: make([]byte, 1<<19+1)}
		if _, err := e.expect(nil).Start(e.t.Context(), timedBundle(nil, half, half)); err == nil {
			e.t.Error("timers accepted that no message takes")
		}
	})
}
