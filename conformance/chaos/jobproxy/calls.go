package jobproxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const jobService = "/org.apache.beam.model.job_management.v1.JobService/"

// handle serves a call of any method.
func (p *Proxy) handle(_ any, client grpc.ServerStream) error {
	method, ok := grpc.MethodFromServerStream(client)
	if !ok {
		return status.Error(codes.Internal, "proxy: a call without a method")
	}
	ctx := client.Context()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md)
	}
	switch method {
	case jobService + "Prepare":
		return p.prepare(ctx, client)
	case jobService + "Run":
		return p.run(ctx, client)
	case jobService + "GetStateStream":
		return p.follow(ctx, client, method, stateOf)
	case jobService + "GetMessageStream":
		return p.follow(ctx, client, method, stateIn)
	case jobService + "GetJobs", jobService + "GetState", jobService + "GetPipeline", jobService + "GetJobMetrics",
		jobService + "DescribePipelineOptions",
		// To ask for these twice is to ask for them.
		jobService + "Cancel", jobService + "Drain":
		return p.ask(ctx, client, method)
	default: // staging: a dialogue, in which nothing is repeated
		return p.pass(ctx, client, method)
	}
}

// prepare is a call of Prepare: artifacts are staged by way of the proxy.
func (p *Proxy) prepare(ctx context.Context, client grpc.ServerStream) error {
	if err := p.beginPrepare(ctx); err != nil {
		return status.FromContextError(err).Err()
	}
	id := ""
	defer func() { p.endPrepare(id) }()
	answer, err := p.forward(ctx, client, jobService+"Prepare")
	if err != nil {
		return err
	}
	var resp jobpb.PrepareJobResponse
	if err := proto.Unmarshal(answer, &resp); err != nil {
		return status.Errorf(codes.Internal, "proxy: answer to Prepare: %v", err)
	}
	resp.GetArtifactStagingEndpoint().Url = p.opts.Address
	if answer, err = proto.Marshal(&resp); err != nil {
		return status.Errorf(codes.Internal, "proxy: answer to Prepare: %v", err)
	}
	id = resp.GetPreparationId()
	return client.SendMsg(&answer)
}

// run is a call of Run, with whose answer the job is the runner's.
func (p *Proxy) run(ctx context.Context, client grpc.ServerStream) error {
	var request []byte
	if err := client.RecvMsg(&request); err != nil {
		return err
	}
	var req jobpb.RunJobRequest
	if err := proto.Unmarshal(request, &req); err != nil {
		return status.Errorf(codes.InvalidArgument, "proxy: Run: %v", err)
	}
	defer p.submitted(req.GetPreparationId())
	var answer []byte
	if err := p.runner.Invoke(ctx, jobService+"Run", &request, &answer); err != nil {
		return err
	}
	return client.SendMsg(&answer)
}

// forward makes a call once.
func (p *Proxy) forward(ctx context.Context, client grpc.ServerStream, method string) ([]byte, error) {
	var request, answer []byte
	if err := client.RecvMsg(&request); err != nil {
		return nil, err
	}
	return answer, p.runner.Invoke(ctx, method, &request, &answer)
}

// ask makes a call until it is answered.
func (p *Proxy) ask(ctx context.Context, client grpc.ServerStream, method string) error {
	var request, answer []byte
	if err := client.RecvMsg(&request); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.opts.Patience)
	defer cancel()
	err := p.runner.Invoke(ctx, method, &request, &answer)
	for away(err) && ctx.Err() == nil {
		err = p.runner.Invoke(ctx, method, &request, &answer)
	}
	if err != nil {
		return err
	}
	return client.SendMsg(&answer)
}

// away says that the runner has gone, or is not there.
func away(err error) bool { return status.Code(err) == codes.Unavailable }

// stateOf is the state that a message of GetStateStream tells.
func stateOf(m []byte) (jobpb.JobState_Enum, error) {
	var e jobpb.JobStateEvent
	err := proto.Unmarshal(m, &e)
	return e.GetState(), err
}

// stateIn is the state that a message of GetMessageStream tells, if it tells one.
func stateIn(m []byte) (jobpb.JobState_Enum, error) {
	var e jobpb.JobMessagesResponse
	err := proto.Unmarshal(m, &e)
	return e.GetStateResponse().GetState(), err
}

func terminal(s jobpb.JobState_Enum) bool {
	switch s {
	case jobpb.JobState_DONE, jobpb.JobState_FAILED, jobpb.JobState_CANCELLED, jobpb.JobState_UPDATED, jobpb.JobState_DRAINED:
		return true
	case jobpb.JobState_UNSPECIFIED, jobpb.JobState_STOPPED, jobpb.JobState_RUNNING, jobpb.JobState_CANCELLING,
		jobpb.JobState_UPDATING, jobpb.JobState_DRAINING, jobpb.JobState_STARTING:
	}
	return false
}

// follow passes on a stream until the job has ended, through the lives of the
// runner. Each message is told once: they have times, and so differ.
func (p *Proxy) follow(ctx context.Context, client grpc.ServerStream, method string, state func([]byte) (jobpb.JobState_Enum, error)) error {
	var request []byte
	if err := client.RecvMsg(&request); err != nil {
		return err
	}
	told, ended := map[[sha256.Size]byte]bool{}, false
	tell := func(m []byte) error {
		s, err := state(m)
		if err != nil {
			return status.Errorf(codes.Internal, "proxy: %s: %v", method, err)
		}
		ended = ended || terminal(s)
		id := sha256.Sum256(m)
		if told[id] {
			return nil
		}
		told[id] = true
		return client.SendMsg(&m)
	}
	for {
		err := p.read(ctx, method, &request, tell)
		switch {
		case ended && (err == nil || away(err)):
			return nil
		case ctx.Err() != nil:
			return status.FromContextError(ctx.Err()).Err()
		case err != nil && !away(err):
			return err
		}
	}
}

// read passes on what a stream has until it ends.
func (p *Proxy) read(ctx context.Context, method string, request *[]byte, tell func([]byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A stream begins with what is past, and so at once.
	begun := startTimer(p.opts.Patience, func() {
		cancel(status.Errorf(codes.DeadlineExceeded, "proxy: %s: no runner within %v", method, p.opts.Patience))
	})
	defer begun()
	runner, err := p.runner.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err == nil {
		// What was wrong with sending is said by receiving.
		_ = runner.SendMsg(request)
		_ = runner.CloseSend()
	}
	for err == nil {
		var m []byte
		if err = runner.RecvMsg(&m); err == nil {
			begun()
			err = tell(m)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// pass passes a dialogue on in both directions.
func (p *Proxy) pass(ctx context.Context, client grpc.ServerStream, method string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	runner, err := p.runner.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	go func() {
		for {
			var m []byte
			if err := client.RecvMsg(&m); err != nil {
				_ = runner.CloseSend() // whether it is the client's end or its death: the other way says it
				return
			}
			if runner.SendMsg(&m) != nil {
				return // as receiving says
			}
		}
	}()
	header, err := runner.Header()
	if err != nil {
		return err
	}
	// At once: there are clients that wait for it.
	if err := client.SendHeader(header); err != nil {
		return err
	}
	for {
		var m []byte
		err := runner.RecvMsg(&m)
		if errors.Is(err, io.EOF) {
			client.SetTrailer(runner.Trailer())
			return nil
		}
		if err != nil {
			return err
		}
		if err := client.SendMsg(&m); err != nil {
			return err
		}
	}
}
