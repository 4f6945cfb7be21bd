package fnapi

import (
	"context"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/protobuf/proto"
)

// provisionService tells a harness what it needs to know at its start.
type provisionService struct {
	fnpb.UnimplementedProvisionServiceServer
	server *Server
}

// GetProvisionInfo answers with what the worker was announced with.
func (s provisionService) GetProvisionInfo(ctx context.Context, _ *fnpb.GetProvisionInfoRequest) (*fnpb.GetProvisionInfoResponse, error) {
	w, err := s.server.worker(ctx)
	if err != nil {
		return nil, err
	}
	info := &fnpb.ProvisionInfo{}
	if w.spec.Provision != nil {
		info = proto.CloneOf(w.spec.Provision)
	}
	info.ControlEndpoint = service(w.spec.Endpoint)
	info.LoggingEndpoint = service(w.spec.Endpoint)
	info.ArtifactEndpoint = service(w.spec.Endpoint)
	info.StatusEndpoint = service(w.spec.Endpoint)
	info.RunnerCapabilities = Capabilities()
	if info.Metadata == nil {
		info.Metadata = make(map[string]string)
	}
	for key, value := range map[string]string{"job_id": w.spec.JobID, "job_name": w.spec.JobName} {
		if _, ok := info.Metadata[key]; !ok {
			info.Metadata[key] = value
		}
	}
	return &fnpb.GetProvisionInfoResponse{Info: info}, nil
}
