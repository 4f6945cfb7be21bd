package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/execution/journal"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
	"github.com/gorunner/gorunner/runner/jobclient"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// fakeJournal counts the processes of a job in a file.
type fakeJournal struct {
	epoch uint64
	close func()
}

func (j *fakeJournal) Image() *journal.Image { return &journal.Image{} }
func (j *fakeJournal) Epoch() uint64         { return j.epoch }
func (j *fakeJournal) Last() journal.Seq     { return 7 }
func (j *fakeJournal) Durable() journal.Seq  { return 7 }
func (j *fakeJournal) Blocks() int           { return 3 }
func (j *fakeJournal) Disk() shuffle.Disk    { return nil }
func (j *fakeJournal) State() state.Reader   { return nil }
func (j *fakeJournal) Collect()              {}

func (j *fakeJournal) Append(context.Context, *journal.Commit) (journal.Seq, error) { return 8, nil }
func (j *fakeJournal) Wait(context.Context, journal.Seq) error                      { return nil }

func (j *fakeJournal) Close() error {
	j.close()
	return nil
}

// shelf is what servers that come one after the other have in common.
type shelf struct {
	dir string

	mu sync.Mutex
	// open are the journals that are; opened counts for each.
	open   map[string]bool
	opened map[string]uint64
	// err is the answer to who opens one; guarded by mu.
	err error
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	return &shelf{dir: filepath.Join(t.TempDir(), "data"), open: make(map[string]bool), opened: make(map[string]uint64)}
}

func (f *shelf) journal(p jobdb.Params) (Journal, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	if f.open[p.Dir] {
		return nil, errors.New("the journal is open")
	}
	f.open[p.Dir] = true
	f.opened[p.Dir]++
	return &fakeJournal{epoch: f.opened[p.Dir], close: func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.open[p.Dir] = false
	}}, nil
}

// serve starts a server on the shelf.
func (f *shelf) serve(t *testing.T, opts Options, run func(context.Context, *fakeExecution) error) *world {
	t.Helper()
	if opts.Durability == None {
		opts.Durability = Local
	}
	return newWorld(t, opts, func(w *world) {
		w.dir, w.lasting, w.journal = f.dir, true, f.journal
		w.engine.run = run
	})
}

// TestSuspendedJobsAreResumed: a job that outlives its server goes on in the next
// one, where its clients find all that it has said, its states and its metrics.
func TestSuspendedJobsAreResumed(t *testing.T) {
	f := newShelf(t)
	w := f.serve(t, Options{}, func(ctx context.Context, x *fakeExecution) error {
		return startOne(func(ctx context.Context, _ harness.Worker) error { return untilCancelled(ctx, x) })(ctx, x)
	})
	p := pipeline()
	p.Components.Environments["env"] = processEnvironment(&pipepb.ArtifactInformation{
		TypeUrn: "beam:artifact:type:file:v1", TypePayload: mustMarshal(&pipepb.ArtifactFilePayload{Path: "/client/lib.jar"}),
	})
	prep := w.prepare(p, map[string]any{"beam:option:job_name:v1": "count"})
	w.stage(prep.GetStagingSessionToken(), "staged once")
	resp, err := w.jobs.Run(t.Context(), &jobpb.RunJobRequest{PreparationId: prep.GetPreparationId()})
	if err != nil {
		t.Fatal(err)
	}
	id := resp.GetJobId()
	j := w.job(id)
	j.hub.wait(t.Context(), func(s State) bool { return s == Running })
	j.hub.say(Basic, "something happened")
	stream, err := w.jobs.GetMessageStream(t.Context(), &jobpb.JobMessagesRequest{JobId: id})
	if err != nil {
		t.Fatal(err)
	}
	w.close()
	for {
		if _, err = stream.Recv(); err != nil {
			break
		}
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("the stream of a suspended job ended with %v", err)
	}

	release := make(chan struct{})
	w = f.serve(t, Options{ProgressInterval: time.Hour}, startOne(func(context.Context, harness.Worker) error {
		<-release
		return nil
	}))
	defer w.close()
	jobs, err := w.jobs.GetJobs(t.Context(), &jobpb.GetJobsRequest{})
	if err != nil || len(jobs.GetJobInfo()) != 1 || jobs.GetJobInfo()[0].GetJobId() != id || jobs.GetJobInfo()[0].GetState() != jobpb.JobState_RUNNING {
		t.Errorf("found %v, %v", jobs, err)
	}
	close(release)
	want := []string{
		"STOPPED", "STARTING", "RUNNING", "BASIC: something happened",
		"BASIC: resumed from commit 7, with 3 blocks waiting; this is process 2 of the job", "DONE",
	}
	if diff := cmp.Diff(want, w.follow(id)); diff != "" {
		t.Error(diff)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	spec := w.workers[0].spec
	if !strings.HasSuffix(string(spec.ID), "-of-2") || len(spec.Provision.GetDependencies()) != 1 {
		t.Errorf("the worker is %s, and told %v", spec.ID, spec.Provision)
	}
}

// TestFinishedJobsAreKept: a job that has ended can be asked about in the next
// server, until its time is over; its directory then goes.
func TestFinishedJobsAreKept(t *testing.T) { synctest.Test(t, finishedJobsAreKept) }

func finishedJobsAreKept(t *testing.T) {
	f := newShelf(t)
	broken := errors.New("no luck")
	ends := map[string]func(context.Context, *fakeExecution) error{
		"DONE":   func(context.Context, *fakeExecution) error { return nil },
		"FAILED": func(context.Context, *fakeExecution) error { return broken },
	}
	for end, run := range ends {
		w := f.serve(t, Options{}, run)
		id := w.start(pipeline(), nil)
		before := w.follow(id)
		if before[3] != end {
			t.Fatalf("%v", before)
		}
		wantFiles(t, w, id)
		w.close()

		w = f.serve(t, Options{}, nil)
		if diff := cmp.Diff(before, w.follow(id)); diff != "" {
			t.Errorf("%s: %s", end, diff)
		}
		m, err := w.jobs.GetJobMetrics(t.Context(), &jobpb.GetJobMetricsRequest{JobId: id})
		if err != nil || len(m.GetMetrics().GetCommitted()) != 1 || m.GetMetrics().GetCommitted()[0].GetLabels()["PTRANSFORM"] != "Count" {
			t.Errorf("%s: metrics %v, %v", end, m, err)
		}
		if _, err := w.jobs.Cancel(t.Context(), &jobpb.CancelJobRequest{JobId: id}); err != nil {
			t.Errorf("%s: cancel: %v", end, err)
		}
		time.Sleep(23 * time.Hour)
		w.close()

		w = f.serve(t, Options{}, nil)
		synctest.Wait()
		w.job(id)
		time.Sleep(time.Hour + time.Second)
		if _, err := os.Stat(filepath.Join(f.dir, "jobs", id)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the directory is not removed: %v", end, err)
		}
		w.close()
	}
}

// wantFiles checks that nothing is left of a job but what is said of it.
func wantFiles(t *testing.T, w *world, id string) {
	t.Helper()
	<-w.job(id).done
	entries, err := os.ReadDir(filepath.Join(w.dir, "jobs", id))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"job", "life", "report"}, names); diff != "" {
		t.Error(diff)
	}
}

// TestJobsThatDoNotLast: a job may ask for less than its server offers, and not
// for more.
func TestJobsThatDoNotLast(t *testing.T) {
	f := newShelf(t)
	w := f.serve(t, Options{}, untilCancelled)
	id := w.start(pipeline(), map[string]any{"gorunner_durability": "none"})
	w.job(id).hub.wait(t.Context(), func(s State) bool { return s == Running })
	if _, err := w.tryPrepare(pipeline(), map[string]any{"gorunner_durability": "remote"}); err == nil || !strings.Contains(err.Error(), "more than this server offers, which is local") {
		t.Errorf("remote: %v", err)
	}
	if _, err := w.tryPrepare(pipeline(), map[string]any{"gorunner_durability": "iron"}); err == nil || !strings.Contains(err.Error(), `"iron"`) {
		t.Errorf("iron: %v", err)
	}
	w.close()
	w = f.serve(t, Options{}, nil)
	defer w.close()
	if _, err := w.jobs.GetState(t.Context(), &jobpb.GetJobStateRequest{JobId: id}); status.Code(err) != codes.NotFound {
		t.Errorf("found in the next server: %v", err)
	}
	if _, err := New(Deps{}, Options{Durability: Local}); err == nil || !strings.Contains(err.Error(), "needs a data directory") {
		t.Errorf("without a directory: %v", err)
	}
}

// TestStrandedJobs: what is wrong with the directory of a job fails that job
// alone, in this process alone, and names the file. Mended, the job goes on.
func TestStrandedJobs(t *testing.T) {
	flip := func(name string) func(*testing.T, *shelf, string) func() {
		return func(t *testing.T, _ *shelf, dir string) func() {
			t.Helper()
			path := filepath.Join(dir, name)
			was, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			bad := []byte(string(was))
			bad[len(bad)/2] ^= 1
			write := func(data []byte) {
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(bad)
			return func() { write(was) }
		}
	}
	tests := map[string]struct {
		spoil func(t *testing.T, f *shelf, dir string) (mend func())
		want  string
	}{
		"job":  {flip("job"), "/job: the file is damaged"},
		"life": {flip("life"), "/life: the file is damaged"},
		"plan": {func(_ *testing.T, f *shelf, _ string) func() {
			f.err = fmt.Errorf("rows: %w: line 3", jobdb.ErrPlan)
			return func() { f.err = nil }
		}, "rows: of another plan: line 3"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newShelf(t)
			w := f.serve(t, Options{}, untilCancelled)
			id, other := w.start(pipeline(), nil), w.start(pipeline(), map[string]any{"gorunner_durability": "none"})
			for _, id := range []string{id, other} {
				w.job(id).hub.wait(t.Context(), func(s State) bool { return s == Running })
			}
			w.close()
			mend := tt.spoil(t, f, filepath.Join(f.dir, "jobs", id))
			w = f.serve(t, Options{}, untilCancelled)
			said := w.follow(id)
			if last := said[len(said)-1]; said[len(said)-2] != "FAILED" || !strings.Contains(last, tt.want) || !strings.Contains(last, "jobs/"+id) {
				t.Errorf("%q", said)
			}
			if _, err := w.jobs.Cancel(t.Context(), &jobpb.CancelJobRequest{JobId: id}); err != nil {
				t.Errorf("cancel: %v", err)
			}
			w.close()
			mend()
			w = f.serve(t, Options{}, nil)
			defer w.close()
			if said := w.follow(id); said[len(said)-1] != "DONE" {
				t.Errorf("mended: %q", said)
			}
		})
	}
}

// TestEndingSurvives: what was asked of a job is done by the next server.
func TestEndingSurvives(t *testing.T) {
	f := newShelf(t)
	w := f.serve(t, Options{}, untilCancelled)
	id := w.start(pipeline(), nil)
	if _, err := w.jobs.Drain(t.Context(), &jobpb.DrainJobRequest{JobId: id}); err != nil {
		t.Fatal(err)
	}
	w.close()
	w = f.serve(t, Options{}, func(_ context.Context, x *fakeExecution) error {
		<-x.drained
		return nil
	})
	defer w.close()
	if got := w.states(id); got[len(got)-1] != "DRAINED" {
		t.Errorf("%v", got)
	}
}

// TestDelete: a job that has ended can be forgotten, with its files; one that runs
// cannot.
func TestDelete(t *testing.T) {
	f := newShelf(t)
	w := f.serve(t, Options{}, untilCancelled)
	defer w.close()
	client := jobclient.Of(w.conn, "bufconn")
	id := w.start(pipeline(), nil)
	if err := client.Delete(t.Context(), id); err == nil || !strings.Contains(err.Error(), "cancel it first") {
		t.Errorf("running: %v", err)
	}
	if _, err := w.jobs.Cancel(t.Context(), &jobpb.CancelJobRequest{JobId: id}); err != nil {
		t.Fatal(err)
	}
	details, err := client.Details(t.Context())
	if err != nil || len(details) != 1 || details[0].ID != id || details[0].Durability != "local" || details[0].DiskBytes == 0 || details[0].Created.IsZero() {
		t.Errorf("%+v, %v", details, err)
	}
	if err := client.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(f.dir, "jobs", id)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its files: %v", err)
	}
	if err := client.Delete(t.Context(), id); !errors.Is(err, jobclient.ErrUnknown) {
		t.Errorf("twice: %v", err)
	}
}
