package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gorunner/gorunner/blob"
	"github.com/gorunner/gorunner/blob/checkpoints"
	"github.com/gorunner/gorunner/execution/checkpoint"
	"github.com/gorunner/gorunner/execution/engine"
	"github.com/gorunner/gorunner/runner/deadletter"
	"github.com/gorunner/gorunner/runner/jobdir"
)

// Checkpoints say where and when those of jobs with [Remote] durability are made.
// Zero values stand for the defaults said with each.
type Checkpoints struct {
	// URI is file:///dir or s3://bucket/prefix; without one there are none.
	URI string
	// Interval is the time from one checkpoint's beginning to the next's; default a
	// minute.
	Interval time.Duration
	// Retain is how many checkpoints of a job are kept; default 3.
	Retain int
	// Store is used instead of the store of the URI, if it is not nil.
	Store *blob.Store
}

func (c Checkpoints) config() checkpoint.Config {
	cfg := checkpoint.DefaultConfig()
	if c.Interval > 0 {
		cfg.Interval = c.Interval
	}
	if c.Retain > 0 {
		cfg.Keep = c.Retain
	}
	return cfg
}

// openStore opens the store of checkpoints; nil if there is none.
func (c Checkpoints) openStore(ctx context.Context) (*blob.Store, error) {
	if c.Store != nil || c.URI == "" {
		return c.Store, nil
	}
	store, err := blob.Open(ctx, c.URI, blob.Options{})
	if err != nil {
		return nil, fmt.Errorf("runner: store of checkpoints: %w", err)
	}
	return store, nil
}

// kept makes the checkpoints of a job while it runs.
type kept struct {
	server *Server
	job    *job
	log    *slog.Logger
	keeper *checkpoints.Keeper
	// overtaken is set, before stop is called, if another runner has the job.
	overtaken error
	stop      context.CancelCauseFunc
	// trouble is the last that was told; it belongs to the goroutine that observes.
	trouble string
}

// keep runs a job, and makes checkpoints of it meanwhile if it is to outlive its
// machine.
func (s *Server) keep(ctx context.Context, j *job, journal engine.Journal, log *slog.Logger, run func(context.Context) error) error {
	if j.durability != Remote {
		return run(ctx)
	}
	if s.checkpoints == nil {
		j.hub.say(Warning, "no checkpoints of the job are made: the server has no place for them (--checkpoint-uri)")
		return run(ctx)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	k := &kept{server: s, job: j, log: log, stop: stop}
	if err := k.start(journal); err != nil { //nolint:contextcheck // a keeper ends when it is closed: after the context of the job
		return fmt.Errorf("runner: checkpoints of job %s: %w", j.id, err)
	}
	j.mu.Lock()
	j.keeper = k.keeper
	j.mu.Unlock()
	return k.end(ctx, run(ctx))
}

func (k *kept) start(journal engine.Journal) error {
	j := k.job
	database, ok := journal.(checkpoints.Snapshots)
	if !ok {
		return errors.New("its journal makes no snapshots")
	}
	others, err := k.files()
	if err != nil {
		return err
	}
	home, err := checkpoints.OpenHome(j.dir)
	if err != nil {
		return &strandedError{err}
	}
	name := checkpoints.NewRunner(home.Lineage)
	k.keeper = checkpoints.Start(checkpoints.KeeperParams{
		Store: k.server.checkpoints, ID: checkpoint.JobID(j.id), Runner: name, Restored: home.Restored,
		Config: k.server.opts.Checkpoints.config(), Observe: k.observe,
		Job: checkpoints.NewJob(checkpoints.JobParams{
			Database: database, Log: k.log,
			Plan:   checkpoint.Fingerprint(fmt.Sprintf("%016x", xxhash.Sum64String(j.translation.Plan.Text()))),
			Others: func() ([]checkpoints.Other, error) { return withDead(others, jobdir.Dead(j.dir)) },
		}, checkpoints.Process(name)),
	})
	return nil
}

// files are those that another machine needs besides what the job commits.
func (k *kept) files() ([]checkpoints.Other, error) {
	saved, err := k.job.saved.Job()
	if err != nil {
		return nil, err
	}
	var others []checkpoints.Other
	for _, name := range jobdir.Description() {
		others = append(others, checkpoints.Other{Kind: checkpoint.Description, Name: name, Path: filepath.Join(k.job.dir, name)})
	}
	seen := make(map[string]bool)
	for _, list := range saved.Artifacts {
		for _, a := range list {
			if !seen[a.Digest] {
				seen[a.Digest] = true
				others = append(others, checkpoints.Other{Kind: checkpoint.Artifact, Name: a.Digest, Path: filepath.Join(k.server.artifactsDir(), a.Digest)})
			}
		}
	}
	return others, nil
}

// withDead adds the elements that are parked so far. The input that a job fails with
// is its last, and no other machine goes on.
func withDead(others []checkpoints.Other, dir string) ([]checkpoints.Other, error) {
	paths, err := deadletter.Parked(dir)
	if err != nil {
		return nil, err
	}
	all := slices.Clone(others)
	for _, path := range paths {
		all = append(all, checkpoints.Other{Kind: checkpoint.DeadLetter, Name: filepath.Base(path), Path: path})
	}
	return all, nil
}

func (k *kept) observe(o checkpoints.Observation) {
	switch o := o.(type) {
	case checkpoints.Made:
		k.trouble = ""
		text := fmt.Sprintf("%s %d: %s, of which %s are new, in %v: %s", o.Kind, o.Slot, humanBytes(float64(o.Bytes)), humanBytes(float64(o.Uploaded)), o.Took.Round(time.Millisecond), o.URI)
		k.job.hub.say(importanceOf(o.Kind), text)
		k.log.Info("checkpoint made", "kind", string(o.Kind), "uri", o.URI, "bytes", o.Bytes, "uploaded", o.Uploaded, "took", o.Took.String())
	case checkpoints.Trouble:
		if o.Problem != k.trouble { // once, not every time that it is tried again
			k.job.hub.say(Warning, "checkpoints: "+o.Problem)
			k.log.Warn("checkpoints", "problem", o.Problem)
		}
		k.trouble = o.Problem
	case checkpoints.Overtaken:
		k.overtaken = o.Err
		k.stop(engine.ErrSuspended)
	}
}

// importanceOf is that of the news that there is one: checkpoints are many.
func importanceOf(kind checkpoint.EntryKind) Importance {
	if kind == checkpoint.Savepoint {
		return Basic
	}
	return Debug
}

// end puts the keeper away when the job has ended here, with an error that it
// returns, or a reason of its own.
func (k *kept) end(ctx context.Context, err error) error {
	j := k.job
	suspended := errors.Is(err, engine.ErrSuspended)
	if !suspended && !k.server.isStranded(j, err) {
		ctx, cancel := k.server.stopContext(ctx)
		defer cancel()
		failed := err != nil && !errors.Is(err, engine.ErrCancelled)
		if endErr := k.keeper.End(ctx, failed); endErr != nil && !errors.Is(endErr, checkpoints.ErrClosed) {
			j.hub.say(Warning, fmt.Sprintf("its checkpoints are left, and a server that restores all jobs restores this one: %v", endErr))
		}
	}
	k.keeper.Close()
	st := k.keeper.Status()
	j.mu.Lock()
	j.keeper, j.checkpoints = nil, &st
	j.mu.Unlock()
	if k.overtaken != nil && !k.server.isStranded(j, err) { // it may have learnt that by ending
		return &strandedError{fmt.Errorf("runner: %w", k.overtaken)}
	}
	return err
}

// checkpointStatus is how the checkpoints of a job are getting on; nil if there are
// none.
func (j *job) checkpointStatus() *checkpoints.Status {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.keeper == nil {
		return j.checkpoints
	}
	st := j.keeper.Status()
	return &st
}

// Savepoint makes a savepoint of a running job, and returns when it is there. The
// error is a gRPC status.
func (s *Server) Savepoint(ctx context.Context, id JobID) (checkpoints.Info, error) {
	j, err := s.find(string(id))
	if err != nil {
		return checkpoints.Info{}, err
	}
	j.mu.Lock()
	k := j.keeper
	j.mu.Unlock()
	state, _ := j.hub.current()
	switch {
	case state.Terminal():
		return checkpoints.Info{}, status.Errorf(codes.FailedPrecondition, "runner: job %s is %v", id, state)
	case k == nil && j.durability == Remote && s.checkpoints != nil:
		return checkpoints.Info{}, status.Errorf(codes.Unavailable, "runner: job %s is %v: try again when it is running", id, state)
	case k == nil:
		return checkpoints.Info{}, status.Errorf(codes.FailedPrecondition,
			"runner: job %s has no checkpoints: it has durability %v, and the server needs a --checkpoint-uri", id, j.durability)
	}
	info, err := k.Make(ctx, checkpoint.Savepoint)
	if err != nil {
		return info, status.Errorf(codes.Unavailable, "runner: savepoint of job %s: %v", id, err)
	}
	return info, nil
}

// DeleteSavepoint deletes a savepoint of a job that runs here, as soon as there is
// something newer to go on from, or of one that has ended. The error is a gRPC
// status.
func (s *Server) DeleteSavepoint(ctx context.Context, uri string) error {
	p, err := checkpoints.ParsePlace(uri)
	if err != nil || p.Slot == 0 {
		return status.Errorf(codes.InvalidArgument, "runner: %s is no savepoint", uri)
	}
	if s.checkpoints != nil && p.Store == (checkpoints.Place{Store: s.checkpoints.URI()}).URI() {
		if j, err := s.find(string(p.ID)); err == nil {
			j.mu.Lock()
			k := j.keeper
			j.mu.Unlock()
			if state, _ := j.hub.current(); k != nil && !state.Terminal() {
				err = k.Forget(ctx, p.Slot)
				return status.FromContextError(err).Err()
			}
		}
	}
	store, err := blob.Open(ctx, p.Store, blob.Options{})
	if err == nil {
		err = checkpoints.Delete(ctx, store, p)
	}
	if err != nil {
		return status.Errorf(codes.FailedPrecondition, "runner: delete %s: %v", uri, err)
	}
	return nil
}

// RestoreParams say what to restore.
type RestoreParams struct {
	// DataDir is the directory of a server, which no server uses.
	DataDir string
	// URI is that of a store, of a job in it, or of a checkpoint or savepoint: see
	// [checkpoints.Place]. Of a store, all jobs are restored that have not ended.
	URI string
	// Store is used instead of that of the URI, if it is not nil.
	Store *blob.Store
	// Log gets what is worth telling; default nothing.
	Log *slog.Logger
}

// Restore takes jobs over from whoever has them, which is fenced, and puts them
// into a data directory, where the next server goes on with them. It returns those
// that it has put there. Jobs that are there already are left alone: if one was named,
// that is an error, which wraps [os.ErrExist]. Of a store, what keeps one job from
// being restored is logged, and keeps no other.
func Restore(ctx context.Context, p RestoreParams) ([]JobID, error) {
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	place, err := checkpoints.ParsePlace(p.URI)
	if err != nil {
		return nil, fmt.Errorf("runner: restore: %w", err)
	}
	if p.Store == nil {
		if p.Store, err = blob.Open(ctx, place.Store, blob.Options{}); err != nil {
			return nil, fmt.Errorf("runner: restore: %w", err)
		}
	}
	claim, err := claimDataDir(p.DataDir)
	if err != nil {
		return nil, err
	}
	restored, err := p.restore(ctx, place)
	return restored, errors.Join(err, claim.Close())
}

func (p *RestoreParams) restore(ctx context.Context, place checkpoints.Place) ([]JobID, error) {
	ids := []checkpoint.JobID{place.ID}
	if place.ID == "" {
		var err error
		if ids, err = checkpoints.Jobs(ctx, p.Store); err != nil {
			return nil, fmt.Errorf("runner: restore: %w", err)
		}
	}
	var restored []JobID
	for _, id := range ids {
		one := checkpoints.Place{Store: place.Store, ID: id, Slot: place.Slot}
		err := p.restoreJob(ctx, one)
		switch {
		case err == nil:
			restored = append(restored, JobID(id))
		case place.ID != "" || ctx.Err() != nil:
			return restored, fmt.Errorf("runner: restore: %w", err)
		case errors.Is(err, os.ErrExist), errors.Is(err, checkpoints.ErrEnded), errors.Is(err, checkpoints.ErrNothing):
			p.Log.Info("job is not restored", "job", string(id), "because", err)
		default:
			p.Log.Error("job could not be restored", "job", string(id), "error", err)
		}
	}
	return restored, nil
}

// restoreJob puts a job into the directory as a whole.
func (p *RestoreParams) restoreJob(ctx context.Context, place checkpoints.Place) error {
	final := filepath.Join(p.DataDir, jobsName, string(place.ID))
	if _, err := os.Stat(final); err == nil {
		return fmt.Errorf("job %s is there already: %w", place.ID, os.ErrExist)
	}
	aside := filepath.Join(p.DataDir, "restore")
	target := checkpoints.Target{Dir: filepath.Join(aside, string(place.ID)), Artifacts: filepath.Join(p.DataDir, artifactsName)}
	target.Dead = jobdir.Dead(target.Dir)
	clock := wallClock()
	began := clock()
	out, err := checkpoints.Restore(ctx, p.Store, place, func() (checkpoints.Target, error) {
		err := os.RemoveAll(aside)
		for _, dir := range []string{target.Dir, target.Artifacts, filepath.Dir(final)} {
			err = errors.Join(err, os.MkdirAll(dir, 0o700))
		}
		return target, err
	})
	if err != nil {
		return errors.Join(err, os.RemoveAll(aside))
	}
	for _, problem := range out.Problems {
		p.Log.Warn("restore", "job", string(place.ID), "problem", problem)
	}
	p.Log.Info("job restored", "job", string(place.ID), "from", checkpoints.EntryURI(p.Store, place.ID, out.Entry.Slot), "made", out.Entry.Made,
		"bytes", out.Entry.Bytes(), "took", clock().Sub(began).String())
	if err := os.Rename(target.Dir, final); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(aside), jobdir.Sync(filepath.Dir(final)))
}
