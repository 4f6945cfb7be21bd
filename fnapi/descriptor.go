package fnapi

import (
	"fmt"
	"maps"
	"slices"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/plan"
)

// The transforms through which a bundle reads its input and writes its output.
const (
	urnSource = "beam:runner:source:v1"
	urnSink   = "beam:runner:sink:v1"
)

// completeDescriptor returns a copy of d under the given id, in which all
// services are at the endpoint.
func completeDescriptor(d *fnpb.ProcessBundleDescriptor, id, endpoint string) (*fnpb.ProcessBundleDescriptor, error) {
	d = proto.CloneOf(d)
	d.Id = id
	d.StateApiServiceDescriptor = service(endpoint)
	d.TimerApiServiceDescriptor = service(endpoint)
	for name, t := range d.GetTransforms() {
		if urn := t.GetSpec().GetUrn(); urn != urnSource && urn != urnSink {
			continue
		}
		var port fnpb.RemoteGrpcPort
		if err := proto.Unmarshal(t.GetSpec().GetPayload(), &port); err != nil {
			return nil, fmt.Errorf("port of transform %s: %w", name, err)
		}
		port.ApiServiceDescriptor = service(endpoint)
		payload, err := proto.Marshal(&port)
		if err != nil {
			return nil, fmt.Errorf("port of transform %s: %w", name, err)
		}
		t.Spec.Payload = payload
	}
	return d, nil
}

func service(endpoint string) *pipepb.ApiServiceDescriptor {
	return &pipepb.ApiServiceDescriptor{Url: endpoint}
}

// sourceReaders returns, for each data source, the transforms that read what it
// yields: only their inputs are inputs of the stage.
func sourceReaders(d *fnpb.ProcessBundleDescriptor) map[string]map[string]bool {
	readers := make(map[string]map[string]bool)
	for name, t := range d.GetTransforms() {
		if t.GetSpec().GetUrn() != urnSource {
			continue
		}
		sourced := make(map[string]bool)
		for _, pc := range t.GetOutputs() {
			sourced[pc] = true
		}
		set := make(map[string]bool)
		for reader, r := range d.GetTransforms() {
			for _, pc := range r.GetInputs() {
				if sourced[pc] {
					set[reader] = true
				}
			}
		}
		readers[name] = set
	}
	return readers
}

// countedElsewhere finds, for each stage, the PCollection that it reads from the
// runner if the elements are counted by another stage: by one that writes it, or
// by the first that reads what the runner itself has written. Each harness counts
// what it reads and what it writes; the sum would count elements twice.
func countedElsewhere(stages map[plan.StageID]*fnpb.ProcessBundleDescriptor) map[plan.StageID]string {
	counted := make(map[string]bool)
	for _, d := range stages {
		for _, t := range d.GetTransforms() {
			if t.GetSpec().GetUrn() == urnSink {
				for _, pc := range t.GetInputs() {
					counted[pc] = true
				}
			}
		}
	}
	elsewhere := make(map[plan.StageID]string)
	for _, stage := range slices.Sorted(maps.Keys(stages)) {
		for _, t := range stages[stage].GetTransforms() {
			if t.GetSpec().GetUrn() != urnSource {
				continue
			}
			for _, pc := range t.GetOutputs() { // one
				if counted[pc] {
					elsewhere[stage] = pc
				}
				counted[pc] = true
			}
		}
	}
	return elsewhere
}
