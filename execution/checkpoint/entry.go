package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

// JobID names the job that an entry is of.
type JobID string

// Slot is a place in the log of a job, from 1 on.
type Slot uint64

// Epoch is the time of one runner of a job: the slot of its claim.
type Epoch uint64

// BlobName is the name of an object below the prefix of the job.
type BlobName string

// Latest is the name of the object that has the slot of the newest entry.
const Latest BlobName = "latest"

// The prefixes of the names of entries and files.
const (
	LogPrefix  = "log/"
	DataPrefix = "data/"
)

// Blob is the name of the entry in a slot.
func (s Slot) Blob() BlobName { return BlobName(fmt.Sprintf("%s%016x", LogPrefix, uint64(s))) }

// SlotOf is the slot of the entry that is stored under a name, if it is one.
func SlotOf(name BlobName) (Slot, bool) {
	digits, ok := strings.CutPrefix(string(name), LogPrefix)
	n, err := strconv.ParseUint(digits, 16, 64)
	slot := Slot(n)
	return slot, ok && err == nil && slot.Blob() == name && slot > 0
}

// dataBlob is the name of a file that the nth cut of an epoch has to upload.
func dataBlob(epoch Epoch, cut int, id fileID) BlobName {
	return BlobName(fmt.Sprintf("%s%016x/%08x-%s-%s", DataPrefix, uint64(epoch), cut, id.kind, id.name))
}

// epochOf is the epoch in which a file was uploaded.
func epochOf(name BlobName) (Epoch, bool) {
	rest, ok := strings.CutPrefix(string(name), DataPrefix)
	digits, _, found := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(digits, 16, 64)
	return Epoch(n), ok && found && err == nil && len(digits) == 16
}

// EntryKind is what an entry of the log is.
type EntryKind string

// The kinds of entries.
const (
	// Claim begins the epoch of a runner.
	Claim EntryKind = "claim"
	// Checkpoint is deleted when there are enough newer ones.
	Checkpoint EntryKind = "checkpoint"
	// Savepoint is deleted when its user says so.
	Savepoint EntryKind = "savepoint"
	// Ended says that the job has ended.
	Ended EntryKind = "ended"
)

// FileKind says who can read a file.
type FileKind string

// The kinds of files.
const (
	// Table is a file of the table of rows of user state.
	Table FileKind = "table"
	// Segment is a file of blocks of elements.
	Segment FileKind = "segment"
	// Snapshot is what the scheduler knows; each checkpoint has one.
	Snapshot FileKind = "snapshot"
	// Description is a file that says what the job is; Artifact one that its workers
	// need.
	Description FileKind = "description"
	Artifact    FileKind = "artifact"
	// DeadLetter is an element that was parked.
	DeadLetter FileKind = "dead"
)

// Sum is the xxhash64 of the content of a file.
type Sum uint64

// MarshalText writes a sum in hexadecimal.
func (s Sum) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(s)), nil }

// UnmarshalText reads what MarshalText has written.
func (s *Sum) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 16, 64)
	if err != nil || len(b) != 16 {
		return fmt.Errorf("%q is no checksum", b)
	}
	*s = Sum(n)
	return nil
}

// File is an immutable file of a cut. Two with all but Blob in common are the same.
type File struct {
	Kind FileKind `json:"kind"`
	// Name is that of the file on the machine of the runner, and unique with its kind.
	Name string `json:"name"`
	Size int64  `json:"size"`
	Sum  Sum    `json:"sum"`
	// Blob is where the file is stored.
	Blob BlobName `json:"blob"`
}

// fileID is what a file is, wherever it is stored.
type fileID struct {
	kind FileKind
	name string
	size int64
	sum  Sum
}

func (f *File) id() fileID { return fileID{f.Kind, f.Name, f.Size, f.Sum} }

// Fingerprint tells plans apart, so that state is given to that which wrote it.
type Fingerprint string

// Entry is an entry of the log: for a checkpoint or savepoint, all there is to
// know to restore a job.
type Entry struct {
	Job   JobID     `json:"job"`
	Slot  Slot      `json:"slot"`
	Epoch Epoch     `json:"epoch"`
	Kind  EntryKind `json:"kind"`
	// Runner names the process that has written the entry. It is not used again.
	Runner string `json:"runner"`
	// Made is when it was written, by the clock of the runner, for people to read.
	Made time.Time `json:"made,omitzero"`
	// Kept are the slots, in order, of all older entries that may exist and be no
	// claims.
	Kept []Slot `json:"kept,omitempty"`
	// Plan and Files are those of the cut; a claim has none.
	Plan  Fingerprint `json:"plan,omitempty"`
	Files []File      `json:"files,omitempty"`
}

// Lineage is the part of a runner's name before its first slash: processes that
// went on with what the one before had on its disk have it in common.
func Lineage(runner string) string {
	lineage, _, _ := strings.Cut(runner, "/")
	return lineage
}

// Bytes is the size of all files.
func (e *Entry) Bytes() int64 {
	var n int64
	for i := range e.Files {
		n += e.Files[i].Size
	}
	return n
}

// restorable reports whether a job can be restored from the entry.
func (e *Entry) restorable() bool { return e.Kind == Checkpoint || e.Kind == Savepoint }

// Version is that of the format of entries.
const Version = 1

// magic begins every entry. An entry is one line, "gorunner-checkpoint", version
// and xxhash64 of what follows, and then JSON, for people to read.
const magic = "gorunner-checkpoint"

var (
	// ErrDamaged reports bytes that are not what was written.
	ErrDamaged = errors.New("not what was written")
	// ErrVersion reports what another version has written.
	ErrVersion = errors.New("written by another version")
)

// Encode returns the bytes to store.
func (e *Entry) Encode() []byte {
	body, err := json.MarshalIndent(e, "", " ")
	if err != nil {
		panic(err) // there is nothing in it that could fail
	}
	body = append(body, '\n')
	return append(fmt.Appendf(nil, "%s %d %016x\n", magic, Version, xxhash.Sum64(body)), body...)
}

// Decode reads an entry from the bytes that are stored in a slot. An error wraps
// ErrDamaged, or ErrVersion if another version has written them.
func Decode(b []byte, slot Slot) (*Entry, error) {
	head, body, _ := bytes.Cut(b, []byte("\n"))
	fields := strings.Split(string(head), " ")
	if len(fields) != 3 || fields[0] != magic {
		return nil, fmt.Errorf("checkpoint: entry %d: %w: no header", slot, ErrDamaged)
	}
	if fields[1] != strconv.Itoa(Version) {
		return nil, fmt.Errorf("checkpoint: entry %d: %w: %q, want %d", slot, ErrVersion, fields[1], Version)
	}
	if fields[2] != fmt.Sprintf("%016x", xxhash.Sum64(body)) {
		return nil, fmt.Errorf("checkpoint: entry %d: %w: checksum", slot, ErrDamaged)
	}
	e := new(Entry)
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(e); err != nil {
		return nil, fmt.Errorf("checkpoint: entry %d: %w: %w", slot, ErrDamaged, err)
	}
	if err := e.check(slot); err != nil {
		return nil, fmt.Errorf("checkpoint: entry %d: %w: %w", slot, ErrDamaged, err)
	}
	return e, nil
}

// check fails on what no Coordinator writes.
func (e *Entry) check(slot Slot) error {
	if e.Slot != slot {
		return fmt.Errorf("it says it is entry %d", e.Slot)
	}
	for i, s := range e.Kept {
		if s == 0 || s >= slot || (i > 0 && s <= e.Kept[i-1]) {
			return fmt.Errorf("kept entry %d out of place", s)
		}
	}
	switch e.Kind {
	case Claim:
		if e.Epoch != Epoch(slot) || len(e.Files) > 0 {
			return fmt.Errorf("claim of epoch %d with %d files", e.Epoch, len(e.Files))
		}
	case Ended:
		if e.Epoch == 0 || e.Epoch >= Epoch(slot) || len(e.Files) > 0 {
			return fmt.Errorf("end in epoch %d with %d files", e.Epoch, len(e.Files))
		}
	case Checkpoint, Savepoint:
		if e.Epoch == 0 || e.Epoch >= Epoch(slot) {
			return fmt.Errorf("written in epoch %d", e.Epoch)
		}
		for i := range e.Files {
			if _, ok := epochOf(e.Files[i].Blob); !ok {
				return fmt.Errorf("file %q is stored as %q", e.Files[i].Name, e.Files[i].Blob)
			}
		}
		return checkFiles(e.Files)
	default:
		return fmt.Errorf("kind %q", e.Kind)
	}
	return nil
}

// checkFiles fails unless the files can be those of a cut.
func checkFiles(files []File) error {
	type key struct {
		kind FileKind
		name string
	}
	seen := make(map[key]bool, len(files))
	snapshots := 0
	for i := range files {
		f := &files[i]
		switch f.Kind {
		case Table, Segment, Description, Artifact, DeadLetter:
		case Snapshot:
			snapshots++
		default:
			return fmt.Errorf("file %q of kind %q", f.Name, f.Kind)
		}
		k := key{f.Kind, f.Name}
		if seen[k] || f.Size < 0 || f.Name == "" || strings.ContainsAny(f.Name, "/\\") {
			return fmt.Errorf("%s %q of %d bytes: twice, without a size or with a wrong name", f.Kind, f.Name, f.Size)
		}
		seen[k] = true
	}
	if snapshots != 1 {
		return fmt.Errorf("%d snapshots of the scheduler, want one", snapshots)
	}
	return nil
}

// EncodeLatest returns the bytes of the object Latest.
func EncodeLatest(slot Slot) []byte { return fmt.Appendf(nil, "%016x\n", uint64(slot)) }

// DecodeLatest reads the bytes of the object Latest.
func DecodeLatest(b []byte) (Slot, error) {
	n, err := strconv.ParseUint(strings.TrimSuffix(string(b), "\n"), 16, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("checkpoint: %s: %w: %q", Latest, ErrDamaged, b)
	}
	return Slot(n), nil
}
