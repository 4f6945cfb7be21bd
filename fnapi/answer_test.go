package fnapi

import (
	"testing"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
)

// protoOf makes the proto of an answer about a bundle.
func protoOf(t *testing.T, a *answer) *fnpb.InstructionResponse {
	t.Helper()
	resp := &fnpb.InstructionResponse{InstructionId: string(a.id), Error: a.failure}
	if a.bundle == nil {
		return resp
	}
	b := &fnpb.ProcessBundleResponse{
		ResidualRoots: a.bundle.residuals, MonitoringInfos: a.bundle.infos, RequiresFinalization: a.bundle.finalize,
	}
	for _, s := range a.bundle.short {
		if b.MonitoringData == nil {
			b.MonitoringData = make(map[string][]byte)
		}
		b.MonitoringData[string(s.id)] = s.payload
	}
	for _, e := range a.bundle.elements {
		if b.Elements == nil {
			b.Elements = &fnpb.Elements{}
		}
		if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(e, b.Elements); err != nil {
			t.Skip("no elements")
		}
	}
	resp.Response = &fnpb.InstructionResponse_ProcessBundle{ProcessBundle: b}
	return resp
}

// FuzzAnswer holds what is read of an answer against what protobuf reads.
func FuzzAnswer(f *testing.F) {
	full := &fnpb.InstructionResponse{InstructionId: "i7", Response: &fnpb.InstructionResponse_ProcessBundle{ProcessBundle: &fnpb.ProcessBundleResponse{
		ResidualRoots: []*fnpb.DelayedBundleApplication{{
			Application:        &fnpb.BundleApplication{TransformId: "t", InputId: "i", Element: []byte("e")},
			RequestedTimeDelay: &durationpb.Duration{Seconds: 3},
		}},
		MonitoringInfos:      []*pipepb.MonitoringInfo{{Urn: "u", Type: "t", Payload: []byte("p"), Labels: map[string]string{"a": "b"}}},
		MonitoringData:       map[string][]byte{"1": []byte("x"), "2": nil, "": []byte("y")},
		RequiresFinalization: true,
		Elements:             &fnpb.Elements{Data: []*fnpb.Elements_Data{{TransformId: "sink", Data: []byte("d"), IsLast: true}}},
	}}}
	for _, resp := range []*fnpb.InstructionResponse{
		full,
		{InstructionId: "i8", Error: "boom"},
		{InstructionId: "i9", Response: &fnpb.InstructionResponse_ProcessBundle{ProcessBundle: &fnpb.ProcessBundleResponse{}}},
		{InstructionId: "i10", Response: &fnpb.InstructionResponse_FinalizeBundle{FinalizeBundle: &fnpb.FinalizeBundleResponse{}}},
	} {
		wire, err := proto.Marshal(resp)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		a, err := parseAnswer(wire)
		want := &fnpb.InstructionResponse{}
		if err != nil || (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(wire, want) != nil {
			return
		}
		switch want.GetResponse().(type) {
		case *fnpb.InstructionResponse_ProcessBundle, nil:
		default:
			return
		}
		got := protoOf(t, &a)
		if want.GetResponse() == nil && a.bundle != nil {
			return // of several kinds of answer protobuf takes the last
		}
		if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreUnknown()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestBundleRequest holds the request against what protobuf makes of it.
func TestBundleRequest(t *testing.T) {
	tokens := []*fnpb.ProcessBundleRequest_CacheToken{
		{Token: []byte("u"), Type: &fnpb.ProcessBundleRequest_CacheToken_UserState_{UserState: &fnpb.ProcessBundleRequest_CacheToken_UserState{}}},
		{Token: []byte("s"), Type: &fnpb.ProcessBundleRequest_CacheToken_SideInput_{
			SideInput: &fnpb.ProcessBundleRequest_CacheToken_SideInput{TransformId: "t", SideInputId: "i"},
		}},
	}
	for n := range len(tokens) + 1 {
		frame, err := bundleRequest("i1", "d", tokens[:n])
		if err != nil {
			t.Fatal(err)
		}
		got := &fnpb.InstructionRequest{}
		if err := proto.Unmarshal(frame.bufs.Materialize(), got); err != nil {
			t.Fatal(err)
		}
		want := &fnpb.InstructionRequest{InstructionId: "i1", Request: &fnpb.InstructionRequest_ProcessBundle{
			ProcessBundle: &fnpb.ProcessBundleRequest{ProcessBundleDescriptorId: "d", CacheTokens: tokens[:n]},
		}}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	}
}
