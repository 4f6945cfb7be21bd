package fnapi

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/plan"
)

// bundleRunning has one bundle that the harness has taken up.
func bundleRunning(t *testing.T, opts Options, f func(w *Worker, x harness.Execution, s *sdk, id string)) {
	t.Helper()
	inBubble(t, opts, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connect("w1")
		x := start(t, w, testBundle(1, &sink{}, "aaaaa", "bbbbb"))
		f(w, x, s, s.nextBundle())
	})
}

// async runs f beside the test and returns a function that waits for its result.
func async[T any](f func() (T, error)) func() (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	return func() (T, error) {
		r := <-done
		return r.v, r.err
	}
}

func counter(name string) *pipepb.MonitoringInfo {
	return &pipepb.MonitoringInfo{
		Urn: "beam:metric:user:sum_int64:v1", Type: "beam:metrics:sum_int64:v1",
		Labels: map[string]string{"NAME": name},
	}
}

func info(name, payload string) metrics.Info {
	m := infoOf(counter(name))
	m.Payload, m.Key = []byte(payload), metrics.KeyOf(m.URN, m.Labels)
	return m
}

func (s *sdk) answerInfos(id string, infos map[string]*pipepb.MonitoringInfo) {
	s.t.Helper()
	s.answer(&fnpb.InstructionResponse{InstructionId: id, Response: &fnpb.InstructionResponse_MonitoringInfos{
		MonitoringInfos: &fnpb.MonitoringInfosMetadataResponse{MonitoringInfo: infos},
	}})
}

// Two bundles end with the same unknown short ids, one of them with one more,
// before the harness says what any of them is.
func TestShortIDs(t *testing.T) {
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connect("w1")
		var waits []func() (harness.Result, error)
		var asked []*fnpb.InstructionRequest
		for i, data := range []map[string][]byte{
			{"a": []byte("1")},
			{"a": []byte("2"), "b": []byte("3")},
		} {
			x := start(t, w, testBundle(harness.BundleID(i), &sink{}))
			waits = append(waits, async(x.Wait))
			id := s.nextBundle()
			s.closeOutputs(id)
			s.answerBundle(id, &fnpb.ProcessBundleResponse{MonitoringData: data})
			asked = append(asked, s.next())
		}
		first, second := asked[0], asked[1]
		if diff := cmp.Diff([]string{"a"}, first.GetMonitoringInfos().GetMonitoringInfoId()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"b"}, second.GetMonitoringInfos().GetMonitoringInfoId()); diff != "" {
			t.Error(diff)
		}
		s.answerInfos(second.GetInstructionId(), map[string]*pipepb.MonitoringInfo{"b": counter("b")})
		s.answerInfos(first.GetInstructionId(), map[string]*pipepb.MonitoringInfo{"a": counter("a")})
		want := [][]metrics.Info{{info("a", "1")}, {info("a", "2"), info("b", "3")}}
		for i, wait := range waits {
			r, err := wait()
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(r.Metrics, func(a, b metrics.Info) int { return strings.Compare(a.Key, b.Key) })
			if diff := cmp.Diff(want[i], r.Metrics); diff != "" {
				t.Errorf("bundle %d: %s", i, diff)
			}
		}
		// What is known is not asked for again.
		x := start(t, w, testBundle(9, &sink{}))
		id := s.nextBundle()
		s.closeOutputs(id)
		s.answerBundle(id, &fnpb.ProcessBundleResponse{MonitoringData: map[string][]byte{"b": []byte("4")}})
		r, err := x.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]metrics.Info{info("b", "4")}, r.Metrics); diff != "" {
			t.Error(diff)
		}
	})
}

func TestShortIDsUnresolved(t *testing.T) {
	tests := []struct {
		name string
		act  func(s *sdk, id string)
	}{
		{"harness does not know the instruction", func(s *sdk, id string) {
			s.answer(&fnpb.InstructionResponse{InstructionId: id, Error: "Unknown instruction type: monitoringInfos"})
		}},
		{"harness leaves the id out", func(s *sdk, id string) { s.answerInfos(id, nil) }},
		{"harness does not answer", func(*sdk, string) {}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bundleRunning(t, Options{}, func(w *Worker, x harness.Execution, s *sdk, id string) {
				t := s.t
				wait := async(x.Wait)
				s.closeOutputs(id)
				s.answerBundle(id, &fnpb.ProcessBundleResponse{MonitoringData: map[string][]byte{"a": []byte("1")}})
				tt.act(s, s.next().GetInstructionId())
				r, err := wait()
				if err != nil || len(r.Metrics) != 0 {
					t.Errorf("metrics %v, error %v", r.Metrics, err)
				}
				if w.Err() != nil {
					t.Error(w.Err())
				}
			})
		})
	}
}

func TestShortIDsOfADyingWorker(t *testing.T) {
	bundleRunning(t, Options{}, func(w *Worker, x harness.Execution, s *sdk, id string) {
		t := s.t
		wait := async(x.Wait)
		s.closeOutputs(id)
		s.answerBundle(id, &fnpb.ProcessBundleResponse{MonitoringData: map[string][]byte{"a": []byte("1")}})
		s.next()
		w.Kill(errors.New("gone"))
		_, err := wait()
		wantLost(t, err)
	})
}

func TestShortIDLimit(t *testing.T) {
	bundleRunning(t, Options{MaxShortIDs: 1}, func(_ *Worker, x harness.Execution, s *sdk, id string) {
		t := s.t
		wait := async(x.Wait)
		s.closeOutputs(id)
		s.answerBundle(id, &fnpb.ProcessBundleResponse{MonitoringData: map[string][]byte{"a": []byte("1"), "b": []byte("1")}})
		ask := s.next()
		asked := ask.GetMonitoringInfos().GetMonitoringInfoId()
		if len(asked) != 1 { // it may be either
			t.Fatalf("asked what %q stand for, want one", asked)
		}
		s.answerInfos(ask.GetInstructionId(), map[string]*pipepb.MonitoringInfo{asked[0]: counter(asked[0])})
		r, err := wait()
		if diff := cmp.Diff([]metrics.Info{info(asked[0], "1")}, r.Metrics); diff != "" || err != nil {
			t.Error(diff, err)
		}
	})
}

// Some harnesses send every info in both forms: it must count once.
func TestFullInfosWin(t *testing.T) {
	bundleRunning(t, Options{}, func(_ *Worker, x harness.Execution, s *sdk, id string) {
		t := s.t
		full := counter("a")
		full.Payload = []byte("1")
		s.closeOutputs(id)
		s.answerBundle(id, &fnpb.ProcessBundleResponse{
			MonitoringInfos: []*pipepb.MonitoringInfo{full},
			MonitoringData:  map[string][]byte{"a": []byte("1")},
		})
		want := info("a", "1")
		want.Key = "" // only those behind short ids have one
		r, err := x.Wait()
		if diff := cmp.Diff([]metrics.Info{want}, r.Metrics); diff != "" || err != nil {
			t.Error(diff, err)
		}
	})
}

func TestProgress(t *testing.T) {
	bundleRunning(t, Options{}, func(_ *Worker, x harness.Execution, s *sdk, id string) {
		t := s.t
		ask := async(func() (harness.Progress, error) { return x.Progress(t.Context()) })
		req := s.next()
		if req.GetProcessBundleProgress().GetInstructionId() != id {
			t.Errorf("request %v", req)
		}
		index := func(transform string, n uint64) *pipepb.MonitoringInfo {
			return &pipepb.MonitoringInfo{Urn: urnReadIndex, Labels: map[string]string{labelTransform: transform}, Payload: binary.AppendUvarint(nil, n)}
		}
		s.answer(&fnpb.InstructionResponse{InstructionId: req.GetInstructionId(), Response: &fnpb.InstructionResponse_ProcessBundleProgress{
			ProcessBundleProgress: &fnpb.ProcessBundleProgressResponse{
				MonitoringInfos: []*pipepb.MonitoringInfo{index("other", 3), index(sourcePort, 300)},
			},
		}})
		p, err := ask()
		if err != nil || p.ElementsRead != 300 || len(p.Metrics) != 2 {
			t.Errorf("progress %+v, error %v", p, err)
		}
	})
}

// What a harness reads is counted where it was written.
func TestElementsAreCountedOnce(t *testing.T) {
	count := func(urn, pc string) *pipepb.MonitoringInfo {
		return &pipepb.MonitoringInfo{Urn: urn, Labels: map[string]string{labelCollection: pc}}
	}
	inBubble(t, Options{}, func(e *env) {
		t := e.t
		w := e.expect(func(s *WorkerSpec) {
			// A stage before the job's writes what that reads.
			before := testDescriptors(t)[jobStage]
			before.Transforms[sinkPort0].Inputs["in"] = "pc0"
			before.Transforms[sourcePort].Outputs["out"] = "pc"
			s.Descriptors[jobStage-1] = before
		})
		s := e.connect("w1")
		x := start(t, w, testBundle(1, &sink{}))
		id := s.nextBundle()
		s.closeOutputs(id)
		s.answerBundle(id, &fnpb.ProcessBundleResponse{MonitoringInfos: []*pipepb.MonitoringInfo{
			count(urnElementCount, "pc0"), count(urnByteSize, "pc0"), count("beam:metric:other", "pc0"), count(urnElementCount, "pc1"),
		}})
		r, err := x.Wait()
		if err != nil || len(r.Metrics) != 2 || r.Metrics[0].URN != "beam:metric:other" || r.Metrics[1].Labels[labelCollection] != "pc1" {
			t.Errorf("%v, %v", r.Metrics, err)
		}
	})
}

// Of several stages that read the same, the first counts, if none that writes it
// does.
func TestCountedElsewhere(t *testing.T) {
	stage := func(reads, writes string) *fnpb.ProcessBundleDescriptor {
		d := testDescriptors(t)[jobStage]
		d.Transforms[sourcePort].Outputs["out"] = reads
		d.Transforms[sinkPort0].Inputs["in"] = writes
		return d
	}
	got := countedElsewhere(map[plan.StageID]*fnpb.ProcessBundleDescriptor{
		1: stage("grouped", "a"), 2: stage("grouped", "b"), 3: stage("a", "c"), 4: stage("impulse", "d"),
	})
	if diff := cmp.Diff(map[plan.StageID]string{2: "grouped", 3: "a"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestElementsRead(t *testing.T) {
	minusOne := int64(-1)
	for payload, want := range map[string]int64{
		"":     0,
		"\x05": 5,
		"\xff": 0,
		string(binary.AppendUvarint(nil, uint64(minusOne))): 0,
	} {
		infos := []metrics.Info{{URN: urnReadIndex, Labels: map[string]string{labelTransform: "s"}, Payload: []byte(payload)}}
		if got := elementsRead(infos, "s"); got != want {
			t.Errorf("payload %q: %d, want %d", payload, got, want)
		}
	}
}

func TestAskErrors(t *testing.T) {
	bundleRunning(t, Options{}, func(_ *Worker, x harness.Execution, s *sdk, id string) {
		t := s.t
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := x.Progress(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no answer: %v", err)
		}
		late := s.next()
		s.answer(&fnpb.InstructionResponse{InstructionId: late.GetInstructionId()}) // is dropped
		ask := async(func() (harness.Progress, error) { return x.Progress(t.Context()) })
		s.answer(&fnpb.InstructionResponse{InstructionId: s.next().GetInstructionId(), Error: "not active"})
		var sdkErr *SDKError
		if _, err := ask(); !errors.As(err, &sdkErr) || sdkErr.Text != "not active" {
			t.Errorf("error %v", err)
		}
		s.closeOutputs(id)
		s.answerBundle(id, &fnpb.ProcessBundleResponse{})
		if _, err := x.Wait(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := x.Split(t.Context(), 0.5); !errors.Is(err, errBundleOver) {
			t.Errorf("split of a bundle that is over: %v", err)
		}
	})
}

func (s *sdk) answerSplit(id string, r *fnpb.ProcessBundleSplitResponse) {
	s.t.Helper()
	s.answer(&fnpb.InstructionResponse{InstructionId: id, Response: &fnpb.InstructionResponse_ProcessBundleSplit{ProcessBundleSplit: r}})
}

func channelSplit(transform string, last, first int64) []*fnpb.ProcessBundleSplitResponse_ChannelSplit {
	return []*fnpb.ProcessBundleSplitResponse_ChannelSplit{
		{TransformId: transform, LastPrimaryElement: last, FirstResidualElement: first},
	}
}

type splitResult struct {
	split harness.Split
	ok    bool
}

func askSplit(tb testing.TB, x harness.Execution, fraction float64) func() (splitResult, error) {
	tb.Helper()
	return async(func() (splitResult, error) {
		s, ok, err := x.Split(tb.Context(), fraction)
		return splitResult{s, ok}, err
	})
}

func TestSplit(t *testing.T) {
	bundleRunning(t, Options{}, func(_ *Worker, x harness.Execution, s *sdk, id string) {
		t := s.t
		ask := askSplit(t, x, 0.25)
		req := s.next()
		desired := req.GetProcessBundleSplit().GetDesiredSplits()[sourcePort]
		if req.GetProcessBundleSplit().GetInstructionId() != id || desired.GetFractionOfRemainder() != 0.25 || desired.GetEstimatedInputElements() != 10 {
			t.Errorf("request %v", req)
		}
		s.answerSplit(req.GetInstructionId(), &fnpb.ProcessBundleSplitResponse{
			ChannelSplits: channelSplit(sourcePort, 3, 5),
			PrimaryRoots:  []*fnpb.BundleApplication{{TransformId: userStep, Element: []byte("p")}},
			ResidualRoots: []*fnpb.DelayedBundleApplication{{
				Application: &fnpb.BundleApplication{TransformId: userStep, Element: []byte("r"), OutputWatermarks: map[string]*timestamppb.Timestamp{
					"a": {Seconds: 2}, "b": {Seconds: 1, Nanos: 5e6},
				}},
				RequestedTimeDelay: durationpb.New(3 * time.Second),
			}},
		})
		got, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		mark := element.EventTime(1005)
		want := splitResult{ok: true, split: harness.Split{
			LastPrimary: 3, FirstResidual: 5, Primaries: [][]byte{[]byte("p")},
			Residuals: []harness.Residual{{Element: []byte("r"), Delay: 3 * time.Second, Watermark: &mark}},
		}}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(splitResult{})); diff != "" {
			t.Error(diff)
		}
		// Java's harness does not name the channel.
		ask = askSplit(t, x, 0.5)
		s.answerSplit(s.next().GetInstructionId(), &fnpb.ProcessBundleSplitResponse{ChannelSplits: channelSplit("", 1, 2)})
		if got, err := ask(); !got.ok || err != nil || got.split.LastPrimary != 1 || got.split.FirstResidual != 2 {
			t.Errorf("split %v, error %v", got, err)
		}
		// Python's and Java's harnesses may give back all that they have got.
		ask = askSplit(t, x, 0)
		s.answerSplit(s.next().GetInstructionId(), &fnpb.ProcessBundleSplitResponse{ChannelSplits: channelSplit(sourcePort, -1, 0)})
		if got, err := ask(); !got.ok || err != nil || got.split.LastPrimary != -1 || got.split.FirstResidual != 0 {
			t.Errorf("split %v, error %v", got, err)
		}
		// A harness need not split. Go's says so with a number beyond the input.
		for _, channels := range [][]*fnpb.ProcessBundleSplitResponse_ChannelSplit{
			nil, channelSplit(sourcePort, 9, 10), channelSplit(sourcePort, 10, 11),
		} {
			ask = askSplit(t, x, 0)
			s.answerSplit(s.next().GetInstructionId(), &fnpb.ProcessBundleSplitResponse{ChannelSplits: channels})
			if got, err := ask(); got.ok || err != nil {
				t.Errorf("%v: split %v, error %v", channels, got, err)
			}
		}
		for _, f := range []float64{-0.1, 1.1, math.NaN()} {
			if _, _, err := x.Split(t.Context(), f); err == nil {
				t.Errorf("split at %v accepted", f)
			}
		}
	})
}

func TestSplitErrors(t *testing.T) {
	elsewhere := &fnpb.BundleApplication{TransformId: sinkPort0}
	tests := []struct {
		name string
		resp *fnpb.ProcessBundleSplitResponse
		want string
	}{
		{"other channel", &fnpb.ProcessBundleSplitResponse{ChannelSplits: channelSplit("x", 3, 5)}, `channel "x"`},
		{"two channels", &fnpb.ProcessBundleSplitResponse{ChannelSplits: append(channelSplit("x", 3, 5), channelSplit("y", 3, 5)...)}, "2 channels"},
		{"overlap", &fnpb.ProcessBundleSplitResponse{ChannelSplits: channelSplit(sourcePort, 5, 5)}, "5 and 5"},
		{"gap", &fnpb.ProcessBundleSplitResponse{ChannelSplits: channelSplit(sourcePort, 2, 5)}, "2 and 5"},
		{"before the start", &fnpb.ProcessBundleSplitResponse{ChannelSplits: channelSplit(sourcePort, -2, -1)}, "-2 and -1"},
		{"beyond the end", &fnpb.ProcessBundleSplitResponse{
			ChannelSplits: channelSplit(sourcePort, 9, 11),
			ResidualRoots: []*fnpb.DelayedBundleApplication{{Application: &fnpb.BundleApplication{TransformId: userStep}}},
		}, "9 and 11"},
		{"primary elsewhere", &fnpb.ProcessBundleSplitResponse{ChannelSplits: channelSplit(sourcePort, 3, 5), PrimaryRoots: []*fnpb.BundleApplication{elsewhere}}, sinkPort0},
		{"residual elsewhere", &fnpb.ProcessBundleSplitResponse{ChannelSplits: channelSplit(sourcePort, 3, 5), ResidualRoots: []*fnpb.DelayedBundleApplication{{Application: elsewhere}}}, sinkPort0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bundleRunning(t, Options{}, func(_ *Worker, x harness.Execution, s *sdk, _ string) {
				t := s.t
				ask := askSplit(t, x, 0.5)
				s.answerSplit(s.next().GetInstructionId(), tt.resp)
				if _, err := ask(); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want one with %q", err, tt.want)
				}
				if _, err := x.Wait(); err == nil {
					t.Error("the bundle goes on although nobody knows with what")
				}
			})
		})
	}
}

func TestResidualsAndFinalization(t *testing.T) {
	bundleRunning(t, Options{}, func(_ *Worker, x harness.Execution, s *sdk, id string) {
		t := s.t
		s.closeOutputs(id)
		s.answerBundle(id, &fnpb.ProcessBundleResponse{
			RequiresFinalization: true,
			ResidualRoots: []*fnpb.DelayedBundleApplication{
				{Application: &fnpb.BundleApplication{TransformId: userStep, Element: []byte("r")}, RequestedTimeDelay: durationpb.New(-time.Second)},
			},
		})
		r, err := x.Wait()
		if err != nil {
			t.Fatal(err)
		}
		begin := element.MinTime
		if diff := cmp.Diff([]harness.Residual{{Element: []byte("r"), Watermark: &begin}}, r.Residuals); diff != "" {
			t.Error(diff)
		}
		for _, text := range []string{"", "too late"} {
			finalized := async(func() (struct{}, error) { return struct{}{}, r.Finalize(t.Context()) })
			req := s.next()
			if req.GetFinalizeBundle().GetInstructionId() != id {
				t.Errorf("request %v", req)
			}
			s.answer(&fnpb.InstructionResponse{InstructionId: req.GetInstructionId(), Error: text})
			if _, err := finalized(); (err == nil) != (text == "") {
				t.Errorf("finalized with %v, answer %q", err, text)
			}
		}
	})
}

func TestEventTimes(t *testing.T) {
	for _, tt := range []struct {
		ts   *timestamppb.Timestamp
		want element.EventTime
	}{
		{&timestamppb.Timestamp{Seconds: 1, Nanos: 2_999_999}, 1002},
		{&timestamppb.Timestamp{Seconds: -1, Nanos: 999_000_000}, -1},
		{&timestamppb.Timestamp{Seconds: math.MaxInt64}, element.MaxTime},
		{&timestamppb.Timestamp{Seconds: math.MinInt64}, element.MinTime},
	} {
		if got := eventTime(tt.ts); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.ts, got, tt.want)
		}
	}
}
