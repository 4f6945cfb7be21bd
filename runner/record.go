package runner

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gorunner/gorunner/runner/jobdir"
)

// record keeps the history of a job in its directory. A nil record keeps
// nothing. It is guarded by the mutex of its hub.
type record struct {
	dir      jobdir.Dir
	life     jobdir.Life
	messages *jobdir.Log
	log      *slog.Logger
	// silent says that messages could not be written; it is logged once.
	silent bool
}

// moved writes a change of state down, for good.
func (r *record) moved(seq int64, s State, at time.Time, why []string) error {
	if r == nil {
		return nil
	}
	life := jobdir.Life{Changes: append(slices.Clip(r.life.Changes), jobdir.Change{Seq: seq, State: s.String(), Time: at, Why: why})}
	if err := r.dir.SetLife(&life); err != nil {
		return fmt.Errorf("state %v: %w", s, err)
	}
	r.life = life
	return nil
}

// said keeps a message. Those that explain a state are kept with it.
func (r *record) said(e event) {
	if r != nil && e.message != nil {
		m := savedMessage(e)
		r.check(r.messages.Append(&m))
	}
}

// replace keeps these messages and no other.
func (r *record) replace(history []event) {
	if r == nil {
		return
	}
	explained := make(map[int64]bool)
	for _, c := range r.life.Changes {
		for i := range c.Why {
			explained[c.Seq+1+int64(i)] = true
		}
	}
	var kept []jobdir.Message
	for _, e := range history {
		if e.message != nil && !explained[e.seq] {
			kept = append(kept, savedMessage(e))
		}
	}
	r.check(r.messages.Replace(kept))
}

func (r *record) check(err error) {
	if err != nil && !r.silent {
		r.silent = true
		r.log.Warn("messages of the job are not kept", "error", err)
	}
}

func (r *record) close() {
	if r != nil {
		r.check(r.messages.Close())
	}
}

func savedMessage(e event) jobdir.Message {
	m := e.message
	return jobdir.Message{Seq: e.seq, Time: m.GetTime(), Importance: int32(m.GetImportance()), Text: m.GetMessageText()}
}

// keep lets the record follow the job's history from now on.
func (h *hub) keep(r *record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.record.close()
	h.record = r
}

// restore makes the history that of the record.
func (h *hub) restore(r *record) error {
	messages, damaged, err := r.messages.Read()
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.history, h.bytes, h.next = nil, 0, 0
	for _, c := range r.life.Changes {
		if h.state, err = stateOf(c.State); err != nil {
			return err
		}
		e := event{seq: c.Seq, state: &jobpb.JobStateEvent{State: h.state.Proto(), Timestamp: timestamppb.New(c.Time)}}
		h.stateEvent = &e
		h.history = append(h.history, e)
		for i, text := range c.Why {
			m := jobdir.Message{
				Seq: c.Seq + 1 + int64(i), Time: c.Time.UTC().Format(time.RFC3339Nano),
				Importance: int32(Failure.proto()), Text: text,
			}
			h.history = append(h.history, foundMessage(m))
		}
	}
	for _, m := range messages {
		h.history = append(h.history, foundMessage(m))
	}
	slices.SortStableFunc(h.history, func(a, b event) int { return int(a.seq - b.seq) })
	for _, e := range h.history {
		h.next = max(h.next, e.seq)
		h.bytes += e.bytes()
	}
	h.record = r
	if h.closed = h.state.Terminal(); h.closed {
		close(h.changed)
		return nil
	}
	if damaged > 0 {
		h.append(event{message: h.message(Warning, plural(int64(damaged), "message")+" of the job's history could not be read")})
	}
	return nil
}

func foundMessage(m jobdir.Message) event {
	return event{seq: m.Seq, message: &jobpb.JobMessage{
		MessageId: strconv.FormatInt(m.Seq, 10), Time: m.Time,
		Importance: jobpb.JobMessage_MessageImportance(m.Importance), MessageText: m.Text,
	}}
}

var errState = errors.New("there is no such state")

// stateOf is the state of the name.
func stateOf(name string) (State, error) {
	for s := range stateTable {
		if State(s).String() == name {
			return State(s), nil
		}
	}
	return Stopped, fmt.Errorf("%w: %q", errState, name)
}
