package fnapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/gorunner/gorunner/execution/harness"
)

func TestBundleRoundTrip(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		out := &sink{}
		x := start(t, w, testBundle(7, out, "one", "", "two")) // before the harness has connected
		s := e.connect("w1")
		id := s.nextBundle()
		data, messages := s.readInput(id)
		if string(data) != "onetwo" || messages != 1 {
			t.Errorf("input %q in %d messages, want the blocks in one", data, messages)
		}
		s.write(id, sinkPort1, []byte("B"), false)
		s.write(id, sinkPort0, []byte("A1"), false)
		s.answerBundle(id, &fnpb.ProcessBundleResponse{})
		s.write(id, sinkPort0, []byte("A2"), true)
		synctest.Wait()
		select {
		case <-asExecution(t, x).done:
			t.Error("the bundle is over before its last output is closed")
		default:
		}
		s.write(id, sinkPort1, nil, true)
		if _, err := x.Wait(); err != nil {
			t.Fatal(err)
		}
		if out.get(0) != "A1A2" || out.get(1) != "B" {
			t.Errorf("output %v", out.data)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.bundles)+len(w.calls) != 0 {
			t.Errorf("left behind: %d bundles, %d calls", len(w.bundles), len(w.calls))
		}
	})
}

func TestBundleWithoutInput(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connect("w1")
		x := start(t, w, testBundle(1, &sink{}))
		id := s.nextBundle()
		if data, n := s.readInput(id); len(data) != 0 || n != 1 {
			t.Errorf("input %q in %d messages", data, n)
		}
		s.closeOutputs(id)
		s.answerBundle(id, &fnpb.ProcessBundleResponse{})
		if _, err := x.Wait(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBlocksAreChunked(t *testing.T) {
	inBubble(t, Options{DataChunkBytes: 10}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connect("w1")
		start(t, w, testBundle(1, &sink{}, "aaaa", "bbbb", "cccc", strings.Repeat("d", 30), "e"))
		id := s.nextBundle()
		data, n := s.readInput(id)
		if want := "aaaabbbbcccc" + strings.Repeat("d", 30) + "e"; string(data) != want || n != 4 {
			t.Errorf("input %q in %d messages, want 4", data, n)
		}
	})
}

func TestBundlesTakeTurns(t *testing.T) {
	inBubble(t, Options{DataChunkBytes: 1}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		for i := range 3 {
			start(t, w, testBundle(harness.BundleID(i), &sink{}, "x", "x", "x"))
		}
		s := e.connect("w1")
		var order []string
		for range 9 {
			m, err := s.data.Recv()
			if err != nil {
				t.Fatal(err)
			}
			order = append(order, m.GetData()[0].GetInstructionId())
		}
		if got := strings.Join(order, " "); got != "i1 i2 i3 i1 i2 i3 i1 i2 i3" {
			t.Errorf("messages of bundles %s", got)
		}
	})
}

func TestManyBundlesAtOnce(t *testing.T) {
	inBubble(t, Options{DataChunkBytes: 100}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connect("w1")
		go s.runBundles()
		go s.drainControl()
		const bundles = 50
		var outs [bundles]*sink
		var running [bundles]harness.Execution
		for i := range bundles {
			outs[i] = &sink{}
			running[i] = start(t, w, testBundle(harness.BundleID(i), outs[i],
				strings.Repeat(fmt.Sprintf("%d,", i), i), strings.Repeat("x", i*7)))
		}
		for i := range bundles {
			if _, err := running[i].Wait(); err != nil {
				t.Fatal(err)
			}
			if want := strings.Repeat(fmt.Sprintf("%d,", i), i) + strings.Repeat("x", i*7); outs[i].get(0) != want {
				t.Errorf("bundle %d: output %q, want %q", i, outs[i].get(0), want)
			}
		}
	})
}

func TestLargeMessages(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connect("w1")
		go s.runBundles()
		go s.drainControl()
		out := &sink{}
		big := bytes.Repeat([]byte("0123456789abcdef"), 1<<19) // 8 MiB
		x := start(t, w, testBundle(1, out, string(big)))
		if _, err := x.Wait(); err != nil {
			t.Fatal(err)
		}
		if out.get(0) != string(big) {
			t.Error("8 MiB came back changed")
		}
		if out.writes < 2 {
			t.Errorf("%d writes: the message was put together somewhere", out.writes)
		}
	})
}

func TestEmbeddedElements(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connect("w1")
		out := &sink{}
		x := start(t, w, testBundle(1, out, "in"))
		s.answerBundle(s.nextBundle(), &fnpb.ProcessBundleResponse{Elements: &fnpb.Elements{Data: []*fnpb.Elements_Data{
			{TransformId: sinkPort0, Data: []byte("x")},
			{TransformId: sinkPort0, IsLast: true},
			{TransformId: sinkPort1, Data: []byte("y"), IsLast: true},
		}}})
		if _, err := x.Wait(); err != nil {
			t.Fatal(err)
		}
		if out.get(0) != "x" || out.get(1) != "y" {
			t.Errorf("output %v", out.data)
		}
	})
}

func TestBundleErrors(t *testing.T) {
	ok := &fnpb.ProcessBundleResponse{}
	tests := []struct {
		name string
		act  func(s *sdk, id string)
		want string
	}{
		{"SDK", func(s *sdk, id string) {
			s.answer(&fnpb.InstructionResponse{InstructionId: id, Error: "Traceback:\n  boom\n"})
		}, "Traceback:\n  boom\n"},
		{"unknown output", func(s *sdk, id string) { s.write(id, "nowhere", []byte("x"), false) }, `"nowhere"`},
		{"unknown embedded output", func(s *sdk, id string) {
			s.answerBundle(id, &fnpb.ProcessBundleResponse{Elements: &fnpb.Elements{Data: []*fnpb.Elements_Data{{TransformId: "nowhere"}}}})
		}, `"nowhere"`},
		{"data after the last", func(s *sdk, id string) {
			s.write(id, sinkPort0, nil, true)
			s.write(id, sinkPort0, []byte("x"), false)
		}, "after its last"},
		{"wrong kind of answer", func(s *sdk, id string) {
			s.answer(&fnpb.InstructionResponse{InstructionId: id, Response: &fnpb.InstructionResponse_Register{}})
		}, "Register"},
		{"timers", func(s *sdk, id string) {
			if err := s.data.Send(&fnpb.Elements{Timers: []*fnpb.Elements_Timers{{InstructionId: id, TransformId: "t"}}}); err != nil {
				s.t.Fatal(err)
			}
		}, `timers of transform "t"`},
		{"residual of another input", func(s *sdk, id string) {
			s.closeOutputs(id)
			s.answerBundle(id, &fnpb.ProcessBundleResponse{ResidualRoots: []*fnpb.DelayedBundleApplication{
				{Application: &fnpb.BundleApplication{TransformId: sinkPort0}},
			}})
		}, "does not read the stage's input"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, Options{}, func(e *env) {
				t := e.t
				w := e.expect(nil)
				s := e.connect("w1")
				x := start(t, w, testBundle(5, &sink{}, "in"))
				tt.act(s, s.nextBundle())
				_, err := x.Wait()
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "bundle 5") {
					t.Fatalf("error %v, want one about bundle 5 with %q", err, tt.want)
				}
				if errors.Is(err, harness.ErrWorkerLost) {
					t.Errorf("error %v blames the worker", err)
				}
				// The worker goes on.
				y := start(t, w, testBundle(6, &sink{}))
				id := s.nextBundle()
				s.closeOutputs(id)
				s.answerBundle(id, ok)
				if _, err := y.Wait(); err != nil {
					t.Errorf("the bundle after: %v", err)
				}
			})
		})
	}
}

func TestOutputRefuses(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connect("w1")
		full := errors.New("disk full")
		x := start(t, w, testBundle(1, &sink{err: full}, "in"))
		s.write(s.nextBundle(), sinkPort0, []byte("x"), false)
		if _, err := x.Wait(); !errors.Is(err, full) {
			t.Errorf("error %v, want %v", err, full)
		}
	})
}

// panicky is an output with a mistake in it.
type panicky struct{}

func (panicky) Write(int, []byte) error       { panic("index out of range") }
func (panicky) WriteTimers(int, []byte) error { return nil }

// TestPanicLosesOneWorker: what a harness sends must not end the process, even if
// it meets a mistake of ours.
func TestPanicLosesOneWorker(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connect("w1")
		x := start(t, w, testBundle(1, panicky{}, "in"))
		s.write(s.nextBundle(), sinkPort0, []byte("x"), false)
		_, err := x.Wait()
		wantLost(t, err)
		if err == nil || !strings.Contains(err.Error(), "internal error: index out of range") {
			t.Errorf("error %v, want one about the panic", err)
		}
	})
}

func TestAbandon(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connectControl("w1")
		out := &sink{}
		ctx, cancel := context.WithCancelCause(t.Context())
		x, err := w.Start(ctx, testBundle(1, out, "in"))
		if err != nil {
			t.Fatal(err)
		}
		id := s.nextBundle()
		why := errors.New("not needed")
		cancel(why)
		if _, err := x.Wait(); !errors.Is(err, why) {
			t.Errorf("error %v, want %v", err, why)
		}
		// The harness is not left waiting for input, and what it says is dropped.
		s.data, err = fnpb.NewBeamFnDataClient(s.conn).Data(s.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if data, _ := s.readInput(id); len(data) != 0 {
			t.Errorf("input %q of an abandoned bundle", data)
		}
		s.write(id, sinkPort0, []byte("late"), false)
		s.write(id, "nowhere", []byte("late"), false)
		s.answerBundle(id, &fnpb.ProcessBundleResponse{})
		synctest.Wait()
		if err := w.Err(); err != nil {
			t.Errorf("worker ended: %v", err)
		}
		if len(out.data) != 0 {
			t.Errorf("written after the end: %v", out.data)
		}
		if _, err := w.Start(ctx, testBundle(2, out)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.bundles) != 0 {
			t.Errorf("%d bundles left behind", len(w.bundles))
		}
	})
}

func TestWorkerLost(t *testing.T) {
	tests := []struct {
		name string
		act  func(s *sdk, w *Worker, id string)
		want string
	}{
		{"process dies", func(s *sdk, _ *Worker, _ string) { s.close() }, "connection broke"},
		{"process dies, and it is known how", func(s *sdk, w *Worker, _ string) {
			s.close()
			synctest.Wait()
			w.Kill(errors.New("exit status 137"))
		}, "exit status 137"},
		{"control stream closed", func(s *sdk, _ *Worker, _ string) { _ = s.control.CloseSend() }, "control stream: the harness closed it"},
		{"data stream closed", func(s *sdk, _ *Worker, _ string) { _ = s.data.CloseSend() }, "data stream: the harness closed it"},
		{"killed", func(_ *sdk, w *Worker, _ string) { w.Kill(errors.New("exit status 137")) }, "exit status 137"},
		{"made-up answer", func(s *sdk, _ *Worker, _ string) { s.answerBundle("i999", nil) }, `"i999"`},
		{"made-up data", func(s *sdk, _ *Worker, _ string) { s.write("x", sinkPort0, nil, true) }, `"x"`},
		{"garbage data", func(s *sdk, _ *Worker, _ string) { sendRaw(s, s.data, []byte{0x0a, 0x7f, 1, 2}) }, "cut short"},
		{"garbage control", func(s *sdk, _ *Worker, _ string) { sendRaw(s, s.control, []byte{0x0a, 0x7f, 1, 2}) }, "control stream"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, Options{}, func(e *env) {
				t := e.t
				w := e.expect(nil)
				s := e.connect("w1")
				<-w.Connected()
				out := &sink{}
				running := start(t, w, testBundle(1, out, "in"))
				id := s.nextBundle()
				s.write(id, sinkPort0, []byte("half"), false)
				synctest.Wait()
				tt.act(s, w, id)
				_, err := running.Wait()
				wantLost(t, err)
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "w1") {
					t.Errorf("error %v, want one about w1 with %q", err, tt.want)
				}
				<-w.Done()
				wantLost(t, w.Err())
				_, err = w.Start(t.Context(), testBundle(2, out))
				wantLost(t, err)
				_, err = running.Progress(t.Context())
				if err == nil {
					t.Error("progress of a bundle whose worker is lost")
				}
			})
		})
	}
}

// sendRaw sends bytes as a message.
func sendRaw(s *sdk, stream grpc.ClientStream, b []byte) {
	s.t.Helper()
	// An empty message whose unknown fields are the bytes.
	m := &fnpb.RegisterResponse{}
	m.ProtoReflect().SetUnknown(b)
	if err := stream.SendMsg(m); err != nil {
		s.t.Fatal(err)
	}
}

func TestStop(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connect("w1")
		x := start(t, w, testBundle(1, &sink{}, "in"))
		s.nextBundle()
		s.readInput("i1")
		if err := w.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := x.Wait()
		if err == nil || errors.Is(err, harness.ErrWorkerLost) {
			t.Errorf("error %v of a stopped worker's bundle", err)
		}
		_, err = s.control.Recv()
		wantEnd(t, err, true)
		_, err = s.data.Recv()
		wantEnd(t, err, true)
		if len(e.server.workers)+len(e.server.descriptors) != 0 {
			t.Errorf("left behind: %v, %v", e.server.workers, e.server.descriptors)
		}
		again := e.connectControl("w1")
		if _, err := again.control.Recv(); status.Code(err) != codes.NotFound {
			t.Errorf("a stopped worker connects: %v", err)
		}
	})
}

// TestStopGrace stops a worker whose harness is still at work on a bundle that
// nobody wants.
func TestStopGrace(t *testing.T) {
	for _, answers := range []bool{true, false} {
		t.Run(fmt.Sprint("answers ", answers), func(t *testing.T) {
			inBubble(t, Options{StopGrace: time.Minute}, func(e *env) {
				t := e.t
				w := e.expect(nil)
				s := e.connect("w1")
				ctx, cancel := context.WithCancel(t.Context())
				if _, err := w.Start(ctx, testBundle(1, &sink{}, "in")); err != nil {
					t.Fatal(err)
				}
				id := s.nextBundle()
				cancel()
				synctest.Wait()
				began := time.Now()
				stopped := make(chan time.Duration, 1)
				go func() {
					if err := w.Stop(context.WithoutCancel(t.Context())); err != nil {
						t.Error(err)
					}
					stopped <- time.Since(began)
				}()
				synctest.Wait()
				if err := w.Err(); err != nil {
					t.Errorf("the worker has ended while its harness was at work: %v", err)
				}
				want := time.Minute
				if answers {
					want = 0
					s.write(id, sinkPort0, []byte("late"), true)
					s.answerBundle(id, &fnpb.ProcessBundleResponse{})
				}
				if took := <-stopped; took != want {
					t.Errorf("stopped after %v, want %v", took, want)
				}
			})
		})
	}
}

func TestUnknownWorkers(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		e.expect(nil)
		s := e.connectControl("w1")
		open := []struct {
			name string
			call func(ctx context.Context) error
		}{
			{"control", func(ctx context.Context) error {
				st, _ := fnpb.NewBeamFnControlClient(s.conn).Control(ctx)
				_, err := st.Recv()
				return err
			}},
			{"data", func(ctx context.Context) error {
				st, _ := fnpb.NewBeamFnDataClient(s.conn).Data(ctx)
				_, err := st.Recv()
				return err
			}},
			{"state", func(ctx context.Context) error {
				st, _ := fnpb.NewBeamFnStateClient(s.conn).State(ctx)
				_, err := st.Recv()
				return err
			}},
			{"logging", func(ctx context.Context) error {
				st, _ := fnpb.NewBeamFnLoggingClient(s.conn).Logging(ctx)
				_, err := st.Recv()
				return err
			}},
			{"status", func(ctx context.Context) error {
				st, _ := fnpb.NewBeamFnWorkerStatusClient(s.conn).WorkerStatus(ctx)
				_, err := st.Recv()
				return err
			}},
			{"provision", func(ctx context.Context) error {
				_, err := fnpb.NewProvisionServiceClient(s.conn).GetProvisionInfo(ctx, &fnpb.GetProvisionInfoRequest{})
				return err
			}},
		}
		for _, o := range open {
			if err := o.call(t.Context()); status.Code(err) != codes.InvalidArgument {
				t.Errorf("%s without worker id: %v", o.name, err)
			}
			ctx := metadata.AppendToOutgoingContext(t.Context(), workerIDKey, "w9")
			if err := o.call(ctx); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "w9") {
				t.Errorf("%s with an unknown id: %v", o.name, err)
			}
		}
		// A second harness with the same id does not disturb the first.
		second := e.connectControl("w1")
		if _, err := second.control.Recv(); status.Code(err) != codes.AlreadyExists {
			t.Errorf("a second control stream: %v", err)
		}
	})
}

func TestLimits(t *testing.T) {
	inBubble(t, Options{MaxWorkers: 1, MaxBundles: 2, MaxMessageBytes: 2 << 20}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		for _, spec := range []WorkerSpec{
			{ID: "w2", Endpoint: "x:1"}, // one too many
			{ID: "w1", Endpoint: "x:1"}, // same id
			{ID: "w3"},
			{Endpoint: "x:1"},
		} {
			if _, err := e.server.Expect(spec); err == nil {
				t.Errorf("worker %+v accepted", spec)
			}
		}
		if _, err := w.Start(t.Context(), testBundle(1, nil, strings.Repeat("x", 1<<20+1))); err == nil {
			t.Error("a block accepted that no message takes")
		}
		unknown := testBundle(2, nil)
		unknown.Stage.ID = 99
		if _, err := w.Start(t.Context(), unknown); err == nil {
			t.Error("a bundle of an unknown stage accepted")
		}
		start(t, w, testBundle(3, nil))
		start(t, w, testBundle(4, nil))
		if _, err := w.Start(t.Context(), testBundle(5, nil)); err == nil {
			t.Error("more bundles than allowed")
		}
	})
}

func TestInstructionLimit(t *testing.T) {
	inBubble(t, Options{MaxInstructions: 1}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		x := start(t, w, testBundle(1, &sink{})) // waits for the harness to connect
		if _, err := start(t, w, testBundle(2, nil)).Wait(); err == nil {
			t.Error("more instructions than allowed are waiting")
		}
		if _, err := x.Progress(t.Context()); err == nil {
			t.Error("more instructions than allowed are waiting")
		}
		s := e.connect("w1")
		id := s.nextBundle()
		s.closeOutputs(id)
		s.answerBundle(id, &fnpb.ProcessBundleResponse{})
		if _, err := x.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func TestTimerFamiliesAreClosed(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connect("w1")
		b := testBundle(1, &sink{}, "in")
		b.Stage.Kind = timerStage()
		x := start(t, w, b)
		id := s.nextBundle()
		m, err := s.data.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if len(m.GetTimers()) != 1 || !m.GetTimers()[0].GetIsLast() || m.GetTimers()[0].GetTimerFamilyId() != "f" {
			t.Errorf("timers %v, want the end of family f", m.GetTimers())
		}
		s.closeOutputs(id)
		s.answerBundle(id, &fnpb.ProcessBundleResponse{})
		synctest.Wait()
		if asExecution(t, x).ended {
			t.Error("the bundle is over before its timer family is closed")
		}
		if err := s.data.Send(&fnpb.Elements{Timers: []*fnpb.Elements_Timers{
			{InstructionId: id, TransformId: userStep, TimerFamilyId: "f", IsLast: true},
		}}); err != nil {
			t.Fatal(err)
		}
		if _, err := x.Wait(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestUnknownFieldsInElements(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connect("w1")
		out := &sink{}
		x := start(t, w, testBundle(1, out))
		id := s.nextBundle()
		d := &fnpb.Elements_Data{InstructionId: id, TransformId: sinkPort0, Data: []byte("x"), IsLast: true}
		d.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
		m := &fnpb.Elements{Data: []*fnpb.Elements_Data{d}}
		m.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 77, protowire.BytesType), "future"))
		if err := s.data.Send(m); err != nil {
			t.Fatal(err)
		}
		s.write(id, sinkPort1, nil, true)
		s.answerBundle(id, &fnpb.ProcessBundleResponse{})
		if _, err := x.Wait(); err != nil || out.get(0) != "x" {
			t.Errorf("output %q, error %v", out.get(0), err)
		}
	})
}
