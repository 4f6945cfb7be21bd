package fnapi

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"unicode/utf8"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/harness"
)

// cut divides b into pieces of random size, some of them empty.
func cut(b []byte, seed uint64) [][]byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	var pieces [][]byte
	for len(b) > 0 {
		n := rng.IntN(min(len(b), 9) + 1)
		pieces = append(pieces, b[:n])
		b = b[n:]
	}
	return append(pieces, nil)
}

// parsed parses a message in pieces back into a proto.
func parsed(pieces [][]byte) (*fnpb.Elements, error) {
	m := &fnpb.Elements{}
	err := parseElements(pieces, func(e *entry) error {
		var payload []byte
		err := e.payload.each(func(b []byte) error {
			if len(b) == 0 {
				return errors.New("an empty piece")
			}
			payload = append(payload, b...)
			return nil
		})
		if e.timers {
			m.Timers = append(m.Timers, &fnpb.Elements_Timers{
				InstructionId: string(e.instruction), TransformId: string(e.transform),
				TimerFamilyId: string(e.family), Timers: payload, IsLast: e.last,
			})
			return err
		}
		m.Data = append(m.Data, &fnpb.Elements_Data{
			InstructionId: string(e.instruction), TransformId: string(e.transform), Data: payload, IsLast: e.last,
		})
		return err
	})
	return m, err
}

func sampleElements() *fnpb.Elements {
	return &fnpb.Elements{
		Data: []*fnpb.Elements_Data{
			{InstructionId: "i1", TransformId: "sink", Data: bytes.Repeat([]byte("element"), 50)},
			{InstructionId: "i22", TransformId: "an_id_with_more_than_a_piece", IsLast: true},
			{},
		},
		Timers: []*fnpb.Elements_Timers{
			{InstructionId: "i1", TransformId: "t", TimerFamilyId: "fam", Timers: []byte("timer"), IsLast: true},
		},
	}
}

func TestParseElements(t *testing.T) {
	want := sampleElements()
	wire, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(50) {
		got, err := parsed(cut(wire, seed))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
	}
}

func TestParseElementsInAnyOrder(t *testing.T) {
	// The fields of the entry backwards, with unknown ones of all types around.
	var e []byte
	e = protowire.AppendVarint(protowire.AppendTag(e, fieldDataLast, protowire.VarintType), 1)
	e = protowire.AppendFixed32(protowire.AppendTag(e, 90, protowire.Fixed32Type), 1)
	e = protowire.AppendBytes(protowire.AppendTag(e, fieldDataPayload, protowire.BytesType), []byte("first"))
	e = protowire.AppendBytes(protowire.AppendTag(e, fieldDataPayload, protowire.BytesType), []byte("payload"))
	e = protowire.AppendFixed64(protowire.AppendTag(e, 91, protowire.Fixed64Type), 1)
	e = protowire.AppendGroup(protowire.AppendTag(e, 92, protowire.StartGroupType), 92,
		protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 7))
	e = appendString(e, fieldTransform, "t")
	e = protowire.AppendVarint(protowire.AppendTag(e, fieldTransform, protowire.VarintType), 5) // wrong type: unknown
	e = appendString(e, fieldInstruction, "i")
	wire := protowire.AppendBytes(protowire.AppendTag(nil, fieldData, protowire.BytesType), e)
	got, err := parsed([][]byte{wire})
	if err != nil {
		t.Fatal(err)
	}
	want := &fnpb.Elements{Data: []*fnpb.Elements_Data{{InstructionId: "i", TransformId: "t", Data: []byte("payload"), IsLast: true}}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestParseElementsErrors(t *testing.T) {
	deep := bytes.Repeat(protowire.AppendTag(nil, 9, protowire.StartGroupType), groupDepthMax+1)
	tests := []struct {
		name string
		wire []byte
		want error
	}{
		{"length beyond the end", []byte{0x0a, 5, 1}, errFrameShort},
		{"length beyond the entry", []byte{0x0a, 2, 0x0a, 5, 0x0a, 0}, errFrameShort},
		{"no length", []byte{0x0a}, errFrameShort},
		{"endless varint", bytes.Repeat([]byte{0xff}, 11), errFrameWire},
		{"field zero", []byte{0x02, 0}, errFrameWire},
		{"wire type six", []byte{0x0e}, errFrameWire},
		{"end of no group", []byte{0x0c}, errFrameWire},
		{"groups too deep", deep, errFrameWire},
		{"group without end", []byte{0x4b}, errFrameShort},
		{"huge length", []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, errFrameShort},
	}
	for _, tt := range tests {
		if _, err := parsed([][]byte{tt.wire}); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestParseElementsTruncated(t *testing.T) {
	wire, err := proto.Marshal(sampleElements())
	if err != nil {
		t.Fatal(err)
	}
	for n := range wire {
		_, err := parsed([][]byte{wire[:n]})
		if valid := proto.Unmarshal(wire[:n], &fnpb.Elements{}) == nil; valid != (err == nil) {
			t.Errorf("cut at %d of %d: error %v, valid to protobuf: %v", n, len(wire), err, valid)
		}
	}
}

// FuzzParseElements holds the parser against protobuf's own, with any cut of the
// message into pieces.
func FuzzParseElements(f *testing.F) {
	wire, err := proto.Marshal(sampleElements())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wire, uint64(1))
	f.Add(wire[:len(wire)/2], uint64(2))
	f.Add([]byte{0x0a, 4, 0x4b, 0x08, 1, 0x4c}, uint64(3))
	f.Fuzz(func(t *testing.T, wire []byte, seed uint64) {
		got, err := parsed(cut(wire, seed))
		want := &fnpb.Elements{}
		wantErr := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(wire, want)
		if wantErr != nil {
			// Protobuf also wants strings to be UTF-8; the ids are only looked up.
			if err == nil && validStrings(got) {
				t.Fatalf("accepted what protobuf refuses: %v", wantErr)
			}
			return
		}
		if err != nil {
			if errors.Is(err, errFrameWire) && len(wire) > groupDepthMax {
				return // nested deeper than we allow
			}
			t.Fatalf("refused what protobuf accepts: %v", err)
		}
		// Equal first: a diff of large messages takes its time.
		if !proto.Equal(want, got) {
			t.Fatal(cmp.Diff(want, got, protocmp.Transform()))
		}
	})
}

func validStrings(m *fnpb.Elements) bool {
	for _, d := range m.GetData() {
		if !utf8.ValidString(d.GetInstructionId()) || !utf8.ValidString(d.GetTransformId()) {
			return false
		}
	}
	for _, d := range m.GetTimers() {
		if !utf8.ValidString(d.GetInstructionId()) || !utf8.ValidString(d.GetTransformId()) || !utf8.ValidString(d.GetTimerFamilyId()) {
			return false
		}
	}
	return true
}

// FuzzFrames sends blocks through our framing and reads them with protobuf.
func FuzzFrames(f *testing.F) {
	f.Add("transform", []byte("some data"), 3)
	f.Add("", []byte{}, 0)
	f.Fuzz(func(t *testing.T, source string, data []byte, chunk int) {
		if !utf8.ValidString(source) {
			return
		}
		e := &execution{id: "i7", source: source, bundle: &harness.Bundle{}}
		for part := range slices.Chunk(data, 5) {
			e.bundle.Input = append(e.bundle.Input, element.Block{Data: part})
		}
		var got []byte
		for {
			frame, more := e.nextFrame(chunk)
			m := &fnpb.Elements{}
			if err := proto.Unmarshal(frame.bufs.Materialize(), m); err != nil {
				t.Fatal(err)
			}
			for i, d := range m.GetData() {
				if d.GetInstructionId() != "i7" || d.GetTransformId() != source {
					t.Fatalf("data for %q of %q", d.GetTransformId(), d.GetInstructionId())
				}
				if last := !more && i == len(m.GetData())-1; d.GetIsLast() != last {
					t.Fatalf("last is %v, want %v", d.GetIsLast(), last)
				}
				got = append(got, d.GetData()...)
			}
			if !more {
				break
			}
		}
		if !bytes.Equal(got, data) {
			t.Fatalf("got %q, want %q", got, data)
		}
		if frame, more := e.nextFrame(chunk); frame != nil || more {
			t.Fatal("something after the last")
		}
	})
}

func TestCodec(t *testing.T) {
	c := newCodec()
	if c.Name() != "proto" {
		t.Errorf("name %q", c.Name())
	}
	want := &fnpb.LogEntry{Message: "m"}
	wire, err := c.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got := &fnpb.LogEntry{}
	if err := c.Unmarshal(wire, got); err != nil || !proto.Equal(got, want) {
		t.Errorf("got %v, error %v", got, err)
	}
	data := []byte("block")
	frame, err := c.Marshal(&outFrame{bufs: mem.BufferSlice{mem.SliceBuffer(data)}})
	if err != nil {
		t.Fatal(err)
	}
	if &frame[0].ReadOnlyData()[0] != &data[0] {
		t.Error("the block was copied")
	}
	if _, err := c.Marshal(fmt.Errorf("no message")); err == nil {
		t.Error("marshalled what is no message")
	}
}
