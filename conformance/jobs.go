package conformance

import (
	"context"
	"fmt"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// drainInterval is how often DrainJobs looks for jobs.
const drainInterval = 200 * time.Millisecond

// DrainJobs drains each job of the job service at addr that it finds running,
// until ctx ends or the service refuses.
func DrainJobs(ctx context.Context, addr string) error {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("drain jobs of %s: %w", addr, err)
	}
	defer conn.Close()
	jobs := jobpb.NewJobServiceClient(conn)
	tick := time.NewTicker(drainInterval)
	defer tick.Stop()
	for {
		if err := drainRunning(ctx, jobs); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("drain jobs of %s: %w", addr, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func drainRunning(ctx context.Context, jobs jobpb.JobServiceClient) error {
	list, err := jobs.GetJobs(ctx, &jobpb.GetJobsRequest{})
	if err != nil {
		return err
	}
	for _, job := range list.GetJobInfo() {
		if job.GetState() != jobpb.JobState_RUNNING {
			continue
		}
		_, err := jobs.Drain(ctx, &jobpb.DrainJobRequest{JobId: job.GetJobId()})
		// Meanwhile the job may have ended by itself.
		if err != nil && status.Code(err) != codes.FailedPrecondition {
			return fmt.Errorf("job %s: %w", job.GetJobId(), err)
		}
	}
	return nil
}
