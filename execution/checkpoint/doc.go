// Package checkpoint decides how the state of a job gets to a store of objects,
// what may be deleted there, and from what a job is recovered. It is pure: what
// happened comes in as events, what is to be done goes out as acts, and whoever
// carries these out has the clock and the store.
//
// What a job has in the store, below a prefix of its own:
//
//	log/<slot>            entries, one each slot, numbered from 1 on without a gap
//	data/<epoch>/<blob>   files that entries refer to
//	latest                the slot of an entry that was the newest at the time
//
// An entry is a claim, a checkpoint, a savepoint, which is a checkpoint that only its
// user deletes, or the end of the job. It is written with put-if-absent. This alone keeps order
// among the runners of a job: a runner first claims the next free slot; the slot
// is its epoch, and from then on it may write entries behind. Another runner that
// still thinks it has the job finds its next slot taken by a claim that is not
// its own, and is fenced: it stops for ever, without having been asked, and
// without a clock that both would have to believe. Claims are therefore never
// deleted, and a slot in which an entry may be is tried again with the same
// entry until it is known whose it is.
//
// A checkpoint, act by act ([Coordinator]):
//
//		cut ──▶ upload what is new ──▶ put entry ──▶ put latest ──▶ delete
//		 │          │ failed              │ taken       │ failed      an entry beyond
//		 │ failed   ▼                     ▼             ▼ next time   retention, then
//		 └────▶ give up, keep what   own: go on                       the files that
//		        is there, try later  not own: fenced                  no entry needs
//
//	 1. A checkpoint exists when its entry does, and then all its files do.
//	 2. A file that is part of an entry, or of a checkpoint under way, is not
//	    deleted: files are counted by entries, and an entry counts until it is known
//	    to be deleted.
//	 3. An entry is deleted only if latest is known to point behind it. So whoever
//	    begins at latest, or at anything that a list has shown, and reads on slot by
//	    slot, finds the newest entry, even if lists are late.
//	 4. A blob has a name that was never used before. What a late or lost request
//	    brings back is garbage; it never replaces anything.
//	 5. Every entry lists the older ones that are kept, so that none of them, and
//	    no savepoint, is forgotten because a list did not show it.
//	 6. Garbage of a runner that has died is found by the next one, which deletes what
//	    it has of earlier epochs and no entry needs. It cannot be of a checkpoint
//	    under way, whose epoch is later; one of a fenced runner, and its entry, would
//	    have come before the claim.
//
// When the job has ended, an entry says so ([End]), and its checkpoints are deleted;
// savepoints stay.
//
// A failure costs a checkpoint, never the job.
package checkpoint
