package checkpoint

// Act is something to be done outside. Each act that IsAnswered is answered by an
// Outcome. Acts that were given out together, or whose outcomes have not come, may
// be carried out at once.
//
//sumtype:decl
type Act interface{ isAct() }

type (
	// TakeCut asks for the files of a cut between two commits. They stay as they are
	// until ReleaseCut.
	TakeCut struct{ Kind EntryKind }
	// Upload stores a file of the cut under its blob's name.
	Upload struct{ File File }
	// ReleaseCut says that the files of the last cut need not be kept any more.
	ReleaseCut struct{}
	// PutEntry stores an entry in its slot, if that is free.
	PutEntry struct{ Entry *Entry }
	// ReadEntry reads what is in a slot.
	ReadEntry struct{ Slot Slot }
	// PutLatest stores a slot under the name Latest.
	PutLatest struct{ Slot Slot }
	// ReadLatest reads it.
	ReadLatest struct{}
	// ListLog asks for the names of all entries.
	ListLog struct{}
	// ListData asks for the names of all files.
	ListData struct{}
	// CheckFiles asks whether all files of an entry exist with their sizes.
	CheckFiles struct{ Entry *Entry }
	// Delete removes objects, whether they exist or not.
	Delete struct{ Names []BlobName }
	// Report tells whoever asked, and the user, what became of a checkpoint.
	Report struct {
		// Requests are those that are answered by this.
		Requests []RequestID
		// Entry is the checkpoint, or nil if there is none because of Problem.
		Entry   *Entry
		Problem string
	}
	// Fenced says that another runner has the job: this one is to stop. No act
	// follows.
	Fenced struct {
		// By is the entry that shows it; nil if that is of another version.
		By *Entry
	}
)

func (TakeCut) isAct()    {}
func (Upload) isAct()     {}
func (ReleaseCut) isAct() {}
func (PutEntry) isAct()   {}
func (ReadEntry) isAct()  {}
func (PutLatest) isAct()  {}
func (ReadLatest) isAct() {}
func (ListLog) isAct()    {}
func (ListData) isAct()   {}
func (CheckFiles) isAct() {}
func (Delete) isAct()     {}
func (Report) isAct()     {}
func (Fenced) isAct()     {}

// IsAnswered reports whether an act is to be answered by an Outcome.
func IsAnswered(act Act) bool {
	switch act.(type) {
	case ReleaseCut, Report, Fenced:
		return false
	case TakeCut, Upload, PutEntry, ReadEntry, PutLatest, ReadLatest, ListLog, ListData, CheckFiles, Delete:
	}
	return true
}

// Result is how an act has ended.
type Result int

const (
	// OK is as it should be.
	OK Result = iota
	// Failed has had its effect, or not, or will have it later.
	Failed
	// Exists is the end of a PutEntry into a slot that is taken.
	Exists
	// Absent is the end of a read of what does not exist, and of CheckFiles if a
	// file is missing.
	Absent
	// Damaged is the end of a read of what is not what was written.
	Damaged
	// Foreign is the end of a read of what another version has written.
	Foreign
	// Refused has had no effect, and the same act would not have one either, as long
	// as nobody does something about it.
	Refused
)

func (r Result) String() string {
	switch r {
	case OK:
		return "ok"
	case Failed:
		return "failed"
	case Exists:
		return "exists"
	case Absent:
		return "absent"
	case Damaged:
		return "damaged"
	case Foreign:
		return "foreign"
	case Refused:
		return "refused"
	}
	return "?"
}

// Event is something that has happened outside.
//
//sumtype:decl
type Event interface{ isEvent() }

// RequestID names a request of a user.
type RequestID string

type (
	// Tick says that time has passed.
	Tick struct{}
	// Request asks for a checkpoint or savepoint now. It is answered by a Report.
	Request struct {
		ID   RequestID
		Kind EntryKind
	}
	// Forget deletes a savepoint, as soon as there is something newer from which the
	// job can be restored. One that is not there is none.
	Forget struct{ Slot Slot }
	// End says that the job has ended, for good. Nothing is to be restored any more,
	// unless a user names what: a checkpoint under way is given up, and an entry
	// written that says so. The entry is reported.
	End struct {
		// Keep keeps the checkpoints that there are.
		Keep bool
	}
	// Outcome is how an act has ended.
	Outcome struct {
		Act    Act
		Result Result
		// Problem says to people what has gone wrong.
		Problem string
		// Cut is that of a TakeCut, Entry that of a ReadEntry, Slot that of a
		// ReadLatest, Names those of a list.
		Cut   Cut
		Entry *Entry
		Slot  Slot
		Names []BlobName
	}
)

func (Tick) isEvent()    {}
func (Request) isEvent() {}
func (Forget) isEvent()  {}
func (End) isEvent()     {}
func (Outcome) isEvent() {}

// Cut is the state of a job between two commits, as files.
type Cut struct {
	Plan Fingerprint
	// Files have no blobs yet.
	Files []File
}
