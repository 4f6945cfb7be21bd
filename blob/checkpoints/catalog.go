package checkpoints

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gorunner/gorunner/blob"
	"github.com/gorunner/gorunner/execution/checkpoint"
)

// jobsPrefix begins the names of all objects of jobs.
const jobsPrefix = "jobs/"

// Prefix is where the objects of a job are in a store.
func Prefix(id checkpoint.JobID) blob.Name { return jobsPrefix + blob.Name(id) }

// EntryURI names a checkpoint or savepoint of a job in a store, for people and
// [ParsePlace].
func EntryURI(store *blob.Store, id checkpoint.JobID, slot checkpoint.Slot) string {
	return Place{Store: store.URI(), ID: id, Slot: slot}.URI()
}

// Place names what is in a store: all of it, a job, or an entry.
type Place struct {
	// Store is the URI of the store.
	Store string
	// ID is the job's; empty for all jobs of the store.
	ID checkpoint.JobID
	// Slot is that of an entry; 0 for none in particular.
	Slot checkpoint.Slot
}

// URI names the place.
func (p Place) URI() string {
	uri := strings.TrimRight(p.Store, "/")
	if p.ID != "" {
		uri += "/" + string(Prefix(p.ID))
	}
	if p.Slot > 0 {
		uri += "/" + string(p.Slot.Blob())
	}
	return uri
}

// ParsePlace reads what URI writes: STORE, STORE/jobs/JOB, or
// STORE/jobs/JOB/log/SLOT.
func ParsePlace(uri string) (Place, error) {
	uri = strings.TrimRight(uri, "/")
	at := strings.LastIndex(uri, "/"+jobsPrefix)
	if at < 0 {
		return Place{Store: uri}, nil
	}
	p := Place{Store: uri[:at]}
	job, entry, found := strings.Cut(uri[at+1+len(jobsPrefix):], "/")
	p.ID = checkpoint.JobID(job)
	if err := Prefix(p.ID).Check(); err != nil {
		return p, fmt.Errorf("%s: %w", uri, err)
	}
	if found {
		var ok bool
		if p.Slot, ok = checkpoint.SlotOf(checkpoint.BlobName(entry)); !ok {
			return p, fmt.Errorf("%s: %w: %q names no checkpoint", uri, blob.ErrPermanent, entry)
		}
	}
	return p, nil
}

// Jobs lists the jobs of a store.
func Jobs(ctx context.Context, store *blob.Store) ([]checkpoint.JobID, error) {
	var ids []checkpoint.JobID
	for info, err := range store.List(ctx, jobsPrefix) {
		if err != nil {
			return nil, err
		}
		id, _, found := strings.Cut(strings.TrimPrefix(string(info.Name), jobsPrefix), "/")
		if n := len(ids); found && (n == 0 || ids[n-1] != checkpoint.JobID(id)) {
			ids = append(ids, checkpoint.JobID(id))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// Log is what the log of a job has, as far as it is there.
type Log struct {
	// Entries are in order of their slots, claims among them.
	Entries []*checkpoint.Entry
	// Problems are the entries that could not be read.
	Problems []error
}

// ReadLog reads the log of a job, which may go on meanwhile. Nothing is claimed.
func ReadLog(ctx context.Context, store *blob.Store, id checkpoint.JobID) (*Log, error) {
	x := New(store, Prefix(id), nil)
	names, err := x.list(ctx, checkpoint.LogPrefix)
	if err != nil {
		return nil, err
	}
	log := &Log{}
	for _, name := range names {
		slot, ok := checkpoint.SlotOf(name)
		if !ok {
			continue
		}
		e, err := x.Entry(ctx, slot)
		switch {
		case err == nil:
			log.Entries = append(log.Entries, e)
		case errors.Is(err, blob.ErrNotExist): // deleted meanwhile
		case IsBad(err), errors.Is(err, checkpoint.ErrVersion):
			log.Problems = append(log.Problems, err)
		default:
			return nil, err
		}
	}
	slices.SortFunc(log.Entries, func(a, b *checkpoint.Entry) int { return cmp.Compare(a.Slot, b.Slot) })
	return log, nil
}

// Ended reports whether the job has ended: nothing was added to its log since it
// said so, but claims.
func (l *Log) Ended() bool {
	for _, e := range slices.Backward(l.Entries) {
		if e.Kind != checkpoint.Claim {
			return e.Kind == checkpoint.Ended
		}
	}
	return false
}

// Entry reads an entry of the log.
func (x *Executor) Entry(ctx context.Context, slot checkpoint.Slot) (*checkpoint.Entry, error) {
	b, err := x.store.ReadAll(ctx, x.name(slot.Blob()), maxEntryBytes)
	if err != nil {
		return nil, err
	}
	return checkpoint.Decode(b, slot)
}

// maxIndexBytes bounds an index: that of some 100 million regions.
const maxIndexBytes = 1 << 30

// Index reads the index of an entry.
func (x *Executor) Index(ctx context.Context, e *checkpoint.Entry) (*Index, error) {
	for _, f := range e.Files {
		if f.Kind == checkpoint.Snapshot {
			b, err := x.store.ReadAll(ctx, x.name(f.Blob), min(f.Size, maxIndexBytes))
			if err != nil {
				return nil, err
			}
			return readIndex(b)
		}
	}
	return nil, fmt.Errorf("entry %d: %w: no index", e.Slot, checkpoint.ErrDamaged)
}
