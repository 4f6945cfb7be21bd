package runner

import (
	"context"
	"strconv"
	"sync"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Importance is how much a message matters to the user.
type Importance int

// The importances of the Job API.
const (
	Debug Importance = iota
	Detailed
	Basic
	Warning
	// Failure is the importance of errors. Clients take one such message for
	// the reason why a job failed (Java the first, Go and Python the last), so
	// nothing else has it.
	Failure
)

func (i Importance) proto() jobpb.JobMessage_MessageImportance {
	switch i {
	case Debug:
		return jobpb.JobMessage_JOB_MESSAGE_DEBUG
	case Detailed:
		return jobpb.JobMessage_JOB_MESSAGE_DETAILED
	case Basic:
		return jobpb.JobMessage_JOB_MESSAGE_BASIC
	case Warning:
		return jobpb.JobMessage_JOB_MESSAGE_WARNING
	case Failure:
		return jobpb.JobMessage_JOB_MESSAGE_ERROR
	}
	return jobpb.JobMessage_MESSAGE_IMPORTANCE_UNSPECIFIED
}

// event is a change of state or a message; exactly one of the two is set.
// Events are never changed, so readers share them.
type event struct {
	seq     int64
	state   *jobpb.JobStateEvent
	message *jobpb.JobMessage
}

// pinned says that the event is kept however long the history is.
func (e event) pinned() bool {
	return e.state != nil || e.message.GetImportance() == jobpb.JobMessage_JOB_MESSAGE_ERROR
}

func (e event) bytes() int { return len(e.message.GetMessageText()) }

// hub is the history of a job: its state and its messages. Readers follow it at
// their own pace by sequence number and never hold up who writes. When the
// history is full, its oldest messages are dropped, but never states and
// errors. It is safe for concurrent use.
type hub struct {
	clock               Clock
	maxEvents, maxBytes int
	maxMessageBytes     int
	mu                  sync.Mutex
	state               State         // guarded by mu
	stateEvent          *event        // guarded by mu; the last change of state
	next                int64         // guarded by mu; sequence number of the next event
	history             []event       // guarded by mu; ascending seq
	bytes               int           // guarded by mu; of the history's messages
	changed             chan struct{} // guarded by mu; closed by the next event
	closed              bool          // guarded by mu; no event follows
	suspended           error         // guarded by mu; why none follows here
	record              *record       // guarded by mu; nil if nobody keeps the history
}

func newHub(clock Clock, limits Limits) *hub {
	h := &hub{
		clock:           clock,
		maxEvents:       limits.MaxMessages,
		maxBytes:        limits.MaxMessagesBytes,
		maxMessageBytes: limits.MaxMessageBytes,
		changed:         make(chan struct{}),
	}
	h.append(event{state: h.stateChange(Stopped)})
	return h
}

func (h *hub) stateChange(s State) *jobpb.JobStateEvent {
	return &jobpb.JobStateEvent{State: s.Proto(), Timestamp: timestamppb.New(h.clock())}
}

// append adds an event to the history, and says whether it is still to be recorded:
// it is not when the whole history was. mu is held, or nobody else knows the hub yet.
func (h *hub) append(e event) (unrecorded bool) {
	if h.closed {
		return false // of a worker that is still talking after the end
	}
	h.next++
	e.seq = h.next
	if e.message != nil {
		e.message.MessageId = strconv.FormatInt(e.seq, 10)
	} else {
		h.stateEvent = &e
	}
	h.history = append(h.history, e)
	h.bytes += e.bytes()
	unrecorded = true
	if len(h.history) > h.maxEvents || h.bytes > h.maxBytes {
		h.trim()
		h.record.replace(h.history)
		unrecorded = false
	}
	close(h.changed)
	h.changed = make(chan struct{})
	return unrecorded
}

// trim drops the older half of what may be dropped, so that its cost is spread
// over many events.
func (h *hub) trim() {
	excess := max(len(h.history)-h.maxEvents/2, 0)
	excessBytes := h.bytes - h.maxBytes/2
	kept := make([]event, 0, len(h.history)-excess)
	for _, e := range h.history {
		if !e.pinned() && (excess > 0 || excessBytes > 0) {
			excess--
			excessBytes -= e.bytes()
			h.bytes -= e.bytes()
			continue
		}
		kept = append(kept, e)
	}
	h.history = kept
}

// say records a message, cut to the limit.
func (h *hub) say(i Importance, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.append(event{message: h.message(i, text)}) {
		h.record.said(h.history[len(h.history)-1])
	}
}

func (h *hub) message(i Importance, text string) *jobpb.JobMessage {
	if len(text) > h.maxMessageBytes {
		text = text[:h.maxMessageBytes] + "… (cut)"
	}
	return &jobpb.JobMessage{
		Time:       h.clock().UTC().Format(time.RFC3339Nano),
		Importance: i.proto(),
		// A gRPC string must be UTF-8, and cutting may have broken that.
		MessageText: toUTF8(text),
	}
}

// to changes the state. The messages that explain a final state follow it at
// once, and are the last ones.
func (h *hub) to(s State, why ...string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.move(s, why...)
}

// succeed ends the job well: drained, for the reason, if somebody has asked for
// that until now, else done.
func (h *hub) succeed(whyDrained string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state == Draining {
		return h.move(Drained, whyDrained)
	}
	return h.move(Done)
}

// unwrittenError says that a state could not be written down, and so was not entered.
type unwrittenError struct{ err error }

func (e *unwrittenError) Error() string { return e.err.Error() }

func (e *unwrittenError) Unwrap() error { return e.err }

// move changes the state, which is written down before anybody is told. mu is
// held.
func (h *hub) move(s State, why ...string) error {
	next, err := h.state.to(s)
	if err != nil {
		return err
	}
	change := h.stateChange(next)
	if err := h.record.moved(h.next+1, next, change.GetTimestamp().AsTime(), why); err != nil {
		if next != Cancelling { // which the job is without: it is about to end
			return &unwrittenError{err}
		}
		why = append(why, "what has become of the job could not be written down: "+err.Error())
	}
	h.state = next
	h.append(event{state: change})
	for _, text := range why {
		h.append(event{message: h.message(Failure, text)})
	}
	if next.Terminal() {
		h.closed = true
		close(h.changed)
		h.record.close()
	}
	return nil
}

// suspend ends the history in this process: readers get the error.
func (h *hub) suspend(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed, h.suspended = true, err
	close(h.changed)
	h.record.close()
}

// current returns the state and its last change.
func (h *hub) current() (State, *jobpb.JobStateEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state, h.stateEvent.state
}

// after waits for events beyond seq and returns them. It returns none once the
// history is at its end, and an error if that is not the job's.
func (h *hub) after(ctx context.Context, seq int64) ([]event, error) {
	for {
		h.mu.Lock()
		events := h.since(seq)
		closed, suspended, changed := h.closed, h.suspended, h.changed
		h.mu.Unlock()
		if len(events) > 0 {
			return events, nil
		}
		if closed {
			return nil, suspended
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

// since copies the events beyond seq. mu is held.
func (h *hub) since(seq int64) []event {
	first := len(h.history)
	for first > 0 && h.history[first-1].seq > seq {
		first--
	}
	return append([]event(nil), h.history[first:]...)
}

// wait returns when the state satisfies ok or will not change any more here, or
// ctx ends.
func (h *hub) wait(ctx context.Context, ok func(State) bool) State {
	for {
		h.mu.Lock()
		s, closed, changed := h.state, h.closed, h.changed
		h.mu.Unlock()
		if ok(s) || closed {
			return s
		}
		select {
		case <-ctx.Done():
			return s
		case <-changed:
		}
	}
}
