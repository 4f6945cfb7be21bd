package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/gorunner/gorunner/execution/engine"
	"github.com/gorunner/gorunner/execution/journal/jobdb"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/runner/artifact"
	"github.com/gorunner/gorunner/runner/jobdir"
	"github.com/gorunner/gorunner/shuffle"
)

// A job that outlives the process goes from one to the next:
//
//	Run ──▶ directory, STARTING ──▶ RUNNING ── suspended, killed ─┐
//	                                  ▲                           │
//	                                  └── resumed by the next ◀───┘
//	                                  └──▶ DONE, … ──▶ kept to be asked about
//
// What cannot be gone on with, because its directory is damaged or of another
// version, a disk is full or broken, or we have made a mistake, is stranded: it is
// shown as failed, and nothing of it is touched, so that somebody may mend it.

// errSuspended is what the readers of a job's history get when the server stops.
var errSuspended = errors.New("runner: the server was stopped; the next one goes on with the job")

// errNoStore keeps a job that makes checkpoints from going on without: another machine
// may have it, and only its log would tell.
var errNoStore = errors.New("it makes checkpoints, and this server was not told where (--checkpoint-uri)")

// strandedError says that a job cannot be gone on with by this process.
type strandedError struct{ err error }

func (e *strandedError) Error() string { return e.err.Error() }

func (e *strandedError) Unwrap() error { return e.err }

// isStranded says whether a job has ended for a reason that is not its own: its
// directory, a disk, a mistake of ours. A disk may be full or give the wrong bytes at
// any time, not only when the job is resumed. A job that was cancelled has ended,
// whatever that has broken, and one that has used up its quota has itself to blame. One
// that has had workers in another process, and gets none in this, waits for them.
func (s *Server) isStranded(j *job, err error) bool {
	var stranded *strandedError
	var unwritten *unwrittenError
	switch {
	case j.saved == nil:
		return false
	case errors.As(err, &stranded), jobdb.IsCorrupt(err):
		return true
	case errors.Is(err, engine.ErrCancelled), errors.Is(err, shuffle.ErrQuota):
		return false
	}
	if j.resumed && errors.Is(err, engine.ErrNoWorker) {
		return true
	}
	return errors.Is(err, engine.ErrJournal) || errors.Is(err, engine.ErrInternal) || errors.As(err, &unwritten) || brokenDisk(err)
}

// brokenDisk says whether the operating system refused what was asked of a disk.
func brokenDisk(err error) bool {
	var errno syscall.Errno
	return errors.Is(err, shuffle.ErrDisk) && errors.As(err, &errno)
}

// save makes a job one that outlives the process.
func (s *Server) save(j *job) error {
	options, err := protojson.Marshal(j.options)
	if err != nil {
		return err
	}
	staged, err := s.artifacts.Export(j.token)
	if err != nil {
		return err
	}
	saved := &jobdir.Job{
		ID: string(j.id), Name: j.name, Preparation: string(j.preparation), Created: j.created, Durability: j.durability.String(),
		Options: options, Token: string(j.token), Artifacts: make(map[string][]jobdir.Artifact), Pipeline: j.pipeline,
	}
	for set, list := range staged {
		for _, a := range list {
			info, err := proto.Marshal(a.Info)
			if err != nil {
				return err
			}
			saved.Artifacts[string(set)] = append(saved.Artifacts[string(set)], jobdir.Artifact{Digest: string(a.Digest), Info: info})
		}
	}
	state, e := j.hub.current()
	life := jobdir.Life{Changes: []jobdir.Change{{Seq: 1, State: state.String(), Time: e.GetTimestamp().AsTime()}}}
	dir, err := jobdir.Create(j.dir, saved, &life)
	if err != nil {
		return err
	}
	j.saved = &dir
	j.hub.keep(s.newRecord(j, life))
	return nil
}

func (s *Server) newRecord(j *job, life jobdir.Life) *record {
	return &record{dir: *j.saved, life: life, messages: j.saved.Messages(), log: s.opts.Log.With("job", string(j.id))}
}

// findJobs takes over the jobs that earlier processes have left. Nobody else
// knows the server yet.
func (s *Server) findJobs() error {
	entries, err := os.ReadDir(s.jobsDir())
	if err != nil {
		return fmt.Errorf("runner: find jobs: %w", err)
	}
	for _, e := range entries {
		s.findJob(filepath.Join(s.jobsDir(), e.Name()))
	}
	slices.SortFunc(s.finished, func(a, b *job) int { return a.final.ended.Compare(b.final.ended) })
	return nil
}

// findJob takes over what is in a directory.
func (s *Server) findJob(path string) {
	dir, err := jobdir.Open(path)
	if errors.Is(err, jobdir.ErrNoJob) {
		s.leftover = append(s.leftover, path) // of a job that ended with its process
		return
	}
	j := &job{
		id: JobID(filepath.Base(path)), name: filepath.Base(path), dir: path, saved: &dir, resumed: true,
		created: s.opts.Clock(), hub: newHub(s.opts.Clock, s.opts.Limits), done: make(chan struct{}),
	}
	if err == nil {
		err = contained(func() error { return s.load(j) })
	}
	state, _ := j.hub.current()
	switch {
	case err != nil:
		s.jobs[j.id] = j
		s.active++
		s.leave(j, err)
		s.unswept = append(s.unswept, path)
		close(j.done)
		s.opts.Log.Error("job cannot be gone on with", "job", string(j.id), "dir", path, "error", err)
	case state == Stopped: // nobody was told of it
		s.leftover = append(s.leftover, path)
	case state.Terminal():
		s.jobs[j.id] = j
		s.finished = append(s.finished, j)
		close(j.done)
	default:
		s.jobs[j.id] = j
		s.active++
		s.resumable = append(s.resumable, j)
	}
}

// contained makes a panic of f an error: what a file has led to must not end the
// server.
func contained(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("internal error: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}

// load reads a job of an earlier process.
func (s *Server) load(j *job) error {
	saved, err := j.saved.Job()
	if err != nil {
		return err
	}
	j.name, j.created, j.pipeline = saved.Name, saved.Created, saved.Pipeline
	j.preparation, j.token = PreparationID(saved.Preparation), artifact.Token(saved.Token)
	j.options = new(structpb.Struct)
	if err := protojson.Unmarshal(saved.Options, j.options); err != nil {
		return fmt.Errorf("options: %w", err)
	}
	if j.settings, err = parseJobOptions(j.options); err != nil {
		return err
	}
	if j.durability, err = ParseDurability(saved.Durability); err != nil {
		return err
	}
	life, err := j.saved.Life()
	if err != nil {
		return err
	}
	if err := j.hub.restore(s.newRecord(j, *life)); err != nil {
		return err
	}
	state, e := j.hub.current()
	if state.Terminal() {
		s.loadFinished(j, e.GetTimestamp().AsTime())
		return nil
	}
	if state == Cancelling {
		j.cancelled = "somebody asked for it before the server ended"
	}
	if j.durability == Remote && s.checkpoints == nil {
		return errNoStore
	}
	return s.loadRunning(j, saved)
}

// loadFinished reads what remains of a job that has ended.
func (s *Server) loadFinished(j *job, ended time.Time) {
	var r jobReport
	if err := j.saved.Report(&r); err != nil {
		s.opts.Log.Warn("metrics of a job that has ended are not there", "job", string(j.id), "error", err)
	}
	j.names, j.streaming, j.workers = r.Names, r.Streaming, r.Workers
	j.final = finalReport{status: r.Status, attempted: r.Attempted, committed: r.Committed, ended: ended}
	if err := j.saved.Clear(); err != nil { // in case that was not done
		s.opts.Log.Warn("what a job held could not be removed", "job", string(j.id), "error", err)
	}
}

// loadRunning makes ready what is to be gone on with.
func (s *Server) loadRunning(j *job, saved *jobdir.Job) error {
	pipeline := new(pipepb.Pipeline)
	if err := proto.Unmarshal(saved.Pipeline, pipeline); err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	if err := s.translate(j, pipeline); err != nil {
		return fmt.Errorf("translate: %w", err)
	}
	var err error
	if j.environmentWorkers, err = s.pythonWorkers(j); err != nil {
		return err
	}
	staged := make(map[artifact.Set][]artifact.Staged)
	for set, list := range saved.Artifacts {
		for _, a := range list {
			info := new(pipepb.ArtifactInformation)
			if err := proto.Unmarshal(a.Info, info); err != nil {
				return fmt.Errorf("artifact %s: %w", a.Digest, err)
			}
			staged[artifact.Set(set)] = append(staged[artifact.Set(set)], artifact.Staged{Digest: artifact.Digest(a.Digest), Info: info})
		}
	}
	return s.artifacts.Adopt(j.token, staged)
}

// resumeJobs goes on with the jobs that were found, and removes what others have
// left.
func (s *Server) resumeJobs() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	for _, j := range s.resumable {
		s.begin(j)
	}
	s.resumable = nil
	for _, path := range s.leftover {
		s.running.Go(func() {
			log := s.opts.Log.With("dir", path)
			s.sweep(s.hurry, path, log)
			if err := jobdir.RemoveButDead(path); err != nil {
				log.Warn("what is left of a job could not be removed", "error", err)
			}
		})
	}
	s.leftover = nil
	for _, path := range s.unswept {
		s.running.Go(func() { s.sweep(s.hurry, path, s.opts.Log.With("dir", path)) })
	}
	s.unswept = nil
	for _, j := range s.finished {
		s.expireFinished(j)
	}
	s.trimFinished()
}

// sweep ends the workers that an earlier process has started for a job.
func (s *Server) sweep(ctx context.Context, dir string, log *slog.Logger) {
	if s.deps.Sweep == nil {
		return
	}
	swept, err := s.deps.Sweep(ctx, dir, log)
	if len(swept) > 0 {
		log.Info("ended the workers of an earlier process", "workers", swept)
	}
	if err != nil {
		log.Warn("workers of an earlier process are left", "error", err)
	}
}

// openJournal opens what a job commits, and says where it goes on if it does.
func (s *Server) openJournal(j *job, r room, log *slog.Logger) (storage, error) {
	if s.deps.OpenJournal == nil {
		return storage{}, fmt.Errorf("runner: job %s: this server keeps nothing", j.id)
	}
	db, err := s.deps.OpenJournal(jobdb.Params{
		Dir: j.dir, Plan: j.translation.Plan.Text(), Memory: r.memory, Disk: r.disk, MemoryBytes: min(r.memory.Limit()/stateShare, journalBytesMax), Log: log,
	})
	if err != nil {
		if j.resumed {
			err = &strandedError{err}
		}
		return storage{}, err
	}
	if state, _ := j.hub.current(); j.resumed && state != Starting && db.Epoch() == 1 {
		// The database is there before the job is said to run: begun with once more, the
		// job would have all its effects twice.
		why := fmt.Errorf("runner: job %s: it is %v, and what it had committed is not there", j.id, state)
		return storage{}, &strandedError{errors.Join(why, db.Close())}
	}
	if j.resumed {
		text := fmt.Sprintf("resumed from commit %d, with %s waiting; this is process %d of the job", db.Last(), plural(int64(db.Blocks()), "block"), db.Epoch())
		j.hub.say(Basic, text)
		log.Info("job resumed", "commit", db.Last(), "blocks", db.Blocks(), "epoch", db.Epoch())
	}
	return storage{disk: db.Disk(), journal: db, epoch: db.Epoch(), close: db.Close}, nil
}

// suspend ends this process' part in a job.
func (s *Server) suspend(j *job, log *slog.Logger) {
	log.Info("job suspended: the next server on this directory goes on with it")
	j.hub.suspend(errSuspended)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
}

// strand ends a job that cannot be gone on with, in this process alone.
func (s *Server) strand(j *job, why error, log *slog.Logger) {
	log.Error("job cannot be gone on with", "dir", j.dir, "error", why)
	s.mu.Lock()
	defer s.mu.Unlock()
	j.cancel(nil)
	s.leave(j, why)
	s.expireEnded(j)
	s.watchIdle()
}

// leave shows a job as failed and leaves its directory alone. mu is held, or
// nobody else knows the server yet.
func (s *Server) leave(j *job, why error) {
	j.hub.keep(nil)
	text := fmt.Sprintf("the job cannot be gone on with: %v\nIts directory is kept as it is: %s", why, j.dir)
	if state, _ := j.hub.current(); state == Stopped {
		s.logImpossible(j.hub.to(Starting))
	}
	s.logImpossible(j.hub.to(Failed, text))
	j.stranded = true
	j.translation, j.environments = nil, nil
	s.active--
	s.finished = append(s.finished, j)
	j.mu.Lock()
	j.final.ended = s.opts.Clock()
	j.mu.Unlock()
}

func (s *Server) logImpossible(err error) {
	if err != nil {
		s.opts.Log.Warn("state of a job", "error", err)
	}
}

// jobReport is what remains of a job that has ended, for another process.
type jobReport struct {
	Status               engine.Status
	Attempted, Committed []metrics.Info
	Names                map[plan.TransformID]string
	Streaming            bool
	Workers              int
}

func (j *job) report() *jobReport {
	_, final := j.executed()
	return &jobReport{
		Status: final.status, Attempted: final.attempted, Committed: final.committed,
		Names: maps.Clone(j.names), Streaming: j.streaming, Workers: j.workers,
	}
}
