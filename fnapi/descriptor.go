package fnapi

import (
	"fmt"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"
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
