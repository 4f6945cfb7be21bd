package artifact

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Staging returns the server of Beam's ArtifactStagingService.
func (s *Service) Staging() jobpb.ArtifactStagingServiceServer {
	return &stagingServer{service: s}
}

type stagingServer struct {
	jobpb.UnimplementedArtifactStagingServiceServer
	service *Service
}

// ReverseArtifactRetrievalService asks the client, which opened the stream,
// for the artifacts of its job, one after the other.
func (s *stagingServer) ReverseArtifactRetrievalService(
	stream jobpb.ArtifactStagingService_ReverseArtifactRetrievalServiceServer,
) error {
	// TypeScript's client never notices the end of a stream without headers.
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return fmt.Errorf("artifact: staging: %w", err)
	}
	first, err := stream.Recv()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	token := Token(first.GetStagingToken())
	wanted, err := s.service.begin(token)
	if err != nil {
		return err
	}
	r := &retrieval{service: s.service, stream: stream, token: token, held: make(map[Digest]int)}
	staged, err := r.run(wanted)
	if err != nil {
		return errors.Join(err, s.service.end(token, nil, nil), s.service.releaseAll(r.held))
	}
	return s.service.end(token, staged, r.held)
}

// begin marks the job as being staged.
func (s *Service) begin(token Token) (map[Set][]*pipepb.ArtifactInformation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[token]
	if j == nil {
		return nil, status.Errorf(codes.NotFound, "%v: %s", ErrUnknownToken, token)
	}
	if j.staging {
		return nil, status.Errorf(codes.FailedPrecondition, "artifact: token %s is being staged by another stream", token)
	}
	if j.staged != nil {
		return nil, nil // nothing to stage, or staged before
	}
	j.staging = true
	return j.wanted, nil
}

// end records what was staged; held is what the job now refers to.
func (s *Service) end(token Token, staged map[Set][]*pipepb.ArtifactInformation, held map[Digest]int) error {
	s.mu.Lock()
	j := s.jobs[token]
	if j != nil {
		j.staging = false
		if staged != nil && j.staged == nil {
			j.staged, j.held, held = staged, held, nil
		}
	}
	s.mu.Unlock()
	return s.releaseAll(held) // of a job that has gone meanwhile
}

// retrieval is one run of the reverse protocol. It belongs to its stream's
// goroutine.
type retrieval struct {
	service *Service
	stream  jobpb.ArtifactStagingService_ReverseArtifactRetrievalServiceServer
	token   Token
	held    map[Digest]int
}

func (r *retrieval) run(wanted map[Set][]*pipepb.ArtifactInformation) (map[Set][]*pipepb.ArtifactInformation, error) {
	if wanted == nil {
		return nil, nil
	}
	staged := make(map[Set][]*pipepb.ArtifactInformation, len(wanted))
	for _, set := range slices.Sorted(maps.Keys(wanted)) {
		list, err := r.resolve(wanted[set])
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			got, err := r.fetch(a)
			if err != nil {
				return nil, err
			}
			staged[set] = append(staged[set], got)
		}
	}
	return staged, nil
}

// resolve asks the client to replace artifacts whose type cannot be fetched as
// it is, such as those deferred to staging.
func (r *retrieval) resolve(list []*pipepb.ArtifactInformation) ([]*pipepb.ArtifactInformation, error) {
	known := func(a *pipepb.ArtifactInformation) bool {
		switch a.GetTypeUrn() {
		case typeFile, typeURL, typeEmbedded:
			return true
		}
		return false
	}
	if !slices.ContainsFunc(list, func(a *pipepb.ArtifactInformation) bool { return !known(a) }) {
		return list, nil
	}
	err := r.stream.Send(&jobpb.ArtifactRequestWrapper{
		Request: &jobpb.ArtifactRequestWrapper_ResolveArtifact{
			ResolveArtifact: &jobpb.ResolveArtifactsRequest{
				Artifacts:     list,
				PreferredUrns: []string{typeFile, typeEmbedded, typeURL},
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("artifact: resolve: %w", err)
	}
	in, err := r.stream.Recv()
	if err != nil {
		return nil, fmt.Errorf("artifact: resolve: %w", err)
	}
	answer := in.GetResolveArtifactResponse()
	if answer == nil {
		return nil, status.Errorf(codes.InvalidArgument, "artifact: client answered resolve with %T", in.GetResponse())
	}
	if n := len(answer.GetReplacements()); n > r.service.opts.MaxArtifacts {
		return nil, status.Errorf(codes.ResourceExhausted, "artifact: %d artifacts, more than the %d allowed", n, r.service.opts.MaxArtifacts)
	}
	return answer.GetReplacements(), nil
}

// fetch brings one artifact into the store and returns what workers are told.
func (r *retrieval) fetch(a *pipepb.ArtifactInformation) (*pipepb.ArtifactInformation, error) {
	src, err := parseSource(a)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	d := src.digest
	if d == "" || !r.service.store.Acquire(d) {
		d, err = r.transfer(a, src)
		if err != nil {
			return nil, err
		}
	}
	r.held[d]++
	return offered(r.token, d, src, a)
}

// transfer asks the client for the artifact's content.
func (r *retrieval) transfer(a *pipepb.ArtifactInformation, src source) (Digest, error) {
	w, err := r.service.store.Create()
	if err != nil {
		return "", err
	}
	if a.GetTypeUrn() == typeEmbedded {
		_, err = w.Write(src.data)
	} else {
		err = r.receive(a, src, w)
	}
	if err != nil {
		return "", errors.Join(err, w.Abort())
	}
	d, err := w.Commit(src.digest)
	if err != nil {
		return "", status.Errorf(codes.InvalidArgument, "%s: %v", src.name, err)
	}
	return d, nil
}

func (r *retrieval) receive(a *pipepb.ArtifactInformation, src source, w *Writer) error {
	err := r.stream.Send(&jobpb.ArtifactRequestWrapper{
		Request: &jobpb.ArtifactRequestWrapper_GetArtifact{
			GetArtifact: &jobpb.GetArtifactRequest{Artifact: a},
		},
	})
	if err != nil {
		return fmt.Errorf("artifact: ask for %s: %w", src.name, err)
	}
	for {
		in, err := r.stream.Recv()
		if errors.Is(err, io.EOF) {
			return status.Errorf(codes.InvalidArgument, "artifact: client hung up within %s", src.name)
		}
		if err != nil {
			return fmt.Errorf("artifact: receive %s: %w", src.name, err)
		}
		if res := in.GetResolveArtifactResponse(); res != nil {
			return status.Errorf(codes.InvalidArgument, "artifact: client answered get of %s with %T", src.name, in.GetResponse())
		}
		data := in.GetGetArtifactResponse().GetData()
		if w.Size()+int64(len(data)) > r.service.opts.MaxArtifactBytes {
			return status.Errorf(codes.ResourceExhausted, "artifact: %s is larger than the %d bytes allowed", src.name, r.service.opts.MaxArtifactBytes)
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
		if in.GetIsLast() {
			return nil
		}
	}
}
