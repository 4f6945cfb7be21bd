package runner

import (
	"cmp"
	"fmt"
	"slices"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/fnapi/environment"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/runner/artifact"
	"github.com/gorunner/gorunner/translate"
)

// prepare makes a job of a request and keeps it. The error is not a status yet:
// see refusal.
func (s *Server) prepare(req *jobpb.PrepareJobRequest) (*job, error) {
	if req.GetPipeline() == nil {
		return nil, status.Error(codes.InvalidArgument, "runner: prepare: there is no pipeline in the request")
	}
	settings, err := parseJobOptions(req.GetPipelineOptions())
	if err != nil {
		return nil, err
	}
	durability, err := settings.keeps(s.opts.Durability)
	if err != nil {
		return nil, err
	}
	if settings.park && s.temporary {
		return nil, status.Error(codes.FailedPrecondition,
			"runner: gorunner_on_poison=park: the server has only a temporary directory, which ends with it and what is put aside: start it with --data-dir")
	}
	submitted, err := proto.Marshal(req.GetPipeline())
	if err != nil {
		return nil, fmt.Errorf("runner: prepare: %w", err)
	}
	id := newID()
	j := &job{
		preparation: PreparationID("preparation-" + id),
		token:       artifact.Token("artifacts-" + id),
		name:        jobName(req, settings),
		pipeline:    submitted,
		options:     req.GetPipelineOptions(),
		settings:    settings,
		durability:  durability,
		created:     s.opts.Clock(),
		hub:         newHub(s.opts.Clock, s.opts.Limits),
		done:        make(chan struct{}),
	}
	if err := s.translate(j, req.GetPipeline()); err != nil {
		return nil, fmt.Errorf("runner: prepare: %w", err)
	}
	if j.environmentWorkers, err = s.pythonWorkers(j); err != nil {
		return nil, err
	}
	if err := s.artifacts.Expect(j.token, wantedArtifacts(j.environments)); err != nil {
		return nil, status.Error(codes.ResourceExhausted, err.Error())
	}
	if err := s.addPrepared(j); err != nil {
		return nil, joinStatus(err, s.artifacts.Release(j.token))
	}
	s.opts.Log.Info("job prepared", "preparation", string(j.preparation), "name", j.name,
		"stages", len(j.translation.Plan.Stages), "environments", len(j.environments))
	return j, nil
}

// translate fills in what follows from the job's pipeline and settings.
func (s *Server) translate(j *job, pipeline *pipepb.Pipeline) error {
	translation, err := s.deps.Translate(pipeline, translate.Options{
		Streaming: j.settings.streaming, DisableFusion: j.settings.noFusion, IsolateSources: j.settings.park, KeyGroups: j.settings.keyGroups,
	})
	if err != nil {
		return err
	}
	j.workers = j.settings.workers(s.opts)
	j.names = transformNames(pipeline, translation.Plan)
	j.streaming = isStreaming(translation.Plan)
	j.translation = translation
	j.environments = make(map[plan.EnvironmentID]*pipepb.Environment)
	for id, env := range translation.Environments {
		if j.environments[id], err = s.deps.Resolve(env); err != nil {
			return fmt.Errorf("environment %s: %w", id, err)
		}
	}
	return nil
}

// wantedArtifacts are those that the client is to stage. Workers that somebody
// else starts have their files already.
func wantedArtifacts(environments map[plan.EnvironmentID]*pipepb.Environment) map[artifact.Set][]*pipepb.ArtifactInformation {
	wanted := make(map[artifact.Set][]*pipepb.ArtifactInformation)
	for id, env := range environments {
		if env.GetUrn() != environment.URNExternal && len(env.GetDependencies()) > 0 {
			wanted[artifact.Set(id)] = env.GetDependencies()
		}
	}
	return wanted
}

// transformNames are the full names that the user gave to the transforms: those
// of the pipeline, and the parts of them that only the plan has. The ports through
// which stages read and write have empty names.
func transformNames(pipeline *pipepb.Pipeline, p *plan.Plan) map[plan.TransformID]string {
	names := make(map[plan.TransformID]string)
	for id, t := range pipeline.GetComponents().GetTransforms() {
		names[plan.TransformID(id)] = cmp.Or(t.GetUniqueName(), id)
	}
	for _, stage := range slices.Concat(p.Stages, p.Functions) {
		x, ok := stage.Kind.(*plan.Executable)
		if !ok {
			continue
		}
		for _, t := range x.Transforms {
			names[t.ID] = t.Name
		}
		if stage.Input != nil {
			names[stage.Input.Port] = ""
		}
		for _, out := range stage.Outputs {
			names[out.Port] = ""
		}
	}
	return names
}

// isStreaming says that watermarks follow the clock: there are unbounded sources,
// and no script that plays them.
func isStreaming(p *plan.Plan) bool {
	return len(p.Tests) == 0 && slices.ContainsFunc(p.Edges, func(e *plan.Edge) bool { return !e.Bounded })
}

// jobName is the user's name of the job. Python puts "job" into every request
// and the name into the options.
func jobName(req *jobpb.PrepareJobRequest, o jobOptions) string {
	name := req.GetJobName()
	if (name == "" || name == "job") && o.name != "" {
		name = o.name
	}
	if name == "" {
		name = "job"
	}
	return toUTF8(name)
}

// joinStatus keeps the status of err and adds what went wrong besides.
func joinStatus(err, also error) error {
	if also == nil {
		return err
	}
	return status.Errorf(status.Code(err), "%v; also: %v", err, also)
}
