package translate_test

import (
	"testing"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/translate"
)

type testEvent = pipepb.TestStreamPayload_Event

func emit(tag string, at int64, values ...string) *testEvent {
	e := &pipepb.TestStreamPayload_Event_AddElements{Tag: tag}
	for _, v := range values {
		e.Elements = append(e.Elements, &pipepb.TestStreamPayload_TimestampedElement{
			EncodedElement: []byte(v), Timestamp: at,
		})
	}
	return &testEvent{Event: &pipepb.TestStreamPayload_Event_ElementEvent{ElementEvent: e}}
}

func advance(tag string, to int64) *testEvent {
	return &testEvent{Event: &pipepb.TestStreamPayload_Event_WatermarkEvent{
		WatermarkEvent: &pipepb.TestStreamPayload_Event_AdvanceWatermark{Tag: tag, NewWatermark: to},
	}}
}

func wait(ms int64) *testEvent {
	return &testEvent{Event: &pipepb.TestStreamPayload_Event_ProcessingTimeEvent{
		ProcessingTimeEvent: &pipepb.TestStreamPayload_Event_AdvanceProcessingTime{AdvanceDuration: ms},
	}}
}

// testStream makes a TestStream whose elements and output have that coder.
func (b builder) testStream(id, coder string, events ...*testEvent) *pipepb.PTransform {
	pt := b.add(id, "beam:transform:teststream:v1", &pipepb.TestStreamPayload{CoderId: coder, Events: events}, coder)
	pt.EnvironmentId = ""
	b.Components.Pcollections[id].IsBounded = pipepb.IsBounded_UNBOUNDED
	return pt
}

// TestTestStreamElements holds that what an SDK has encoded for itself alone
// arrives in the wire format of the edge: whole, and at its time.
func TestTestStreamElements(t *testing.T) {
	tests := []struct {
		coder, encoded, wire string
		kind                 string
	}{
		{"varint", "\x81\x01", "\x81\x01", "varint"},
		{"bytes", "abc", "\x03abc", "length_prefix"},
		{"bytes", "", "\x00", "length_prefix"},
		{"own", "\x01\x02", "\x02\x01\x02", "length_prefix"},
		{"iterable", "\x00\x00\x00\x02\x05\x06", "\x00\x00\x00\x02\x05\x06", "iterable<varint>"},
		{"iterable-own", "\x00\x00\x00\x01\x05", "\x05\x00\x00\x00\x01\x05", "length_prefix"},
		{"kv", "\x01\x02", "\x02\x01\x02", "length_prefix"},
		{"pair", "\x01a\x07", "\x01a\x07", "kv<bytes,varint>"},
		{"pair-of-bytes", "\x01abc", "\x01a\x02bc", "kv<bytes,length_prefix>"},
		{"nested", "\x01a\x05bc", "\x01a\x05\x02bc", "kv<bytes,kv<varint,length_prefix>>"},
		{"prefixed", "\x01a", "\x01a", "length_prefix"},
		{"go", "\x01a", "\x01a", "length_prefix"},
		{"nullable", "\x01a", "\x02\x01a", "length_prefix"},
	}
	for _, tt := range tests {
		t.Run(tt.coder+tt.encoded, func(t *testing.T) {
			b := newBuilder()
			b.coder("iterable-own", "beam:coder:iterable:v1", "own")
			b.coder("pair", "beam:coder:kv:v1", "bytes", "varint")
			b.coder("pair-of-bytes", "beam:coder:kv:v1", "bytes", "bytes")
			b.coder("varint-bytes", "beam:coder:kv:v1", "varint", "bytes")
			b.coder("nested", "beam:coder:kv:v1", "bytes", "varint-bytes")
			b.coder("prefixed", "beam:coder:length_prefix:v1", "own")
			b.coder("go", "beam:go:coder:custom:v1")
			b.coder("nullable", "beam:coder:nullable:v1", "bytes")
			b.testStream("test", tt.coder, emit("", -5, tt.encoded, tt.encoded), emit("", 1))
			b.parDo("read", "bytes", nil, "test")
			p := mustTranslate(t, b)
			if got := p.Edges[0].Value.String(); got != tt.kind {
				t.Errorf("wire coder %s, want %s", got, tt.kind)
			}
			if len(p.Tests) != 1 || len(p.Tests[0].Events) != 1 {
				t.Fatalf("plan\n%s", p.Text())
			}
			emitted, ok := p.Tests[0].Events[0].(plan.TestElements)
			if !ok || emitted.Block.MinTime != -5 {
				t.Fatalf("plan\n%s", p.Text())
			}
			layout := shuffle.EdgeLayout(p.Edges[0])
			n := 0
			if err := layout.Each(&emitted.Block, func(e *shuffle.Element, _ []byte) error {
				n++
				if string(e.Value) != tt.wire || e.Header.Timestamp != -5 {
					t.Errorf("%q at %v, want %q", e.Value, e.Header.Timestamp, tt.wire)
				}
				return nil
			}); err != nil || n != 2 || emitted.Block.Count != 2 {
				t.Errorf("%d elements, %v", n, err)
			}
		})
	}
}

func mustTranslate(t *testing.T, b builder) *plan.Plan {
	t.Helper()
	tr, err := translate.Translate(b.Pipeline, translate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	checkDescriptors(t, tr)
	return tr.Plan
}

// TestTestStreamLimits holds that times beyond the limits of event time, as
// SDKs round them, are the limits.
func TestTestStreamLimits(t *testing.T) {
	b := newBuilder()
	b.testStream("test", "varint", emit("", -1<<63, "\x01"), advance("", 1<<62), wait(1<<62))
	b.parDo("read", "bytes", nil, "test")
	p := mustTranslate(t, b)
	events := p.Tests[0].Events
	if e, ok := events[0].(plan.TestElements); !ok || e.Block.MinTime != element.MinTime {
		t.Errorf("%+v", events[0])
	}
	if e, ok := events[1].(plan.TestWatermark); !ok || e.To != element.MaxTime {
		t.Errorf("%+v", events[1])
	}
	if e, ok := events[2].(plan.TestProcessingTime); !ok || e.By < 1<<62 {
		t.Errorf("%+v", events[2])
	}
}
