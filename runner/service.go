package runner

import (
	"context"
	"errors"
	"slices"
	"strings"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/translate"
)

// jobService is the server of Beam's JobService.
type jobService struct {
	jobpb.UnimplementedJobServiceServer
	server *Server
}

// Prepare translates the pipeline and tells where to stage its artifacts.
func (js *jobService) Prepare(_ context.Context, req *jobpb.PrepareJobRequest) (*jobpb.PrepareJobResponse, error) {
	s := js.server
	j, err := s.prepare(req)
	if err != nil {
		s.opts.Log.Info("job refused", "name", req.GetJobName(), "error", err)
		return nil, refusal(err)
	}
	return &jobpb.PrepareJobResponse{
		PreparationId:           string(j.preparation),
		ArtifactStagingEndpoint: &pipepb.ApiServiceDescriptor{Url: s.endpoint},
		StagingSessionToken:     string(j.token),
	}, nil
}

// Run starts a prepared job whose artifacts have been staged.
func (js *jobService) Run(_ context.Context, req *jobpb.RunJobRequest) (*jobpb.RunJobResponse, error) {
	s := js.server
	id := PreparationID(req.GetPreparationId())
	j := s.findPrepared(id)
	if j == nil {
		return nil, status.Errorf(codes.NotFound, "runner: unknown preparation %q: it has expired, been run, or never been", id)
	}
	if err := s.artifacts.Staged(j.token); err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "runner: run %s: %v", id, err)
	}
	if err := s.run(j); err != nil { //nolint:contextcheck // the job outlives the call
		return nil, err
	}
	return &jobpb.RunJobResponse{JobId: string(j.id)}, nil
}

// GetJobs lists the jobs that were run.
func (js *jobService) GetJobs(context.Context, *jobpb.GetJobsRequest) (*jobpb.GetJobsResponse, error) {
	out := &jobpb.GetJobsResponse{}
	for _, j := range js.server.all() {
		state, _ := j.hub.current()
		out.JobInfo = append(out.JobInfo, &jobpb.JobInfo{
			JobId:           string(j.id),
			JobName:         j.name,
			PipelineOptions: j.options,
			State:           state.Proto(),
		})
	}
	return out, nil
}

// GetState returns the state of a job, after waiting a while for a change: the
// clients of Java and TypeScript poll with seconds in between. A prepared job
// is STOPPED.
func (js *jobService) GetState(ctx context.Context, req *jobpb.GetJobStateRequest) (*jobpb.JobStateEvent, error) {
	if p := js.server.findPrepared(PreparationID(req.GetJobId())); p != nil {
		_, e := p.hub.current()
		return e, nil
	}
	j, err := js.server.find(req.GetJobId())
	if err != nil {
		return nil, err
	}
	before, e := j.hub.current()
	if !before.Terminal() {
		waiting, cancel := context.WithTimeout(ctx, js.server.opts.Limits.StateWait)
		defer cancel()
		j.hub.wait(waiting, func(s State) bool { return s != before })
		_, e = j.hub.current()
	}
	return toldTo(ctx, e), nil
}

// toldTo is the event as the client that asks is told of it. To Java's client
// DRAINED is no end: it would ask for ever. It is told DONE, which is true of all
// that the job had read.
func toldTo(ctx context.Context, e *jobpb.JobStateEvent) *jobpb.JobStateEvent {
	md, _ := metadata.FromIncomingContext(ctx)
	java := slices.ContainsFunc(md.Get("user-agent"), func(agent string) bool { return strings.Contains(agent, "grpc-java") })
	if e.GetState() != Drained.Proto() || !java {
		return e
	}
	return &jobpb.JobStateEvent{State: Done.Proto(), Timestamp: e.GetTimestamp()}
}

// GetStateStream sends each state of the job, the past ones first.
func (js *jobService) GetStateStream(req *jobpb.GetJobStateRequest, stream jobpb.JobService_GetStateStreamServer) error {
	return js.follow(stream.Context(), req.GetJobId(), func(e event) error {
		if e.state == nil {
			return nil
		}
		return stream.Send(e.state)
	})
}

// GetMessageStream sends the job's states and messages, the past ones first.
func (js *jobService) GetMessageStream(
	req *jobpb.JobMessagesRequest, stream jobpb.JobService_GetMessageStreamServer,
) error {
	return js.follow(stream.Context(), req.GetJobId(), func(e event) error {
		if e.state != nil {
			return stream.Send(&jobpb.JobMessagesResponse{
				Response: &jobpb.JobMessagesResponse_StateResponse{StateResponse: e.state},
			})
		}
		return stream.Send(&jobpb.JobMessagesResponse{
			Response: &jobpb.JobMessagesResponse_MessageResponse{MessageResponse: e.message},
		})
	})
}

// follow sends a job's history until its end. Only this stream waits when the
// client is slow.
func (js *jobService) follow(ctx context.Context, id string, send func(event) error) error {
	j, err := js.server.find(id)
	if err != nil {
		return err
	}
	seq := int64(0)
	for {
		events, err := j.hub.after(ctx, seq)
		if errors.Is(err, errSuspended) {
			return status.Error(codes.Unavailable, err.Error())
		}
		if err != nil {
			return status.FromContextError(err).Err()
		}
		if len(events) == 0 {
			return nil
		}
		for _, e := range events {
			if err := send(e); err != nil {
				return err
			}
		}
		seq = events[len(events)-1].seq
	}
}

// GetPipeline returns the pipeline as it was submitted.
func (js *jobService) GetPipeline(
	_ context.Context, req *jobpb.GetJobPipelineRequest,
) (*jobpb.GetJobPipelineResponse, error) {
	j, err := js.server.find(req.GetJobId())
	if err != nil {
		return nil, err
	}
	p := &pipepb.Pipeline{}
	if err := proto.Unmarshal(j.pipeline, p); err != nil {
		return nil, status.Errorf(codes.Internal, "runner: job %s: stored pipeline: %v", j.id, err)
	}
	return &jobpb.GetJobPipelineResponse{Pipeline: p}, nil
}

// GetJobMetrics returns the metrics of all attempts, and of what was committed,
// by the names that the user gave the transforms: ids are the SDK's affair, those
// of the parts of a transform the translator's, and of the ports between stages
// nobody wants to read.
func (js *jobService) GetJobMetrics(
	_ context.Context, req *jobpb.GetJobMetricsRequest,
) (*jobpb.GetJobMetricsResponse, error) {
	j, err := js.server.find(req.GetJobId())
	if err != nil {
		return nil, err
	}
	attempted, committed := j.metrics()
	return &jobpb.GetJobMetricsResponse{Metrics: &jobpb.MetricResults{
		Attempted: js.monitoringInfos(j, attempted),
		Committed: js.monitoringInfos(j, committed),
	}}, nil
}

// labelTransform is the label that has the id of a transform.
const labelTransform = "PTRANSFORM"

func (js *jobService) monitoringInfos(j *job, infos []metrics.Info) []*pipepb.MonitoringInfo {
	infos, err := metrics.Rename(infos, labelTransform, func(id string) (string, bool) {
		name, known := j.names[plan.TransformID(id)]
		if !known {
			name = id
		}
		return name, name != ""
	})
	if err != nil {
		js.server.opts.Log.Warn("metrics of a job", "job", string(j.id), "error", err)
	}
	out := make([]*pipepb.MonitoringInfo, len(infos))
	for i, m := range infos {
		out[i] = &pipepb.MonitoringInfo{Urn: m.URN, Type: m.Type, Labels: m.Labels, Payload: m.Payload}
	}
	return out
}

// Cancel stops a job. It waits a moment for the end, since TypeScript's client
// takes the answer for final.
func (js *jobService) Cancel(ctx context.Context, req *jobpb.CancelJobRequest) (*jobpb.CancelJobResponse, error) {
	if p := js.server.findPrepared(PreparationID(req.GetJobId())); p != nil && js.server.dropPrepared(p) {
		return &jobpb.CancelJobResponse{State: Cancelled.Proto()}, nil
	}
	j, err := js.server.find(req.GetJobId())
	if err != nil {
		return nil, err
	}
	j.requestCancel("a client asked for it")
	ctx, cancel := context.WithTimeout(ctx, js.server.opts.Limits.StateWait)
	defer cancel()
	state := j.hub.wait(ctx, State.Terminal)
	return &jobpb.CancelJobResponse{State: state.Proto()}, nil
}

// Drain makes a running job end as if its sources had. It does not wait for the
// end: that is followed as any other.
func (js *jobService) Drain(ctx context.Context, req *jobpb.DrainJobRequest) (*jobpb.DrainJobResponse, error) {
	id := req.GetJobId()
	if js.server.findPrepared(PreparationID(id)) != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "runner: job %s is prepared but has not been run: cancel it instead", id)
	}
	j, err := js.server.find(id)
	if err != nil {
		return nil, err
	}
	state, err := j.drain(ctx, "a client asked for it")
	if err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "runner: job %s cannot be drained: it is %v", id, state)
	}
	return &jobpb.DrainJobResponse{State: state.Proto()}, nil
}

// DescribePipelineOptions lists the options that only this runner knows.
func (js *jobService) DescribePipelineOptions(
	context.Context, *jobpb.DescribePipelineOptionsRequest,
) (*jobpb.DescribePipelineOptionsResponse, error) {
	return &jobpb.DescribePipelineOptionsResponse{Options: describeOptions()}, nil
}

// refusal is the status of a job that Prepare refuses.
func refusal(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	code := codes.InvalidArgument
	var unsupported *translate.UnsupportedError
	if errors.As(err, &unsupported) {
		code = codes.Unimplemented
	}
	return status.Error(code, statusText(toUTF8(err.Error())))
}
