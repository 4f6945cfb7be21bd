package translate

import (
	"fmt"
	"slices"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/plan"
)

// describer makes the bundle descriptor of one stage: only the components it
// needs, under their ids in the pipeline.
type describer struct {
	*translator
	stage *stage
	desc  *fnpb.ProcessBundleDescriptor
	// ports are the PCollections that cross the stage's border; they carry the
	// coder of the wire.
	ports map[*collection]string
}

func (t *translator) describe(s *stage) (*fnpb.ProcessBundleDescriptor, error) {
	d := &describer{
		translator: t,
		stage:      s,
		desc: &fnpb.ProcessBundleDescriptor{
			Id:                  fmt.Sprintf("stage-%d", s.id),
			Transforms:          map[string]*pipepb.PTransform{},
			Pcollections:        map[string]*pipepb.PCollection{},
			WindowingStrategies: map[string]*pipepb.WindowingStrategy{},
			Coders:              map[string]*pipepb.Coder{},
			Environments: map[string]*pipepb.Environment{
				s.env: t.components.GetEnvironments()[s.env],
			},
		},
		ports: map[*collection]string{},
	}
	for _, o := range s.outputs {
		d.ports[o.from] = t.coders.wire(o.from.coder).id
	}
	// Not the edge's coder: that may be one of paged values, which Java's
	// harness accepts in a port only.
	for _, c := range s.reads() {
		d.ports[c] = t.coders.wire(c.coder).id
	}
	if s.keyed && s.splittable {
		// Go's harness takes the key's coder for what stands first in that of the
		// PCollection, also where the element is within a restriction. It reads
		// the elements themselves by the port's coder.
		d.ports[s.input] = t.coders.kv(t.inputKey(s.nodes[0]), d.ports[s.input])
	}
	for _, n := range s.nodes {
		if err := d.transform(n); err != nil {
			return nil, fmt.Errorf("%v: %w", n, err)
		}
	}
	return d.desc, d.addPorts()
}

// transform adds a transform with the PCollections it refers to.
func (d *describer) transform(n *node) error {
	pt := &pipepb.PTransform{
		UniqueName:    n.name + n.part,
		Spec:          n.spec,
		Inputs:        n.inputs,
		Outputs:       n.outputs,
		EnvironmentId: d.stage.env,
	}
	if n.class == leafAlias {
		pt.Spec = &pipepb.FunctionSpec{Urn: urnFlatten}
		pt.Inputs = make(map[string]string, len(n.from))
		for i, c := range n.from {
			pt.Inputs[fmt.Sprintf("i%d", i)] = c.id
		}
	}
	if n.pardo != nil {
		payload, err := d.parDo(n)
		if err != nil {
			return err
		}
		pt.Spec = &pipepb.FunctionSpec{Urn: n.urn, Payload: payload}
	}
	if id := n.combine.GetAccumulatorCoderId(); id != "" {
		d.coder(id)
	}
	for _, c := range slices.Concat(n.from, n.views, n.to) {
		d.collection(c)
	}
	d.desc.Transforms[n.id] = pt
	return nil
}

// parDo adds the coders of a payload and returns it. The coders of timers,
// which the runner cuts apart, are replaced by those it can measure.
func (d *describer) parDo(n *node) ([]byte, error) {
	p, changed := n.pardo, n.repack
	change := func() *pipepb.ParDoPayload {
		if p == n.pardo {
			p, changed = proto.CloneOf(n.pardo), true
		}
		return p
	}
	for family, spec := range n.pardo.GetTimerFamilySpecs() {
		if !n.keyed {
			break // a part of a splittable DoFn that never sets them
		}
		id, err := d.coders.timer(spec.GetTimerFamilyCoderId(), d.inputKey(n))
		if err != nil {
			return nil, err
		}
		if id != spec.GetTimerFamilyCoderId() {
			change().TimerFamilySpecs[family].TimerFamilyCoderId = id
		}
	}
	for i, side := range n.sides {
		if n.views[i].edge.view == nil {
			continue
		}
		if mapping, ok := refresh(p.GetSideInputs()[side.tag]); ok {
			change().SideInputs[side.tag].WindowMappingFn = mapping
		}
	}
	for _, id := range parDoCoders(p) {
		d.coder(id)
	}
	if !changed {
		return n.spec.GetPayload(), nil
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	return b, nil
}

func (d *describer) collection(c *collection) {
	if d.desc.Pcollections[c.id] != nil {
		return
	}
	id, ok := d.ports[c]
	if !ok {
		id = c.coder
	}
	// A harness takes the value's coder out of one of windowed values, because
	// some runners give those to every PCollection. Here it is the user's own.
	if d.coders.get(id).GetSpec().GetUrn() == urnCoderWindowedValue {
		id = d.coders.wire(id).id
	}
	d.coder(id)
	d.desc.Pcollections[c.id] = &pipepb.PCollection{
		UniqueName:          c.name,
		CoderId:             id,
		IsBounded:           c.bounded,
		WindowingStrategyId: c.windowing,
	}
	if d.desc.WindowingStrategies[c.windowing] != nil {
		return
	}
	w := d.windowings[c.windowing]
	d.coder(w.window.id)
	ws := w.proto
	if ws.GetWindowCoderId() != w.window.id {
		ws = proto.CloneOf(ws)
		ws.WindowCoderId = w.window.id
	}
	d.desc.WindowingStrategies[c.windowing] = ws
}

// coder adds a coder and its components.
func (d *describer) coder(id string) {
	if d.desc.Coders[id] != nil {
		return
	}
	c := d.coders.get(id)
	d.desc.Coders[id] = c
	for _, comp := range c.GetComponentCoderIds() {
		d.coder(comp)
	}
}

// addPorts adds the data source and the sinks.
func (d *describer) addPorts() error {
	s := d.stage
	d.collection(s.input)
	id, err := d.port("source:"+s.input.id, urnSource, s.input.edge, nil, s.input)
	if err != nil {
		return err
	}
	s.source = id
	for i := range s.outputs {
		o := &s.outputs[i]
		d.collection(o.from)
		if o.port, err = d.port("sink:"+o.to.collection.id, urnSink, o.to, o.from, nil); err != nil {
			return err
		}
	}
	return nil
}

// port adds a source or sink that carries what the edge does.
func (d *describer) port(id, urn string, e *edge, in, out *collection) (plan.TransformID, error) {
	unique := id
	for i := 2; d.desc.Transforms[unique] != nil; i++ {
		unique = fmt.Sprintf("%s-%d", id, i)
	}
	window := d.windowings[e.collection.windowing].window.id
	coder := d.coders.windowed(e.coder, window)
	if e.bare {
		coder = d.coders.bare(e.collection.coder, window)
	}
	d.coder(coder)
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(&fnpb.RemoteGrpcPort{CoderId: coder})
	if err != nil {
		return "", fmt.Errorf("port %s: %w", unique, err)
	}
	pt := &pipepb.PTransform{UniqueName: unique, Spec: &pipepb.FunctionSpec{Urn: urn, Payload: payload}}
	if in != nil {
		pt.Inputs = map[string]string{partTag: in.id}
	}
	if out != nil {
		pt.Outputs = map[string]string{partTag: out.id}
	}
	d.desc.Transforms[unique] = pt
	return plan.TransformID(unique), nil
}
