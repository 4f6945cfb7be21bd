package translate

import (
	"fmt"
	"maps"
	"slices"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/plan"
)

// script is a TestStream.
type script struct {
	events []*scriptEvent
	// sources by tag.
	sources map[string]*node
}

// scriptEvent is a step of a script.
type scriptEvent struct {
	// source is nil where the processing time advances.
	source *node
	// block holds elements as they stand on the wire, if any.
	block element.Block
	// to is where the watermark goes without elements.
	to element.EventTime
	// by is how much the processing time advances.
	by int64
}

// testStream makes a node of each output of a TestStream: each has a watermark
// of its own.
//
// The elements come encoded, each for itself alone, by the coder that the
// payload names; the PCollection may have another one. SDKs do not encode
// alike then: Java and Python leave out the length of bytes that come last, Go
// does not. So such a part gets a length prefix, in the coder as in the
// elements: what is in it, each SDK reads the way it has written it.
func (r *resolver) testStream(n *node) error {
	var payload pipepb.TestStreamPayload
	if err := proto.Unmarshal(n.spec.GetPayload(), &payload); err != nil {
		return invalid(inTransform(n.id), "payload: %w", err)
	}
	if len(n.inputs) > 0 || len(n.outputs) == 0 {
		return invalid(inTransform(n.id), "a TestStream has no input and 1 output or more")
	}
	if err := r.coders.check(payload.GetCoderId()); err != nil {
		return invalid(inTransform(n.id), "coder of the elements: %w", err)
	}
	own := payload.GetCoderId()
	if r.coders.get(own).GetSpec().GetUrn() == urnCoderGoCustom {
		// The SDK means, as everywhere else, its coder with a length prefix.
		own = r.coders.add(own+"/prefixed", urnCoderLengthPrefix, own)
	}
	framed := r.coders.framed(own)
	if err := r.coders.check(framed); err != nil {
		return invalid(inTransform(n.id), "coder of the elements: %w", err)
	}
	s := &script{sources: map[string]*node{}}
	for _, tag := range slices.Sorted(maps.Keys(n.outputs)) {
		s.sources[tag] = r.testSource(n, s, tag, own, framed)
	}
	if url := payload.GetEndpoint().GetUrl(); url != "" {
		r.unsupported("%v: TestStream driven by a service (%s)", n, url)
		return nil
	}
	r.scripts = append(r.scripts, s)
	if err := r.readScript(s, &payload, own); err != nil {
		return invalid(inTransform(n.id), "%w", err)
	}
	return nil
}

// testSource adds the node of an output.
func (r *resolver) testSource(n *node, s *script, tag, own, framed string) *node {
	source := *n
	source.script = s
	if len(n.outputs) > 1 {
		source.id, source.part = r.partID(n.id, tag), "/"+tag
	}
	out := r.collections[n.outputs[tag]]
	if r.windowings[out.windowing].window.coder.Kind() != coder.GlobalWindow {
		r.unsupported("%v: TestStream with output %q in other windows than the global one", n, tag)
	}
	source.outputs = map[string]string{tag: out.id}
	r.nodes = append(r.nodes, &source)
	_, _, pair := r.coders.components2(out.coder)
	_, _, framedPair := r.coders.components2(framed)
	if !pair || framedPair && r.coders.equal(out.coder, own) {
		out.coder = framed
		return &source
	}
	// What reads it may need the key: the SDK writes it anew.
	raw := r.derive(out, out.id+"/Raw", framed)
	source.outputs = map[string]string{tag: raw.id}
	r.nodes = append(r.nodes, &node{
		id: r.partID(source.id, "Encode"), name: n.name, part: source.part + "/Encode",
		urn: urnFlatten, class: leafAlias,
		inputs:  map[string]string{partTag: raw.id},
		main:    []string{raw.id},
		outputs: map[string]string{partTag: out.id},
	})
	return &source
}

// readScript decodes the events.
func (r *resolver) readScript(s *script, payload *pipepb.TestStreamPayload, own string) error {
	watermarks := map[*node]element.EventTime{}
	for i, e := range payload.GetEvents() {
		var event *scriptEvent
		var err error
		switch e := e.GetEvent().(type) {
		case *pipepb.TestStreamPayload_Event_ElementEvent:
			if event, err = r.testElements(e.ElementEvent, own); err == nil {
				event.source, err = s.source(e.ElementEvent.GetTag())
			}
			if err == nil && event.block.Count == 0 {
				continue
			}
		case *pipepb.TestStreamPayload_Event_WatermarkEvent:
			event = &scriptEvent{to: eventTime(e.WatermarkEvent.GetNewWatermark())}
			event.source, err = s.source(e.WatermarkEvent.GetTag())
			if before, ok := watermarks[event.source]; ok && err == nil && before > event.to {
				err = fmt.Errorf("watermark goes back from %v to %v", before, event.to)
			}
			watermarks[event.source] = event.to
		case *pipepb.TestStreamPayload_Event_ProcessingTimeEvent:
			event = &scriptEvent{by: e.ProcessingTimeEvent.GetAdvanceDuration()}
			if event.by < 0 {
				err = fmt.Errorf("processing time goes back by %d ms", -event.by)
			}
		default:
			err = fmt.Errorf("unknown kind of event")
		}
		if err != nil {
			return fmt.Errorf("event %d: %w", i, err)
		}
		s.events = append(s.events, event)
	}
	return nil
}

// source finds an output by its tag; without one the only output is meant.
func (s *script) source(tag string) (*node, error) {
	if n := s.sources[tag]; n != nil {
		return n, nil
	}
	if tag == "" && len(s.sources) == 1 {
		for _, n := range s.sources {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no output %q", tag)
}

// eventTime bounds a time in milliseconds: SDKs round the limits of theirs to
// either side.
func eventTime(ms int64) element.EventTime {
	return min(max(element.EventTime(ms), element.MinTime), element.MaxTime)
}

// testElements makes the block of an event.
func (r *resolver) testElements(e *pipepb.TestStreamPayload_Event_AddElements, own string) (*scriptEvent, error) {
	b := element.Block{MinTime: element.MaxTime}
	var err error
	for i, te := range e.GetElements() {
		at := eventTime(te.GetTimestamp())
		b.Data = coder.PutHeader(b.Data, element.Header{
			Timestamp: at, NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring},
		})
		if b.Data, err = r.coders.frame(b.Data, own, te.GetEncodedElement()); err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		b.Count++
		b.MinTime = min(b.MinTime, at)
	}
	return &scriptEvent{block: b}, nil
}

// tests are the scripts of the plan. What concerns an output that nobody reads
// is left out, and so is a TestStream of which nobody reads anything.
func (t *translator) tests() []plan.Test {
	var tests []plan.Test
	for _, s := range t.scripts {
		var test plan.Test
		for _, tag := range slices.Sorted(maps.Keys(s.sources)) {
			if st := s.sources[tag].stage; st != nil {
				test.Sources = append(test.Sources, st.id)
			}
		}
		if len(test.Sources) == 0 {
			continue
		}
		for _, e := range s.events {
			switch {
			case e.source == nil:
				test.Events = append(test.Events, plan.TestProcessingTime{By: millis(e.by)})
			case e.source.stage == nil:
			case e.block.Count > 0:
				test.Events = append(test.Events, plan.TestElements{Source: e.source.stage.id, Block: e.block})
			default:
				test.Events = append(test.Events, plan.TestWatermark{Source: e.source.stage.id, To: e.to})
			}
		}
		tests = append(tests, test)
	}
	return tests
}
