package fnapi

import (
	"encoding/binary"
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/gorunner/gorunner/execution/harness"
)

// A harness that agrees to a split and then executes what it has given back has
// failed the bundle. That which stops where it said, or does not tell, has not.
func TestForgottenSplits(t *testing.T) {
	tests := []struct {
		splits []int64 // the first residual of each
		read   uint64
		bad    bool
	}{
		{nil, 10, false},
		{[]int64{1}, 0, false},
		{[]int64{1}, 1, false},
		{[]int64{1}, 2, true},
		{[]int64{5, 1}, 1, false},
		{[]int64{1, 3}, 2, true}, // the first was forgotten
	}
	for _, test := range tests {
		bundleRunning(t, Options{}, func(_ *Worker, x harness.Execution, s *sdk, id string) {
			t := s.t
			for _, first := range test.splits {
				ask := askSplit(t, x, 0)
				s.answerSplit(s.next().GetInstructionId(), &fnpb.ProcessBundleSplitResponse{ChannelSplits: channelSplit(sourcePort, first-1, first)})
				if got, err := ask(); !got.ok || err != nil {
					t.Errorf("split %v, error %v", got, err)
				}
			}
			s.closeOutputs(id)
			s.answerBundle(id, &fnpb.ProcessBundleResponse{MonitoringInfos: []*pipepb.MonitoringInfo{{
				Urn: urnReadIndex, Labels: map[string]string{labelTransform: sourcePort}, Payload: binary.AppendUvarint(nil, test.read),
			}}})
			if _, err := x.Wait(); (err != nil) != test.bad {
				t.Errorf("splits %v, read %d: error %v", test.splits, test.read, err)
			}
		})
	}
}
