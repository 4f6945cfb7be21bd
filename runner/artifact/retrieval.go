package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Retrieval returns the server of Beam's ArtifactRetrievalService, which
// workers ask.
func (s *Service) Retrieval() jobpb.ArtifactRetrievalServiceServer {
	return &retrievalServer{service: s}
}

type retrievalServer struct {
	jobpb.UnimplementedArtifactRetrievalServiceServer
	service *Service
}

// ResolveArtifacts returns the artifacts as they are: workers were told only
// what can be fetched.
func (r *retrievalServer) ResolveArtifacts(
	_ context.Context, req *jobpb.ResolveArtifactsRequest,
) (*jobpb.ResolveArtifactsResponse, error) {
	return &jobpb.ResolveArtifactsResponse{Replacements: req.GetArtifacts()}, nil
}

// GetArtifact streams a content.
func (r *retrievalServer) GetArtifact(
	req *jobpb.GetArtifactRequest, stream jobpb.ArtifactRetrievalService_GetArtifactServer,
) error {
	d, err := r.service.locate(req.GetArtifact())
	if err != nil {
		return status.Error(codes.NotFound, err.Error())
	}
	f, err := r.service.store.Open(d)
	if err != nil {
		return status.Error(codes.NotFound, err.Error())
	}
	defer f.Close()
	buf := make([]byte, r.service.opts.ChunkBytes)
	sum := sha256.New()
	for {
		n, err := io.ReadFull(f, buf)
		sum.Write(buf[:n])
		if n > 0 {
			if err := stream.Send(&jobpb.GetArtifactResponse{Data: buf[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			if got := hex.EncodeToString(sum.Sum(nil)); got != string(d) {
				return status.Errorf(codes.DataLoss, "artifact: %s is damaged: its SHA-256 is %s", r.service.store.path(d), got)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("artifact: read %s: %w", d, err)
		}
	}
}
