package fnapi

import (
	"encoding/binary"
	"math"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// goSource is the arithmetic of Go's harness: it executes element index, of which
// the part done is over.
type goSource struct {
	index, count int64
	done         float64
}

// split returns the first element given back and how many elements the harness
// reads after that.
func (s goSource) split(fraction float64) (residual, reads int64) {
	at := float64(s.index) + s.done
	at += fraction * (float64(s.count) - at)
	if int64(at) != s.index {
		cut := max(int64(math.Round(at)), s.index+1)
		return cut, cut
	}
	_, part := math.Modf(at)
	if (part-s.done)/(1-s.done) < 0 {
		return s.index, s.index + 1 // for it stops behind the running element
	}
	return s.index + 1, s.index + 1
}

func TestGoFractions(t *testing.T) {
	golang := &Worker{isGo: true}
	wrong := 0
	rapid.Check(t, func(t *rapid.T) {
		s := goSource{count: rapid.Int64Range(1, 10_000).Draw(t, "count")}
		s.index = rapid.Int64Range(0, s.count-1).Draw(t, "index")
		s.done = float64(rapid.IntRange(0, 999).Draw(t, "done")) / 1000
		fraction := rapid.SampledFrom([]float64{0, 0, 0.25, 0.5}).Draw(t, "fraction")
		if residual, reads := s.split(fraction); residual != reads {
			wrong++
		}
		ask := golang.fractionToAsk(fraction, s.count)
		if residual, reads := s.split(ask); residual != reads {
			t.Fatalf("%+v, asked to keep %g: gives back from %d on and reads %d", s, ask, residual, reads)
		}
		if ask > fraction+leastFraction {
			t.Fatalf("%g is asked for instead of %g", ask, fraction)
		}
	})
	if wrong == 0 {
		t.Error("the harness of the test makes no mistake")
	}
	if f := golang.fractionToAsk(0, 1); f != 0 {
		t.Errorf("an only element keeps %g", f)
	}
	if f := (&Worker{}).fractionToAsk(0, 10); f != 0 {
		t.Errorf("another harness is asked to keep %g", f)
	}
}

// Go's harness is only asked to split what it is at work on.
func TestGoSplits(t *testing.T) {
	tests := []struct {
		name string
		resp *fnpb.ProcessBundleProgressResponse
		read uint64
		want bool
	}{
		{"between elements", &fnpb.ProcessBundleProgressResponse{}, 3, true},
		{"at work", &fnpb.ProcessBundleProgressResponse{ConsumingReceivedData: proto.Bool(true)}, 9, true},
		{"not begun", &fnpb.ProcessBundleProgressResponse{ConsumingReceivedData: proto.Bool(false)}, 0, false},
		{"all read", &fnpb.ProcessBundleProgressResponse{ConsumingReceivedData: proto.Bool(true)}, 10, false},
	}
	for _, tt := range tests {
		inBubble(t, Options{}, func(e *env) {
			t := e.t
			w := e.expect(func(s *WorkerSpec) { s.Capabilities = []string{capGoBase + ":apache/beam_go_sdk:2.77.0"} })
			s := e.connect("w1")
			x := start(t, w, testBundle(1, &sink{}, "aaaaa", "bbbbb"))
			s.nextBundle()
			ask := askSplit(t, x, 0)
			tt.resp.MonitoringInfos = []*pipepb.MonitoringInfo{{
				Urn: urnReadIndex, Labels: map[string]string{labelTransform: sourcePort}, Payload: binary.AppendUvarint(nil, tt.read),
			}}
			s.answer(&fnpb.InstructionResponse{InstructionId: s.next().GetInstructionId(), Response: &fnpb.InstructionResponse_ProcessBundleProgress{ProcessBundleProgress: tt.resp}})
			if tt.want {
				req := s.next()
				if f := req.GetProcessBundleSplit().GetDesiredSplits()[sourcePort].GetFractionOfRemainder(); f != leastFraction {
					t.Errorf("%s: asked to keep %g in %v", tt.name, f, req)
				}
				s.answerSplit(req.GetInstructionId(), &fnpb.ProcessBundleSplitResponse{ChannelSplits: channelSplit(sourcePort, 8, 9)})
			}
			if got, err := ask(); got.ok != tt.want || err != nil {
				t.Errorf("%s: split %v, error %v", tt.name, got, err)
			}
		})
	}
}
