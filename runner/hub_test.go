package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"unicode/utf8"
)

func newTestHub(l Limits) *hub { return newHub(wallClock(), l.withDefaults()) }

// read follows a hub to its end.
func read(ctx context.Context, h *hub) ([]event, error) {
	var all []event
	for seq := int64(0); ; seq = all[len(all)-1].seq {
		events, err := h.after(ctx, seq)
		if err != nil || len(events) == 0 {
			return all, err
		}
		all = append(all, events...)
	}
}

func TestEveryReaderSeesTheWholeHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(Limits{})
		counts := make([]int, 3)
		var wg sync.WaitGroup
		reader := func(i int) {
			wg.Go(func() {
				events, err := read(t.Context(), h)
				if err != nil {
					t.Error(err)
				}
				counts[i] = len(events)
			})
		}
		reader(0)
		synctest.Wait() // it waits for more than the first state
		for i := range 10 {
			h.say(Basic, fmt.Sprint(i))
		}
		reader(1)
		if err := errors.Join(h.to(Starting), h.to(Failed, "why")); err != nil {
			t.Fatal(err)
		}
		reader(2)
		wg.Wait()
		for i, n := range counts {
			if n != 14 { // STOPPED, 10 messages, STARTING, FAILED, why
				t.Errorf("reader %d saw %d events", i, n)
			}
		}
	})
}

func TestHistoryIsBounded(t *testing.T) {
	h := newTestHub(Limits{MaxMessages: 100, MaxMessagesBytes: 2000, MaxMessageBytes: 50})
	h.say(Failure, "pinned")
	for i := range 1000 {
		h.say(Basic, fmt.Sprintf("message %d", i))
	}
	for range 1000 {
		h.say(Basic, strings.Repeat("é", 100))
	}
	if err := errors.Join(h.to(Starting), h.to(Running), h.to(Done)); err != nil {
		t.Fatal(err)
	}
	events, err := read(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	bytes, last := 0, int64(0)
	var text []string
	for _, e := range events {
		if e.seq <= last {
			t.Fatalf("event %d after %d", e.seq, last)
		}
		last = e.seq
		bytes += e.bytes()
		if e.state != nil {
			text = append(text, e.state.GetState().String())
		} else if !utf8.ValidString(e.message.GetMessageText()) {
			t.Fatal("a cut message is not UTF-8")
		}
		if e.message.GetMessageText() == "pinned" {
			text = append(text, "pinned")
		}
	}
	if len(events) > 100 || bytes > 2000 {
		t.Errorf("%d events of %d bytes are kept", len(events), bytes)
	}
	if got := strings.Join(text, " "); got != "STOPPED pinned STARTING RUNNING DONE" {
		t.Errorf("kept %s", got)
	}
}

// TestSlowReaderHoldsUpNobody has a reader that takes one event and rests while
// the history runs over.
func TestSlowReaderHoldsUpNobody(t *testing.T) {
	h := newTestHub(Limits{MaxMessages: 10})
	first, err := h.after(t.Context(), 0)
	if err != nil || len(first) != 1 {
		t.Fatal(first, err)
	}
	for i := range 1000 {
		h.say(Basic, fmt.Sprint(i))
	}
	events, err := h.after(t.Context(), first[0].seq)
	if err != nil || len(events) == 0 {
		t.Fatal(events, err)
	}
	if got := events[len(events)-1].message.GetMessageText(); got != "999" {
		t.Errorf("the newest message is %s", got)
	}
}

func TestReaderStopsWithItsContext(t *testing.T) {
	h := newTestHub(Limits{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := read(ctx, h); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if s := h.wait(ctx, State.Terminal); s != Stopped {
		t.Errorf("%v", s)
	}
}

func TestImportances(t *testing.T) {
	want := map[Importance]string{
		Debug: "JOB_MESSAGE_DEBUG", Detailed: "JOB_MESSAGE_DETAILED", Basic: "JOB_MESSAGE_BASIC",
		Warning: "JOB_MESSAGE_WARNING", Failure: "JOB_MESSAGE_ERROR",
	}
	for i, name := range want {
		if i.proto().String() != name {
			t.Errorf("%d is %v", i, i.proto())
		}
	}
}

// A job that succeeds comes to its end from whatever state it is asked into
// meanwhile.
func TestSuccessIsFinal(t *testing.T) {
	for between, want := range map[State]State{Running: Done, Draining: Drained, Cancelling: Done} {
		h := newTestHub(Limits{})
		for _, s := range slices.Compact([]State{Starting, Running, between}) {
			if err := h.to(s); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.succeed("it was asked for"); err != nil {
			t.Errorf("from %v: %v", between, err)
		}
		if got, _ := h.current(); got != want {
			t.Errorf("from %v: got %v, want %v", between, got, want)
		}
	}
}
